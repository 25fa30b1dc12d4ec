"""Shows text that others wrote: without what is unsafe, quoted, and beside the known word that was probably meant."""

import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence

_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
MULTI_LINE = "\n\t"
UNSAFE = "control characters or marks that turn the direction of reading"


def is_unsafe(text: str, allowed: str = MULTI_LINE) -> bool:
    """Whether text holds NUL, control or escape characters, surrogates or marks that turn the direction of reading."""
    return any(_is_unsafe(character) for character in text if character not in allowed)


def _is_unsafe(character: str) -> bool:
    return character in _DIRECTION_MARKS or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


def spelled(text: str, write: Callable[[str], str], also: str = "") -> str:
    """Text in which each unsafe character, and each of `also`, is written in another way."""
    return "".join(write(each) if _is_unsafe(each) or each in also else each for each in text)


def escaped(text: str) -> str:
    """Text as one line, with its unsafe characters, line breaks too, written out by number."""
    return spelled(text, lambda character: ascii(character)[1:-1])


def as_json(value: object, indent: int | None = None) -> str:
    """JSON that may stand on a terminal: JSON's own escapes leave some unsafe characters as they are."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return spelled(text, lambda character: character if character == "\n" else f"\\u{ord(character):04x}")


def quoted(text: str, limit: int = 60) -> str:
    """Text between backticks, escaped; of a longer one only its length, because a part would escape redaction."""
    return f"`{escaped(text)}`" if len(text) <= limit else f"of {len(text)} characters"


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that was probably meant, or None."""
    normal = word[:100].casefold().replace("_", "-")
    return next(iter(difflib.get_close_matches(normal, sorted(known), n=1, cutoff=0.6)), None)


def suggest(word: str, known: Collection[str]) -> str:
    """A sentence for a word that is not known: the one that was probably meant, else all that there are."""
    if (near := nearest(word, known)) is not None:
        return f"Did you mean `{near}`?"
    return f"Known are {', '.join(f'`{name}`' for name in sorted(known))}." if known else "Remove it."


def dotted(path: Collection[str | int]) -> str:
    return ".".join(map(str, path))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_variable_name(text: str) -> bool:
    """Whether text can name an environment variable in every shell."""
    return _NAME.fullmatch(text) is not None


def shortened(names: Sequence[str]) -> str:
    """For a message: the first ten, and how many more."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
