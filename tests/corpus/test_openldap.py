"""OpenLDAP: each kind of entry and configuration; what `ldapsearch` tells of it stays the same, times and ids too."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.ways import WAYS, Corpus, backed_up, into_newer, rows_in
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Sidecar, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

BASE = "dc=example,dc=org"
ROWS = {name: make.replace("BASE", BASE) for name, make in rows_in("openldap.sh").items()}
IN_CONFIG = ("schema", "access", "indexes", "overlays", "settings")
OF_ENTRIES = [name for name in ROWS if name not in (*IN_CONFIG, "second_database")]
TOOLS = f"""
as="-x -H ldapi:/// -D cn=admin,{BASE} -w admin"
add() {{ ldapadd $as "$@" >/dev/null; }}
conf() {{ ldapmodify -Q -Y EXTERNAL -H ldapi:/// >/dev/null; }}
entries() {{ ldapsearch $as -M -LLL -o ldif-wrap=no -b "$@"; }}
settings() {{ ldapsearch -Q -Y EXTERNAL -H ldapi:/// -LLL -o ldif-wrap=no -b "$@"; }}
digest() {{
    case $1 in
        schema) settings cn=schema,cn=config -s one '*' '+' ;;
        access) settings cn=config olcAccess ;;
        indexes) settings cn=config olcDbIndex ;;
        overlays) settings cn=config '(|(objectClass=olcOverlayConfig)(objectClass=olcModuleList))' ;;
        settings) settings cn=config -s base olcSizeLimit olcIdleTimeout ;;
        second_database)
            settings cn=config '(olcSuffix=*)' olcSuffix olcDbDirectory
            entries dc=second,dc=org '*' '+' ;;
        *) entries "ou=$1,{BASE}" '*' '+' ;;
    esac 2>&1 | sort | sha256sum | cut -c 1-64
}}
"""
UNITS = "\n".join(f"dn: ou={name},{BASE}\nobjectClass: organizationalUnit\nou: {name}\n" for name in OF_ENTRIES)
NAMES = " ".join(ROWS)
NOTE = f"""{TOOLS}
{{ printf 'dn: cn=noted,{BASE}\\nobjectClass: device\\ncn: noted\\n'
  for row in {NAMES}; do echo "description: $row $(digest $row)"; done; }} | add
"""
DIFFERING = f"""{TOOLS}
noted=$(entries 'cn=noted,{BASE}' -s base description)
for row in {NAMES}; do
    echo "$noted" | grep -qxF "description: $row $(digest $row)" || echo $row
done
"""
DESTROY = f"""{TOOLS}
ldapdelete $as -M -r {" ".join(f"ou={name},{BASE}" for name in OF_ENTRIES)} cn=x,dc=second,dc=org
conf <<'END'
dn: olcDatabase={{1}}mdb,cn=config
changetype: modify
replace: olcAccess
olcAccess: to * by * read
-
replace: olcDbIndex
olcDbIndex: objectClass eq

dn: cn=config
changetype: modify
replace: olcSizeLimit
olcSizeLimit: 5

dn: cn=module{{0}},cn=config
changetype: modify
add: olcModuleLoad
olcModuleLoad: refint
END
"""
WRITE = f"""{TOOLS}
n=0
while n=$((n + 1)); do printf 'dn: cn=w%s,{BASE}\\nobjectClass: device\\ncn: w%s\\n' $n $n | add; sleep 0.2; done
"""
CORPUS = Corpus(
    "ldap",
    "OPENLDAP",
    {"strategy": "openldap"},
    fill=f"set -e\n{TOOLS}add <<'END'\n{UNITS}END\n" + "".join(ROWS.values()),
    note=NOTE,
    differing=DIFFERING,
    destroy=DESTROY,
    write=WRITE,
    command=("slapd",),
    ready="ldapsearch -x -H ldapi:/// -s base -b '' >/dev/null",
    restarted_by_hand=True,
)


@pytest.mark.slow
def test_every_row_comes_back_by_each_way(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    make_images("openldap:2")
    there = backed_up(CORPUS, *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == {name: [] for name in WAYS}


@pytest.mark.slow
def test_every_row_of_an_older_server_comes_back_in_a_newer_one(stand: tuple[Sidecar, App]) -> None:
    """Debian 12 has OpenLDAP 2.5, Debian 13 has 2.6."""
    make_images("openldap25:1", "openldap:2")
    old = replace(CORPUS, service="ldap25", of="OPENLDAP25")
    container, _ = into_newer(old, replace(CORPUS, service="ldap-newer"), *stand)
    within(container, f"{TOOLS}ldapdelete $as uid=u7,ou=many,{BASE}; ldapdelete $as cn=x,dc=second,dc=org")
    assert old.differs(container) == ["many", "second_database"], "what is another is seen"
