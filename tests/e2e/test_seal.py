"""The seal's table: each row in dash, BusyBox and bash, on the real engine."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.core.errors import Cancelled, CommandFailed, SidecarError, Stalled, TargetUnsuitable, TimedOut
from controller.engine import seal
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.engine.models import ExecResult
from strategies.base import Shell
from tests.e2e.engine_fixtures import DISTROLESS, PYTHON, container, docker, shell_container
from tests.kit.fault_proxy import Fault, FaultProxy
from tests.kit.few import few
from tests.kit.stage import eventually

pytestmark = pytest.mark.e2e

SHELLS: dict[str, Shell] = {"dash": "bash", "busybox": "sh-pipefail", "bash": "bash"}


@pytest.fixture(scope="module", params=few(SHELLS, "dash", "busybox"))
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def target(shell: str) -> Iterator[str]:
    with shell_container(shell) as made:
        yield made


def run(engine: Engine, target: str, *argv: str, **options: object) -> tuple[bytes, ExecResult]:
    context = ExecContext(target, "sh", run="run-of-the-table", **options)  # type: ignore[arg-type]
    with engine.exec(context, argv) as stream:
        output = b"".join(stream)
    return output, stream.result


def sleepers(target: str) -> set[str]:
    """For how many seconds which `sleep` of the container sleeps; that of a test has a number of its own."""
    look = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null"
    lines = docker("exec", target, "sh", "-c", look).splitlines()
    return {line.split()[1] for line in lines if line.startswith("sleep ")}


@pytest.mark.parametrize(
    ("argv", "output", "code"),
    [
        pytest.param(("echo", "hello"), b"hello\n", 0, id="success"),
        pytest.param(("printf", "hello"), b"hello", 0, id="output without newline"),
        pytest.param(("true",), b"", 0, id="no output"),
        pytest.param(("sh", "-c", "echo part; exit 7"), b"part\n", 7, id="exit code after output"),
        pytest.param(("sh", "-c", "kill -KILL $$"), b"", 137, id="killed"),
        pytest.param(("sh", "-c", "kill -TERM $$"), b"", 143, id="terminated"),
        pytest.param(("no-such-command",), b"", 127, id="missing command"),
        pytest.param(("/etc",), b"", 126, id="not executable"),
        pytest.param(("exit", "0"), b"", 127, id="builtin exit is not run"),
        pytest.param(("exec", "true"), b"", 127, id="builtin exec is not run"),
        pytest.param(("sh", "-c", "exec echo replaced"), b"replaced\n", 0, id="exec within"),
        pytest.param(("sh", "-c", "(sleep 1; echo late) & echo now"), b"now\nlate\n", 0, id="late background output"),
        pytest.param(
            *(("sh", "-c", "exec 5>&1; echo one; (sleep 1; echo two >&5) >/dev/null &"), b"one\ntwo\n", 0),
            id="late on another descriptor",
        ),
        pytest.param(
            *(("su", "-s", "/bin/sh", "nobody", "-c", "(sleep 1; echo late) & echo now"), b"now\nlate\n", 0),
            id="late, by another user",
        ),
        pytest.param(
            *(("setsid", "sh", "-c", "(sleep 1; echo late) & echo now"), b"now\nlate\n", 0),
            id="late, in a session of its own",
        ),
        pytest.param(("sh", "-c", "cat; echo done"), b"done\n", 0, id="standard input is empty"),
        pytest.param(("sh", "-c", "cat <&3; echo done"), b"done\n", 0, id="the wrapper's input is out of reach"),
        pytest.param(("sh", "-c", "echo one; exec >&-; sleep 1; exit 4"), b"one\n", 4, id="closes its output"),
        pytest.param(("printf", "%032d000", "0"), b"0" * 35, 0, id="looks like a seal"),
        pytest.param(("printf", "000"), b"000", 0, id="looks like a code"),
        pytest.param(("printf", "a b", ""), b"a b", 0, id="empty argument"),
    ],
)
def test_the_command_ends_as_it_would_alone(
    engine: Engine, target: str, argv: tuple[str, ...], output: bytes, code: int
) -> None:
    got, result = run(engine, target, *argv)
    assert (got, result.code, result.sealed) == (output, code, True)


def test_the_command_cannot_find_the_seal(engine: Engine, target: str) -> None:
    look = "set; env; cat /proc/$PPID/environ /proc/$PPID/cmdline /proc/$$/environ | tr '\\0' '\\n'"
    context = ExecContext(target, "sh", run="r", environment={"BACKUP_SEAL": "mine"})
    with engine.exec(context, ("sh", "-c", look)) as stream:
        seen = b"".join(stream)
        assert stream._seal is not None
        assert len(stream._seal.token) == 32
        assert stream._seal.token not in seen
    assert b"BACKUP_RUN=r" in seen
    assert stream.result.code == 0


def test_a_background_child_with_other_output_is_ended(engine: Engine, target: str) -> None:
    output, result = run(engine, target, "sh", "-c", "sleep 4321 >/dev/null 2>&1 & echo started")
    assert (output, result.code) == (b"started\n", 0)
    time.sleep(0.3)
    assert "4321" not in sleepers(target)


def test_a_background_child_that_keeps_the_output_fails_the_command(
    engine: Engine, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "WHOLE", seal.WHOLE.replace("PATIENCE=10", "PATIENCE=2"))
    output, result = run(engine, target, "sh", "-c", "sleep 4322 & echo started")
    assert (output, result.code) == (b"started\n", 125)
    assert "still holds its output" in result.stderr
    time.sleep(0.3)
    assert "4322" not in sleepers(target)


def test_what_a_lasting_command_started_lives_on(engine: Engine, target: str) -> None:
    context = ExecContext(target, "sh", run="lasting", lasting=True, environment={"BACKUP_RUN": "of the test"})
    with engine.exec(context, ("sh", "-c", "setsid sleep 4331 & sleep 4332 & exit 3")) as stream:
        output = b"".join(stream)

    assert (output, stream.result.code) == (b"", 3)
    assert engine.kill(ExecContext(target, run="lasting")) == ()
    assert {"4331", "4332"} <= sleepers(target)
    engine.kill(ExecContext(target, run="of the test"))


def test_what_left_the_group_and_became_another_users_is_ended(engine: Engine, target: str) -> None:
    leave = "setsid sleep 4333 >/dev/null 2>&1 & sleep 3"
    run(engine, target, "su", "-s", "/bin/sh", "nobody", "-c", leave)
    assert "4333" in sleepers(target)
    context = ExecContext(target, run="run-of-the-table")

    assert engine.kill(context, age=0) == ()
    assert "4333" in sleepers(target), "it is older than that"
    assert engine.kill(context, age=600) == ()
    assert "4333" not in sleepers(target)


HOSTILE = {
    "SHELLOPTS": "errexit:nounset:noglob:noclobber:xtrace",
    **{
        f"BASH_FUNC_{name}%%": "() { builtin echo fooled; exit 0; }"
        for name in ["read", "printf", "echo", "kill", "cat", "["]
    },
}


def test_functions_and_options_of_the_target_change_nothing(engine: Engine, target: str) -> None:
    output, result = run(engine, target, "sh", "-c", "exit 3", environment=HOSTILE)
    assert (output, result.code) == (b"", 3)
    docker("exec", "-d", "-e", "BACKUP_RUN=hostile", target, "sleep", "4334")
    assert engine.kill(ExecContext(target, run="hostile")) == ()
    assert "4334" not in sleepers(target)


def test_a_shell_that_prints_at_its_start_is_named(engine: Engine) -> None:
    with shell_container("dash") as target:
        docker(
            "exec", target, "bash", "-c", "printf '#!/bin/bash\necho Welcome to ACME\nexec dash \"$@\"' >/bin/greeter"
        )
        docker("exec", target, "bash", "-c", "chmod +x /bin/greeter; ln -sf greeter /bin/sh")
        assert engine.find_shell(ExecContext(target)) == "bash"
        with pytest.raises(CommandFailed, match="Welcome to ACME") as failed:
            run(engine, target, "echo", "data")
    assert "what sh is" in failed.value.hint


@pytest.mark.parametrize("limit", [8])
def test_a_small_limit_of_processes_is_named_or_does_no_harm(engine: Engine, shell: str, limit: int) -> None:
    with shell_container(shell) as target:
        docker("update", f"--pids-limit={limit}", target)
        reason, ended = "", None
        try:
            engine.find_shell(ExecContext(target))
            ended = run(engine, target, "sh", "-c", "echo data; exit 5")
        except SidecarError as error:
            reason = f"{error.message} {error.hint}"
    if ended is None:
        assert "pids limit" in reason
    else:
        assert (ended[0], ended[1].code) == (b"data\n", 5) or "fork" in ended[1].stderr


@pytest.mark.parametrize("count", ["memory.events", "memory/memory.oom_control"], ids=["cgroup v2", "cgroup v1"])
def test_the_kernels_count_of_kills_for_memory_decides_over_the_exit_code(
    engine: Engine, shell: str, count: str
) -> None:
    """The count is a file of the test's, since a machine has only one of the two kinds."""
    path = f"/sys/fs/cgroup/{count}"
    with shell_container(shell, "--tmpfs", "/sys/fs/cgroup") as target:
        docker("exec", target, "sh", "-c", f"mkdir -p $(dirname {path}); echo oom_kill_disable 0 >{path}")
        docker("exec", target, "sh", "-c", f"echo oom_kill 1 >>{path}")

        before = run(engine, target, "echo", "data")[1]
        output, killed = run(engine, target, "sh", "-c", f"echo data; echo oom_kill 2 >>{path}")

    assert before.code == 0
    assert (output, killed.code) == (b"data\n", 137)
    assert "the kernel killed" in killed.stderr


