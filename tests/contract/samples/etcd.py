import gzip

from strategies.base import Answer, Facts
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target

ANSWERS = {
    "tools": Answer(0, "/usr/bin/etcdctl\n/usr/bin/etcdutl\n"),
    "health": Answer(0, "http://127.0.0.1:2379 is healthy: successfully committed proposal: took = 1.2ms\n"),
    "members": Answer(0, "8e9e05c52164694d, started, default, http://localhost:2380, http://localhost:2379, false\n"),
    "place": Answer(0, "http://127.0.0.1:2379\n/var/lib/etcd/default\n"),
}
SNAPSHOT = gzip.decompress((FOLDER / "snapshot.db.gz").read_bytes())

SAMPLE = Sample(
    container=target(image="etcd:3.5"),
    options={"port": 2379},
    facts=Facts("sh", ANSWERS),
    unsuitable=Facts("sh", dict.fromkeys(ANSWERS, NOT_FOUND)),
    streams={"etcd": (Stream(SNAPSHOT, needed=len(SNAPSHOT)),)},
)
