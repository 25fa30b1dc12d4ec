"""Restores OpenLDAP: configuration and databases are loaded beside, compared, and put in place by renames.

`slapadd` may not write where the server reads, so each database is loaded into a folder inside its own, on the same
volume, by a copy of the configuration that says so. Once all was counted, old and new files change places, and the
container is started anew, since the server has the old ones open until then. If anything fails before the server
has opened the new ones the old files come back, and it is started with them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from strategies.plan import Argv, Feed, RestoreRequest, Step
from strategies.servers import restarted

CONFIG = "cn=config"
READY_SECONDS = 120
"""That the server may take to open its databases after a start."""

# `$1` is the folder of `cn=config`, empty where nobody knows it yet.
SERVER = r"""
server() {
    for process in /proc/[0-9]*; do
        case $(tr '\0' ' ' 2>/dev/null <"$process/cmdline") in
            slapd\ * | */slapd\ *) echo "${process#/proc/}"; return ;;
        esac
    done
}
conf=$1
shift
[ -n "$conf" ] || conf=$(tr '\0' '\n' 2>/dev/null <"/proc/$(server)/cmdline" | sed -n '/^-F$/{n;p;q;}')
for place in /etc/ldap/slapd.d /etc/openldap/slapd.d /opt/bitnami/openldap/etc/slapd.d; do
    [ -n "$conf" ] || [ ! -d $place ] || conf=$place
done
"""
# `$1` is the name of the restore's own folders, in that of the configuration and in that of each database.
PLACES = rf"""{SERVER}
umask 077
name=$1 work=$conf/$1 parts='cn=config cn=config.ldif'
shift
folders() {{ sed -n 's/^olcDbDirectory: //p' "$work/config.ldif" 2>/dev/null; }}
each() {{ folders | while IFS= read -r folder; do here=$folder/$name; "$1" || exit; done; }}
owner() {{ stat -c %u:%g "$work/old/cn=config.ldif" 2>/dev/null || stat -c %u:%g "$conf/cn=config.ldif"; }}
beside() {{
    [ -d "$folder" ] || {{ mkdir -p "$folder" && echo "$folder" >>"$work/made"; }} || return
    mkdir -p "$here/new"
}}
prepare() {{
    if grep '^olcDbDirectory:: ' "$work/config.ldif"; then echo 'a folder with such a name is not known' >&2; exit 1; fi
    mkdir "$work/new" "$work/load" && each beside || exit
    sed "s|^olcDbDirectory: .*|&/$name/new|;s|^olcPidFile: .*|olcPidFile: $work/pid|
        s|^olcArgsFile: .*|olcArgsFile: $work/arguments|" "$work/config.ldif" >"$work/load.ldif" &&
        slapadd -n 0 -F "$work/load" -l "$work/load.ldif" || exit
}}
# What holds no new database stays as it is.
exchange() {{
    [ -e "$here/new/data.mdb" ] || return 0
    chown -R "$(owner)" "$here/new" && mkdir "$here/old" || return
    if grep -qxF "$folder" "$work/made" 2>/dev/null; then chown "$(owner)" "$folder"; fi
    for file in data.mdb lock.mdb; do
        [ ! -e "$folder/$file" ] || mv "$folder/$file" "$here/old/" || return
    done
    mv "$here/new/data.mdb" "$folder/" && : >"$here/in-place"
}}
put_back() {{
    [ -d "$here/old" ] || return 0
    if [ -e "$here/old/data.mdb" ] || [ ! -e "$here/new/data.mdb" ]; then
        rm -f "$folder/data.mdb" "$folder/lock.mdb"
    fi
    for file in lock.mdb data.mdb; do
        [ ! -e "$here/old/$file" ] || mv "$here/old/$file" "$folder/" || return
    done
    rm -rf "$here/old" "$here/in-place"
}}
clear() {{ rm -rf "$here"; }}
opened() {{ [ ! -e "$here/in-place" ] || [ -e "$folder/lock.mdb" ]; }}
configure() {{
    chown -R "$(owner)" "$work/new" && mkdir "$work/old" || exit
    for part in $parts; do mv "$conf/$part" "$work/old/" || exit; done
    for part in $parts; do mv "$work/new/$part" "$conf/" || exit; done
}}
"""
LOAD_CONFIG = rf"""{PLACES}
mkdir "$work" && cat >"$work/config.ldif" || exit
prepare
slapadd -n 0 -F "$work/new" -l "$work/config.ldif"
"""
LOAD = f"""{PLACES}
slapadd -q -g -F "$work/load" -b "$1"
"""
LOADED = f"""{PLACES}
if [ "$1" = {CONFIG} ]; then set -- -n 0 -F "$work/new"; else set -- -g -b "$1" -F "$work/load"; fi
end=%s
slapcat "$@" && echo "$end"
"""
# The server has not seen anything yet.
LOOK = f"""{PLACES}
slaptest -Q -u -F "$work/new"
"""
SWAP = f"""{PLACES}
each exchange || exit
configure
"""
BACK = f"""{PLACES}
[ -d "$work" ] || exit 0
for part in $parts; do
    [ ! -e "$work/old/$part" ] || {{ rm -rf "$conf/$part" && mv "$work/old/$part" "$conf/"; }} || exit
