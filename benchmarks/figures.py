"""A figure, its limit and how both are shown; pure, apart from what measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured that may be at most its limit."""

    group: str
    name: str
    limit: float
    unit: str
    """`s`, `ms`, `MiB`, `%`, or `x`: as many times as long as the rival."""
    measured: float
    note: str = ""
    samples: Sequence[float] = ()
    rival: Sequence[float] = ()
    """The rival's samples, for a ratio."""

    @property
    def met(self) -> bool:
        return self.measured <= self.limit

    def as_dict(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "name": self.name,
            "limit": self.limit,
            "unit": self.unit,
            "measured": round(self.measured, 4),
            "met": self.met,
            "note": self.note,
            "samples": [round(sample, 4) for sample in self.samples],
            "rival": [round(sample, 4) for sample in self.rival],
        }


def of_median(group: str, name: str, limit: float, samples: Sequence[float], note: str) -> Figure:
    """The median of the samples, in seconds; the worst is told beside it."""
    return Figure(group, name, limit, "s", median(samples), f"worst {max(samples):.2f} s; {note}", samples)


def of_ratio(group: str, name: str, limit: float, own: Sequence[float], rival: Sequence[float], *, size: int) -> Figure:
    """Our median divided by the rival's, both in seconds; the rates follow from the bytes that came."""
    ours, theirs = median(own), median(rival)
    note = f"{ours:.2f} s, rival {theirs:.2f} s ({size / ours / 1e6:.0f} and {size / theirs / 1e6:.0f} MB/s)"
    return Figure(group, name, limit, "x", ours / theirs, note, own, rival)


def of_difference(
    group: str, name: str, limit: float, own: Sequence[float], rival: Sequence[float], *, parts: int
) -> Figure:
    """By how many seconds our median is above the rival's, for each of the equal parts that both consist of."""
    ours, theirs = median(own), median(rival)
    note = f"{ours:.2f} s, rival {theirs:.2f} s for {parts}"
    return Figure(group, name, limit, "s", (ours - theirs) / parts, note, own, rival)


def table(figures: Sequence[Figure]) -> Table:
    """One row for each figure."""
    shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for head in ("group", "figure", "limit", "measured", "met", "note"):
        shown.add_column(head, justify="right" if head in ("limit", "measured") else "left")
    for figure in figures:
        met = Text("yes", style="green") if figure.met else Text("NO", style="bold red")
        limit, measured = f"{figure.limit:g} {figure.unit}", f"{figure.measured:.2f} {figure.unit}"
        shown.add_row(figure.group, figure.name, limit, measured, met, figure.note)
    return shown
