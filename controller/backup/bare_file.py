"""A dump without a manifest: recognized by the plan of the target that it is given to, and checked as its own are."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import BinaryIO

from config.fields import Compression
from config.wording import shortened
from controller.backup.measuring import counts_itself
from controller.backup.proving import DECODE, begun
from controller.core.errors import CommandFailed, IncompleteDump, NotAdopted
from controller.core.manifest import Artifact, Manifest
from controller.storage import capture
from controller.storage.adopt import Arrival, faults
from controller.storage.bundle import file_name
from controller.storage.codecs import SUFFIX, blocks, codec_of, plain_chunks
from controller.storage.draft import MANIFEST, document
from controller.storage.staging import Staging
from controller.targets.runnable import RunnableTarget
from controller.targets.session import Session
from controller.targets.survey import Survey
from strategies.plan import Dump, ExecCheck

NOT_CHECKED = (
    "not-checked: nobody knows the format of what a command of your own wrote; only its compression was checked"
)


class BareFile:
    """Lies in the store, outside of any run, as long as nobody has published it."""

    def __init__(self, place: Staging, chunks: Iterator[bytes], name: str, check: Callable[[], None]) -> None:
        """Write it down, and read it once. Raises `Damaged`, `StoreError`."""
        self.name, self._place, self._check = name, place, check
        self.arrival = Arrival(place.run())
        self._path = self.arrival.folder / "file"
        stored, plain = hashlib.sha256(), hashlib.sha256()
        place.write(self._path, digested(chunks, stored, check))
        with self._path.open("rb", buffering=0) as file:
            self._codec = codec_of(file.read(8))
            file.seek(0)
            plain_size = 0
            for chunk in digested(plain_chunks(blocks(file), self._codec), plain, check):
                plain_size += len(chunk)
        self._digest = capture.Captured(plain_size, plain.hexdigest(), self._path.stat().st_size, stored.hexdigest())
        self._counts: dict[str, int] = {}
        self._warnings: list[str] = []

    def run(self, made: datetime) -> str:
        """The id of its run, the same each time that the same file is taken in."""
        return f"{made:%Y%m%dT%H%M%SZ}-{self._digest.stored_sha256[:8]}"

    def manifest(
        self, target: RunnableTarget, survey: Survey, session: Session, *, made: datetime, now: datetime
    ) -> Manifest:
        """Recognize and check it, give it its name, and write its manifest; raises `NotAdopted` for what it is not."""
        dump = self._named(self._recognized(target, survey, session), target)
        name, codec = dump.name + SUFFIX[self._codec], self._codec
        artifact = Artifact(
            name=name,
            format=dump.format,
            compression=codec,
            size=self._digest.stored_size,
            sha256=self._digest.stored_sha256,
            plain_size=self._digest.plain_size,
            plain_sha256=self._digest.plain_sha256,
            proof="adopted",
            restore=f"{DECODE[codec].format(name)} | {dump.restore}" if dump.restore else "",
            subject=dump.subject,
            counts=self._counts,
        )
        manifest = Manifest(
            run=self.run(made),
            target=target.key,
            strategy=target.strategy,
            container=survey.probed.container.name,
            container_id=survey.probed.container.id,
            image=survey.probed.container.image,
            image_id=survey.probed.image_id,
            engine=session.engine.version().engine,
            sidecar=version("backup-sidecar"),
            started=made,
            finished=made,
            proof="adopted",
            warnings=tuple(self._warnings),
            artifacts=(artifact,),
        )
        for fault in faults(manifest, now):
            raise NotAdopted(f"{self.name} {fault}", hint="Say when it was made with --at.")
        self._path.rename(self.arrival.folder / name)
        data = document(manifest)
        self._place.write(self.arrival.folder / MANIFEST, [data], len(data))
        return manifest

    def _recognized(self, target: RunnableTarget, survey: Survey, session: Session) -> list[Dump]:
        """The dumps of the plan that have its format."""
        reasons = []
        for kind in dict.fromkeys(dump.format for dump in survey.plan.dumps):
            dumps = [dump for dump in survey.plan.dumps if dump.format == kind]
            try:
                consume = partial(self._consume, dumps[0], session)
                verified = capture.verify(
                    self._path, self._digest, Compression(self._codec), consume, check=self._check
                )
            except (CommandFailed, IncompleteDump) as error:
                reasons.append(f"{kind}: {error.message}")
            else:
                self._warnings += verified.warnings
                return dumps
        message = f"{self.name} is no whole dump as {target.key} has them ({'; '.join(reasons)})"
        raise NotAdopted(message, hint="Look whether the file is whole, and of this target's strategy.")

    def _consume(self, dump: Dump, session: Session, stream: BinaryIO) -> Sequence[str]:
        check = dump.check
        if isinstance(check, ExecCheck):
            session.feed(check.argv, begun(stream, check.head))
        elif counts_itself(dump) and dump.count:
            self._counts = dict(dump.count.read(stream))
        elif check is not None:
            return check(stream, defaultdict(str))
        elif self._codec == "none":
            hint = "Compress it by zstd or gzip, whose end can be seen, and take it in again."
            raise NotAdopted(f"nothing tells whether {self.name} is whole", hint=hint)
        else:
            return (NOT_CHECKED,)
        return ()

    def _named(self, dumps: list[Dump], target: RunnableTarget) -> Dump:
        """The one that the file's name ends with, as downloads are called, else the only one; raises `NotAdopted`."""
        plain = file_name((self.name.removesuffix(SUFFIX[self._codec]),), "")
        named = [dump for dump in dumps if f"_{plain}".endswith(f"_{file_name((dump.name,), '')}")]
        if named or len(dumps) == 1:
            return max(named or dumps, key=lambda dump: len(dump.name))  # `my_shop` ends with `_shop`, too.
        names = shortened([dump.name for dump in dumps])
        hint = "Give the file the name of the one that it is, or the end of its name."
        raise NotAdopted(f"{self.name} may be any of {names} of {target.key}", hint=hint)


def digested(chunks: Iterator[bytes], digest: "hashlib._Hash", check: Callable[[], None]) -> Iterator[bytes]:
    """The same chunks."""
    for chunk in chunks:
        check()
        digest.update(chunk)
        yield chunk
