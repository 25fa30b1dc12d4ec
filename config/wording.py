"""Shows text that others wrote: without what is unsafe, quoted, and beside the known word that was probably meant."""

import difflib
import re
import unicodedata
from collections.abc import Collection

_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
MULTI_LINE = "\n\t"
UNSAFE = "control characters or marks that turn the direction of reading"


def is_unsafe(text: str, allowed: str = MULTI_LINE) -> bool:
    """Whether text holds NUL, control or escape characters, surrogates or marks that turn the direction of reading."""
    return any(_is_unsafe(character) for character in text if character not in allowed)


def _is_unsafe(character: str) -> bool:
    return character in _DIRECTION_MARKS or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


def escaped(text: str) -> str:
    """Text with its unsafe characters written out by number."""
    return "".join(ascii(character)[1:-1] if _is_unsafe(character) else character for character in text)


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
