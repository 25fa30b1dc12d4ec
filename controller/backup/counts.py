"""What is counted beside a dump and compared after a restore; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.core.manifest import Artifact


@dataclass(frozen=True, slots=True)
class Counted:
    """Numbers by what they count; those in `approximate` changed while the dump was made."""

    numbers: Mapping[str, int]
    approximate: tuple[str, ...] = ()


def settled(before: Mapping[str, int], after: Mapping[str, int]) -> Counted:
    """The numbers just before a dump, as far as what they count was still there just after it."""
    both = {what: number for what, number in before.items() if what in after}
    return Counted(both, tuple(what for what, number in both.items() if after[what] != number))


@dataclass(frozen=True, slots=True)
class Compared:
    """How what was found after a restore differs, as sentences."""

    differences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """Differences where only an approximate number is known."""


def compared(artifact: Artifact, restored: Mapping[str, int]) -> Compared:
    """What was counted has to be there, in its number where that is exact. What is new is no difference."""
    differences: list[str] = []
    warnings: list[str] = []
    for what, number in artifact.counts.items():
        if what not in restored:
            differences.append(f"{what}: none, {number} were counted")
        elif restored[what] != number:
            more = "; something wrote meanwhile" if restored[what] > number else ""
            difference = f"{what}: {restored[what]}, {number} were counted{more}"
            (warnings if what in artifact.approximate else differences).append(difference)
    return Compared(tuple(differences), tuple(warnings))
