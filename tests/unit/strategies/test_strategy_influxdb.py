import gzip
import io
import tarfile

import pytest

from strategies.base import Answer, Facts, Unsuitable
from strategies.influxdb import Influxdb, InfluxdbOptions, whole_backup
from strategies.plan import Incomplete, RestoreRequest, StoredDump
from tests.contract.samples.influxdb import ANSWERS, SAMPLE, TAR


def plan(options=None, **answers):
    return Influxdb().plan(SAMPLE.container, Facts("sh", ANSWERS | answers), options or InfluxdbOptions())


def changed(change):
    """The backup with other members."""
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(TAR)) as old, tarfile.open(fileobj=made, mode="w") as new:
        for member in old.getmembers():
            content = old.extractfile(member).read() if member.isfile() else b""
            if (content := change(member.name, content)) is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return made.getvalue()


def check(text):
    return whole_backup(io.BytesIO(text), {})


def test_each_database_but_the_servers_own_is_a_dump_and_users_are_told_to_be_left_out():
    found = plan()
    assert [dump.subject for dump in found.dumps] == ['odd, "name', "shop"]
    assert found.warnings == ("left-out: 1 users, which no backup of InfluxDB 1 holds",)
    assert plan(users=Answer(0, "user,admin\n")).warnings == ()


@pytest.mark.parametrize("text", ["shop\n", "databases\n", "name,name\nother,shop\n"])
def test_what_is_no_list_of_databases_is_refused(text):
    with pytest.raises(Unsuitable) as refused:
        plan(databases=Answer(0, text))
    assert refused.value.code == "unreadable-answer"


def test_a_server_that_refuses_names_the_variables():
    with pytest.raises(Unsuitable) as refused:
        plan(databases=Answer(1, "", "ERR: unable to parse authentication credentials"))
    assert (refused.value.code, "INFLUX_USERNAME" in refused.value.hint) == ("refused", True)


def test_a_backup_whose_files_are_there_is_whole():
    assert check(changed(lambda name, content: content)) == ()


def test_what_is_only_deleted_is_told_to_come_back():
    def delete(name, content):
        if not name.endswith(".tar.gz"):
            return content
        shard = bytearray(gzip.decompress(content))
        path = b"shop/autogen/1/000000001-000000001.tombstone"
        shard[:100] = path.ljust(100, b"\0")
        return gzip.compress(bytes(shard))

    (told,) = check(changed(delete))
    assert told.startswith("deleted-comes-back: what was deleted from shop lies in its files")


@pytest.mark.parametrize(
    "change",
    [
        lambda name, content: None if name.endswith(".tar.gz") else content,
        lambda name, content: None if name.endswith(".meta") else content,
        lambda name, content: None if name.endswith(".manifest") else content,
        lambda name, content: content[:-9] if name.endswith(".tar.gz") else content,
        lambda name, content: content[:40] + b"x" + content[41:] if name.endswith(".tar.gz") else content,
        lambda name, content: b"{" if name.endswith(".manifest") else content,
        lambda name, content: b"[" * 9999 if name.endswith(".manifest") else content,
    ],
    ids=["no shard", "no meta", "no manifest", "cut shard", "changed shard", "no json", "deep json"],
)
def test_what_the_manifest_names_has_to_be_there_and_whole(change):
    with pytest.raises(Incomplete, match="manifest"):
        check(changed(change))


def test_databases_are_loaded_under_other_names_and_exchanged_afterwards():
    stored = (StoredDump("shop.influxdb.tar", "influxdb", "shop"),)
    request = RestoreRequest("r", stored, replace=True, restore="r1")
    found = Influxdb().restore(SAMPLE.container, SAMPLE.facts, InfluxdbOptions(), request)
    assert found.steps[0].argv[-2:] == ("shop", "restore-r1-0")
    assert found.counts["shop.influxdb.tar"].source.argv[-1] == "restore-r1-0"
    assert len(found.swap) == 1
