"""Restores InfluxDB 1.x: each database is loaded under another name and compared, and takes the old one's place then.

No database can be renamed there. So the old one is backed up once more into a folder, dropped, and the run is restored
under its name; if that fails, the old one comes back from its folder in the same way.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from strategies.plan import Argv, Feed, RestoreRequest, Run, Step

# `$1` and `$2` are the ports. The client takes variables of its own, and knows nothing of the image's.
ASK = r"""
http=$1 backup="-host 127.0.0.1:$2"
shift 2
file() { [ -z "$1" ] || cat "$1"; }
if [ -z "${INFLUX_USERNAME:-}" ] && [ -n "${INFLUXDB_ADMIN_USER:-}" ]; then
    export INFLUX_USERNAME="$INFLUXDB_ADMIN_USER"
    export INFLUX_PASSWORD="${INFLUXDB_ADMIN_PASSWORD:-$(file "${INFLUXDB_ADMIN_PASSWORD_FILE:-}")}"
fi
unset INFLUX_FORMAT
in_csv() {
    case $1 in *[',"']*) printf '"%s"' "$(printf %s "$1" | sed 's/"/""/g')" ;; *) printf %s "$1" ;; esac
}
# The statements that make the continuous queries of a database, a line for each.
queries() {
    found=$(ask 'SHOW CONTINUOUS QUERIES') || return
    begin="$(in_csv "$1"),"
    echo "$found" | while IFS= read -r line; do
        case $line in "$begin"*'"CREATE CONTINUOUS QUERY '*)
            printf '%s\n' "$line" | sed 's/^.*,"\(CREATE CONTINUOUS QUERY .*\)"$/\1/;s/""/"/g' ;;
            "$begin"*) printf '%s\n' "$line" | sed 's/^.*,\(CREATE CONTINUOUS QUERY \)/\1/' ;;
        esac
    done
}
quoted() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; }
ask() { influx -host 127.0.0.1 -port "$http" -format csv -execute "$1"; }
"""
PLACE = """
umask 077
place=${TMPDIR:-/var/lib/influxdb}
[ -d "$place" ] || place=/tmp
"""
# `$3` is the restore's own folder, `$4` the database, `$5` its name for the while.
PLACES = rf"""{ASK}{PLACE}
work=$place/$1 base=$2 beside=$3
# A database without a shard comes back, and the client says that it has failed.
restored() {{
    influxd restore -portable $backup -db "$base" -newdb "$2" "$1" >"$work/said" 2>&1 ||
        {{ grep -q '"files": null' "$1"/*.manifest && there "$2"; }} || {{ tail -n 3 "$work/said" >&2; return 1; }}
}}
asking() {{
    while IFS= read -r query; do ask "$query" >&2 </dev/null || return; done <"$1"
}}
there() {{ ask 'SHOW DATABASES' | grep -qxF "databases,$(in_csv "$1")"; }}
dropped() {{ ask "DROP DATABASE $(quoted "$1")" >&2; }}
"""
LOAD = f"""{PLACES}
mkdir -p "$work/new" && tar -xf - -C "$work/new" && restored "$work/new" "$beside"
"""
CLEAR = f"""{PLACES}
dropped "$beside" || exit
[ ! -e "$work/dropped" ] || {{ echo "what was set aside is not back yet: it is in $work/old" >&2; exit 1; }}
rm -rf "$work"
"""
SWAP = f"""{PLACES}
if there "$base"; then
    influxd backup -portable $backup -db "$base" "$work/old" >"$work/said" 2>&1 ||
        {{ tail -n 3 "$work/said" >&2; exit 1; }}
    queries "$base" >"$work/old/queries" || exit
fi
: >"$work/dropped"
dropped "$base" && restored "$work/new" "$base" && asking "$work/new/queries"
"""
BACK = f"""{PLACES}
[ -e "$work/dropped" ] || exit 0
dropped "$base" || exit
[ ! -d "$work/old" ] || {{ restored "$work/old" "$base" && asking "$work/old/queries"; }} || exit
rm "$work/dropped"
"""
FINISH = f"""{PLACES}
dropped "$beside"
rm -rf "$work"
"""
BY_HAND = f"""{PLACES}
if there "$base"; then echo "the database $base is there already" >&2; exit 1; fi
trap 'rm -rf "$work"' EXIT
mkdir "$work" && tar -xf - -C "$work" && restored "$work" "$base" && asking "$work/queries"
"""


@dataclass(frozen=True, slots=True)
class Swap:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    bases: dict[str, str]
    """By artifact."""
    ports: tuple[int, int]
    """Of the HTTP interface and of the backup service."""

    def beside(self, base: str) -> str:
        """How a database is called for the while."""
        return f"restore-{self._id}-{sorted(self.bases.values()).index(base)}"

    def steps(self) -> Iterator[Step]:
        """What is done before the comparison."""
        for artifact, base in self.bases.items():
            yield Feed(artifact, self._run(LOAD, base), undo=self._run(CLEAR, base))

    def swap(self) -> Iterator[Step]:
        for base in self.bases.values():
            yield Run(self._run(SWAP, base), undo=self._run(BACK, base))

    def finish(self) -> tuple[Argv, ...]:
        return tuple(self._run(FINISH, base) for base in self.bases.values())

    def _run(self, text: str, base: str) -> Argv:
        beside = self.beside(base)
        return script(text, self.ports, f".{beside}", base, beside)

    @property
    def _id(self) -> str:
        return self.request.restore or self.request.run


def by_hand(base: str, ports: tuple[int, int]) -> Argv:
    """One database that is not there yet, for the manifest."""
    return script(BY_HAND, ports, ".restore", base, "")


def script(text: str, ports: tuple[int, int], *arguments: str) -> Argv:
    """A script whose first arguments are the ports; messages call it `influxdb`."""
    return ("sh", "-c", text, "influxdb", *map(str, ports), *arguments)
