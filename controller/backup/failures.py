"""What is wrong with single dumps of a run: it fails the run, and keeps no other dump from being made and proved."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from config.wording import shortened
from controller.backup.target_run import TargetRun
from controller.core.errors import CommandFailed, IncompleteDump, ServerGone, SidecarError
from strategies.plan import Dump

MORE = 3
"""Failures beside the first one that are told."""


class Failures:
    """Those of one run."""

    def __init__(self, target_run: TargetRun) -> None:
        self._target_run = target_run
        self._errors: dict[str, CommandFailed | IncompleteDump] = {}
        """By the dump's name."""

    def __bool__(self) -> bool:
        return bool(self._errors)

    @contextmanager
    def apart(self, dump: Dump) -> Iterator[None]:
        """Take down what is wrong with this dump; raises what is wrong with the target."""
        try:
            yield
        except (CommandFailed, IncompleteDump) as error:
            if isinstance(self._target_run.explained(error), ServerGone):
                raise
            self._errors[dump.name] = error

    def demand_none(self, whole: Collection[str]) -> None:
        """Raises the first one in the order of the plan, with the others, and which of the dumps were `whole`."""
        if self._errors:
            raise told(self._target_run.survey.plan.dumps, whole, self._errors)


def told(
    dumps: Sequence[Dump], whole: Collection[str], errors: dict[str, CommandFailed | IncompleteDump]
) -> SidecarError:
    first, *others = (errors[dump.name] for dump in dumps if dump.name in errors)
    if len(dumps) == 1:
        return first
    good = shortened([dump.subject or dump.name for dump in dumps if dump.name in whole]) if whole else "none"
    message = "; ".join((*(error.message for error in (first, *others[:MORE])), f"whole were: {good}"))
    if isinstance(first, IncompleteDump):
        return IncompleteDump(message, hint=first.hint)
    return CommandFailed(message, hint=first.hint, exit_code=first.exit_code, stderr=first.stderr)
