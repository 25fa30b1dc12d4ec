r"""The seal: how a stream proves that it arrived whole, and how a command ends when nobody listens any more.

The engine drops an exec's tail when the reader lags 2 s behind the process's end (moby, daemon/monitor.go), and a
killed container, a cut connection and a dead proxy look like a normal end. So a command runs under a wrapper in the
target's `sh`, which behaves alike in dash, BusyBox and bash:

1. The seal, random for each exec, comes as the first line of standard input, not by the environment:
   `/proc/PID/environ` of the wrapper could be read by the command. The wrapper forgets options and functions that the
   target's environment brought along; nothing is exported.
2. The seal's token and a colon begin the stream. What comes before it, the shell itself has printed.
3. The switch, a subshell, reads standard input: a newline answers the seal; its end, because our socket was closed or
   our process died, ends the group: TERM, and to what is left TERM again after 5 s and KILL after 2 s more, since a
   shell's child that has just been made may have taken the first as its shell does. Each second it looks whether it is
   alone (proc(5): state, parent and group follow the name in `stat`), so that nobody waits for it in vain.
4. The command is `exec`ed in a subshell, so that builtins such as `exit` or `exec` end that and not the wrapper, with
   empty standard input. 126 and 127 are the shell's codes for a command that it cannot run.
5. Its output goes through a pipe to `cat`, whose end comes when nobody can write to it any more, whoever that runs as,
   on whatever descriptor: `>(gzip)` of bash, a child in the background. The last writer gets 10 s after the command's
   end; then the command has failed with 125, because nobody could tell whether all has come. A second in which `cat`
   waits for us, and not for a writer, is none of them: our disk may hang for longer. The kernel tells (proc(5), wchan:
   `pipe_write`, `anon_pipe_write` since 6.14; before 5.5, or where it tells nothing, each second counts). `cat` of GNU
   took 0.2 s of processor time for each GiB.
6. A child that the kernel kills for memory under a shell, or in a pipe, leaves exit code 0 behind. So the cgroup's
   count of such kills is compared, where the container shows it; when it has grown the command has failed with 137.
7. Nothing of ours is left to the container's first process unless it has ended well: PostgreSQL, where it is that one,
   takes a child that it does not know and that a signal has ended for one of its own, and throws every client out. So
   the wrapper's shells outlive what they wait for (a trap runs after the wait), and what is killed is waited for. It
   is killed until it has ended, since a child that has just been made still takes a signal as its shell does.
8. The seal and three digits of exit code end the stream. Until our newline comes the wrapper lives, so that the
   engine's timer does not start; then it ends what the command left behind in its group.

A lasting command, which `pre` and `post` are, may leave behind what it likes: nobody reads its output, waits for its
children or ends them.
"""

import secrets

