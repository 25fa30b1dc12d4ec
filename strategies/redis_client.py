"""How Redis and Valkey are asked: by the target's own client, where the server listens and with the account that the
target knows.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from config.fields import absolute
from strategies.base import Options
from strategies.checks import read_counts
from strategies.plan import Argv, Count, Exec

# With `FAKETTY` the client answers as people read it (redis-cli.c); an empty one is one, too.
# What the server was started with comes before what usual files say. The password is that of the client's own variable,
# then of the variables of Bitnami's images and of many compose files, then the server's own. The client is told where
# the server listens, unless the arguments say it already; on the loopback no name of a certificate can be compared.
ACCOUNT = r"""
unset FAKETTY
file() { [ -z "$1" ] || cat "$1"; }
told() { printf '%s\n' "$BACKUP_REDIS" | sed -n "s/^$1 //p" | tail -n 1; }
conf() {
    set -- "$(told file)"
    [ -n "$1" ] || set -- /usr/local/etc/redis/*.conf /usr/local/etc/valkey/*.conf /etc/redis/*.conf \
        /etc/valkey/*.conf /opt/bitnami/redis/etc/*.conf /opt/bitnami/valkey/etc/*.conf
    for path; do case $path in *sentinel*) ;; *) cat "$path" ;; esac; done 2>/dev/null
}
configured() {
    conf | sed -n "s/^[[:space:]]*$1[[:space:]]\{1,\}\(.*[^[:space:]]\)[[:space:]]*$/\1/p" | tail -n 1 |
        sed -e '/^"/{s/^"\(.*\)"$/\1/;s/\\\(.\)/\1/g;b' -e '}' -e "/^'/{s/^'\(.*\)'\$/\1/;s/\\\\'/'/g;}"
}
setting() { set -- "$1" "$(told "$1")"; if [ -n "$2" ]; then echo "$2"; else configured "$1"; fi; }
: "${REDISCLI_AUTH:=${VALKEYCLI_AUTH:-${REDIS_PASSWORD:-$(file "${REDIS_PASSWORD_FILE:-}")}}}"
: "${REDISCLI_AUTH:=${VALKEY_PASSWORD:-$(file "${VALKEY_PASSWORD_FILE:-}")}}"
: "${REDISCLI_AUTH:=${BACKUP_REDIS_PASSWORD:-$(configured requirepass)}}"
: "${REDISCLI_AUTH:=$(conf | sed -n 's/^[[:space:]]*user[[:space:]]\{1,\}default[[:space:]].*>\([^ ]*\).*/\1/p')}"
if [ -n "$REDISCLI_AUTH" ]; then export REDISCLI_AUTH VALKEYCLI_AUTH="$REDISCLI_AUTH"; else unset REDISCLI_AUTH; fi
client=$(command -v redis-cli || command -v valkey-cli)
encrypted() {
    port=$(setting tls-port) cert=$(setting tls-cert-file) ca=$(setting tls-ca-cert-file)
    where="--tls ${port:+-p $port}"
    if [ -n "$ca" ]; then where="$where --cacert $ca"; else where="$where --insecure"; fi
    [ -z "$cert" ] || [ "$(setting tls-auth-clients)" = no ] ||
        where="$where --cert $cert --key $(setting tls-key-file)"
}
where=
case " $* " in
    *' -s '*) ;;
    *' --tls '*) encrypted ;;
    *' -p '*) ;;
    *) port=$(setting port)
        if [ "$port" != 0 ]; then where=${port:+-p $port}
        else
            where=$(setting unixsocket)
            if [ -n "$where" ]; then where="-s $where"; else encrypted; fi
        fi ;;
esac
ask() { "$client" $where "$@"; }
"""
CONNECT = f"""{ACCOUNT}ask "$@\""""

KEYSPACE = rf"""{ACCOUNT}
answer=$(ask "$@" INFO keyspace | tr -d '\r')
case $answer in "# Keyspace"*) ;; *) echo "$answer" >&2; exit 1 ;; esac
"""
# Keys that expire are gone some day, from the server and from a restored dump alike, so only the others are counted.
COUNT = f"""{KEYSPACE}echo "$answer" | while IFS=':=,' read -r database _ keys _ expires _; do
    [ "$((${{keys:-0}} - ${{expires:-0}}))" = 0 ] || printf '%s\\t%s\\n' "$((keys - expires))" "keys in $database"
done"""
Path = Annotated[str, Field(pattern=r"^\S+$"), AfterValidator(absolute)]
"""In the target."""


class RedisOptions(Options):
    """`backup.redis.*`. There is no host: a label reaches no further than its own container."""

    user: str | None = Field(default=None, pattern=r"^\S+$")
    """ACL user to connect as. Default: `default`."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the server in the target. Default: what the server's command line or configuration says, else 6379."""

    socket: Path | None = None
    """Path of the server's Unix socket. Default: what its command line or configuration says, where it has no port."""

    tls: bool = False
    """Whether to connect by TLS. Default: only where the server has no other port, as far as its command line or
    configuration says."""

    tls_cert: Path | None = None
    """Path of the certificate that the client shows, in the target. Default: the server's own."""

    tls_key: Path | None = None
    """Path of that certificate's key. Default: the server's own."""


def connected(options: RedisOptions, *arguments: str) -> Argv:
    return (*script(CONNECT, options), *arguments)


def script(text: str, options: RedisOptions, *arguments: str) -> Argv:
    """A script whose arguments are these, and then what the client needs; messages call it `redis`."""
    flags = {
        "--user": options.user,
        "-p": options.port,
        "-s": options.socket,
        "--cert": options.tls_cert,
        "--key": options.tls_key,
    }
    given = (word for flag, value in flags.items() if value for word in (flag, str(value)))
    return ("sh", "-c", text, "redis", *arguments, *(("--tls",) if options.tls else ()), *given)


def count(options: RedisOptions) -> Count:
    return Count(Exec(script(COUNT, options)), read_counts)
