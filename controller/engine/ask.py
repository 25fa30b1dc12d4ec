"""Small captured commands: probes, witnesses, pre and post commands."""

import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from controller.core.errors import CommandFailed, TargetUnsuitable
from controller.engine.api import Api
from controller.engine.context import ExecContext
from controller.engine.seal import REAPING, UNFOOLED
from controller.engine.stream import CROWDED, CROWDED_REMEDY, ExecStream
from strategies.base import Answer, Shell

FIND_SHELL = """
command -v cat >/dev/null || exit 0
if bash -c : 2>/dev/null; then echo bash
elif (set -o pipefail) 2>/dev/null; then echo sh-pipefail
else echo sh
fi
"""

UNSTARTED = (
    ("unable to find user", "no-such-user", "user"),
    ("unable to find group", "no-such-user", "user"),
    ("chdir", "no-such-workdir", "workdir"),
)
"""What the engine (moby 26.1, runc 1.1) says of an exec that it cannot start, though there may be a shell."""


def ask(api: Api, context: ExecContext, argv: Sequence[str], *, timeout: float, limit: int) -> Answer:
    """See `Engine.ask`."""
    stream = ExecStream(api, replace(context.within(timeout), stall=None), argv)
    output = bytearray()
    try:
        with stream:
            for chunk in stream:
                output += chunk
                if len(output) > limit:
                    raise CommandFailed(f"the command's answer is longer than {limit} bytes")
    except CommandFailed as error:
        if error.exit_code is None:
            raise
        return Answer(error.exit_code, "", error.stderr)
    return Answer(stream.result.code, output.decode("utf-8", "replace"), stream.result.stderr)


def ask_all(
    api: Api, context: ExecContext, questions: Mapping[str, Sequence[str]], *, timeout: float, limit: int
) -> Mapping[str, Answer]:
    """See `Engine.ask_all`. A random mark on both streams tells the answers apart."""
    if context.shell is None or len(questions) < 2:
        return {name: ask(api, context, argv, timeout=timeout, limit=limit) for name, argv in questions.items()}
    mark = secrets.token_hex(16)
    script = REAPING + "\n".join(
        f"(exec {shlex.join(argv)}) </dev/null; printf '%s%03d' {mark} $?; echo {mark} >&2"
        for argv in questions.values()
    )
    whole = ask(api, context, ("sh", "-c", script), timeout=timeout, limit=limit)
    return _parted(mark, tuple(questions), whole)


def _parted(mark: str, names: tuple[str, ...], whole: Answer) -> Mapping[str, Answer]:
    outputs, errors = whole.stdout.split(mark), whole.stderr.split(mark + "\n")
    if len(outputs) != len(names) + 1:
        raise CommandFailed("the probes were ended before all had answered", exit_code=whole.code, stderr=whole.stderr)
    answers = {}
    for index, name in enumerate(names):
        before, after = outputs[index], outputs[index + 1]
        output = before if index == 0 else before[3:]
        from_end = index - len(names) - 1
        error = errors[from_end] if -from_end <= len(errors) else ""
        answers[name] = Answer(int(after[:3]), output, error)
    return answers


def find_shell(api: Api, context: ExecContext, *, timeout: float = 10.0) -> Shell | None:
    """See `Engine.find_shell`."""
    answer = ask(api, replace(context, shell=None), ("sh", "-c", UNFOOLED + FIND_SHELL), timeout=timeout, limit=4096)
    for words, code, label in UNSTARTED:
        if answer.code == 126 and words in answer.stderr:
            reason = answer.stderr.strip().splitlines()[-1]
            raise TargetUnsuitable(
                f"nothing can be started in it: {reason}", hint=f"Correct backup.{label}.", code=code
            )
    if CROWDED.search(answer.stderr):
        message = f"nothing more can be started in it: {answer.complaint}"
        raise TargetUnsuitable(message, hint=CROWDED_REMEDY, code="pids-limit")
    shells: dict[str, Shell] = {"bash": "bash", "sh-pipefail": "sh-pipefail", "sh": "sh"}
    return shells.get(answer.stdout.strip().rpartition("\n")[2])
