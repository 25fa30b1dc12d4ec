import subprocess

import pytest
from pydantic import ValidationError

from strategies.base import Container, Facts, Unsuitable
from strategies.command import CommandOptions, CommandStrategy
from strategies.plan import Exec

CONTAINER = Container("1f", "shop-app-1", "shop:1")


def plan(*commands, shell="bash"):
    return CommandStrategy().plan(CONTAINER, Facts(shell), CommandOptions(commands=commands))


def run(*commands, shell="bash"):
    (dump,) = plan(*commands, shell=shell).dumps
    assert isinstance(dump.source, Exec)
    return subprocess.run(dump.source.argv, capture_output=True, text=True, check=False)


def test_commands_are_one_stream():
    assert run("printf a", ("printf", "%s", "two words"), "printf b # and a comment").stdout == "atwo wordsb"


def test_the_first_failure_ends_the_stream_with_its_code():
    done = run("printf a", "sh -c 'exit 3'", "printf b")
    assert (done.stdout, done.returncode) == ("a", 3)


def test_a_failure_within_a_pipe_is_seen():
    assert run("false | cat").returncode == 1


def test_a_shell_without_pipefail_is_told():
    (warning,) = plan("false | cat", shell="sh").warnings
    assert warning.startswith("no-pipefail")
    assert plan("false | cat", shell="sh-pipefail").warnings == ()
    assert plan(("tool", "a|b"), shell="sh").warnings == ()


def test_a_single_argv_needs_no_shell():
    (dump,) = plan(("/tool", "--dump"), shell=None).dumps
    assert dump.source == Exec(("/tool", "--dump"))


def test_a_string_needs_a_shell():
    with pytest.raises(Unsuitable, match="no shell"):
        plan("tool --dump", shell=None)


def test_nothing_proves_the_format_of_a_users_own_command():
    (dump,) = plan("tool").dumps
    assert dump.check is None


def test_no_command_at_all_is_refused():
    with pytest.raises(ValidationError):
        CommandOptions(commands=())
