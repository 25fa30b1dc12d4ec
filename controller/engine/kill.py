"""Ends what a run started inside a container, also what left its process group."""

from controller.core.errors import CommandFailed, TargetDied, TargetGone
from controller.engine.api import Api
from controller.engine.ask import ask
from controller.engine.context import ExecContext

KILL = r"""
found() {
  for process in /proc/[0-9]*; do
    [ "$process" = "/proc/$$" ] && continue
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in *"BACKUP_RUN=$run"*) echo "${process#/proc/}"; break ;; esac
    done <"$process/environ"
  done 2>/dev/null
}
run=$1
for signal in TERM KILL; do
  patience=5
  for process in $(found); do kill -s "$signal" "$process" 2>/dev/null; done
  while [ -n "$(found)" ] && [ "$patience" -gt 0 ]; do sleep 1; patience=$((patience - 1)); done
done
for process in $(found); do
  read -r name <"/proc/$process/comm"
  echo "$process $name"
done 2>/dev/null
"""
"""Shell builtins only, but for `sleep`. The environment of a zombie is empty, so zombies are not found."""
KILL_SECONDS = 30.0
"""What it may take, also beyond the deadline of the run that is ended."""


def kill(api: Api, context: ExecContext) -> tuple[str, ...]:
    """See `Engine.kill`. A container that is gone or stopped has nothing left.

    Sees processes of the same user only: root without ptrace rights cannot read another user's environment.
    """
    unmarked = ExecContext(context.container, user=context.user, workdir="/")
    argv = ("sh", "-c", KILL, "backup", context.run)
    try:
        answer = ask(api, unmarked, argv, timeout=KILL_SECONDS, limit=1 << 20)
    except (TargetGone, TargetDied):
        return ()
    if not answer.ok:
        message = f"could not look for what run {context.run} left behind: {answer.complaint}"
        raise CommandFailed(message, hint="Look in the container, or restart it.", exit_code=answer.code)
    return tuple(answer.stdout.splitlines())
