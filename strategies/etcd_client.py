"""How etcd is asked: by the target's own client, where the server listens, with the account that the target knows."""

from dataclasses import dataclass

from pydantic import Field

from strategies.base import Options
from strategies.checks import read_counts
from strategies.plan import Argv, Count, Exec

TOOLS = "command -v etcdctl && { command -v etcdutl || etcdctl snapshot restore --help; }"

# What the server was started with comes before its configuration file and its variables (etcd's manual, configuration).
# The client takes variables, and refuses those that an option repeats. On the loopback no name of a certificate can be
# compared. A server of ours is known by its folder.
SERVER = r"""
server() {
    for process in /proc/[0-9]*; do
        if [ "$(cat "$process/comm" 2>/dev/null)" = etcd ] && ! grep -qs '/\.restore' "$process/cmdline"; then
            echo "${process#/proc/}"
            return
        fi
    done
}
words() { tr '\0' '\n' 2>/dev/null <"/proc/$(server)/cmdline"; }
told() { words | sed -n "s/^--\{0,1\}$1=//p;/^--\{0,1\}$1\$/{n;p;}" | tail -n 1; }
written() {
    set -- "$1" "$(told config-file)"
    [ -z "$2" ] || sed -n "s/^$1:[[:space:]]*[\"']\{0,1\}\([^\"']*\)[\"']\{0,1\}[[:space:]]*$/\1/p" "$2" | tail -n 1
}
setting() {
    value=$(told "$1")
    [ -n "$value" ] || value=$(written "$1")
    [ -n "$value" ] || eval "value=\${$2:-}"
    echo "$value"
}
# `$1` is the URL and `$2` the data folder, empty where nobody knows them yet.
url=$1 data=$2
shift 2
if [ -z "$data" ]; then
    data=$(setting data-dir ETCD_DATA_DIR)
    if [ -z "$data" ]; then
        data=$(setting name ETCD_NAME)
        data=${data:-default}.etcd
    fi
    case $data in /*) ;; *) data=$(readlink "/proc/$(server)/cwd" || pwd)/$data ;; esac 2>/dev/null
fi
if [ -z "$url" ]; then
    any='s#//0\.0\.0\.0:#//127.0.0.1:#;s#//\[::\]:#//127.0.0.1:#'
    url=$(setting listen-client-urls ETCD_LISTEN_CLIENT_URLS | sed "s/,.*//;$any")
    url=${url:-http://127.0.0.1:2379}
fi
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS="$url"
connect() {
    case $ETCDCTL_ENDPOINTS in http:*) return ;; esac
    export ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true
    if [ -z "${ETCDCTL_CERT:-}" ] && [ "$(setting client-cert-auth ETCD_CLIENT_CERT_AUTH)" = true ]; then
        export ETCDCTL_CERT="$(setting cert-file ETCD_CERT_FILE)" ETCDCTL_KEY="$(setting key-file ETCD_KEY_FILE)"
    fi
}
connect
if [ -z "${ETCDCTL_USER:-}" ] && [ -n "${ETCD_ROOT_PASSWORD:-}" ]; then
    export ETCDCTL_USER=root ETCDCTL_PASSWORD="$ETCD_ROOT_PASSWORD"
fi
utility() { if command -v etcdutl >/dev/null; then etcdutl "$@"; else etcdctl "$@"; fi; }
keys() { etcdctl get '' --prefix --keys-only --limit=1 --write-out=fields | sed -n 's/^"Count" : //p' | grep .; }
"""
# Only an administrator may list users and roles.
COUNT = r"""
number=$(keys) || exit
printf '%s\tkeys in etcd\n' "$number"
for kind in user role; do
    if found=$(etcdctl $kind list 2>/dev/null); then printf '%s\t%ss\n' "$(echo "$found" | grep -c .)" $kind; fi
done
"""


class EtcdOptions(Options):
    """`backup.etcd.*`."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """Port at which the server in the target listens for clients without TLS. Default: what its command line, its
    configuration file or its variables say, with TLS where they say so."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens, and where its data lies; empty where nobody knows it yet."""

    url: str = ""
    data: str = ""


OWN = "http://127.0.0.1:{}"


def asked(options: EtcdOptions) -> Place:
    """What is known of the server before anything was asked."""
    return Place(OWN.format(options.port) if options.port else "")


def script(text: str, place: Place, *arguments: str) -> Argv:
    """A script that knows the server; messages call it `etcd`."""
    return ("sh", "-c", SERVER + text, "etcd", place.url, place.data, *arguments)


def count(place: Place) -> Count:
    return Count(Exec(script(COUNT, place)), read_counts)
