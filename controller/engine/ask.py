"""Small captured commands: probes, witnesses, pre and post commands."""

import re
import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from controller.core.errors import CommandFailed, StreamTruncated, TargetUnsuitable
from controller.core.grouping import grouped
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

SHELL_ARGV = ("sh", "-c", UNFOOLED + FIND_SHELL)
SHELLS: Mapping[str, Shell] = {"bash": "bash", "sh-pipefail": "sh-pipefail", "sh": "sh"}
"""By what it answers."""
SHELL = ""
"""The name of the question for it, which no probe has."""
SCRIPT_BYTES = 100 << 10
"""Of questions that are asked in one exec: Linux takes 128 KiB in one argument."""
CODE = re.compile(r"[0-9]{3}")

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
                    message = f"the answer of {argv[0]!r} is longer than {limit} bytes: {bytes(output[:80])!r}..."
                    raise CommandFailed(message, hint="Look at what the command prints in the container.")
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
    context, mark = context.within(timeout), secrets.token_hex(16)
    answers: dict[str, Answer] = {}
    for names, script in scripts(questions, mark):
        whole = ask(api, context, ("sh", "-c", script), timeout=timeout, limit=limit)
        answers |= parted(mark, names, whole)
    return answers


def scripts(questions: Mapping[str, Sequence[str]], mark: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The names of questions, in their order, and a script that asks as many of them as one argument can hold."""
    lines = {
        name: f"(exec {shlex.join(argv)}) </dev/null; printf '%s%03d' {mark} $?; echo {mark} >&2\n"
        for name, argv in questions.items()
    }
    for names in grouped(lines, lambda name: len(lines[name].encode()), SCRIPT_BYTES):
        yield tuple(names), REAPING + "".join(lines[name] for name in names)


def parted(mark: str, names: tuple[str, ...], whole: Answer) -> Mapping[str, Answer]:
    outputs, errors = whole.stdout.split(mark), whole.stderr.split(mark + "\n")
    if len(outputs) != len(names) + 1:
        raise CommandFailed("the probes were ended before all had answered", exit_code=whole.code, stderr=whole.stderr)
    answers = {}
    for index, name in enumerate(names):
        before, after = outputs[index], outputs[index + 1]
        output = before if index == 0 else before[3:]
        from_end = index - len(names) - 1
        error = errors[from_end] if -from_end <= len(errors) else ""
        if not CODE.match(after):
            message = "the probes were answered by somebody else than the shell that was asked"
            raise CommandFailed(message, hint="Look at what `sh` is in the container.", stderr=whole.stderr)
        answers[name] = Answer(int(after[:3]), output, error)
    return answers


def probe(
    api: Api, context: ExecContext, questions: Mapping[str, Sequence[str]], *, timeout: float, limit: int
) -> tuple[Shell | None, Mapping[str, Answer]]:
    """See `Engine.probe`. Most targets have a shell; where that fails in any way, it is looked for by itself."""
    asked, supposed = {SHELL: SHELL_ARGV, **questions}, SHELLS["sh"]
    with suppress(CommandFailed, StreamTruncated):
        answers = dict(ask_all(api, replace(context, shell=supposed), asked, timeout=timeout, limit=limit))
        if shell := SHELLS.get(_last_line(answers.pop(SHELL))):
            return shell, answers
    shell = find_shell(api, context)
    return shell, ask_all(api, replace(context, shell=shell), questions, timeout=timeout, limit=limit)


def find_shell(api: Api, context: ExecContext, *, timeout: float = 10.0) -> Shell | None:
    """See `Engine.find_shell`."""
    answer = ask(api, replace(context, shell=None), SHELL_ARGV, timeout=timeout, limit=4096)
    for words, code, label in UNSTARTED:
        if answer.code == 126 and words in answer.stderr:
            reason = answer.stderr.strip().splitlines()[-1]
            raise TargetUnsuitable(
                f"nothing can be started in it: {reason}", hint=f"Correct backup.{label}.", code=code
            )
    if CROWDED.search(answer.stderr):
        message = f"nothing more can be started in it: {answer.complaint}"
        raise TargetUnsuitable(message, hint=CROWDED_REMEDY, code="pids-limit")
    return SHELLS.get(_last_line(answer))


def _last_line(answer: Answer) -> str:
    return answer.stdout.strip().rpartition("\n")[2]
