"""The console script: `serve` starts without what only the commands for people need, everything else is `cli`."""

import signal
import sys
import threading
from typing import NoReturn


def main() -> NoReturn:
    """Exits with the command's code."""
    if sys.argv[1:] == ["serve"]:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):  # First of all: process 1 ignores what it does not handle.
            signal.signal(number, lambda *_: stop.set())
        from controller.app.serve import serve  # noqa: PLC0415  # Half the memory and the time to start.

        sys.exit(serve(stop))
    # "None": httpx is to leave its own command line out, a third of the time to start.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from controller.cli import main as commands  # noqa: PLC0415

    sys.exit(commands())


if __name__ == "__main__":
    main()
