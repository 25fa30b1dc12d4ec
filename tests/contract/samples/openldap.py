from strategies.base import Answer, Facts
from strategies.openldap import END
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target

DATABASES = """folder: /etc/ldap/slapd.d
dn: olcDatabase={-1}frontend,cn=config
dn: olcDatabase={0}config,cn=config
dn: olcDatabase={1}mdb,cn=config
olcDbDirectory: /var/lib/ldap
olcSuffix: dc=example,dc=org
olcRootDN: cn=admin,dc=example,dc=org
dn: olcDatabase={2}mdb,cn=config
olcDbDirectory: /var/lib/ldap/second
olcSuffix:: b3U9VsO2Z2VsLGRjPXNlY29uZA==
dn: olcDatabase={3}monitor,cn=config
"""
ANSWERS = {
    "tools": Answer(0, "/usr/sbin/slapcat\n/usr/sbin/slapadd\n"),
    "server": Answer(0, "7\n"),
    "databases": Answer(0, DATABASES),
}
LDIF = (FOLDER / "example.ldif").read_bytes()

SAMPLE = Sample(
    container=target(image="ldap:2"),
    options={"config": "/etc/ldap/slapd.d"},
    facts=Facts("sh", ANSWERS),
    unsuitable=Facts("sh", dict.fromkeys(ANSWERS, NOT_FOUND)),
    streams={"ldif": (Stream(LDIF, needed=len(LDIF)), Stream(END, needed=len(END)))},
)