done
each put_back && rm -rf "$work/old"
"""
AWAIT = rf"""{PLACES}
tries=0
until [ -n "$(server)" ] && each opened; do
    tries=$((tries + 1))
    [ $tries -lt {READY_SECONDS * 5} ] || {{ echo 'slapd has not opened its databases; see its log' >&2; exit 1; }}
    sleep 0.2
done
sleep 0.5
[ -n "$(server)" ] || {{ echo 'slapd has ended; see its log' >&2; exit 1; }}
"""
CLEAR = rf"""{PLACES}
[ -d "$work" ] || exit 0
[ ! -e "$work/old" ] || {{ echo "what was set aside is not back yet: it is in $work/old" >&2; exit 1; }}
each clear || exit
[ ! -e "$work/made" ] || while IFS= read -r folder; do rmdir "$folder"; done <"$work/made" 2>/dev/null
rm -rf "$work"
"""
FINISH = rf"""{PLACES}
[ ! -d "$work" ] || {{ each clear && rm -rf "$work"; }}
"""
BY_HAND = rf"""{PLACES}
mkdir "$work" || exit
trap 'each clear; rm -rf "$work"' EXIT
if [ "$1" = {CONFIG} ]; then
    cat >"$work/config.ldif" && prepare && slapadd -n 0 -F "$work/new" -l "$work/config.ldif" && configure || exit
else
    slapcat -n 0 -F "$conf" -o ldif-wrap=no >"$work/config.ldif" && prepare &&
        slapadd -q -g -F "$work/load" -b "$1" && each exchange || exit
fi
echo 'Once all lines were run, restart the container.' >&2
"""


@dataclass(frozen=True, slots=True)
class Swap:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    config: str
    """The folder of `cn=config`."""
    end: str
    """What a dump ends with."""

    def steps(self) -> Iterator[Step]:
        """What is done before the comparison, the configuration first."""
        clear = self._run(CLEAR)
        for stored in sorted(self.request.artifacts, key=lambda stored: stored.subject != CONFIG):
            load = self._run(LOAD_CONFIG) if stored.subject == CONFIG else self._run(LOAD, stored.subject)
            yield Feed(stored.name, load, undo=clear)

    def loaded(self) -> Iterator[tuple[str, Argv]]:
        """By artifact what dumps what was loaded."""
        text = LOADED.replace("%s", f"'{self.end.strip()}'")
        for stored in self.request.artifacts:
            yield stored.name, self._run(text, stored.subject)

    def swap(self) -> Iterator[Step]:
        return restarted(*map(self._run, (LOOK, SWAP, BACK, AWAIT)))

    def finish(self) -> tuple[Argv, ...]:
        return (self._run(FINISH),)

    def _run(self, text: str, *arguments: str) -> Argv:
        return script(text, self.config, f".restore-{self.request.restore or self.request.run}", *arguments)


def by_hand(config: str, subject: str) -> Argv:
    """All of one artifact at once, but for the restart, for the manifest."""
    return script(BY_HAND, config, ".restore", subject)


def script(text: str, config: str, *arguments: str) -> Argv:
    """A script whose first argument is the folder of `cn=config`; messages call it `openldap`."""
    return ("sh", "-c", text, "openldap", config, *arguments)