UNFOOLED = """
unset -f : true [ read printf echo sleep kill wait cat command 2>/dev/null
unset POSIXLY_CORRECT
set +aefuxC
"""
"""Begins each script of ours: what the target's environment brings along for the shell is forgotten (functions and
`SHELLOPTS`, which bash takes from there). The special builtins cannot be replaced in a `sh` (POSIX, 2.9.1).
"""
REAPING = """
trap 'exit 143' TERM
"""
"""Lets a shell of ours outlive what it waits for; what it runs knows nothing of it."""
_BEGIN = r"""
trap 'exit 143' TERM
exec 3<&0 4>&1 </dev/null
read -r BACKUP_SEAL <&3 || exit 125
printf '%s:' "$BACKUP_SEAL"
others() {
  for BACKUP_PROCESS in /proc/[0-9]*; do
    read -r BACKUP_STAT <"$BACKUP_PROCESS/stat" || continue
    set -- ${BACKUP_STAT##*) }
    [ "$3" = "$$" ] && [ "$1" != Z ] || continue
    [ "$BACKUP_PROCESS" = "/proc/$BACKUP_SELF" ] || [ "$BACKUP_PROCESS" = "/proc/$$" ] || return 0
  done
  return 1
}
(
  trap 'exit 0' TERM
  read -r BACKUP_SEAL <&3 && exit
  trap '' TERM
  read -r BACKUP_SELF BACKUP_STAT </proc/self/stat
  for BACKUP_PATIENCE in 5 2; do
    kill -TERM 0
    while [ "$BACKUP_PATIENCE" != 0 ] && others; do
      sleep 1
      BACKUP_PATIENCE=$((BACKUP_PATIENCE - 1))
    done
    [ "$BACKUP_PATIENCE" = 0 ] || exit 0
  done
  kill -KILL 0
  exit 0
) >/dev/null 2>&1 4>&- &
BACKUP_SWITCH=$!
kills() {
  for BACKUP_FILE in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    while read -r BACKUP_NAME BACKUP_COUNT; do
      [ "$BACKUP_NAME" = oom_kill ] && BACKUP_KILLS=$BACKUP_COUNT
    done <"$BACKUP_FILE"
  done 2>/dev/null
}
end() {
  while read -r BACKUP_STAT <"/proc/$1/stat"; do
    case ${BACKUP_STAT##*) } in Z*) break ;; esac
    kill "$1"
  done
  wait "$1"
}
BACKUP_KILLS=
kills
BACKUP_BEFORE=$BACKUP_KILLS
"""
_WHOLE = r"""
{
  trap 'exit 143' TERM
  {
    trap 'exit 143' TERM
    (unset BACKUP_SEAL BACKUP_SWITCH; exec "$@" 3<&- 4>&- 5>&-)
    echo "code $?" >&5
  } 4>&- | {
    trap 'exit 143' TERM
    (read -r BACKUP_SELF BACKUP_STAT </proc/self/stat; echo "reader $BACKUP_SELF" >&5; exec cat >&4 3<&- 5>&-)
    echo "end $?" >&5
  }
} 5>&1 | {
  trap 'exit 143' TERM
  BACKUP_READER= BACKUP_CODE= BACKUP_TIMER=
  while read -r BACKUP_NAME BACKUP_COUNT; do
    case $BACKUP_NAME in
      reader) BACKUP_READER=$BACKUP_COUNT ;;
      code) BACKUP_CODE=$BACKUP_COUNT ;;
      end) break ;;
    esac
    if [ -n "$BACKUP_READER" ] && [ -n "$BACKUP_CODE" ] && [ -z "$BACKUP_TIMER" ]; then
      (
        BACKUP_EARLIER=$!
        trap 'trap "" TERM; [ "$!" = "$BACKUP_EARLIER" ] || end "$!"; exit 0' TERM
        BACKUP_PATIENCE=10
        while [ "$BACKUP_PATIENCE" != 0 ]; do
          sleep 1 &
          wait "$!"
          BACKUP_STAT=
          read -r BACKUP_STAT <"/proc/$BACKUP_READER/wchan"
          case $BACKUP_STAT in *write*) ;; *) BACKUP_PATIENCE=$((BACKUP_PATIENCE - 1)) ;; esac
        done
        kill -KILL "$BACKUP_READER"
      ) >/dev/null 2>&1 3<&- 4>&- &
      BACKUP_TIMER=$!
    fi
  done
  [ -z "$BACKUP_TIMER" ] || end "$BACKUP_TIMER" 2>/dev/null
  [ -n "$BACKUP_CODE" ] || BACKUP_COUNT=
  if [ "$BACKUP_COUNT" = 137 ]; then
    echo 'the command ended, but a process that it left in the background still holds its output' >&2
  elif [ "$BACKUP_COUNT" != 0 ]; then
    echo "what the command printed could not be passed on: ${BACKUP_COUNT:-the shell failed}" >&2
  fi
  [ "$BACKUP_COUNT" = 0 ] || BACKUP_CODE=125
"""
_LASTING = r"""
true | {
  trap 'exit 143' TERM
  (unset BACKUP_SEAL BACKUP_SWITCH; exec "$@" >/dev/null 3<&- 4>&-)
  BACKUP_CODE=$?
"""
_END = r"""
  kills
  if [ "$BACKUP_KILLS" != "$BACKUP_BEFORE" ]; then
    echo 'the kernel killed something in the container for memory while the command ran' >&2
    BACKUP_CODE=137
  fi
  printf '%s%03d' "$BACKUP_SEAL" "$BACKUP_CODE"
  exit "$BACKUP_CODE"
}
BACKUP_CODE=$?
wait "$BACKUP_SWITCH"
"""
_SWEEP = r"""
trap '' TERM
kill -TERM 0
"""
_EXIT = r"""
exit "$BACKUP_CODE"
"""
WHOLE = UNFOOLED + _BEGIN + _WHOLE + _END + _SWEEP + _EXIT
LASTING = UNFOOLED + _BEGIN + _LASTING + _END + _EXIT
TOKEN_LENGTH = 32
CODE_LENGTH = 3
LENGTH = TOKEN_LENGTH + CODE_LENGTH


def wrap(argv: list[str], *, lasting: bool = False) -> list[str]:
    """The argv that runs this argv under the wrapper."""
    return ["sh", "-c", LASTING if lasting else WHOLE, "backup", *argv]


class Seal:
    """One exec's end mark: what is sent ahead, and recognizing, holding back and stripping it at the end."""

    def __init__(self, token: str = "") -> None:
        self.token = (token or secrets.token_hex(TOKEN_LENGTH // 2)).encode()

    @property
    def opening(self) -> bytes:
        """The first bytes of the wrapper's standard output."""
        return self.token + b":"

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
