"""Ends what a run started inside a container, also what left its process group, or has become another user's."""

from controller.core.errors import CommandFailed, TargetDied, TargetGone
from controller.engine.api import Api
from controller.engine.ask import ask
from controller.engine.context import ExecContext
from controller.engine.seal import UNFOOLED

KILL = r"""
found() {
  for process in /proc/[0-9]*; do
    [ "$process" = "/proc/$$" ] && continue
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in *"BACKUP_RUN=$run"*) echo "${process#/proc/}"; break ;; esac
    done <"$process/environ"
  done 2>/dev/null
}
hidden() {
  read -r now rest </proc/uptime
  for process in /proc/[0-9]*; do
    true <"$process/environ" && continue
    read -r stat <"$process/stat" || continue
    set -- ${stat##*) }
    shift 19
    [ $((${now%.*} - $1 / 100)) -gt "$age" ] && continue
    while read -r name user rest; do
      [ "$name" = Uid: ] && echo "user $user" && break
    done <"$process/status"
  done 2>/dev/null
}
run=$1 age=$2
hidden
for signal in TERM:5 TERM:2 KILL:5; do
  patience=${signal#*:}
  for process in $(found); do kill -s "${signal%:*}" "$process" 2>/dev/null; done
  while [ -n "$(found)" ] && [ "$patience" -gt 0 ]; do sleep 1; patience=$((patience - 1)); done
done
for process in $(found); do
  read -r name <"/proc/$process/comm"
  echo "left $process $name"
done 2>/dev/null
"""
"""Shell builtins only, but for `sleep`. TERM twice, since the first may have been lost, as in the wrapper's switch. The
environment of a zombie is empty, so zombies are not found.

Root without ptrace rights cannot read another user's environment (ptrace(2), access mode checks): such users are
named, if they have a process that is not older than `age` seconds (proc(5): field 22 of `stat`, in hundredths).
"""
KILL_SECONDS = 30.0
"""What it may take, also beyond the deadline of the run that is ended."""
USERS = 16
"""So many other users of a container are looked at."""


def kill(api: Api, context: ExecContext, age: float) -> tuple[str, ...]:
    """See `Engine.kill`. A container that is gone or stopped has nothing left."""
    left, users = _kill(api, context, age, context.user)
    for user in sorted(users)[:USERS]:
        left += _kill(api, context, age, user)[0]
    return tuple(left)


def _kill(api: Api, context: ExecContext, age: float, user: str) -> tuple[list[str], set[str]]:
    """End what one user may see: `pid name` of what is left, and the users whose processes cannot be looked at."""
    unmarked = ExecContext(context.container, user=user, workdir="/")
    argv = ("sh", "-c", UNFOOLED + KILL, "backup", context.run, str(int(age) + 1))
    try:
        answer = ask(api, unmarked, argv, timeout=KILL_SECONDS, limit=1 << 20)
    except (TargetGone, TargetDied):
        return [], set()
    if not answer.ok:
        message = f"could not look for what run {context.run} left behind: {answer.complaint}"
        raise CommandFailed(message, hint="Look in the container, or restart it.", exit_code=answer.code)
    lines = [line.partition(" ") for line in answer.stdout.splitlines()]
    left = [what for kind, _, what in lines if kind == "left"]
    return left, {what for kind, _, what in lines if kind == "user"}
