"""How the target's own client of MariaDB or MySQL is called.

Every client runs under `CONNECT`, which takes user and password from the target's own environment, so they stay there.
"""

import re
from typing import NamedTuple

from strategies.plan import Argv

# The variables of the official images; `password` is the name of the one that was found.
ACCOUNT = r"""
pick() {
    eval "value=\${$2:-} file=\${$2_FILE:-}"
    [ -n "$value$file" ] && user=$1 MYSQL_PWD=${value:-$(cat "$file")} password=$2${file:+_FILE}
}
user=root password= MYSQL_PWD=
pick root MARIADB_ROOT_PASSWORD || pick root MYSQL_ROOT_PASSWORD ||
    [ -n "${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD:-}${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ] ||
    pick "${MARIADB_USER:-}" MARIADB_PASSWORD || pick "${MYSQL_USER:-}" MYSQL_PASSWORD
"""
ACCOUNT_ANSWER = re.compile(r"(?P<user>[^\n\0]*)\n(?P<password>(?:(?:MARIADB|MYSQL)_(?:ROOT_)?PASSWORD(?:_FILE)?)?)\n")
"""User and `password`, a line each."""
# `--no-defaults` keeps a my.cnf of the target from changing the dump, but with it the socket's place is lost.
CONNECT = f"""{ACCOUNT}
export MYSQL_PWD
for socket in /run/mysqld/mysqld.sock /var/lib/mysql/mysql.sock /tmp/mysql.sock /opt/bitnami/*/tmp/mysql.sock; do
    if [ -S "$socket" ]; then export MYSQL_UNIX_PORT="${{MYSQL_UNIX_PORT:-$socket}}"; fi
done
"""
CLIENT = """"$(command -v mariadb || command -v mysql)" --no-defaults --user="$user" \
--default-character-set=utf8mb4 --max-allowed-packet=1G --batch --skip-column-names"""
# What everybody may do is in no dump of the client's; it comes before it, since that ends with its trailer.
DUMP_USERS = f"""{CONNECT}{CLIENT} --raw --execute='show grants for public' 2>/dev/null |
    sed -n '/^GRANT .* TO PUBLIC\\( WITH GRANT OPTION\\)*$/s/$/;/p'
exec "$0" --no-defaults --user="$user" "$@"
"""
QUERY = f"""{CONNECT}exec {CLIENT} --execute="$1" --database="$2" """
# The first answer is statements, too long for an argument, which then run on one connection.
QUERIES = f"""{CONNECT}statements=$({CLIENT} --raw --execute="$1" --database="$2") || exit
printf %s "$statements" | {CLIENT} --database="$2" """
# The first word is a question for options that leave out what cannot be read, the second the database.
DUMP_DATABASE = f"""{CONNECT}question="set session group_concat_max_len=1073741824; $1" database=$2
shift 2
options=$({CLIENT} --raw --execute="$question" --database="$database") || exit
eval "set -- \\"\\$@\\" $options"
exec "$0" --no-defaults --user="$user" "$@" --databases -- "$database"
"""
LOAD = ("sh", "-c", f"{CONNECT}exec {CLIENT} --binary-mode >/dev/null", "mariadb")
# A grant of what is no longer there, or in no backup, holds up none of the others.
GRANT_ALL = (
    "sh",
    "-c",
    f"""{CONNECT}complaints=$({CLIENT} --binary-mode --force 2>&1 >/dev/null)
printf '%s\\n' "$complaints" | sed -n 's/^ERROR/not-granted: &/p' >&2
case $complaints in *"ERROR 20"??" "*) exit 1 ;; esac
""",
    "mariadb",
)

DUMP_FLAGS = (
    "--single-transaction",
    "--routines",
    "--events",
    "--triggers",
    "--add-drop-trigger",
    "--hex-blob",
    "--no-tablespaces",
    "--skip-add-locks",
    "--comments",
    "--max-allowed-packet=1G",
    "--default-character-set=utf8mb4",
)
"""`--comments` writes the trailer; `--add-drop-trigger` names each trigger in the server's quoting, for the check;
a row may be as large as the server allows, not only 16 MiB; `--no-tablespaces` spares the PROCESS privilege;
a locked table cannot take its values from a sequence, so that a load would fail, and nobody else is there then."""


class Client(NamedTuple):
    """The target's own tools."""

    dump: str
    shell: str
    flags: tuple[str, ...]
    has_history: bool = False
    """Whether it can dump the rows that system-versioned tables once had."""


def query(sql: str, database: str = "information_schema") -> Argv:
    """Statements, whose answer is a row a line."""
    return ("sh", "-c", QUERY, "mariadb", sql, database)


def room() -> Argv:
    """What `df` says of the folder of the server's data."""
    return ("sh", "-c", 'folder=$("$@") && df -Pk "$folder"', "sh", *query("select @@datadir"))


def identifier(name: str) -> str:
    """A name as SQL writes it."""
    return "`" + name.replace("`", "``") + "`"


def hexadecimal(text: str | bytes) -> str:
    """A literal, since a backslash in quotes may or may not escape."""
    return f"x'{(text.encode() if isinstance(text, str) else text).hex()}'"
