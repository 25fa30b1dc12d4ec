"""Loading one archive of PostgreSQL under another name, whatever order and search path its objects need.

`pg_restore` goes through an archive once, table after table, with an empty search path. What fails then may look into
what comes later, or for what it names without a schema: so it is tried again by itself, behind everything else and with
the database's own search path, as long as that helps. What still fails is told with its object and statement.
"""

import re
from dataclasses import dataclass, field, replace

from strategies.plan import Argv, Feed
from strategies.postgres_archive import Renamed
from strategies.postgres_client import CONNECTED, OUTLIVES, PostgresOptions, account, dbname
from strategies.postgres_sql import NO_TABLESPACE

FAILED = re.compile(r"^failed:((?: \d+)+)$", re.MULTILINE)
MOST_AGAIN = 1500
"""Objects that are tried again; where so many fail, something else is wrong."""
OWN_PATH = "RESET search_path;\n"

# With `--verbose`, `pg_restore` says before a complaint which object it is of, and a line for every other:
# a shell keeps the first complaints and the numbers of their objects. What is tried again comes as a list of numbers.
LOAD = f"""{OUTLIVES} LC_ALL=C
export LC_ALL
list=$1
shift
{{ pg_restore --verbose "$@" 4<<END 2>&1 >/dev/null
$list
END
echo "code $?"; }} | {{
    code=1 failed= lines=0 tells=
    while IFS= read -r line; do
        case $line in
            "code "*) code=${{line#code }}; continue ;;
            *"from TOC entry "*) number=${{line#*from TOC entry }} tells=1; failed="$failed ${{number%%;*}}" ;;
            "pg_restore: error"* | "pg_restore: fatal"* | "pg_restore: ["*) tells=1 ;;
            "pg_restore: "*) tells= ;;
            "" | " "* | "LINE "* | "QUERY: "* | "CONTEXT: "*) continue ;;
        esac
        [ -n "$tells" ] && [ $((lines += 1)) -le 30 ] && printf '%.1000s\\n' "$line" >&2
    done
    [ -z "$failed" ] || echo "failed:$failed" >&2
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
class Load:
    """How one archive is loaded."""

    artifact: str
    name: str
    """Of the database that is made."""
    undo: Argv
    options: PostgresOptions
    elsewhere: Elsewhere
    search_path: str = ""

    def feed(self) -> Feed:
        path = f"SET search_path = {self.search_path};\n" if self.search_path else None
        argv = self.restore("", "--create", dbname("template1"))
        rewrite = Renamed(self.name, self.elsewhere.names, path)
        return Feed(self.artifact, argv, undo=self.undo, rewrite=rewrite, again=Again(self, MOST_AGAIN + 1, rewrite))

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
        if not 0 < len(numbers) < self.failed or "FATAL" in printed:
            return None
        own = replace(self.rewrite, search_path=self.rewrite.search_path or OWN_PATH)
        argv = self.load.restore("\n".join(f"{number};" for number in numbers), dbname(self.load.name))
        return Feed(self.load.artifact, argv, rewrite=own, again=Again(self.load, len(numbers), own))
