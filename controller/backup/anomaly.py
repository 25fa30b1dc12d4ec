"""Whether a run that succeeded looks like those before it; pure. One that does not is `suspicious`, and no good run."""

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from config.target import Expect
from controller.core.manifest import Artifact, Manifest
from controller.core.run import Report
from controller.storage.codecs import SUFFIX
from strategies.checks import rows_in

HISTORY = 7
"""Good runs that a new one is compared with."""
RUNS_COMPARED_AT_LEAST = 3
"""Good runs without which a duration says nothing."""
SHORTEST_TELLING_SECONDS = 10.0
"""Seconds below which a duration says nothing."""
HASTY_SHARE = 0.1
"""Share of the usual duration below which something may have been left out."""
TELLING_ROWS = 100
"""Rows below which one table says nothing: a queue or a list of settings is emptied and moved in ordinary work."""
TELLING_SUM = 1000
"""Rows of all tables below which their sum says nothing."""
TELLING_ALL = 10
"""Rows of a dump below which it says nothing that all of them are gone."""
LARGE_SHARE = 0.2
"""Share of its database's rows from which on a table is missed."""
KEYS = "keys in "
"""What a count names of Redis, which knows no database without a key: there it is empty, and does not lack anything."""
TABLES_NAMED = 5
"""Tables that are named, those that lost most first; a schema that is gone may have thousands."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is odd about a run."""

    suspicious: tuple[str, ...] = ()
    """Why it may not be what it should."""
    warnings: tuple[str, ...] = ()
    """What happens in ordinary work too, and is worth a look."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A dump and the rows of it that matter; None where nobody has counted them."""

    artifact: Artifact
    rows: Mapping[str, int] | None
    ignored: Mapping[str, int]
    """The rows of tables that may be emptied."""

    @property
    def known(self) -> Mapping[str, int]:
        return self.rows or {}

    @property
    def is_void(self) -> bool:
        """Whether it was counted, and has no row."""
        return self.rows is not None and not any(self.rows.values())

    def was_empty(self, table: str) -> bool:
        return self.rows is not None and not self.rows.get(table)


@dataclass(frozen=True, slots=True)
class Loss:
    """A table that has lost rows."""

    table: str
    before: int
    now: int
    telling: bool
    """Whether it makes the run suspicious."""


def judged(
    manifest: Manifest, good: Sequence[Report], expect: Expect, answered: Collection[str] = frozenset()
) -> Judgement:
    """What is odd about a run; `good` are its target's last good ones, newest first. Without `max-shrink` nothing but
    what it lacks.

    `answered` are the names of those of its dumps whose numbers are known, also where there are none.
    """
    if not good:
        return Judgement()
    last = f"run {good[0].id}"
    past, now = (
        [dumps(run.artifacts, expect.ignore) for run in good],
        dumps(manifest.artifacts, expect.ignore, answered),
    )
    lacks = missing(past[0], now, expect.ignore) if good[0].strategy in ("", manifest.strategy) else ()
    gone = listed([f"missing: {what}, which {last} has" for what in lacks], "missing")
    if (most := expect.max_shrink) is None:
        return Judgement(suspicious=gone)
    lost = sorted(losses(past, now, most), key=lambda loss: loss.now - loss.before)
    return Judgement(
        suspicious=(
            *gone,
            *(
                f"{reason} of {last}, {most:.0%} are allowed"
                for reason in (*shrunk(past[0], now, most), *void(past, now, most))
            ),
            *told("emptied", last, [loss for loss in lost if loss.telling]),
        ),
        warnings=(*told("fewer", last, [loss for loss in lost if not loss.telling]), *hasty(manifest, good)),
    )


def dumps(
    artifacts: Iterable[Artifact], ignore: Sequence[str], answered: Collection[str] = frozenset()
) -> dict[str, Counted]:
    """By the dump's name, whatever it was compressed with."""
    found = {}
    for artifact in artifacts:
        name, rows = artifact.name.removesuffix(SUFFIX[artifact.compression]), rows_in(artifact.format, artifact.counts)
        is_counted = bool(artifact.counts) or name in answered
        ignored = {table: number for table, number in rows.items() if is_ignored(table, ignore)}
        left = {table: number for table, number in rows.items() if table not in ignored} if is_counted else None
        found[name] = Counted(artifact, left, ignored)
    return found


def is_ignored(what: str, patterns: Sequence[str]) -> bool:
    """By the table's whole name, or without its schema; `what` is `rows of public."Orders"`, for example."""
    name = what.removeprefix("rows of ").removeprefix(KEYS).replace('"', "")
    return any(fnmatchcase(part, pattern) for part in {name, name.rpartition(".")[2]} for pattern in patterns)


def missing(before: Mapping[str, Counted], now: Mapping[str, Counted], ignore: Sequence[str]) -> Iterator[str]:
    """Every dump, path, database and table of the last good run that the run has not."""
    held = {what for dump in now.values() for what in subjects(dump.artifact)}
    for name, dump in before.items():
        yield from (what for what in subjects(dump.artifact) if what not in held and not is_ignored(what, ignore))
        if name in now and now[name].rows is not None:
            artifact = now[name].artifact
            lacking = [what for what in dump.known if what not in artifact.counts]
            is_flushed = not artifact.counts and all(what.startswith(KEYS) for what in lacking)
            yield from (f"{what} in {artifact.name}" for what in lacking if not is_flushed)


