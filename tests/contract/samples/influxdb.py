import gzip

from strategies.base import Answer, Facts
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target

ANSWERS = {
    "tools": Answer(0, "/usr/bin/influxd\n/usr/bin/influx\n/bin/tar\n"),
    "databases": Answer(0, 'name,name\ndatabases,_internal\ndatabases,shop\ndatabases,"odd, ""name"\n'),
    "users": Answer(0, "user,admin\nbob,false\n"),
}
TAR = gzip.decompress((FOLDER / "shop.influxdb.tar.gz").read_bytes())
LAST = len(TAR.rstrip(b"\0"))
NEEDED = (LAST + 511) // 512 * 512 + 1024

SAMPLE = Sample(
    container=target(image="influxdb:1.8"),
    options={"backup-port": 8088},
    facts=Facts("sh", ANSWERS),
    unsuitable=Facts("sh", dict.fromkeys(ANSWERS, NOT_FOUND)),
    streams={"influxdb": (Stream(TAR, needed=NEEDED),)},
)
