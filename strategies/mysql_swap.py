"""Restores MariaDB or MySQL so that nobody sees half a database, and what fails leaves everything as it was.

Tables are loaded into databases that nobody knows. Once all was compared, one `RENAME TABLE` puts them in the place of
the old ones, which are dropped last. Views, routines, triggers and events cannot be renamed: the old ones are kept as
statements in a database of the restore's own, dropped just before, and made anew if anything fails.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from strategies import mysql_sql as sql
from strategies.mysql_client import CLIENT, CONNECT, DUMP_FLAGS, GRANT_ALL, LOAD, hexadecimal, identifier
from strategies.mysql_counts import KINDS, count_code, count_loaded, ignoring, readable_views
from strategies.mysql_order import Aside
from strategies.mysql_statements import Grants, accounts
from strategies.plan import Argv, Count, Feed, RestoreRequest, Run, Step, only_told

LOCK_SECONDS = 20
"""For which a session that uses a table is waited for."""
BEGUN, SETTLED = -1, -2
"""In the place of a database's number: the swap has begun, and all of it is done."""
KEPT = re.compile(r"before_\d{8}t\d{6}z_[0-9a-f]{8}_\d+")
"""What a database is called that holds the tables which a restore has replaced."""
MAX_PACKET = 1 << 30
"""Bytes, the most that a server takes; `--hex-blob` doubles a value."""

# `ask` answers rows as they are; `tell` runs what it reads, up to the first error; `spoken` runs what it is answered.
SCRIPT = f"""{CONNECT}
client() {{ {CLIENT} --init-command="set session lock_wait_timeout={LOCK_SECONDS}, foreign_key_checks=0" "$@"; }}
ask() {{ client --raw --database=information_schema --execute="set session group_concat_max_len=1073741824; $1"; }}
tell() {{ client --binary-mode "$@" >/dev/null; }}
spoken() {{ statements=$(ask "$1") && printf '%s\\n' "$statements" | tell; }}
applied() {{
    i=0
    for name; do
        of="i = $i and era = '$era' and phase = '$phase'"
        statements=$(ask "select text from $work.code where $of order by n") || exit
        [ -z "$statements" ] || printf '%s\\n' "$statements" | tell --database="$name" || exit
        i=$((i + 1))
    done
}}
there() {{ [ "$(ask "select count(*) from information_schema.schemata where schema_name in ($1)")" != 0 ]; }}
"""
# A dump of views takes their names, which the server quotes for the shell. It ends by setting back what its head has
# set, which is not in the part that is the views' own.
SAVE = rf"""
dump() {{ "$(command -v mariadb-dump || command -v mysqldump)" --no-defaults --user="$user" $flags --no-data "$@"; }}
code() {{
    ignored=$(ask "{ignoring("$place")}") || return
    eval "set -- \"\$1\" $ignored"
    name=$1
    shift
    dump --no-create-info "$@" -- "$name"
}}
views() {{
    names=$(ask "{readable_views("$place")}") || return
    eval "set -- \"\$1\" $names"
    [ $# = 1 ] || dump --skip-triggers -- "$@"
}}
keep() {{
    {{
        printf '%s' "insert into $work.code (i, era, phase, kind, text) values ($i, 'old', '$1', '', x'"
        od -An -v -tx1 | tr -d ' \n'
        printf "');"
    }} | tell
}}
saved() {{
    place="(select name from $work.place where i = $i)"
    [ "$(ask "select existed from $work.place where i = $i")" = 1 ] || return 0
    code=$(code "$1") && views=$(views "$1") || return
    final='/^-- Final view structure for /,$'
    printf '%s\n' "$code" | keep code && printf '%s\n' "$views" | sed "${{final}}d" | keep code &&
        printf '%s\n' "$views" | sed -n "${{final}}{{/=@OLD_/!p;}}" | keep views
}}
i=0
for name; do saved "$name" || exit; i=$((i + 1)); done
"""


