r"""The seal: how a stream proves that it arrived whole, and how a command ends when nobody listens any more.

The engine drops an exec's tail when the reader lags 2 s behind the process's end (moby, daemon/monitor.go), and a
killed container, a cut connection and a dead proxy look like a normal end. So a command runs under a wrapper in the
target's `sh`, which behaves alike in dash, BusyBox and bash:

1. The seal, random for each exec, comes as the first line of standard input, not by the environment:
   `/proc/PID/environ` of the wrapper could be read by the command. `set +a` keeps the shell from exporting it.
2. The first line on standard error is the run's marker and the wrapper's pid, which is also that of its process
   group, since the engine makes each exec the leader of its own session.
3. The switch, a subshell, reads standard input: a newline answers the seal; its end, because our socket was closed or
   our process died, ends the group: TERM, and KILL to what is left after 5 s. Each second it looks whether it is
   alone (proc(5): state, parent and group follow the name in `stat`), so that nobody waits for it in vain.
4. The command is `exec`ed in a subshell, so that builtins such as `exit` or `exec` end that and not the wrapper, with
   empty standard input. 126 and 127 are the shell's codes for a command that it cannot run.
5. Whatever else still holds standard output, as `>(gzip)` of bash or a child in the background do, may still write
   to it. It gets 10 s to finish; after that the command has failed with 125, because nobody could tell whether
   all has come.
6. A child that the kernel kills for memory under a shell, or in a pipe, leaves exit code 0 behind. So the cgroup's
   count of such kills is compared, where the container shows it; when it has grown the command has failed with 137.
7. The seal and three digits of exit code end the stream. Until our newline comes the wrapper lives, so that the
   engine's timer does not start; then it ends what the command left behind in its group.
"""

import secrets

WRAPPER = r"""
set +a
exec 3<&0 </dev/null
read -r BACKUP_SEAL <&3 || exit 125
echo "$BACKUP_RUN $$" >&2
others() {
  for BACKUP_PROCESS in /proc/[0-9]*; do
    read -r BACKUP_STAT <"$BACKUP_PROCESS/stat" || continue
    set -- ${BACKUP_STAT##*) }
    [ "$3" = "$$" ] && [ "$1" != Z ] && [ "$BACKUP_PROCESS" != "/proc/$BACKUP_SELF" ] && return
  done
  return 1
}
(
  read -r BACKUP_SEAL <&3 && exit
  trap '' TERM
  kill -TERM 0
  read -r BACKUP_SELF BACKUP_STAT </proc/self/stat
  BACKUP_PATIENCE=5
  while [ "$BACKUP_PATIENCE" != 0 ] && others; do
    sleep 1
    BACKUP_PATIENCE=$((BACKUP_PATIENCE - 1))
  done
  kill -KILL 0
) >/dev/null 2>&1 &
BACKUP_SWITCH=$!
kills() {
  for BACKUP_FILE in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    while read -r BACKUP_NAME BACKUP_COUNT; do
      [ "$BACKUP_NAME" = oom_kill ] && BACKUP_KILLS=$BACKUP_COUNT
    done <"$BACKUP_FILE"
  done 2>/dev/null
}
BACKUP_KILLS=
kills
BACKUP_BEFORE=$BACKUP_KILLS
(unset BACKUP_SEAL BACKUP_SWITCH; exec "$@" 3<&-)
BACKUP_CODE=$?
held() {
  for BACKUP_PROCESS in /proc/[0-9]*; do
    [ "$BACKUP_PROCESS" != "/proc/$$" ] && [ "$BACKUP_PROCESS/fd/1" -ef "/proc/$$/fd/1" ] && return
  done 2>/dev/null
  return 1
}
BACKUP_PATIENCE=10
while held; do
  if [ "$BACKUP_PATIENCE" = 0 ] || ! sleep 1 >/dev/null; then
    echo 'the command ended, but a process that it left in the background still holds its output' >&2
    BACKUP_CODE=125
    break
  fi
  BACKUP_PATIENCE=$((BACKUP_PATIENCE - 1))
done
kills
if [ "$BACKUP_KILLS" != "$BACKUP_BEFORE" ]; then
  echo 'the kernel killed something in the container for memory while the command ran' >&2
  BACKUP_CODE=137
fi
printf '%s%03d' "$BACKUP_SEAL" "$BACKUP_CODE"
wait "$BACKUP_SWITCH"
trap '' TERM
kill -TERM 0
exit "$BACKUP_CODE"
"""
TOKEN_LENGTH = 32
CODE_LENGTH = 3
LENGTH = TOKEN_LENGTH + CODE_LENGTH


def wrap(argv: list[str]) -> list[str]:
    """The argv that runs this argv under the wrapper."""
    return ["sh", "-c", WRAPPER, "backup", *argv]


class Seal:
    """One exec's end mark: what is sent ahead, and recognizing, holding back and stripping it at the end."""

    def __init__(self, token: str = "") -> None:
        self.token = (token or secrets.token_hex(TOKEN_LENGTH // 2)).encode()

    @property
    def announcement(self) -> bytes:
        """The first line of the wrapper's standard input."""
        return self.token + b"\n"

    def code(self, tail: bytes) -> int | None:
        """The exit code, when the bytes end with the seal; else None."""
        mark = tail[-LENGTH:]
        digits = mark[TOKEN_LENGTH:]
        whole = len(mark) == LENGTH and mark.startswith(self.token) and digits.isdigit()
        return int(digits) if whole else None
