# What a MariaDB server holds: for each table and view of each database its rows and their md5, then the definitions of all
# objects. With a name as argument: the rows, or lines, behind that name. Runs in the container, under bash.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C MYSQL_PWD=$MARIADB_ROOT_PASSWORD

sql() {
    mariadb --user=root --batch --raw --skip-column-names --default-character-set=utf8mb4 \
        --init-command="SET time_zone = '+00:00'" --execute="$1"
}
databases() { sql "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN
    ('information_schema', 'performance_schema', 'mysql', 'sys') ORDER BY 1"; }
tables() { sql "SELECT table_name FROM information_schema.tables WHERE table_schema = '$1' ORDER BY 1"; }
quoted() { printf '`%s`' "${1//\`/\`\`}"; }

# Every value as the hexadecimal form of its bytes, so that NULL, '' and 'NULL' differ and each row is one line.
rows() { # database, table
    local columns
    columns=$(sql "SELECT group_concat('coalesce(hex(cast(\`', replace(column_name, '\`', '\`\`'), '\` AS binary)), ''NULL'')'
        ORDER BY ordinal_position SEPARATOR ', '','', ') FROM information_schema.columns
        WHERE table_schema = '$1' AND table_name = '${2//\'/\'\'}'")
    sql "SELECT concat($columns) FROM $(quoted "$1").$(quoted "$2")" | sort
}
behind() { # database, table
    case $2 in
        definitions) mariadb-dump --user=root --no-data --routines --events --triggers --skip-comments --databases "$1" ;;
        *) rows "$1" "$2" ;;
    esac
}
show() { # database, table, rows
    local md5
    md5=$(behind "$1" "$2" | md5sum)
    printf '%s\t%s\t%s\n' "$1 $2" "$3" "${md5%% *}"
}

if [ $# -gt 0 ]; then
    behind "${1%% *}" "${1#* }"
    exit
fi
databases | while read -r database; do
    tables "$database" | while read -r table; do
        count=$(sql "SELECT count(*) FROM $(quoted "$database").$(quoted "$table")")
        show "$database" "$table" "$count"
    done
    show "$database" definitions ''
done
