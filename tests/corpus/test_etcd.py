"""etcd: every kind of what it keeps; keys with their revisions and leases, users and roles have to be the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.ways import WAYS, Corpus, backed_up, into_newer, rows_in
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Sidecar, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROWS = rows_in("etcd.sh")
NAMES = " ".join(ROWS)
DIGEST = """
export ETCDCTL_API=3
digest() {
    case $1 in
        users)
            for user in $(etcdctl user list); do etcdctl user get $user --detail; done
            for role in $(etcdctl role list); do etcdctl role get $role; done ;;
        *)
            etcdctl get "$1/" --prefix --write-out=json | sed 's/"header":{[^}]*},//' ;;
    esac 2>&1 | sha256sum | cut -c 1-64
}
"""
CORPUS = Corpus(
    "etcd",
    "ETCD",
    {"strategy": "etcd"},
    fill="set -e; export ETCDCTL_API=3\n" + "".join(ROWS.values()),
    note=f"{DIGEST}for row in {NAMES}; do etcdctl put noted/$row $(digest $row); done",
    differing=f"{DIGEST}for row in {NAMES}; do"
    ' [ "$(etcdctl get --print-value-only noted/$row)" = "$(digest $row)" ] || echo $row; done',
    destroy="for row in keys large many versions leases; do etcdctl del $row/ --prefix; done; etcdctl user delete bob;"
    " etcdctl put stray 1",
    write="n=0; while n=$((n + 1)); do etcdctl put busy/$n x; sleep 0.1; done",
    command=("etcd",),
    ready="etcdctl endpoint health",
    restarted_by_hand=True,
)


@pytest.mark.slow
def test_every_row_comes_back_by_each_way(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    make_images("etcd:3")
    there = backed_up(CORPUS, *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == {name: [] for name in WAYS}


@pytest.mark.slow
def test_every_row_of_an_older_server_comes_back_in_a_newer_one(stand: tuple[Sidecar, App]) -> None:
    """Debian 12 has etcd 3.4, Debian 13 has 3.5."""
    make_images("etcd34:1", "etcd:3")
    old = replace(CORPUS, service="etcd34", of="ETCD34")
    container, _ = into_newer(old, replace(CORPUS, service="etcd-newer"), *stand)
    within(container, "export ETCDCTL_API=3; etcdctl put keys/text other; etcdctl user revoke-role bob reader")
    assert old.differs(container) == ["keys", "users"], "what is another is seen"
