# What a PostgreSQL server holds: for each table and view of each database its rows and their md5, then the values of
# sequences, and the definitions of all objects and roles. With a name as argument: the rows, or lines, behind that name.
# Runs in the container, under bash.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C PGUSER=$POSTGRES_USER PGTZ=UTC

sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="$1" --command="$2"; }
databases() { sql template1 "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1"; }
tables() {
    sql "$1" "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'm', 'v') AND nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema' ORDER BY 1"
}

# `\restrict` carries a word that is new each time.
without_restrict() { sed '/^\\\(un\)\?restrict /d'; }
behind() { # database, table
    case $2 in
        definitions) pg_dump --schema-only --create --dbname="$1" | without_restrict ;;
        sequences) sql "$1" "SELECT format('%I.%I: %s', schemaname, sequencename, last_value) FROM pg_sequences" | sort ;;
        roles) pg_dumpall --globals-only | without_restrict ;;
        *) sql "$1" "COPY (SELECT * FROM $2) TO STDOUT" | sort ;;
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
        count=$(sql "$database" "SELECT count(*) FROM $table")
        show "$database" "$table" "$count"
    done
    show "$database" sequences ''
    show "$database" definitions ''
done
show cluster roles ''
