from strategies.base import Answer, Facts
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target

ANSWERS = {
    "mariadb-dump": Answer(0, "mariadb-dump from 11.8.9-MariaDB, client 10.20 for debian-linux-gnu (x86_64)\n"),
    "mysqldump": NOT_FOUND,
    "history": Answer(0, "mariadb-dump from 11.8.9-MariaDB, client 10.20 for debian-linux-gnu (x86_64)\n"),
    "system": Answer(0, "mariadb-dump from 11.8.9-MariaDB, client 10.20 for debian-linux-gnu (x86_64)\n"),
    "users": Answer(0, "1\tuser root@localhost\n"),
    "account": Answer(0, "root\nMARIADB_ROOT_PASSWORD\n"),
    "aside": Answer(0, "3\n"),
    "sizes": Answer(0, "65536\tshop\n4096\t-x\n"),
    "databases": Answer(0, "-x\t1\nshop\t1\nwe ird/=-;ñ\t1\na\\nb\t1\n"),
}
DUMP, ACCOUNTS = (FOLDER / "shop.sql").read_bytes(), (FOLDER / "users.sql").read_bytes()
TRAILER = b"-- Dump completed"
LISTED = "mariadb.sys\tlocalhost\nroot\tlocalhost\nroot\t%\napp\t%\nu2\tlocalhost\n\th'x\n"
OBJECTS = """TABLE\tseqt\tMyISAM
SEQUENCE\tsq\tInnoDB
VIEW\tv1\tNULL
FUNCTION\tf `1\t
PROCEDURE\tp1\t
PACKAGE\tpk\t
PACKAGE BODY\tpk\t
TRIGGER\ttr1\t
EVENT\tev1\t
"""

SAMPLE = Sample(
    container=target(image="mariadb:11.8"),
    options={},
    facts=Facts("bash", ANSWERS),
    unsuitable=Facts("bash", ANSWERS | {"mariadb-dump": NOT_FOUND}),
    streams={
        "mysql": (Stream(DUMP, needed=DUMP.index(TRAILER) + len(TRAILER), witnesses={"objects": OBJECTS}),),
        "mysql_users": (Stream(ACCOUNTS, ACCOUNTS.index(TRAILER) + len(TRAILER), witnesses={"users": LISTED}),),
    },
)
