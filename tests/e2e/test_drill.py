"""Drills: what was backed up is restored into a throw-away container and compared, and nothing is left of it."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml

from tests.kit import stage
from tests.kit.few import few
from tests.kit.second_engine import make_images
from tests.kit.stage import STORE, WORK, App, Json, Sidecar, acts, docker, eventually, execute, image, said, within

pytestmark = pytest.mark.e2e

LABEL = "backup-sidecar.drill"
Allowed = tuple[Sidecar, App]


@pytest.fixture(scope="module")
def allowed(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Allowed]:
    """A sidecar that may create containers, in a project of its own."""
    folder = tmp_path_factory.mktemp("drills")
    settings = {
        "schema": 1,
        "policy": {"create-containers": True},
        "drills": {"memory": "512MiB", "timeout": "3m"},
        "defaults": {"schedule": "none", "retention": {"keep-last": 100}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"sidecar-drill-{secrets.token_hex(3)}", folder, token) as (running, app):
        yield running, app


def drilled(sidecar: Sidecar, service: str, *arguments: str) -> Json:
    """How a drill ended, as the command tells it."""
    done = sidecar.cli("drill", sidecar.key(service), "--json", *arguments)
    assert done.stdout, done.stderr
    found: Json = json.loads(done.stdout)
    assert (done.returncode == 0) == (found["state"] == "passed")
    assert throwaways(found["id"]) == []
    return found


def throwaways(drill: str) -> list[str]:
    """Ids of the containers of a drill, running or not."""
    return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}={drill}").split()


@dataclass(frozen=True)
class Kind:
    """A strategy with real data: how its server starts, what fills it, and what takes one thing away."""

    of: str
    labels: dict[str, str]
    fill: str
    lose: str
    lost: str
    """What is missing then, as the comparison calls it."""
    check: str
    """A command that is true of the data."""
    spoil: str
    """Makes it false, which no count tells."""
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = stage.SLEEP
    ready: str = "true"
    environment: dict[str, str] = field(default_factory=dict)
    made: str = ""
    """The image that has to be made for it."""
    numbers: str = ""
    """How the comparison tells what was and what is, where that is known here."""

    def start(self, app: App, service: str, check: str = "") -> str:
        if self.made:
            make_images(self.made)
        options = [*self.options, *(f"--env={name}={value}" for name, value in self.environment.items())]
        labels = self.labels | ({"drill.check": check} if check else {})
        container = app.target(service, labels, *options, of=self.of, command=self.command)
        ready = ("docker", "exec", container, "sh", "-c", self.ready)
        eventually(lambda: execute(*ready).returncode == 0, seconds=90, what=f"{service} is ready")
        within(container, self.fill)
        return container


PASSWORD = 'it\'s "drilled" $x'
SQL = "psql -q -v ON_ERROR_STOP=1 -U keeper"
MARIADB = 'MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb -uroot'
PYTHON = """python3 -c 'import sqlite3; sqlite3.connect("/srv/shop.db").executescript("{}")'"""
BASE = "dc=example,dc=org"
ADMIN = f"-x -H ldapi:/// -D cn=admin,{BASE} -w admin"
POINTS = "printf '# DML\\n# CONTEXT-DATABASE: shop\\n' >/tmp/points;"
CPU = (
    f"influx -execute 'CREATE DATABASE shop'; {POINTS}"
    " for n in $(seq 300); do echo cpu,host=h$((n % 9)) v=$n $n; done >>/tmp/points;"
)
RABBIT = 'ctl() { rabbitmqctl -q "$@"; }'
QUEUES = json.dumps(
    {
        "queues": [
            {"vhost": "/", "name": name, "durable": True, "auto_delete": False, "arguments": {}}
            for name in ("kept", "lost")
        ]
    }
)
KINDS = {
    "filesystem": Kind(
        "DEBIAN",
        {"strategy": "filesystem", "filesystem.paths": "/srv/data"},
        "mkdir -p /srv/data/a; seq 100000 >/srv/data/a/numbers; ln -s a/numbers /srv/data/link; echo x >/srv/data/lost",
        "rm /srv/data/lost",
        "files",
        "test $(tail -n 1 /restore-*/srv/data/link) = 100000",
        "sed -i '$s/1/2/' /srv/data/a/numbers",
    ),
    "busybox": Kind(
        "BUSYBOX",
        {"strategy": "filesystem", "filesystem.paths": "/srv/data"},
        "mkdir -p /srv/data; seq 100000 >/srv/data/numbers; echo x >/srv/data/lost",
        "rm /srv/data/lost",
        "files",
        "test $(tail -n 1 /restore-*/srv/data/numbers) = 100000",
        "sed -i '$s/1/2/' /srv/data/numbers",
    ),
    "sqlite": Kind(
        "SQLITE",
        {"strategy": "sqlite", "sqlite.paths": "/srv/shop.db"},
        "sqlite3 /srv/shop.db 'PRAGMA journal_mode = wal; CREATE TABLE item AS SELECT value FROM "
        "generate_series(1, 5000); CREATE TABLE lost AS SELECT 1 AS x'",
        "sqlite3 /srv/shop.db 'DROP TABLE lost'",
        "lost",
        "test $(sqlite3 /srv/shop.db 'SELECT sum(value) FROM item') = 12502500",
        "sqlite3 /srv/shop.db 'UPDATE item SET value = 7 WHERE value = 1'",
    ),
    "clientless": Kind(
        "PYTHON",
        {"strategy": "sqlite", "sqlite.paths": "/srv/shop.db", "user": "nobody"},
        PYTHON.format(
            "CREATE TABLE item AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 5000) "
            "SELECT x AS value FROM n; CREATE TABLE lost AS SELECT 1 AS x"
        ),
        PYTHON.format("DROP TABLE lost"),
        "lost",
        'python3 -c \'import sqlite3; shop = sqlite3.connect("/srv/shop.db"); '
        'assert shop.execute("SELECT sum(value) FROM item").fetchone() == (12502500,)\'',
        PYTHON.format("UPDATE item SET value = 7 WHERE value = 1"),
        options=("--volume", "/srv"),
    ),
    "redis": Kind(
        "REDIS",
        {"strategy": "redis"},
        'for n in $(seq 3000); do echo "HSET user:$n name n$n"; done | redis-cli --pipe; redis-cli -n 3 SET lost x',
        "redis-cli -n 3 DEL lost",
        "keys in db3",
        'test "$(redis-cli HGET user:77 name)" = n77',
        "redis-cli HSET user:77 name nobody",
        command=("redis-server", "--save", "", "--requirepass", PASSWORD),
        ready="redis-cli PING | grep PONG",
        environment={"REDISCLI_AUTH": PASSWORD},
    ),
    "postgres": Kind(
        "POSTGRES",
        {"strategy": "postgres", "postgres.databases": "bank"},
        f"{SQL} bank -c 'CREATE TABLE account AS SELECT generate_series(1, 5000) AS id; CREATE TABLE lost AS SELECT 1'",
        f"{SQL} bank -c 'DROP TABLE lost'",
        "rows of public.lost",
        f'test "$({SQL} bank -At -c "SELECT sum(id) FROM account")" = 12502500',
        f"{SQL} bank -c 'UPDATE account SET id = 7 WHERE id = 1'",
        command=("postgres", "-c", "fsync=off"),
        ready="pg_isready -h 127.0.0.1",
        environment={"POSTGRES_USER": "keeper", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "bank"},
    ),
    "mariadb": Kind(
        "MARIADB",
        {"strategy": "mariadb", "mysql.databases": "shop"},
        f"{MARIADB} shop -e 'CREATE TABLE item AS SELECT seq AS id FROM seq_1_to_5000; CREATE TABLE lost AS SELECT 1'",
        f"{MARIADB} shop -e 'DROP TABLE lost'",
        "rows of lost",
        f'test "$({MARIADB} -N shop -e "SELECT sum(id) FROM item")" = 12502500',
        f"{MARIADB} shop -e 'UPDATE item SET id = 7 WHERE id = 1'",
        command=("mariadbd", "--innodb-flush-log-at-trx-commit=0"),
        ready='MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb-admin -h127.0.0.1 -uroot ping',
        environment={"MARIADB_ROOT_PASSWORD": PASSWORD, "MARIADB_DATABASE": "shop"},
    ),
    "openldap": Kind(
        "OPENLDAP",
        {"strategy": "openldap"},
        f"""{{ for n in $(seq 300); do printf 'dn: uid=u%s,{BASE}\\nobjectClass: account\\nuid: u%s\\n\\n' $n $n; done
            printf 'dn: cn=lost,{BASE}\\nobjectClass: device\\ncn: lost\\n'; }} | ldapadd {ADMIN}""",
        f"ldapdelete {ADMIN} cn=lost,{BASE}",
        "entries of device",
        f"ldapsearch {ADMIN} -LLL -b {BASE} uid=u77 description | grep -c . | grep -qx 1",
        f"printf 'dn: uid=u77,{BASE}\\nchangetype: modify\\nadd: description\\ndescription: x\\n' | ldapmodify {ADMIN}",
        command=("slapd",),
        ready="ldapsearch -x -H ldapi:/// -s base -b ''",
        made="openldap:2",
        numbers=": none, 1 were counted",
    ),
    "etcd": Kind(
        "ETCD",
        {"strategy": "etcd"},
        "for n in $(seq 30); do etcdctl put user/$n n$n; done; etcdctl put lost 1",
        "etcdctl del lost",
        "keys in etcd",
        'test "$(etcdctl get user/7 --print-value-only)" = n7',
        "etcdctl put user/7 nobody",
        command=("etcd",),
        ready="etcdctl endpoint health",
        made="etcd:3",
        numbers=": 30, 31 were counted",
    ),
    "influxdb": Kind(
        "INFLUXDB",
        {"strategy": "influxdb"},
        f"{CPU} echo lost v=1 1 >>/tmp/points; influx -import -path /tmp/points",
        # What is only deleted is in the server's files, and so in a backup, until they are compacted.
        f"influx -execute 'DROP DATABASE shop'; {CPU} influx -import -path /tmp/points",
        "series of lost",
        "influx -database shop -format csv -execute 'SELECT sum(v) FROM cpu' | grep -qx cpu,0,45150",
        f"{POINTS} echo cpu,host=h7 v=9 7 >>/tmp/points; influx -import -path /tmp/points",
        command=("influxd",),
        ready="influx -execute 'SHOW DATABASES'",
        made="influxdb:1",
        numbers=": none, 1 were counted",
    ),
    "rabbitmq": Kind(
        "RABBITMQ",
        {"strategy": "rabbitmq"},
        f"""{RABBIT}; echo '{QUEUES}' >/tmp/made; ctl import_definitions /tmp/made --format json;
            ctl set_policy ttl '^q' '{{"message-ttl": 60000}}'""",
        f"{RABBIT}; ctl delete_queue lost",
        "queues",
        "rabbitmqctl -q list_policies | grep -q 60000",
        f"""{RABBIT}; ctl set_policy ttl '^q' '{{"message-ttl": 7}}'""",
        command=("rabbitmq-server",),
        ready="grep -qrs 'Server startup complete' /var/log/rabbitmq",
        made="rabbitmq:4",
        numbers=": 1, 2 were counted",
    ),
}
each = pytest.mark.parametrize("name", few(KINDS, "sqlite"))

CUT = """
import hashlib, json, pathlib, sys
folder, how = pathlib.Path(sys.argv[1]), sys.argv[2]
path = next(path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix == ".zst")
content = bytearray(path.read_bytes())
if how == "flip":
    content[len(content) // 2] ^= 1
else:
    del content[len(content) // 2:]
path.write_bytes(content)
"""
SWAP = """
import json, pathlib, shutil, sys
first, second = map(pathlib.Path, sys.argv[1:3])
manifest, other = (json.loads((folder / "manifest.json").read_text()) for folder in (first, second))
for mine, theirs in zip(manifest["artifacts"], other["artifacts"]):
    shutil.copy(second / theirs["name"], first / mine["name"])
    mine |= {key: theirs[key] for key in ("size", "sha256", "plain_size", "plain_sha256")}
(first / "manifest.json").write_text(json.dumps(manifest))
"""


def in_store(sidecar: Sidecar, program: str, *arguments: str) -> None:
    """Run Python in the sidecar's container."""
    docker("exec", "--interactive", sidecar.container, "python", "-", *arguments, input=program.encode())


def folder_of(sidecar: Sidecar, service: str, report: Json) -> str:
    return f"{STORE}/{sidecar.project}/{service}/{report['id']}"


@pytest.mark.timeout(600)
@each
def test_what_was_backed_up_is_restored_compared_and_checked_and_what_is_wrong_with_it_is_named(
    name: str, allowed: Allowed
) -> None:
    (sidecar, app), kind = allowed, KINDS[name]
    container = kind.start(app, name, kind.check)
    state = docker("inspect", "--format={{.State.StartedAt}} {{.RestartCount}}", container)
    whole = sidecar.backup(name)

    good = drilled(sidecar, name)

    assert good["state"] == "passed", good
    assert good["run"] == whole["id"]
    assert kind.lost in {row["what"] for row in good["compared"]}
    assert all(row["dumped"] == row["restored"] for row in good["compared"])
    assert good["check"] is not None
    source = sidecar.container if name == "clientless" else container
    assert good["image"] == docker("inspect", "--format={{.Image}}", source)

    # A dump that lacks something, with a manifest whose digests are right.
    within(container, kind.lose)
    lacking = sidecar.backup(name)
    sidecar.unmark(folder_of(sidecar, name, whole))
    in_store(sidecar, SWAP, folder_of(sidecar, name, whole), folder_of(sidecar, name, lacking))
    bad = drilled(sidecar, name, "--run", whole["id"])
    assert (bad["state"], bad["failure"]["code"]) == ("failed", "counts-differ"), bad
    assert kind.lost in bad["failure"]["message"]
    assert kind.numbers in bad["failure"]["message"]

    for how in ("flip", "cut"):
        broken = sidecar.backup(name)
        in_store(sidecar, CUT, folder_of(sidecar, name, broken), how)
        bad = drilled(sidecar, name, "--run", broken["id"])
        assert (bad["state"], bad["failure"]["code"]) == ("failed", "damaged"), (how, bad)

    # Data of which the check is not true, though it is all there.
    within(container, kind.spoil)
    sidecar.backup(name)
    bad = drilled(sidecar, name)
    assert (bad["state"], bad["failure"]["code"]) == ("failed", "check-failed"), bad
    assert all(row["dumped"] == row["restored"] for row in bad["compared"])

    told = sidecar.target(name)
    assert told["last_drill"]["id"] == bad["id"]
    assert told["last_good_drill"]["id"] == good["id"]
    assert f'backup_last_drill_timestamp_seconds{{target="{sidecar.key(name)}"}}' in sidecar.http.get("/metrics").text
    assert docker("inspect", "--format={{.State.StartedAt}} {{.RestartCount}}", container) == state
    assert PASSWORD not in json.dumps(told) + sidecar.log()


def test_a_throwaway_container_is_like_its_target_without_any_of_its_reach(allowed: Allowed) -> None:
    sidecar, app = allowed
    options = (
        "--publish",
        "127.0.0.1::6379",
        "--volume",
        "/srv/extra",
        "--shm-size",
        "32m",
        "--tmpfs",
        "/scratch:size=1m",
    )
    options += ("--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "SETUID", "--cap-add", "SETGID")
    options += ("--restart", "always", "--mount", "type=bind,source=/etc/hostname,target=/srv/name,readonly")
    options += ("--env", "REDIS_PASSWORD=never shown", "--label", "own=1", "--memory", "256m")
    command = ("redis-server", "--save", "", "--requirepass", "never shown")
    labels = {"strategy": "redis", "drill.check": "touch /tmp/reached; while [ ! -e /tmp/go ]; do sleep 0.1; done"}
    app.target("like", labels, *options, of="REDIS", command=command)
    sidecar.backup("like")

    drill = sidecar.admin.post(f"/v1/targets/{sidecar.key('like')}/drills").json()
    (container,) = eventually(lambda: throwaways(drill["id"]), seconds=60, what="a throw-away container")
    eventually(lambda: execute("docker", "exec", container, "test", "-e", "/tmp/reached").returncode == 0, seconds=60)
    found = json.loads(docker("inspect", container))[0]
    listed = sidecar.targets()
    docker("exec", container, "touch", "/tmp/go")
    eventually(lambda: sidecar.http.get(f"/v1/drills/{drill['id']}").json()["state"] == "passed", seconds=30)

    config, host = found["Config"], found["HostConfig"]
    assert config["Labels"] == {LABEL: drill["id"], "backup-sidecar.owner": config["Labels"]["backup-sidecar.owner"]}
    assert (config["Cmd"], config["Entrypoint"]) == ([*command], ["redis-entrypoint"])
    assert "REDIS_PASSWORD=never shown" in config["Env"]
    assert list(found["NetworkSettings"]["Networks"]) == ["none"]
    assert [mount["Type"] for mount in found["Mounts"]] == ["volume"], "the image's own"
    assert not host["Binds"]
    assert not host["PortBindings"]
    assert (host["RestartPolicy"]["Name"], host["Privileged"]) == ("no", False)
    added = sorted(name.removeprefix("CAP_") for name in host["CapAdd"])
    assert (added, host["CapDrop"]) == (["CHOWN", "SETGID", "SETUID"], ["ALL"])
    assert (host["Memory"], host["NanoCpus"], host["ShmSize"]) == (256 << 20, 10**9, 32 << 20)
    assert host["Tmpfs"] == {"/scratch": "size=1m"}
    assert all(target["container"]["id"] != container for target in listed.values())
    assert throwaways(drill["id"]) == []
    volume = found["Mounts"][0]["Name"]
    assert execute("docker", "volume", "inspect", volume).returncode != 0
    assert "never shown" not in sidecar.log() + json.dumps(sidecar.target("like"))


def test_a_check_that_is_not_true_fails_the_drill_with_what_it_said(allowed: Allowed) -> None:
    sidecar, app = allowed
    app.target(
        "unchecked", {"strategy": "filesystem", "filesystem.paths": "/etc", "drill.check": "echo no way; exit 4"}
    )
    sidecar.backup("unchecked")

    found = drilled(sidecar, "unchecked")

    assert (found["state"], found["failure"]["code"]) == ("failed", "check-failed")
    assert "exit code 4: no way" in found["failure"]["message"]
    shown = sidecar.cli("drill", sidecar.key("unchecked"))
    assert shown.returncode == 1
    assert "check-failed" in shown.stdout


def test_a_drill_never_touches_its_target(allowed: Allowed) -> None:
    sidecar, app = allowed
    container = app.target("untouched", {"strategy": "filesystem", "filesystem.paths": "/etc"})
    sidecar.backup("untouched")

    with acts(container) as done:
        assert drilled(sidecar, "untouched")["state"] == "passed"

    assert done == []


def test_a_sidecar_that_was_killed_in_the_middle_removes_its_container_at_the_next_start_and_no_other(
    allowed: Allowed,
) -> None:
    sidecar, app = allowed
    labels = {"strategy": "filesystem", "filesystem.paths": "/etc", "drill.check": "sleep 300"}
    app.target("killed", labels)
    sidecar.backup("killed")
    others = ("--label", f"{LABEL}=other", "--label", "backup-sidecar.owner=other", "--label", f"{stage.LABEL}=x")
    other = docker("run", "--detach", *others, stage.image("BUSYBOX"), "sleep", "infinity")
    try:
        drill = sidecar.admin.post(f"/v1/targets/{sidecar.key('killed')}/drills").json()["id"]
        eventually(lambda: throwaways(drill), seconds=60, what="a throw-away container")
        docker("kill", "--signal", "KILL", sidecar.container)
        assert throwaways(drill)
        docker("start", sidecar.container)
        eventually(lambda: not throwaways(drill), seconds=60, what="the dead one's is gone")
        assert throwaways("other") == [other]
        sidecar.is_back()
        assert "of a drill that died" in sidecar.log()
        report = sidecar.http.get(f"/v1/drills/{drill}").json()
        assert (report["state"], report["failure"]["code"]) == ("interrupted", "interrupted")
        assert sidecar.target("killed")["last_drill"]["state"] == "interrupted"
        assert "interrupted" in sidecar.cli("proof", sidecar.key("killed")).stdout
    finally:
        docker("rm", "--force", other)


def test_what_needs_a_file_that_is_bound_into_it_says_so(allowed: Allowed) -> None:
    sidecar, app = allowed
    options = ("--mount", "type=bind,source=/etc/hostname,target=/etc/x.conf,readonly")
    command = ("sh", "-c", "cat /etc/x.conf; exec sleep infinity")
    commands = {"commands.backup": "echo data", "commands.restore": "cat >/tmp/restored"}
    app.target("bound", commands, *options, command=command)
    sidecar.backup("bound")

    found = drilled(sidecar, "bound")

    assert found["state"] == "unsupported"
    assert found["failure"]["message"] == "unsupported: needs /etc/x.conf by bind mount"


SECRET_FILES = {
    "postgres": ("POSTGRES_PASSWORD", {"POSTGRES_USER": "keeper", "POSTGRES_DB": "bank"}),
    "mariadb": ("MARIADB_ROOT_PASSWORD", {"MARIADB_DATABASE": "shop"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SECRET_FILES)
def test_a_password_in_a_file_that_is_bound_into_it_is_another_one_in_the_drill_and_it_says_so(
    name: str, allowed: Allowed, tmp_path: Path
) -> None:
    """As Compose's `secrets` are."""
    (sidecar, app), (variable, environment) = allowed, SECRET_FILES[name]
    (tmp_path / "secret").write_text(PASSWORD)
    (tmp_path / "secret").chmod(0o444)
    kind, service = KINDS[name], f"{name}-secret"
    by_file = {what: getattr(kind, what).replace("$MARIADB_ROOT_PASSWORD", "$(cat /run/secrets/db)") for what in ASKED}
    bound = f"--mount=type=bind,source={tmp_path}/secret,target=/run/secrets/db,readonly"
    environment = environment | {f"{variable}_FILE": "/run/secrets/db"}
    kind = replace(kind, options=(bound,), environment=environment, **by_file)
    kind.start(app, service, f"{kind.check} && stat -c %a /run/secrets/db && cat /run/secrets/db")
    sidecar.backup(service)

    found = drilled(sidecar, service)

    assert found["state"] == "passed", found
    assert "other-password: /run/secrets/db holds a random one there, and not the target's" in found["remarks"]
    mode, password = found["check"].splitlines()
    assert (mode, len(password)) == ("444", 32)
    assert found["compared"]
    assert "other-password" in sidecar.cli("proof", sidecar.key(service)).stderr
    assert PASSWORD not in json.dumps(found) + sidecar.log()


ASKED = ("fill", "ready", "check")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--env", "REDIS_USER_FILE=/etc/x"), "/etc/x"),
        (("--env", "REDIS_PASSWORD_FILE=/etc/x", "--env", "TLS_KEY=/etc/x"), "/etc/x"),
    ],
    ids=["a user's name", "named twice"],
)
def test_a_file_that_may_be_more_than_a_password_is_needed(
    options: tuple[str, ...], said: str, allowed: Allowed
) -> None:
    sidecar, app = allowed
    bound = ("--mount", "type=bind,source=/etc/hostname,target=/etc/x,readonly", "--env", "REDISCLI_AUTH=known")
    name = f"{sidecar.project}-needy"
    app.target("needy", {"strategy": "redis"}, *bound, *options, of="REDIS", command=REDIS, name=name)
    sidecar.backup("needy")

    found = drilled(sidecar, "needy")
    docker("rm", "--force", "--volumes", name)

    assert (found["state"], found["failure"]["message"]) == ("unsupported", f"unsupported: needs {said} by bind mount")


REDIS = ("redis-server", "--save", "", "--requirepass", "known")


def test_a_container_that_does_not_start_alone_is_told_with_the_end_of_its_log(allowed: Allowed) -> None:
    sidecar, app = allowed
    main = "[ -e /data/here ] || [ $(hostname) = alone ] || { echo I need my data; exit 3; }; exec sleep infinity"
    commands = {"commands.backup": "echo data", "commands.restore": "cat >/tmp/restored"}
    app.target("alone", commands, command=("sh", "-c", main))
    sidecar.backup("alone")

    found = drilled(sidecar, "alone")

    assert (found["state"], found["failure"]["code"]) == ("unsupported", "unsupported")
    assert "exit code 3" in found["failure"]["message"]
    assert "I need my data" in found["failure"]["message"]


def test_a_command_is_drilled_by_its_own_restore_and_without_one_it_is_unsupported(allowed: Allowed) -> None:
    sidecar, app = allowed
    restore = {"commands.restore": "cat >/tmp/restored", "drill.check": "grep -qx 'my data' /tmp/restored"}
    app.target("own", {"commands.backup": "echo my data", **restore})
    app.target("other", {"commands.backup": "echo your data", **restore})
    app.target("oneway", {"commands.backup": "echo my data"})
    for service in ("own", "other", "oneway"):
        sidecar.backup(service)

    assert drilled(sidecar, "own")["state"] == "passed"
    assert drilled(sidecar, "other")["failure"]["code"] == "check-failed"
    found = drilled(sidecar, "oneway")

    assert found["state"] == "unsupported"
    assert "commands.restore" in found["failure"]["hint"]


def test_a_run_of_an_image_that_is_gone_is_drilled_with_the_present_one_and_it_says_so(allowed: Allowed) -> None:
    sidecar, app = allowed
    labels = {"strategy": "filesystem", "filesystem.paths": "/etc"}
    name = f"{sidecar.project}-updated"
    bare = docker("create", "--label", f"{stage.LABEL}={app.project}", image("DEBIAN"), "true")
    old = docker("commit", bare)  # Of a target it would bring the target's labels along, which count for nothing then.
    docker("rm", bare)
    docker("run", "--detach", *own_labels(app, "updated", labels), "--name", name, old, "sleep", "infinity")
    before = sidecar.backup("updated")
    docker("rm", "--force", name)
    docker("image", "rm", old)
    app.target("updated", labels, name=name)
    sidecar.wait("updated")

    found = drilled(sidecar, "updated")

    assert (found["state"], found["run"]) == ("passed", before["id"]), found
    assert found["remarks"][0].startswith("other-image")
    assert found["image"] == docker("inspect", "--format={{.Image}}", name) != old


def own_labels(app: App, service: str, labels: dict[str, str]) -> list[str]:
    told = {stage.PROJECT: app.project, stage.SERVICE: service, stage.LABEL: app.project, "backup.enable": "true"}
    told |= {f"backup.{key}": value for key, value in labels.items()}
    return ["--network", app.network, *(flag for pair in told.items() for flag in ("--label", "=".join(pair)))]


def test_without_the_operators_leave_nothing_is_created(sidecar: Sidecar, app: App) -> None:
    app.target("forbidden", {"strategy": "filesystem", "filesystem.paths": "/etc", "drill.check": "true"})
    sidecar.backup("forbidden")

    done = sidecar.cli("drill", sidecar.key("forbidden"))
    answer = sidecar.admin.post(f"/v1/targets/{sidecar.key('forbidden')}/drills")

    assert done.returncode == 1
    assert "policy.create-containers" in done.stderr
    assert (answer.status_code, answer.json()["type"]) == (403, "containers-forbidden")
    assert [problem["code"] for problem in sidecar.target("forbidden")["problems"]] == ["containers-forbidden"]
    owner = within(sidecar.container, f"cat {WORK}/identity")
    assert len(owner) == 26
    assert docker("ps", "--all", "--quiet", "--filter", f"label=backup-sidecar.owner={owner}") == ""


@pytest.mark.slow
def test_a_drill_beyond_its_deadline_ends_and_leaves_nothing(sidecar_image: str, token: str, tmp_path: Path) -> None:
    settings = {"schema": 1, "policy": {"create-containers": True}, "drills": {"timeout": "10s"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    tmp_path.chmod(0o755)
    labels = {"strategy": "filesystem", "filesystem.paths": "/etc", "drill.check": "sleep 300"}
    with stage.sidecar(f"sidecar-late-{secrets.token_hex(3)}", tmp_path, token) as (sidecar, app), app:
        app.target("late", labels)
        sidecar.backup("late")

        found = drilled(sidecar, "late")

    assert (found["state"], found["failure"]["code"]) == ("failed", "timeout")
    assert found["failure"]["hint"] == "Raise drills.timeout."
    assert 10 <= found["seconds"] < 20


def test_a_drill_is_cancelled_in_the_middle_of_its_check_and_one_that_waits_for_it_at_once(allowed: Allowed) -> None:
    sidecar, app = allowed
    labels = {"strategy": "filesystem", "filesystem.paths": "/etc", "drill.check": "touch /tmp/checking; sleep 300"}
    for service in ("checked", "waiting"):
        app.target(service, labels)
        sidecar.backup(service)
    checked, waiting = (
        sidecar.admin.post(f"/v1/targets/{sidecar.key(service)}/drills").json()["id"]
        for service in ("checked", "waiting")
    )

    def is_checking() -> bool:
        return any(said("docker", "exec", one, "ls", "/tmp/checking").returncode == 0 for one in throwaways(checked))

    eventually(is_checking, seconds=60, what="drill.check is under way")
    states = [json.loads(sidecar.cli("drills", "--json").stdout)[place]["state"] for place in (0, 1)]
    done = [sidecar.cli("cancel", drill) for drill in (waiting, checked)]

    assert states == ["queued", "running"]
    assert [one.returncode for one in done] == [0, 0], done
    assert throwaways(checked) == throwaways(waiting) == []


def test_the_proof_of_a_run_is_a_chain_that_anybody_can_follow(allowed: Allowed) -> None:
    sidecar, app = allowed
    container = app.target("proof", {"strategy": "filesystem", "filesystem.paths": "/etc"})
    report = sidecar.backup("proof")
    before = sidecar.cli("proof", sidecar.key("proof"))
    drilled(sidecar, "proof")

    chain = json.loads(sidecar.cli("proof", sidecar.key("proof"), "--json").stdout)
    shown = sidecar.cli("proof", sidecar.key("proof")).stdout

    assert "never rehearsed" in before.stdout
    assert (chain["run"], chain["proof"], chain["from"]["container"]) == (report["id"], "full", container)
    assert chain["artifacts"][0]["sha256"] == report["artifacts"][0]["sha256"]
    assert chain["drill"]["state"] == "passed"
    assert {row["what"] for row in chain["drill"]["compared"]} >= {"files", "bytes", "folders"}
    assert f"by backup-sidecar {chain['from']['sidecar']}, engine {chain['from']['engine']}" in shown
    for fact in (report["id"], container, report["artifacts"][0]["sha256"], "proved    full", "restored  passed"):
        assert fact in shown


@pytest.mark.parametrize("kind", few(["DEBIAN", "BUSYBOX"], "BUSYBOX"))
def test_files_of_a_container_without_root_are_drilled_and_restored(allowed: Allowed, kind: str) -> None:
    sidecar, app = allowed
    service = f"plain-{kind.lower()}"
    container = app.target(service, {"strategy": "filesystem"}, "--user=1000", "--volume=/data", of=kind)
    within(
        container, "mkdir /data/a; echo one >/data/a/one; chown -R 1000 /data; echo 0 >/data/zero; chmod 644 /data/zero"
    )
    sidecar.backup(service)

    drill = drilled(sidecar, service)
    assert any(remark.startswith("owners-not-set: 1 of its entries") for remark in drill["remarks"]), drill["remarks"]
    within(container, "echo two >/data/a/one; echo more >/data/more", user="1000")
    before = within(container, "cd /data; find . -exec stat -c '%n %u %g %a %y' {} + | sort")
    beside = sidecar.cli("restore", sidecar.key(service), "--json")
    report = json.loads(beside.stdout)
    assert (report["state"], report["beside"]) == ("succeeded", True), report
    assert (
        within(
            container,
            f"cat /var/tmp/restore-{report['run']}/data/a/one /tmp/restore-{report['run']}/data/a/one "
            "2>/dev/null || true",
        )
        == "one"
    )
    assert within(container, "cd /data; find . -exec stat -c '%n %u %g %a %y' {} + | sort") == before
    mirrored = json.loads(
        sidecar.cli("restore", sidecar.key(service), "--mirror", "--run", report["run"], "--json").stdout
    )
    assert mirrored["state"] == "succeeded", mirrored
    assert (
        within(container, "cd /data; find . -exec stat -c '%n %u' {} + | sort")
        == ". 1000\n./a 1000\n./a/one 1000\n./zero 1000"
    )


@pytest.mark.parametrize("options", few([(), ("--read-only", "--tmpfs=/tmp")], ()), ids=str)
def test_sqlite_of_a_container_without_root_is_drilled(allowed: Allowed, options: tuple[str, ...]) -> None:
    sidecar, app = allowed
    service = f"lite-{len(options)}"
    labels = {"strategy": "sqlite", "sqlite.paths": "/data/below/shop.db"}
    container = app.target(service, labels, "--user=1000:1000", "--volume=/data", *options, of="SQLITE")
    within(container, "mkdir /data/below; sqlite3 /data/below/shop.db 'CREATE TABLE item (x)'; chown -R 1000 /data")
    sidecar.backup(service)
    assert drilled(sidecar, service)["state"] == "passed"
