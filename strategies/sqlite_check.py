"""How a copy of a SQLite database is checked by the client: all of it, also where the application brings along what the
client lacks, such as a collation.
"""

EXPENDABLE = "{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null"
"""Where memory lacks, the kernel ends what the sidecar runs, and not the application (proc(5))."""
CLIENT = "sqlite3 -init /dev/null -bail -batch"
PARTLY = 9
"""Exit code for a copy that is whole, but of which not everything could be compared with everything."""
UNCHECKED = "unchecked: the client lacks what these tables need, so their rows were read, and not compared with indexes"

# `check` demands that the database `$1`, which `$path` is called, is sound. What lacks is told by `$lacking`, a line
# for each table. SQLite itself refuses to compare anything as soon as one index needs a collation, function, module or
# tokenizer that it does not know (pragma.c, integrity_check); so each table is compared by itself then, and of the
# others every row is read, and every page looked at.
CHECK = rf"""
line='
'
said() {{ {CLIENT} "$@" 2>&1; }}
wrong() {{
    why=$*
    while case $why in *"$line"*) ;; *) false ;; esac; do
        why="${{why%%"$line"*}}; ${{why#*"$line"}}"
    done
    echo "$path: $why" >&2
    exit 1
}}
lacks() {{
    case $1 in
        *"no such collation sequence"* | *"no such function"* | *"unknown function"* | *"no such module"* | \
            *"no such tokenizer"* | *"unknown tokenizer"* | *"no query solution"*) return 0 ;;
    esac
    return 1
}}
check() {{
    lacking=
    report=$(said "$1" 'PRAGMA integrity_check(5)') && [ "$report" = ok ] && return
    lacks "$report" || wrong "integrity check: $report"
    tables=$(said "$1" "SELECT rowid FROM sqlite_master WHERE type = 'table' AND rootpage > 0") || wrong "$tables"
    for table in $tables; do
        report=$(said "$1" "SELECT c.* FROM sqlite_master AS m, pragma_integrity_check(m.name) AS c
            WHERE m.rowid = $table LIMIT 5") && [ "$report" = ok ] && continue
        lacks "$report" || wrong "integrity check: $report"
        each=$(said "$1" "SELECT 'SELECT * FROM \"' || replace(name, '\"', '\"\"') || '\"'
            FROM sqlite_master WHERE rowid = $table") || wrong "$each"
        unread=$({CLIENT} "$1" "$each" 2>&1 >/dev/null) || lacks "$unread" || wrong "$unread"
        report=${{report%%"$line"*}}
        lacking="$lacking, $(said "$1" "SELECT name FROM sqlite_master WHERE rowid = $table") (${{report#*, }})"
    done
    report=$(said "$1" "SELECT DISTINCT 'damaged pages of ' || name FROM dbstat WHERE pagetype = 'corrupted'")
    case $report in '' | *'no such table: dbstat'*) ;; *) wrong "$report" ;; esac
    lacking="$path: ${{lacking#, }}"
}}
"""  # noqa: S608  # All of it is ours.

# For each table that is a tree of its own (virtual ones hold their rows in others) the statement that counts its rows,
# but for one that is an index itself (WITHOUT ROWID), by a collation of the application's own: nobody else reads it.
COUNTING = r"""
SELECT 'SELECT count(*) || char(9) || ' || quote(replace(replace(m.name, char(10), ' '), char(9), ' '))
    || ' FROM "' || replace(m.name, '"', '""') || '";'
FROM sqlite_master AS m LEFT JOIN pragma_index_list(m.name) AS l
LEFT JOIN pragma_index_xinfo(CASE WHEN l.name IN (SELECT name FROM sqlite_master) THEN l.name ELSE m.name END) AS x
    ON upper(x.coll) NOT IN ('BINARY', 'NOCASE', 'RTRIM', '')
WHERE m.type = 'table' AND m.rootpage > 0 AND substr(m.name, 1, 7) <> 'sqlite_'
GROUP BY m.rowid
HAVING NOT total(l.origin = 'pk' AND x.coll NOT NULL AND l.name NOT IN (SELECT name FROM sqlite_master))
"""
