"""System calls of a running process: seen, counted, and spoilt by strace(1)."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from controller.core.key import RUN_ID

CHANGES = "?mkdir,?mkdirat,write,pwrite64,fsync,fdatasync,?rename,?renameat,renameat2,?unlink,unlinkat,?rmdir"
"""What changes a disk, whatever the architecture calls it."""
LINE = re.compile(r"(?:(?P<thread>\d+) +)?(?P<name>[a-z0-9]+)\((?P<rest>.*)")


@dataclass(frozen=True)
class Call:
    """A system call, and which of its kind it is in its thread since the trace began."""

    name: str
    number: int
    place: str
    """Path beneath the folder, without the run's id."""
    thread: int = field(compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.number} of {self.place}"


@contextmanager
def traced(log: Path, *options: str, calls: str = CHANGES) -> Iterator[None]:
    """Watch what `--attach=ID` names: one thread, or with `-f` a whole process. The log is whole afterwards."""
    command = ("strace", "-y", "-s", "0", "-o", log, "-e", f"trace={calls}", *options)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, said + tracer.stderr.read()
        try:
            yield
        finally:
            tracer.terminate()  # It lets go of the process, where there is still one.
            tracer.wait(30)


def seen(log: Path, folder: Path) -> Sequence[Call]:
    """The calls in a log that concern the folder, in order."""
    count: Counter[tuple[int, str]] = Counter()
    found = []
    for line in log.read_text().splitlines():
        if call := LINE.match(line):
            thread, name, rest = int(call["thread"] or 0), call["name"], call["rest"]
            count[thread, name] += 1
            if place := re.search(re.escape(str(folder)) + r"/([^\">]*)", rest):
                found.append(Call(name, count[thread, name], RUN_ID.sub("RUN", place[1]), thread))
    return found