def test_standard_error_is_apart_and_only_its_tail_is_kept(engine: Engine, target: str) -> None:
    noise = "head -c 8000000 /dev/zero | tr '\\0' x >&2; echo END >&2; echo data"
    output, result = run(engine, target, "sh", "-c", noise)
    assert output == b"data\n"
    assert result.stderr.endswith("xEND\n")
    assert len(result.stderr) <= 16 << 10


def test_closing_the_stream_ends_the_whole_group(engine: Engine, target: str) -> None:
    with engine.exec(ExecContext(target, "sh", run="r"), ("sh", "-c", "sleep 4323 | cat; echo")):
        time.sleep(0.5)
        assert "4323" in sleepers(target)
    time.sleep(0.5)
    assert "4323" not in sleepers(target)
    began = time.monotonic()
    assert engine.kill(ExecContext(target, run="r")) == ()
    assert time.monotonic() - began < 4, "the switch goes with those that it has ended"


REAP = """
import os, time
while True:
    try:
        print("a child ended with", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    except ChildProcessError:
        time.sleep(0.02)
"""


@pytest.mark.parametrize("kind", few(["dash", "bash"], "dash"))
def test_the_first_process_is_left_no_child_that_ended_badly(engine: Engine, kind: str) -> None:
    """PostgreSQL, where it is the first process, would take one for a crash of its own and start all over."""
    with container(PYTHON, "python3", "-c", REAP, options=()) as target:
        docker("exec", target, "ln", "-sf", kind, "/bin/sh")
        context = ExecContext(target, "sh", run="tidy")
        run(engine, target, "echo", "hello")
        run(engine, target, "sh", "-c", "exit 3")
        engine.ask_all(context, {"one": ("echo", "1"), "two": ("false",)})
        for _ in range(3):
            with pytest.raises(Stalled), engine.exec(replace(context, stall=0.3), ("sleep", "4351")) as stream:
                list(stream)
            with pytest.raises(SidecarError):
                engine.ask_all(context, {"one": ("sleep", "4352"), "two": ("sleep", "4353")}, timeout=0.5)
        with engine.exec(context, ("sleep", "4354")) as stream:
            eventually(lambda: "4354" in sleepers(target), what="it has begun: kill finds only what is there")
            assert engine.kill(context) == ()
            with pytest.raises(SidecarError):
                list(stream)
        eventually(lambda: not sleepers(target) & {"4351", "4352", "4353", "4354"}, what="all have ended")
        docker("exec", "--detach", target, "sh", "-c", "(sleep 0.1; exit 0) & exit")
        eventually(lambda: "a child ended with 0" in docker("logs", target), what="the last child is seen")

        assert set(docker("logs", target).splitlines()) == {"a child ended with 0"}


