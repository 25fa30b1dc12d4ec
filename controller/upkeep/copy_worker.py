"""The child process that works for one destination: started when there is work, asked, ended."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from loguru import logger
from pydantic import BaseModel, ValidationError

from controller.core.copy_errors import DestinationDown
from controller.core.failure import Failure
from controller.core.redaction import Redact
from controller.storage.copies.orders import Answer, Setup

MODULE = "controller.storage.copies.worker"
INHERITED = ("PATH", "LANG", "TZ", "PYTHONPATH", "PYTHONSAFEPATH", "MALLOC_TRIM_THRESHOLD_", "SSL_CERT_FILE")
"""Variables that the worker gets; its secrets come by its standard input."""
END_SECONDS = 10.0
LAST_WORDS = 2000


class OrderFailed(Exception):
    """The worker could not do what it was asked."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class CopyWorker:
    """To be used by one thread; `kill` by any."""

    def __init__(self, setup: Setup, redact: Redact) -> None:
        self._redact = redact
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # `close` closes it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={name: os.environ[name] for name in INHERITED if name in os.environ},
            start_new_session=True,
        )
        self._write(setup)

    def ask(self, order: BaseModel, progress: Callable[[int], None] = lambda count: None) -> Any:
        """The result as plain values; raises `OrderFailed`, `DestinationDown` where the worker has died."""
        self._write(order)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                answer = Answer.model_validate_json(line)
            except ValidationError:
                break
            if answer.failure:
                raise OrderFailed(answer.failure)
            if answer.progress is None:
                return answer.result
            progress(answer.progress)
        raise self._died()

    def close(self) -> None:
        """Let it end by itself, or else end it."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()

    def kill(self) -> None:
        """End it now; one that hangs in the kernel is left behind."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)

    def _write(self, message: BaseModel) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None

    def _died(self) -> DestinationDown:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._errors.seek(0)
        words = self._redact(self._errors.read().decode(errors="replace"))[-LAST_WORDS:].strip()
        if words:
            logger.error("a worker of copies has died: {}", words)
        code = self._process.returncode
        return DestinationDown(f"the worker of copies ended with code {code}", hint="The log has its last words.")
