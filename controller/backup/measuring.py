"""What is asked beside dumps, in one exec before them and one after: numbers to compare, bytes on the disk.

Small dumps are measured together, since an exec costs more than any of the questions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO

from controller.backup.counts import Counted, settled
from controller.backup.target_run import TargetRun
from controller.core.errors import CommandFailed, SidecarError
from controller.core.grouping import grouped
from controller.targets.session import tool
from strategies.base import Answer
from strategies.checks import NUMBER
from strategies.plan import Argv, Count, Dump, Exec, Incomplete

SECONDS = 60.0
"""What the questions on one side of a dump may take."""
SMALL_BYTES, TOGETHER_BYTES = 64 << 20, 256 << 20
"""On the target's disk: what is measured together with others, and all of these, so that it takes seconds."""


def measured_together(dumps: Sequence[Dump]) -> Iterator[list[Dump]]:
    """All of them, in their order: neighbours that are known to be small as one group, any other by itself."""

    def size(dump: Dump) -> int:
        return dump.disk if isinstance(dump.disk, int) and dump.disk <= SMALL_BYTES else TOGETHER_BYTES + 1

    return grouped(dumps, size, TOGETHER_BYTES)


class Measuring:
    """The questions of one group of dumps; what gets no answer is a warning at most, since a dump stands without it."""

    def __init__(self, target_run: TargetRun, dumps: Sequence[Dump], warnings: list[str]) -> None:
        self._session, self._dumps, self._warnings = target_run.session, dumps, warnings
        self._seconds = SECONDS * len(dumps)
        wanted = target_run.target.settings.counts
        self._schemas = {dump.name: dump.schema for dump in dumps if dump.schema and wanted}
        self._counts = {dump.name: dump.count for dump in dumps if dump.count and wanted and not counts_itself(dump)}
        self._before: Mapping[Argv, Answer] = {}
        self._numbers: Mapping[str, Mapping[str, int]] = {}

    def before(self) -> None:
        """Ask what is asked before the first of the dumps."""
        sizes = [dump.disk for dump in self._dumps if isinstance(dump.disk, tuple)]
        left_out = self._left_out()
        questions = [*self._stills(self._counts), *sizes, *self._schemas.values(), *left_out]
        self._before, self._numbers = self._measured(questions, self._counts)
        self._warnings += [line for argv in left_out for line in said(self._before.get(argv)).splitlines()]
        for count in self._counts.values():
            self._warnings += self._told(count)

    def schema(self, dump: Dump) -> str:
        """What changes with the structure of the data; empty where nobody knows."""
        return said(self._before.get(self._schemas.get(dump.name, ())))

    def disk(self, dump: Dump) -> int:
        """Bytes that the data takes in the target; 0 where nobody knows."""
        if isinstance(dump.disk, tuple):
            size = said(self._before.get(dump.disk))
            return int(size) if NUMBER.fullmatch(size) else 0
        return dump.disk or 0

    def after(self) -> dict[str, Counted]:
        """By the name of each dump its numbers, as far as they can be had."""
        there = {name: self._counts[name] for name in self._numbers}
        now, _ = self._measured(self._stills(there), {})
        moved = {name: count for name, count in there.items() if not self._unmoved(count, now)}
        _, again = self._measured([], moved)
        numbers = {
            name: settled(before, again.get(name, {})) if name in moved else Counted(before)
            for name, before in self._numbers.items()
        }
        return {dump.name: numbers.get(dump.name, Counted({}, answered=False)) for dump in self._dumps}

    def _left_out(self) -> list[Argv]:
        """The questions for what is left out that no count answers."""
        answered = {name for name, count in self._counts.items() if count.tells}
        return [dump.left_out for dump in self._dumps if dump.left_out and dump.name not in answered]

    def _told(self, count: Count) -> list[str]:
        """What is left out, as a count tells it, also where it did not come to its numbers."""
        answer = self._before.get(count.source.argv) if isinstance(count.source, Exec) else None
        lines = answer.stdout.splitlines() if answer and count.tells else ()
        return [line for line in lines if line.startswith(count.tells)]

    def _stills(self, counts: Mapping[str, Count]) -> list[Argv]:
        return [count.still for count in counts.values() if count.still]

    def _unmoved(self, count: Count, now: Mapping[Argv, Answer]) -> bool:
        """Whether nothing that is counted has changed since before."""
        moments = [said(answers.get(count.still)) if count.still else "" for answers in (self._before, now)]
        return moments[0] == moments[1] != ""

    def _measured(
        self, questions: Sequence[Argv], counts: Mapping[str, Count]
    ) -> tuple[Mapping[Argv, Answer], Mapping[str, Mapping[str, int]]]:
        """The answers, and the numbers, which are asked last, so that what changes meanwhile is seen."""
        asked = [count.source.argv for count in counts.values() if isinstance(count.source, Exec)]
        answers: Mapping[Argv, Answer] = {}
        numbers, failures = dict[str, Mapping[str, int]](), dict[str, str]()
        try:
            answers = self._asked([*questions, *asked])
        except SidecarError as error:
            failures = dict.fromkeys(counts, error.message)
        for name in [name for name in counts if name not in failures]:
            try:
                numbers[name] = self._number(counts[name], answers)
            except SidecarError as error:
                failures[name] = error.message
        self._warnings += [f"not-counted: {name}: {message}" for name, message in failures.items()]
        return answers, numbers

    def _number(self, count: Count, answers: Mapping[Argv, Answer]) -> Mapping[str, int]:
        """Raises `CommandFailed` for an answer that is none."""
        if not isinstance(count.source, Exec):
            return self._session.count(count, SECONDS)
        answer = answers[count.source.argv]
        self._session.demand_success(tool(count.source.argv), answer)
        return read(count, answer.stdout)

    def _asked(self, questions: Iterable[Argv]) -> Mapping[Argv, Answer]:
        """One that is asked twice is asked once."""
        known = {str(number): argv for number, argv in enumerate(dict.fromkeys(questions))}
        answers = self._session.ask_all(known, self._seconds) if known else {}
        return {known[number]: answer for number, answer in answers.items()}


def read(count: Count, answer: str) -> Mapping[str, int]:
    """Raises `CommandFailed` for an answer that is none."""
    try:
        return count.read(BytesIO(answer.encode()))
    except Incomplete as error:
        raise CommandFailed(f"what was counted is not whole: {error}") from error


def said(answer: Answer | None) -> str:
    """What was answered; empty for a question that failed."""
    return answer.stdout.strip() if answer and answer.ok else ""


def counts_itself(dump: Dump) -> bool:
    """Whether what there is to count is in the dump's own stream, so that it costs nothing."""
    return dump.count is not None and dump.count.source == dump.source
