"""What is counted beside a dump and compared after a restore; pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.core.manifest import Artifact
from strategies.checks import DEFINITION
from strategies.plan import Count


@dataclass(frozen=True, slots=True)
class Counted:
    """Numbers by what they count; those in `approximate` changed while the dump was made."""

    numbers: Mapping[str, int]
    approximate: tuple[str, ...] = ()
    answered: bool = True
    """Nobody has answered otherwise: that there are no numbers says nothing then."""


def settled(before: Mapping[str, int], after: Mapping[str, int]) -> Counted:
    """The numbers just before a dump, as far as what they count was still there just after it."""
    both = {what: number for what, number in before.items() if what in after}
    return Counted(both, tuple(what for what, number in both.items() if after[what] != number))


@dataclass(frozen=True, slots=True)
class Compared:
    """How what was found after a restore differs, as sentences."""

    differences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """Differences in what only an approximate number is known of, or what the server makes anew."""


def compared(artifact: Artifact, restored: Mapping[str, int], count: Count) -> Compared:
    """What was counted has to be there, in its number where that is exact. What is new is no difference."""
    differences: list[str] = []
    warnings: list[str] = []
    anew = defaultdict[str, list[str]](list)
    for what, number in artifact.counts.items():
        if restored.get(what) == number or not count.covers(what):
            continue
        sentence = told(what, number, restored.get(what))
        if why := count.remade(what, number, restored):
            anew[why].append(sentence)
        elif what in restored and what in artifact.approximate:
            warnings.append(f"approximate: {artifact.name}: {sentence}; something wrote while the dump was made")
        else:
            differences.append(f"{artifact.name}: {sentence}; {cause(what, number, restored.get(what))}")
    made_anew = (f"made-anew: {artifact.name}: {why}: {named(sentences)}" for why, sentences in anew.items())
    return Compared(tuple(differences), (*made_anew, *warnings))


def shapes(numbers: Mapping[str, int]) -> tuple[str, ...]:
    """What of it belongs to the structure of the data: every name, and the digests of definitions."""
    defined = {what: f"={number}" for what, number in numbers.items() if what.startswith(DEFINITION)}
    return tuple(sorted(f"{what}{defined.get(what, '')}" for what in numbers))


def named(sentences: Sequence[str]) -> str:
    """The first ten, and how many more; a view's definition may differ in another version of the server, and so all."""
    more = f"; and {len(sentences) - 10} more" if len(sentences) > 10 else ""
    return "; ".join(sentences[:10]) + more


def told(what: str, counted: int, restored: int | None) -> str:
    """What was counted, and what is there: numbers, or digests of what is defined."""
    if restored is None:
        return f"{what}: none, {counted} were counted" if not what.startswith(DEFINITION) else f"{what}: none is there"
    if what.startswith(DEFINITION):
        return f"{what}: its digest is {restored}, and was {counted}"
    return f"{what}: {restored}, {counted} were counted"


def cause(what: str, counted: int, restored: int | None) -> str:
    """What is most likely behind a difference that nothing explains."""
    if restored is None:
        return "the dump lacks it"
    if what.startswith(DEFINITION):
        return "somebody changed it while the dump was made, or changes it there now"
    if restored > counted:
        return "something wrote while the dump was made, or writes there now"
    return "something deleted between the count and the dump, or a trigger, rule or policy takes it away"
