"""Secret values: found by name, shown to nobody; apart so that nothing else has to hold them in the clear."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

REDACTED = "***"
MOST_BYTES = 64 << 10
SHORTEST = 4
"""Characters; a shorter value cannot be redacted without spoiling every text."""
_SHORTEST_LINE = 8


class Secrets(Mapping[str, str]):
    """Values by name; `redact` also knows values that no command gets, such as the API token.

    `repr` and `str` show names only.
    """

    def __init__(self, values: Mapping[str, str] | None = None, also: Iterable[str] = ()) -> None:
        self._values = dict(values or {})
        self._also = frozenset(also)
        found = {form for value in (*self._values.values(), *self._also) for form in _forms(value)}
        self._patterns = tuple(sorted(found, key=len, reverse=True))

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def with_also(self, values: Iterable[str]) -> "Secrets":
        """The same secrets, which redact further values: a target's own passwords."""
        return Secrets(self._values, self._also | frozenset(values))

    def redact(self, text: str) -> str:
        """The text with every secret as `***`; multi-line ones also line by line, where a line has 8 characters."""
        for pattern in self._patterns:
            text = text.replace(pattern, REDACTED)
        return text


def _forms(value: str) -> Iterator[str]:
    """Every spelling in which a value may turn up: whole, line by line, as part of a URL."""
    candidates = [value, value.strip(), quote(value, safe=""), *_password(value)]
    yield from (form for form in candidates if len(form) >= SHORTEST)
    yield from (line for line in map(str.strip, value.splitlines()) if len(line) >= _SHORTEST_LINE)


def _password(value: str) -> tuple[str, ...]:
    """The password in a URL, as it stands and decoded."""
    try:
        password = urlsplit(value).password or ""
    except ValueError:
        return ()
    return (password, unquote(password))


def read_secret(path: Path) -> str | tuple[str, str]:
    """The secret in a file, without the line end of a single line; or code and message."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        return "secret-file", "is not there"
    except IsADirectoryError:
        return "secret-file", "is a folder"
    except (OSError, ValueError) as error:
        return "secret-file", f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "is not UTF-8 text"
    if len(data) > MOST_BYTES:
        return "secret-file", "is larger than 64 KiB"
    if not text.strip():
        return "secret-file", "is empty"
    text = text.replace("\r\n", "\n")
    return text if "\n" in text.strip() else text.strip("\n")
