"""SQL of PostgreSQL by statement: names and texts as it writes them, and what a restore makes of `pg_dumpall`'s."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    rb"""--[^\n]*|/\*.*?\*/|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\1\$"""
    rb"""|[\w\x80-\xff]+|\s+|.""",
    re.DOTALL,
)
BLANK = (b"--", b"/*")


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


def renamed_in(sql: bytes | None, name: bytes) -> bytes | None:
    """The statements with this name in the place of what follows the first word `DATABASE` of each."""
    if sql is None:
        return None
    renamed: list[bytes] = []
    state = "before"
    for match in TOKEN.finditer(sql):
        word = match[0]
        if state == "at" and not word.isspace():
            word, state = name, "behind"
        elif state == "before" and word == b"DATABASE":
            state = "at"
        elif word == b";":
            state = "before"
        renamed.append(word)
    return b"".join(renamed)


@dataclass(frozen=True, slots=True)
class Beforehand:
    """What a load needs of the globals: roles and tablespaces that are missing, each with the comment `marker`.

    Roles that are there stay as they are until everything else has been restored.
    """

    marker: str

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for words in statements(b"".join(chunks)):
            text = b" ".join(words)
            if words[:2] == [b"CREATE", b"ROLE"]:
                is_there = f"exists ({_named('pg_roles', 'rolname', words[2])})"
                yield _unless(is_there, text, _marked(words, self.marker))
            elif words[:2] == [b"ALTER", b"ROLE"]:
                is_new = f"exists ({_named('pg_roles', 'rolname', words[2])} and {_has(self.marker)})"
                yield _unless(f"not {is_new}", text)
            elif words[:2] == [b"CREATE", b"TABLESPACE"]:
                there = _named("pg_tablespace", "spcname", words[2]).encode()
                yield b"select exists (" + there + b") as there \\gset\n\\if :there\n\\else\n"
                yield text + b";\n" + _marked(words, self.marker) + b";\n\\endif\n"
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
        for words in statements(b"".join(chunks)):
            if words and words[:2] not in ([b"CREATE", b"ROLE"], [b"CREATE", b"TABLESPACE"]):
                yield b" ".join(words if self.passwords else without_password(words)) + b";\n"
        yield b"commit;\n"


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
    name = word[1:-1].replace(b'""', b'"') if word.startswith(b'"') else word
    return literal(name.decode("utf-8", "surrogateescape"))


def _marked(words: list[bytes], marker: str) -> bytes:
    return b"comment on " + b" ".join(words[1:3]) + b" is" + literal(marker).encode()


def _unless(condition: str, *texts: bytes) -> bytes:
    """A statement that does these where the condition does not hold."""
    does = b"".join(b"execute" + _quoted(text) + b"; " for text in texts)
    body = b"begin if not (" + condition.encode("utf-8", "surrogateescape") + b") then " + does + b"end if; end"
    return b"do" + _quoted(body) + b";\n"


def _quoted(text: bytes) -> bytes:
    return b" E'" + text.replace(b"'", b"''").replace(b"\\", b"\\\\") + b"'"
