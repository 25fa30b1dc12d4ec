"""A sidecar that dies just before it would note that a restore is whole, and the next one, which finds its journal."""

from dataclasses import dataclass
from pathlib import Path

from controller.core.key import Key
from controller.restore.apply import Applying
from controller.restore.owed import OwedUndo, OwedUndos
from controller.targets.session import Session


class Dies(Exception):
    """The sidecar."""


@dataclass
class Kept:
    """The journal of one restore."""

    folder: Path

    def note(self, applying: Applying) -> None:
        """For `Applying.on_owed`."""
        if applying.whole:
            raise Dies
        owed = OwedUndo(
            restore="20260302T030000Z-deadbeef",
            target=Key(project="shop", service="db"),
            strategy="any",
            container=applying.session.context.container,
            keys=(),
            commands=applying.owed,
            settled=applying.restore.settled or (),
            finish=applying.restore.finish,
        )
        OwedUndos(lambda _: None, self.folder).owe(owed)

    def recover(self, session: Session) -> None:
        """As the next sidecar does."""
        undos = OwedUndos(lambda _: session, self.folder)
        (owed,) = undos.all()
        good = undos.make_good(owed)
        assert good
        assert (good[0].whole, good[1]) == (True, ())
