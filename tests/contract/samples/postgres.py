import json

from strategies.base import Answer, Facts
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target

SERVER = {
    "version": 170012,
    "name": "17.12 (Debian 17.12-0+deb13u1)",
    "user": "app",
    "roles": True,
    "closed": [],
    "databases": ["-x", "..", "a b/c='q'\\ñ~", "postgres", "shop"],
}
ANSWERS = {
    "client": Answer(0, "pg_dump (PostgreSQL) 17.12 (Debian 17.12-0+deb13u1)\n"),
    "ready": Answer(0, "/var/run/postgresql:5432 - accepting connections\n"),
    "server": Answer(0, json.dumps(SERVER)),
    "sizes": Answer(0, "7340032\tshop\n"),
}
GLOBALS = (FOLDER / "globals.sql").read_bytes()

SAMPLE = Sample(
    container=target(image="postgres:17"),
    options={},
    facts=Facts("bash", ANSWERS),
    unsuitable=Facts("bash", dict.fromkeys(ANSWERS, NOT_FOUND)),
    streams={"pg_globals": (Stream(GLOBALS, needed=len(GLOBALS.rstrip())),)},
)
