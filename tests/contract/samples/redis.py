from strategies.base import Answer, Facts
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target

INFO = "# Server\r\nredis_version:8.0.2\r\n# Cluster\r\ncluster_enabled:0\r\n# Keyspace\r\ndb0:keys=2,expires=0\r\n"
ANSWERS = {
    "client": Answer(0, "/usr/bin/redis-cli\n"),
    "checker": Answer(127),
    "program": Answer(0, "/usr/bin/redis-server\n"),
    "server": Answer(0, INFO),
}
RDB = (FOLDER / "shop.rdb").read_bytes()
MARK = 40

SAMPLE = Sample(
    container=target(image="redis:8"),
    options={"user": "keeper", "port": 6380},
    facts=Facts("bash", ANSWERS),
    unsuitable=Facts("bash", dict.fromkeys(ANSWERS, NOT_FOUND)),
    streams={"rdb": (Stream(RDB, needed=len(RDB) - MARK), Stream(RDB[:-MARK], needed=len(RDB) - MARK))},
)
