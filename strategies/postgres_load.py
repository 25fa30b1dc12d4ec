"""Loading one archive of PostgreSQL under another name, whatever order and search path its objects need.

`pg_restore` goes through an archive once, table after table, with an empty search path. What fails then may look into
what comes later, or for what it names without a schema: so it is tried again by itself, behind everything else and with
the database's own search path, as long as that helps. What still fails is told with its object and statement.
"""

import re
from dataclasses import dataclass, field, replace

from strategies.plan import Argv, Feed
from strategies.postgres_archive import Renamed
from strategies.postgres_client import CONNECTED, OUTLIVES, SETTINGS, PostgresOptions, account, dbname
from strategies.postgres_sql import NO_TABLESPACE

FAILED = re.compile(r"^failed:((?: \d+)+)$", re.MULTILINE)
MOST_AGAIN = 1500
"""Objects that are tried again; where so many fail, something else is wrong."""
OWN_PATH = "RESET search_path;\n"
NAMED_DATABASE = "can only create extension in database"
"""How pg_cron refuses a database that the server's configuration does not name."""
IGNORES = ("sh", "-c", "cat >/dev/null")

# With `--verbose`, `pg_restore` says before a complaint which object it is of, and a line for every other:
# a shell keeps the first complaints and the numbers of their objects. What is tried again comes as a list of numbers.
# What is of the database itself cannot be: without `--create` such a list leaves it out, and nobody is told.
LOAD = f"""{OUTLIVES} LC_ALL=C
export LC_ALL
list=$1
shift
{{ pg_restore --verbose "$@" 4<<END 2>&1 >/dev/null
$list
END
echo "code $?"; }} | {{
    code=1 failed= lines=0 own= tells=
    while IFS= read -r line; do
        case $line in
            "code "*) code=${{line#code }}; continue ;;
            *"from TOC entry "*)
                number=${{line#*from TOC entry }} tells=1
                failed="$failed ${{number%%;*}}"
                case ${{number#*; * * }} in
                    "DATABASE "* | "ACL DATABASE "* | "COMMENT DATABASE "* | "SECURITY LABEL DATABASE "*) own=1 ;;
                esac
                ;;
            "pg_restore: error"* | "pg_restore: fatal"* | "pg_restore: ["*) tells=1 ;;
            "pg_restore: "*) tells= ;;
            "" | " "* | "LINE "* | "QUERY: "* | "CONTEXT: "*) continue ;;
        esac
        [ -n "$tells" ] && [ $((lines += 1)) -le 30 ] && printf '%.1000s\\n' "$line" >&2
    done
    [ -z "$failed" ] || [ -n "$own" ] || echo "failed:$failed" >&2
    exit $code
}}
"""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Tablespaces that the server does not have and cannot make, as far as it has said so."""

    names: set[str] = field(default_factory=set)

    def __call__(self, line: str) -> None:
        if line.startswith(NO_TABLESPACE):
            self.names.add(line.removeprefix(NO_TABLESPACE).partition(" cannot be made")[0])


@dataclass(frozen=True, slots=True)
class Belated:
    """What can only be made in a database of the right name, as an extension says of itself, and what hangs on it."""

    numbers: dict[str, list[str]] = field(default_factory=dict)
    """By artifact: the objects in its table of contents."""


@dataclass(frozen=True, slots=True)
class Load:
    """How one archive is loaded."""

    artifact: str
    name: str
    """Of the database that is made."""
    undo: Argv
    options: PostgresOptions
    elsewhere: Elsewhere
    belated: Belated
    search_path: str = ""
    silences: bool = False
    """Whether what is tried again does without event triggers: an extension's own one may refuse what `pg_dump` writes
    as long as not all of it is there."""

    def feed(self) -> Feed:
        path = f"SET search_path = {self.search_path};\n" if self.search_path else None
        argv = self.restore("", "--create", dbname("template1"))
        rewrite = Renamed(self.name, self.elsewhere.names, path)
        return Feed(self.artifact, argv, undo=self.undo, rewrite=rewrite, again=Again(self, MOST_AGAIN + 1, rewrite))

    def listed(self, numbers: list[str], name: str, rewrite: Renamed) -> Feed:
        """Of the archive only these objects, into the database of this name, with its own search path."""
        own = replace(rewrite, search_path=rewrite.search_path or OWN_PATH)
        settings = {"options": f"{SETTINGS} -c event_triggers=off"} if self.silences else {}
        argv = self.restore("\n".join(f"{number};" for number in numbers), dbname(name, **settings))
        return Feed(self.artifact, argv, rewrite=own, again=Again(self, len(numbers), own))

    def restore(self, numbers: str, *flags: str) -> Argv:
        listed = ("--no-password", *(("--use-list=/dev/fd/4",) if numbers else ()))
        return (*CONNECTED, "sh", "-c", LOAD, "pg_restore", numbers, *account(self.options), *listed, *flags)


@dataclass(frozen=True, slots=True)
class Again:
    """What of so many objects that have failed is tried once more; nothing where none has come since."""

    load: Load
    failed: int
    rewrite: Renamed

    def __call__(self, printed: str) -> Feed | None:
        match = FAILED.search(printed)
        numbers = match[1].split() if match else []
        if not numbers or "FATAL" in printed:
            return None
        if len(numbers) < self.failed:
            return self.load.listed(numbers, self.load.name, self.rewrite)
        if NAMED_DATABASE not in printed:
            return None
        self.load.belated.numbers[self.load.artifact] = numbers
        return Feed(self.load.artifact, IGNORES)


@dataclass(frozen=True, slots=True)
class Late:
    """The load of what is belated, into the database that has its name by then."""

    load: Load
    name: str

    def __call__(self) -> Feed | None:
        numbers = self.load.belated.numbers.get(self.load.artifact)
        return (
            replace(self.load.listed(numbers, self.name, Renamed(self.name, self.load.elsewhere.names)), again=None)
            if numbers
            else None
        )
