"""OpenLDAP, by its own `slapcat`: `cn=config`, and each database as LDIF, each in one transaction beside the server.

Nobody has to log in: what runs as root, or as the server's user, reads the files of LMDB beside the server. LDIF has no
end of its own, so a comment says that `slapcat` has come to its end.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, BinaryIO

from pydantic import AfterValidator, Field

from config.fields import absolute
from strategies.base import Answer, Container, Facts, NotReady, Options, Strategy, Unsuitable, demand_few, unreadable
from strategies.checks import LONGEST_LINE
from strategies.openldap_swap import CONFIG, SERVER, Swap, by_hand, script
from strategies.plan import (
    CHUNK,
    Argv,
    Check,
    Count,
    Dump,
    Exec,
    Incomplete,
    Plan,
    Restore,
    RestoreRequest,
    file_name,
    shell_line,
)

END = b"# backup-sidecar: slapcat came to its end\n"
DUMP = f"""{SERVER}
slapcat "$@" -F "$conf" && echo '{END.decode().strip()}'
"""
NO_WRAP = ("-o", "ldif-wrap=no")
TOOLS = "command -v slapcat && command -v slapadd"
DATABASES = rf"""{SERVER}
[ -e "$conf/cn=config.ldif" ] || {{ echo "there is no cn=config in ${{conf:-any usual place}}" >&2; exit 1; }}
echo "folder: $conf"
found=$(slapcat -n 0 -F "$conf" {" ".join(NO_WRAP)} -a '(objectClass=olcDatabaseConfig)') || exit
echo "$found" | sed -n '/^dn:/p;/^olcSuffix:/p;/^olcDbDirectory:/p;/^olcRootDN:/p'
"""
# What changes with each write is no structure.
SCHEMA = rf"""{SERVER}
slapcat -n 0 -F "$conf" | sed '/^[a-z]*Timestamp:/d;/^[a-z]*sName:/d;/^entryCSN:/d;/^contextCSN:/d' | cksum
"""
# Images make these entries at their first start.
OCCUPIED = rf"""{SERVER}
while [ $# -gt 0 ]; do
    slapcat -g -n "$1" -F "$conf" {" ".join(NO_WRAP)} 2>/dev/null | grep -i '^dn:' |
        grep -qivxF -e "dn: $2" -e "dn: $3" && echo "the entries of $2"
    shift 3
done
:
"""
SIZE = 'du -sk "$1" | { read -r kib _ && echo $((kib * 1024)); }'
ROOM = 'df -Pk "$1"'

ENTRY = re.compile(rb"(?m)^(?:dn(::?) |structuralObjectClass: ([\w.;-]{1,200})$)")
DATABASE = re.compile(r"olcDatabase=\{(-?[0-9]{1,6})\}(\w+),cn=config")
WITHOUT_DATA = re.compile("frontend|config|monitor|null|ldap|meta|asyncmeta|relay|dnssrv|passwd|sock")
MOST_CLASSES = 10_000


class OpenldapOptions(Options):
    """`backup.openldap.*`."""

    config: Annotated[str, Field(pattern=r"^\S+$"), AfterValidator(absolute)] | None = None
    """Absolute path of the folder of `cn=config` in the target. Default: what the server's command line says (`-F`),
    else the usual places."""


@dataclass(frozen=True, slots=True)
class Database:
    """One of the server's, as `cn=config` tells it."""

    number: int
    kind: str
    suffix: str = ""
    folder: str = ""
    administrator: str = ""

    @property
    def is_dumped(self) -> bool:
        return self.kind == "mdb" and bool(self.suffix and self.folder)


class Openldap(Strategy[OpenldapOptions]):
    """`slapcat` for the configuration and for each database of LMDB."""

    names = ("openldap", "ldap")
    options = OpenldapOptions

    def probes(self, options: OpenldapOptions) -> Mapping[str, Argv]:
        return {
            "tools": ("sh", "-c", TOOLS),
            "server": script(f"{SERVER}server | grep .", options.config or ""),
            "databases": script(DATABASES, options.config or ""),
        }

    def plan(self, container: Container, facts: Facts, options: OpenldapOptions) -> Plan:
        folder, bases = _found(container, facts)
        left_out = [base for base in bases if base.kind != "mdb" and not WITHOUT_DATA.fullmatch(base.kind)]
        warnings = tuple(f"left-out: {base.suffix or base.number}, a database of {base.kind}" for base in left_out)
        config = Exec(script(DUMP, folder, "-n", "0", *NO_WRAP))
        schema = script(SCHEMA, folder)
        line = shell_line(by_hand(folder, CONFIG))
        first = Dump(
            "config.ldif", "ldif", config, line, whole_ldif, subject=CONFIG, count=_count(config), schema=schema
        )
        whole = [base for base in bases if base.is_dumped]
        demand_few([base.suffix for base in whole], "openldap")
        return Plan((first, *(_of(base, folder) for base in whole)), warnings)

    def formats(self) -> Mapping[str, Check]:
        return {"ldif": whole_ldif}

    def restore(self, container: Container, facts: Facts, options: OpenldapOptions, request: RestoreRequest) -> Restore:
        folder, bases = _found(container, facts)
        bases = [base for base in bases if base.is_dumped]
        if all(stored.subject != CONFIG for stored in request.artifacts):
            hint = "Restore a run that holds it, or add the entries by hand."
            raise Unsuitable("the run holds no cn=config, which says where its databases lie", hint, "no-config")
        swap = Swap(request, folder, END.decode())
        about = [word for base in bases for word in (str(base.number), base.suffix, base.administrator or base.suffix)]
        live = {stored.name: Count(Exec(_live(folder, stored.subject)), read_entries) for stored in request.artifacts}
        return Restore(
            "the whole server, with its configuration",
            "the container is started anew at the end, so that they have to connect again",
            occupied=(Exec(script(OCCUPIED, folder, *about)),),
            steps=tuple(swap.steps()),
            counts={name: Count(Exec(argv), read_entries) for name, argv in swap.loaded()},
            present=live,
            swap=tuple(swap.swap()),
            finish=swap.finish(),
            room=("sh", "-c", ROOM, "sh", bases[0].folder) if bases else None,
        )


def whole_ldif(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand an entry at the begin, and at the end the comment that only a `slapcat` that succeeded is followed by."""
    read_entries(stream)
    return ()


def read_entries(stream: BinaryIO) -> Mapping[str, int]:
    """Entries by their structural class; demands what `whole_ldif` does. By chunks: entries may be many and large."""
    classes, entries = Counter[bytes](), 0
    begin, rest, tail, whole = b"", b"", b"", b"\n\n" + END
    while chunk := stream.read(CHUNK):
        begin = (begin + chunk)[:4] if len(begin) < 4 else begin
        tail = (tail + chunk)[-len(whole) :]
        text = rest + chunk
        end = text.rfind(b"\n") + 1
        for found in ENTRY.finditer(text, 0, end):
            entries += found[1] is not None
            classes.update([found[2]] if found[2] else ())
        rest = text[end:]
        if len(rest) > 16 * LONGEST_LINE or len(classes) > MOST_CLASSES:
            raise Incomplete("it holds longer lines, or entries of more classes, than a directory has")
    if tail != (whole if entries else END):
        raise Incomplete("it does not end with the comment that slapcat came to its end")
    if entries and not begin.startswith(b"dn:"):
        raise Incomplete("it does not begin with an entry")
    unknown = entries - classes.total()
    numbers = {f"entries of {name.decode()}": number for name, number in classes.items()}
    return numbers | ({"other entries": unknown} if unknown > 0 else {})


def _found(container: Container, facts: Facts) -> tuple[str, list[Database]]:
    """The folder of `cn=config`, and the databases. Raises `Unsuitable` when a probe found a reason against a dump."""
    tools, answer = facts.answers["tools"], facts.answers["databases"]
    if facts.shell is None or not tools.ok:
        hint = "Label the container that runs the server."
        raise Unsuitable(f"{container.image} lacks sh, slapcat or slapadd", hint, "no-client")
    if not facts.answers["server"].ok:
        raise NotReady("slapd does not run yet", "It is asked again; see its log if it stays so.", "not-ready")
    if not answer.ok:
        hint = "Name the folder by backup.openldap.config, and a user who may read it by backup.user; `slaptest -f "
        hint += "slapd.conf -F FOLDER` makes one of a slapd.conf."
        raise Unsuitable(f"its configuration cannot be read: {answer.complaint}", hint, "no-config")
    first, _, rest = answer.stdout.partition("\n")
    found = list(_parsed(replace(answer, stdout=rest)))
    folder = first.removeprefix("folder: ")
    if not found or not folder.startswith("/") or "\0" in answer.stdout:
        raise unreadable("slapcat", answer)
    return folder, found


def _parsed(answer: Answer) -> Iterator[Database]:
    """Raises `Unsuitable` for what is no LDIF of databases."""
    facts: dict[str, str] = {}
    for line in [*answer.stdout.splitlines(), "dn: "]:
        name, colon, value = line.partition(": ")
        if name.endswith(":"):
            name, value = name[:-1], _decoded(value, answer)
        if not colon:
            raise unreadable("slapcat", answer)
        if name == "dn":
            if known := DATABASE.fullmatch(facts.get("dn", "")):
                suffix, folder = facts.get("olcSuffix", ""), facts.get("olcDbDirectory", "")
                yield Database(int(known[1]), known[2], suffix, folder, facts.get("olcRootDN", ""))
            facts = {}
        facts.setdefault(name, value)


def _decoded(value: str, answer: Answer) -> str:
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        raise unreadable("slapcat", answer) from None
    if "\0" in text:
        raise unreadable("slapcat", answer)
    return text


def _of(base: Database, folder: str) -> Dump:
    source = Exec(script(DUMP, folder, "-g", "-n", str(base.number)))
    return Dump(
        file_name(base.suffix, ".ldif"),
        "ldif",
        source,
        shell_line(by_hand(folder, base.suffix)),
        whole_ldif,
        subject=base.suffix,
        count=_count(source),
        disk=("sh", "-c", SIZE, "sh", base.folder),
    )


def _live(folder: str, subject: str) -> Argv:
    return script(DUMP, folder, *(("-n", "0") if subject == CONFIG else ("-g", "-b", subject)))


def _count(source: Exec) -> Count:
    return Count(source, read_entries)