@dataclass(frozen=True, slots=True)
class Swap:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    databases: dict[str, str]
    """Artifacts, with the databases that they are dumps of."""
    flags: tuple[str, ...]
    """What the client that dumps needs besides."""
    is_late: bool
    """As `Aside.is_late`."""
    user: str
    """Whom the sidecar connects as: the container's environment tells the password, which therefore stays."""

    @property
    def work(self) -> str:
        """The restore's own database."""
        return "restore_" + re.sub(r"[^a-z0-9]+", "_", (self.request.restore or self.request.run).lower())

    def steps(self, users: Sequence[str]) -> Iterator[Step]:
        """What is done before the comparison."""
        yield Run(self._run(self._told(self._prepared(bool(users)))), undo=self.clear(undoing=True))
        for name in self.databases.values() if self.request.drop_first else ():
            yield Run(self._run(self._told(self._gone(name))), leaves=f"the database {name} was dropped")
        names = {name: self._fresh(i) for i, name in enumerate(self.databases.values())}
        keep = f"insert into {self.work}.code (i, era, phase, kind, text) values"
        for i, (artifact, name) in enumerate(self.databases.items()):
            drop = self._run(self._told(f"drop database if exists {self._fresh(i)}"))
            yield Feed(artifact, LOAD, undo=drop, rewrite=Aside(name, names, keep, f"{i}, 'new'", self.is_late))
        for artifact in users:
            yield Feed(artifact, LOAD, undo=self._accounts_back(), rewrite=accounts)

    def counts(self) -> dict[str, Count]:
        """Rows of what was loaded, and of the rest what is kept for the swap."""
        return {
            artifact: count_loaded(self._fresh(i), "".join(self._kept(i, kind) for kind in KINDS))
            for i, artifact in enumerate(self.databases)
        }

    def swapped(self) -> dict[str, Count]:
        """The rest, once it is in its place."""
        return {artifact: count_code(name) for artifact, name in self.databases.items()}

    def _kept(self, i: int, kind: str) -> str:
        where = f"from {self.work}.code where era = ', quote('new'), ' and i = {i} and kind = '"
        return f"union all select concat('select count(*), ', quote('{kind}'), ' {where}, quote('{kind}'), ';') "

    def swap(self, users: Sequence[str]) -> Iterator[Step]:
        back = self._run(self._back())
        yield Run(self._run(SAVE + self._there()), undo=back, tells=True)
        rewrite = Grants(self.request.with_passwords, self.user)
        for artifact in users:
            yield Feed(artifact, GRANT_ALL, undo=self._accounts_back(), rewrite=rewrite, hear=only_told)
        yield Run(self._run('era=new phase=views; applied "$@"'), undo=back)
        undone = self._told(f"delete from {self.work}.code where i = {SETTLED}")
        columns = "i, era, phase, kind, text"
        done = self._told(f"insert into {self.work}.code ({columns}) values ({SETTLED}, 'new', '', '', '')")
        yield Run(self._run(done), undo=self._run(f"""there "'{self.work}'" || exit 0\n{undone}"""))

    def settled(self) -> Argv:
        return self._run(f"""ask "select if(count(*), 'yes', '') from {self.work}.code where i = {SETTLED}\"""")

    def clear(self, *, undoing: bool = False) -> Argv:
        """Drop what is the restore's own, and what was set aside; nothing of it while that is still to be put back."""
        asides = self._schemas("before")
        hold = f'! there "{asides}" || {{ echo "what was set aside is not back yet" >&2; exit 1; }}'
        strict = "'; /*M!100102 set global strict_password_validation = ', strict, ' */;'"
        packet = f"select concat('set global max_allowed_packet = ', size, {strict}) from {self.work}.packet"
        return self._run(f"""
{hold if undoing else self._dropped(asides, empty=self.request.unsaved)}
{self._dropped(self._schemas("restore"))}
[ "$(ask "select count(*) from tables where table_schema = '{self.work}' and table_name = 'packet'")" = 0 ] ||
    {self._spoken(packet)}
{self._dropped(f"'{self.work}'")}
""")

    @property
    def clients(self) -> str:
        """As `Restore.clients`."""
        then = "are ended (--force)" if self.request.force else "are named, and the restore is undone"
        return f"they stay connected; those that use a table for more than {LOCK_SECONDS} s at the end {then}"

    def _gone(self, name: str) -> str:
        """A database is dropped, and counts as one that never was."""
        here = f"cast(name as binary) = {hexadecimal(name)}"
        return f"""drop database if exists {identifier(name)};
delete from {self.work}.code where era = 'old' and i in (select i from {self.work}.place where {here});
update {self.work}.place set existed = 0 where {here};"""

    def _prepared(self, with_users: bool) -> str:
        """Where what is set for the load is remembered: a row's size, and that a password may come as its hash."""
        work = self.work
        there = "select count(*) from information_schema.schemata where cast(schema_name as binary) = "
        places = ", ".join(
            f"({i}, convert({name} using utf8mb4), '{self._fresh(i)}', '{self._aside(i)}', ({there}{name}))"
            for i, name in enumerate(map(hexadecimal, self.databases.values()))
        )
        copied = sql.GRANT_TABLES if with_users else ("procs_priv",)
        names = "name varchar(64), fresh varchar(64), aside varchar(64)"
        return f"""create database {work} character set utf8mb4 collate utf8mb4_bin; use {work};
create table packet (size bigint, strict int) engine=InnoDB;
insert into packet values (@@global.max_allowed_packet, 1 /*M!100102 * @@global.strict_password_validation */);
set global max_allowed_packet = {MAX_PACKET};
{"/*M!100102 set global strict_password_validation = 0 */;" * with_users}
create table place (i int primary key, {names}, existed int) engine=InnoDB; insert into place values {places};
create table code (n int auto_increment primary key, i int, era char(3), phase char(5), kind varchar(16), text longblob)
    engine=InnoDB;
create table moved (i int, name varbinary(256), loaded int) engine=InnoDB;
{sql.charsets(work)}
""" + "".join(f"create table {t} like mysql.{t}; insert into {t} select * from mysql.{t};" for t in copied)

    def _there(self) -> str:
        work = self.work
        kept = f"select concat('kept: the tables of ', name, ' are in ', aside, ' now') from {work}.place where existed"
        who = f"""select ifnull(group_concat(concat('session ', id, ' of ', user, '@', host, ', ', lower(command),
    ' for ', time, ' s') separator '; '), 'nobody any more') from {sql.sessions(work)}"""
        kill = f"select concat('kill ', id, ';') from {sql.sessions(work)}"
        return f"""
blocked() {{
    echo "they are in use by $(ask {shlex.quote(who)}): end that, stop the app (--stop), or give --force" >&2
    exit 1
}}
ended() {{
    [ -n "$force" ] || return
    echo "sessions-ended: $(ask {shlex.quote(who)})"
    statements=$(ask {shlex.quote(kill)}) || return
    printf '%s\\n' "$statements" | tell --force 2>/dev/null
    true
}}
complaint=$(spoken {shlex.quote(sql.locked(work))} 2>&1) ||
    case $complaint in *"ERROR 1205"*) ended || blocked ;; esac
{self._told(sql.remembered(work, BEGUN))}
{self._spoken(sql.without_code(work))}
{self._told("".join(f"create database {self._aside(i)};" for i in range(len(self.databases))))}
{self._spoken(sql.made(work, "name", "fresh"))}
spoken {shlex.quote(sql.there(work))} || {{ ended && spoken {shlex.quote(sql.there(work))}; }} || blocked
{self._spoken(sql.defaults(work))}
{self._spoken(sql.references(work))}
era=new phase=code; applied "$@"
{self._told(sql.routine_grants(work))}
{f"ask {shlex.quote(kept)}" if self.request.unsaved else ""}
"""

    def _back(self) -> str:
        work = self.work
        unmade = (
            f"select concat('drop database if exists ', {sql.quoted('name')}, ';') from {work}.place where not existed"
        )
        return f"""
there "'{work}'" || exit 0
[ "$(ask "select count(*) from {work}.code where i = {BEGUN}")" != 0 ] || exit 0
{self._spoken(sql.without_code(work))}
{self._spoken(sql.back(work))}
{self._spoken(sql.references(work))}
era=old
for phase in code views; do applied "$@"; done
{self._spoken(unmade)}
{self._told(sql.routine_grants(work))}
{self._dropped(self._schemas("before"))}
"""

    def _accounts_back(self) -> Argv:
        return self._run(f"""there "'{self.work}'" || exit 0
{self._told(sql.accounts_back(self.work))}""")

    def _run(self, script: str) -> Argv:
        flags, force = shlex.join((*DUMP_FLAGS, *self.flags)), "yes" if self.request.force else ""
        known = f"work={self.work}\nforce={force}\nflags='{flags}'\n"
        return ("sh", "-c", f"{SCRIPT}{known}{script}", "mariadb", *self.databases.values())

    def _schemas(self, prefix: str) -> str:
        return ", ".join(f"'{prefix}_{self.work.removeprefix('restore_')}_{i}'" for i in range(len(self.databases)))

    def _fresh(self, i: int) -> str:
        return f"{self.work}_{i}"

    def _aside(self, i: int) -> str:
        return f"before_{self.work.removeprefix('restore_')}_{i}"

    @classmethod
    def _dropped(cls, schemas: str, *, empty: bool = False) -> str:
        """All of them, or only those that are empty."""
        drop = "select concat('drop database if exists ', schema_name, ';') from schemata where schema_name in"
        return cls._spoken(f"{drop} ({schemas})" + " and schema_name not in (select table_schema from tables)" * empty)

    @staticmethod
    def _spoken(question: str) -> str:
        return f"spoken {shlex.quote(question)} || exit"

    @staticmethod
    def _told(statements: str) -> str:
        return f"tell <<'END' || exit\n{statements}\nEND\n"