def test_end_reaches_what_left_the_group_and_ignores_term(engine: Engine, target: str) -> None:
    marked = ("exec", "-d", "-e", "BACKUP_RUN=stray", "-e", "LINES=a\nb", target)
    docker(*marked, "sh", "-c", "trap '' TERM; sleep 4324; sleep 4325")
    docker(*marked, "sleep", "4326")
    assert engine.kill(ExecContext(target, run="stray")) == ()
    assert sleepers(target) == {"36000"}
    assert engine.kill(ExecContext(target, run="never-was")) == ()


def test_the_shell_is_found(engine: Engine, shell: str, target: str) -> None:
    context = ExecContext(target)
    assert engine.find_shell(context) == SHELLS[shell]
    found, answers = engine.probe(context, {"one": ("echo", "1"), "none": ("no-such-command",)})
    assert (found, answers["one"].stdout, answers["none"].code) == (SHELLS[shell], "1\n", 127)
    assert answers.keys() == {"one", "none"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"user": "nobody-here"}, "no-such-user"),
        ({"user": "0:none-here"}, "no-such-user"),
        ({"workdir": "/nowhere"}, "no-such-workdir"),
        ({"workdir": "/etc/passwd"}, "no-such-workdir"),
    ],
)
def test_a_user_or_folder_that_is_not_there_is_not_taken_for_a_missing_shell(
    engine: Engine, target: str, options: dict[str, str], code: str
) -> None:
    with pytest.raises(TargetUnsuitable) as unsuitable:
        engine.probe(ExecContext(target, **options), {})  # type: ignore[arg-type]
    assert unsuitable.value.code == code
    assert f"backup.{next(iter(options))}" in unsuitable.value.hint


