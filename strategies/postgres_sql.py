"""SQL of PostgreSQL by statement: names and texts as it writes them, and what a restore makes of `pg_dumpall`'s."""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from strategies.plan import Unsafe

# Nothing is tried twice: what has no end goes to the end of the text, as the server takes it.
TOKEN = re.compile(
    rb"""--[^\n]*+|/\*.*?(?:\*/|\Z)|[eE]'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+(?:'|\Z)|'[^']*+(?:''[^']*+)*+(?:'|\Z)"""
    rb"""|"[^"]*+(?:""[^"]*+)*+(?:"|\Z)|\$(\w*+)\$.*?(?:\$\1\$|\Z)|[\w\x80-\xff]++|\s++|.""",
    re.DOTALL,
)
MOST_GLOBALS_BYTES = 16 << 20
"""Of roles, tablespaces and their grants, which are read at once."""
MOST_WORDS = 100_000
"""Of one statement among them."""
BLANK = (b"--", b"/*")
NO_TABLESPACE = "tablespace-missing: "
"""How a line begins that names one that could not be made."""


def identifier(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it, whatever `standard_conforming_strings` is."""
    return " E'" + text.replace("'", "''").replace("\\", "\\\\") + "'"


def statements(sql: bytes) -> Iterator[list[bytes]]:
    """Each statement as its words without comments and space; a command of psql's own, by its line, is left out."""
    words: list[bytes] = []
    place = 0
    while match := TOKEN.match(sql, place):
        word, place = match[0], match.end()
        if word == b"\\" and not words:
            place = (sql.find(b"\n", place) + 1) or len(sql)
        elif word == b";":
            yield words
            words = []
        elif not word.isspace() and not word.startswith(BLANK):
            words.append(word)
        if len(words) > MOST_WORDS:
            raise Unsafe(f"a statement has more than {MOST_WORDS} words: {b' '.join(words[:5])[:80]!r}")


def whole(chunks: Iterator[bytes]) -> bytes:
    """The globals; raises `Unsafe` where they are longer than anybody's."""
    text = bytearray()
    for chunk in chunks:
        text += chunk
        if len(text) > MOST_GLOBALS_BYTES:
            raise Unsafe(f"the globals have more than {MOST_GLOBALS_BYTES} bytes")
    return bytes(text)


def renamed_in(sql: bytes | None, name: bytes) -> bytes | None:
    """The statements with this name in the place of what follows the first word `DATABASE` of each."""
    if sql is None:
        return None
    renamed = bytearray()
    state = "before"
    for match in TOKEN.finditer(sql):
        word = match[0]
        if state == "at" and not word.isspace():
            word, state = name, "behind"
        elif state == "before" and word == b"DATABASE":
            state = "at"
        elif word == b";":
            state = "before"
        renamed += word
    return bytes(renamed)


def without_tablespaces(sql: bytes | None, names: AbstractSet[str]) -> bytes | None:
    """`CREATE DATABASE` without `TABLESPACE = name` for these."""
    if sql is None or not names:
        return sql
    words = [match[0] for match in TOKEN.finditer(sql) if not match[0].isspace()]
    for place in [place for place, word in enumerate(words) if word == b"TABLESPACE"]:
        if words[place + 1 : place + 2] == [b"="] and _name_of(words[place + 2]) in names:
            return b" ".join(words[:place] + words[place + 3 :])
    return sql


@dataclass(frozen=True, slots=True)
class Beforehand:
    """What a load needs of the globals: roles and tablespaces that are missing, each with the comment `marker`.

    Roles that are there stay as they are until everything else has been restored.
    """

    marker: str

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for words in statements(whole(chunks)):
            text = b" ".join(words)
            if words[:2] == [b"CREATE", b"ROLE"]:
                is_there = f"exists ({_named('pg_roles', 'rolname', words[2])})"
                yield _unless(is_there, text, _marked(words, self.marker))
            elif words[:2] == [b"ALTER", b"ROLE"]:
                is_new = f"exists ({_named('pg_roles', 'rolname', words[2])} and {_has(self.marker)})"
                yield _unless(f"not {is_new}", text)
            elif words[:2] == [b"CREATE", b"TABLESPACE"]:
                yield _made(words, self.marker)
            elif words[:1] == [b"SET"]:
                yield text + b";\n"


@dataclass(frozen=True, slots=True)
class Afterwards:
    """All of the globals in one transaction behind `before`, but without the passwords of roles that were there."""

    before: tuple[str, ...]
    marker: str
    passwords: bool

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield b"begin;\n"
        for statement in (*self.before, unmark(self.marker)):
            yield statement.encode() + b";\n"
        for words in statements(whole(chunks)):
            if not words or words[:2] in ([b"CREATE", b"ROLE"], [b"CREATE", b"TABLESPACE"]):
                continue
            text = b" ".join(words if self.passwords else without_password(words))
            yield _unless(f"not exists ({_space(words)})", text) if b"TABLESPACE" in words else text + b";\n"
        yield b"commit;\n"


def _made(words: list[bytes], marker: str) -> bytes:
    """For psql: `CREATE TABLESPACE` where it is missing; tells where that cannot be done."""
    there = f"select exists ({_space(words)}) as there \\gset".encode()
    why = "cannot be made (is its folder there, and the server's?), so what is in it goes into the default tablespace"
    told = b"select" + literal(f"{NO_TABLESPACE}{_name_of(words[2])} {why}").encode() + b";"
    make = (rb"\set ON_ERROR_STOP off", b" ".join(words) + b";", rb"\set ON_ERROR_STOP on", there)
    known = (rb"\if :there", _marked(words, marker) + b";", rb"\else", told, rb"\endif")
    return b"\n".join((there, rb"\if :there", rb"\else", *make, *known, rb"\endif", b""))


def _space(words: list[bytes]) -> str:
    """A question for the tablespace that a statement names."""
    return _named("pg_tablespace", "spcname", words[words.index(b"TABLESPACE") + 1])


def without_password(words: list[bytes]) -> list[bytes]:
    """`ALTER ROLE ... WITH ...` without its password; any other statement as it is."""
    if words[:2] != [b"ALTER", b"ROLE"] or words[3:4] != [b"WITH"] or b"PASSWORD" not in words[3:]:
        return words
    place = words.index(b"PASSWORD", 3)
    return words[:place] + words[place + 2 :]


def forget(marker: str) -> str:
    """For psql's standard input: drop the roles and tablespaces that a restore had made."""
    return f"""select format('drop tablespace %I', spcname) from pg_catalog.pg_tablespace
    where shobj_description(oid, 'pg_tablespace') = {literal(marker)} \\gexec
select format('drop role %I', rolname) from pg_catalog.pg_roles where {_has(marker)} \\gexec
"""  # noqa: S608  # quoted


def unmark(marker: str) -> str:
    """Take the marker off the roles and tablespaces that stay."""
    return f"""do $x$declare made text; begin
for made in select format('comment on role %I is null', rolname) from pg_catalog.pg_roles where {_has(marker)}
union all select format('comment on tablespace %I is null', spcname) from pg_catalog.pg_tablespace
    where shobj_description(oid, 'pg_tablespace') = {literal(marker)}
loop execute made; end loop; end$x$"""  # noqa: S608  # quoted


def _has(marker: str) -> str:
    return f"shobj_description(oid, 'pg_authid') = {literal(marker)}"


def _named(catalog: str, column: str, word: bytes) -> str:
    return f"select from pg_catalog.{catalog} where {column} = {_text_of(word)}"


def _text_of(word: bytes) -> str:
    """The name that an identifier stands for, as a text."""
    return literal(_name_of(word))


def _name_of(word: bytes) -> str:
    name = word[1:-1].replace(b'""', b'"') if word.startswith(b'"') else word
    return name.decode("utf-8", "surrogateescape")


def _marked(words: list[bytes], marker: str) -> bytes:
    return b"comment on " + b" ".join(words[1:3]) + b" is" + literal(marker).encode()


def _unless(condition: str, *texts: bytes) -> bytes:
    """A statement that does these where the condition does not hold."""
    does = b"".join(b"execute" + _quoted(text) + b"; " for text in texts)
    body = b"begin if not (" + condition.encode("utf-8", "surrogateescape") + b") then " + does + b"end if; end"
    return b"do" + _quoted(body) + b";\n"


def _quoted(text: bytes) -> bytes:
    return b" E'" + text.replace(b"'", b"''").replace(b"\\", b"\\\\") + b"'"