def subjects(artifact: Artifact) -> Sequence[str]:
    """What a dump is of: the paths of an archive of files, a database, else the dump itself."""
    if artifact.format == "tar":
        return shlex.split(artifact.subject)
    return [artifact.subject or artifact.name.removesuffix(SUFFIX[artifact.compression])]


def shrunk(before: Mapping[str, Counted], now: Mapping[str, Counted], most: float) -> Iterator[str]:
    """Each dump that is far smaller than the same one before, else all of them together."""
    both = [name for name in before if name in now]
    each = [reason for name in both for reason in smaller(name, [before[name]], [now[name]], most)]
    yield from each or smaller("all dumps", [*before.values()], [*now.values()], most)


def void(past: Sequence[Mapping[str, Counted]], now: Mapping[str, Counted], most: float) -> Iterator[str]:
    """Each dump without any row, of those that are too small for their sum and their tables to tell.

    As for one table, but that it was empty before tells that it may be.
    """
    for name, dump in now.items():
        old = past[0].get(name)
        whole = sum(old.known.values()) if old else 0
        if old is None or not TELLING_ALL <= whole < TELLING_SUM or not is_below(0, whole, most):
            continue
        was_void = any(run[name].is_void for run in past if name in run)
        if dump.is_void and not was_void and not set(old.known).intersection(dump.artifact.approximate):
            yield f"fewer: {name}: 0 rows are 100% less than the {whole}"


def smaller(name: str, before: Sequence[Counted], now: Sequence[Counted], most: float) -> Iterator[str]:
    """By bytes before compression and by rows; a dump of which nothing was counted says nothing of rows.

    Bytes say nothing where they may be those of a table that may be emptied, and has been: where it held much of all.
    """
    ignored_before, ignored_now = (sum(sum(dump.ignored.values()) for dump in dumps) for dumps in (before, now))
    size, old_size = (sum(dump.artifact.plain_size for dump in dumps) for dumps in (now, before))
    share = LARGE_SHARE * (ignored_before + sum(sum(dump.known.values()) for dump in before))
    is_ignored = ignored_before >= share and is_below(ignored_now, ignored_before, most)
    if is_below(size, old_size, most) and not is_ignored:
        yield f"shrunk: {name}: {size} bytes are {share_lost(size, old_size)} less than the {old_size}"
    if all(dump.rows is not None for dump in now):
        rows, old_rows = (sum(sum(dump.known.values()) for dump in dumps) for dumps in (now, before))
        if old_rows >= TELLING_SUM and is_below(rows, old_rows, most):
            yield f"fewer: {name}: {rows} rows are {share_lost(rows, old_rows)} less than the {old_rows}"


def losses(past: Sequence[Mapping[str, Counted]], now: Mapping[str, Counted], most: float) -> Iterator[Loss]:
    """Every table that is empty now, or has lost more than may be.

    An empty one tells, if it held much of its database and was not as empty in one of the last good runs. A number that
    changed while its dump was made tells nothing: a table that is loaded anew is empty for a moment.
    """
    for name, dump in now.items():
        last = past[0].get(name)
        if dump.rows is None or last is None:
            continue
        whole = sum(last.known.values())
        for table, before in last.known.items():
            if table not in dump.rows:  # It is missing.
                continue
            left = dump.rows[table]
            if left and (before < TELLING_ROWS or not is_below(left, before, most)):
                continue
            is_telling = (
                not left
                and before >= max(TELLING_ROWS, LARGE_SHARE * whole)
                and table not in dump.artifact.approximate
                and not any(run[name].was_empty(table) for run in past if name in run)
            )
            if before:
                yield Loss(f"{table} in {dump.artifact.name}", before, left, is_telling)


def told(word: str, last: str, losses: Sequence[Loss]) -> tuple[str, ...]:
    """Each in words."""
    return listed([f"{word}: {loss.table}: {loss.now} of {loss.before} since {last}" for loss in losses], word)


def listed(reasons: Sequence[str], word: str) -> tuple[str, ...]:
    """The first few, and how many there are beyond."""
    rest = len(reasons) - TABLES_NAMED
    return (*reasons[:TABLES_NAMED], *([f"{word}: {rest} more like these"] if rest > 0 else ()))


def is_below(now: int, then: int, most: float) -> bool:
    """Whether a larger share is gone than may be; rounded, because 1 - 0.7 is a little more than 0.3."""
    return then > 0 and round(1 - now / then, 9) > most


def share_lost(now: int, then: int) -> str:
    """The share that is gone; of what left something it is never all."""
    return f"{(then - now) * 100 // then}%"


def hasty(manifest: Manifest, good: Sequence[Report]) -> Sequence[str]:
    """By the median, since a single run may have been slow; a clock that went back meanwhile says nothing."""
    usual = sorted(run.seconds or 0.0 for run in good)[len(good) // 2]
    seconds = (manifest.finished - manifest.started).total_seconds()
    is_hasty = 0 <= seconds < usual * HASTY_SHARE
    if len(good) < RUNS_COMPARED_AT_LEAST or usual < SHORTEST_TELLING_SECONDS or not is_hasty:
        return ()
    return (f"hasty: it took {seconds:.1f} s, where {usual:.0f} s are usual",)