def test_several_questions_take_one_exec(engine: Engine, target: str) -> None:
    questions = {
        "fine": ("echo", "two words"),
        "odd": ("printf", "no newline"),
        "bad": ("sh", "-c", "echo why >&2; exit 3"),
        "none": ("no-such-command",),
    }
    together = engine.ask_all(ExecContext(target, "sh"), questions)
    alone = engine.ask_all(ExecContext(target, "sh"), {"odd": questions["odd"]})
    assert [(name, answer.code, answer.stdout) for name, answer in together.items()] == [
        ("fine", 0, "two words\n"),
        ("odd", 0, "no newline"),
        ("bad", 3, ""),
        ("none", 127, ""),
    ]
    assert together["bad"].stderr == "why\n"
    assert alone["odd"] == together["odd"]


def test_a_command_is_fed(engine: Engine, target: str) -> None:
    chunks = [b"x" * 1_000_000] * 20
    assert engine.feed(ExecContext(target), ("sh", "-c", "wc -c >&2"), chunks).stderr.strip() == "20000000"
    assert engine.feed(ExecContext(target), ("sh", "-c", "head -c 1 >/dev/null; exit 9"), chunks).code == 9
    assert engine.feed(ExecContext(target), ("true",), []).code == 0
    with pytest.raises(CommandFailed) as failed:
        engine.feed(ExecContext(target), ("no-such-command",), chunks)
    assert failed.value.exit_code in (126, 127)


def test_an_error_while_feeding_ends_the_command(engine: Engine, target: str) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engine.feed(ExecContext(target), ("sh", "-c", "cat; exec sleep 1"), broken())
    time.sleep(1.5)
    assert "1" not in sleepers(target)


@pytest.mark.parametrize("options", [{"user": "nobody-here"}, {"workdir": "/etc/passwd"}])
def test_what_cannot_start_is_an_error_and_no_data(engine: Engine, target: str, options: dict[str, str]) -> None:
    with pytest.raises(CommandFailed) as failed:
        run(engine, target, "true", **options)
    assert failed.value.exit_code in (126, 127)
    assert failed.value.stderr


def test_a_silent_command_stalls_and_is_ended(engine: Engine, target: str) -> None:
    with pytest.raises(Stalled):
        run(engine, target, "sh", "-c", "echo a; sleep 4327", stall=2.0)
    time.sleep(0.5)
    assert "4327" not in sleepers(target)


def test_a_command_that_traps_term_is_killed_at_its_deadline(engine: Engine, target: str) -> None:
    with pytest.raises(TimedOut):
        run(engine, target, "sh", "-c", "trap '' TERM; sleep 4328; sleep 4329", deadline=time.monotonic() + 1)
    eventually(lambda: not sleepers(target) & {"4328", "4329"}, what="both are killed")


def test_a_cancelled_stream_says_so(engine: Engine, target: str) -> None:
    with engine.exec(ExecContext(target, "sh", run="r"), ("cat", "/dev/zero")) as stream:
        chunks = iter(stream)
        next(chunks)
        stream.cancel()
        with pytest.raises(Cancelled):
            for _ in chunks:
                pass


@pytest.mark.parametrize("fault", [Fault(plain_200=True), Fault(coalesce=0.2), Fault(delay=0.15)], ids=str)
def test_a_slow_or_odd_proxy_changes_nothing(target: str, fault: Fault, tmp_path: Path) -> None:
    with FaultProxy(tmp_path, fault) as proxy:
        engine = Engine(proxy.address)
        assert run(engine, target, "echo", "hello")[0] == b"hello\n"
        engine.close()


def test_a_target_without_a_shell_is_read_unsealed(engine: Engine) -> None:
    found = subprocess.run(("docker", "image", "inspect", DISTROLESS), check=False, capture_output=True)
    if found.returncode:
        pytest.skip(f"no image {DISTROLESS}")
    with container(DISTROLESS) as target:
        shell, answers = engine.probe(ExecContext(target), {"one": ("no-such-command",)})
        assert (shell, answers["one"].code in (126, 127)) == (None, True)
        assert engine.ask(ExecContext(target), ("no-such-command",)).code in (126, 127)
        with engine.archive(ExecContext(target), "/etc") as archive:
            whole = b"".join(archive)
        assert whole.endswith(bytes(1024))
