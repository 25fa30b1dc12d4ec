"""What a row of the corpus says of itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

REPLACED, FRESH, DRILLED, BY_HAND = "replaced", "fresh", "drilled", "by hand"


State = Mapping[str, Mapping[str, str]]
"""By row, what its objects are by their names, and by the same with ` rows` behind it what they hold."""


@dataclass(frozen=True)
class Row:
    """One kind of object."""

    name: str
    make: str
    """SQL."""
    since: str = ""
    """First version of the server that knows all of it."""
    own: bool = False
    """It makes databases of its own."""
    databases: tuple[str, ...] = ()
    """Their names, where they are others than the row's."""
    without: Mapping[str, str] = field(default_factory=dict)
    """What need not come back, and why: in a way back only the rows do, by hand nothing; `schema`: only the rows do;
    `rows`: only the schema does; `filled`: what a view holds need not."""
    volatile: tuple[str, ...] = ()
    """Parts of the names of tables and sequences that an extension fills by itself, so that nothing is compared."""
    told: str = ""
    """How the warning of the run begins that tells of it."""
    told_by: Mapping[str, str] = field(default_factory=dict)
    """The same by a way back."""

    @property
    def places(self) -> tuple[str, ...]:
        """Databases of its own."""
        return self.databases or ((self.name,) if self.own else ())

    def is_left_out(self, way: str) -> bool:
        return way == BY_HAND and way in self.without

    def of(self, state: State, way: str) -> dict[str, str]:
        """What of it has to be the same before and after."""
        only_rows = way in self.without or "schema" in self.without
        left = (" rows" if "rows" in self.without else " filled rows" if "filled" in self.without else "\n",)
        found = state.get(self.name, {}).items()
        there = [pair for pair in found if not any(part in pair[0] for part in self.volatile)]
        return {
            name: text for name, text in there if not name.endswith(left) and (name.endswith(" rows") or not only_rows)
        }


def different(rows: Iterable[Row], before: State, after: State, way: str) -> dict[str, dict[str, tuple[str, str]]]:
    """By row, each thing that is not what it was: how it was, and how it is; empty for what is of no row."""
    pairs = [(row.name, row.of(before, way), row.of(after, way)) for row in rows if not row.is_left_out(way)]
    pairs.append(("", dict(before.get("", {})), dict(after.get("", {}))))
    return {
        name: {
            key: (old.get(key, ""), new.get(key, "")) for key in sorted({*old, *new}) if old.get(key) != new.get(key)
        }
        for name, old, new in pairs
        if old != new
    }


def untold(rows: Iterable[Row], by_run: Sequence[str], by_way: Sequence[str], way: str) -> list[str]:
    """The rows of which something is left out, or comes back otherwise, and nobody has said so."""
    said = {"run": "\n".join(by_run), way: "\n".join(by_way)}
    return [row.name for row in rows if row.told not in said["run"] or row.told_by.get(way, "") not in said[way]]
