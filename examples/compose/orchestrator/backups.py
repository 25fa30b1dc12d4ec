"""Pulls backups from sidecars by contract v1, and keeps those that arrived as they were sent.

A folder of downloads, each with a receipt beside it, written last: what has no receipt is no backup.
"""

import hashlib
import http.client
import json
import os
import re
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import IO, Any

CHUNK = 1 << 20
READ_TIMEOUT, LONGEST_PULL = 300, 6 * 3600
"""Seconds without a byte, and for a whole backup with its repetitions."""

Json = dict[str, Any]


class Refused(Exception):
    """A request that is answered by an error; `facts` stand in its body."""

    def __init__(self, status: int, reason: str, **facts: Any) -> None:
        self.status, self.facts = status, {"error": reason} | facts
        super().__init__(reason)


class Backups:
    """The folder of downloads. Requests come in threads of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pulling: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.is_file() and path.suffix != ".receipt" and not receipt_of(path).exists():
                path.unlink()

    def all(self) -> list[Json]:
        """Receipts, the newest first."""
        found = [json.loads(path.read_text()) for path in self._folder.glob("*.receipt")]
        return sorted(found, key=lambda receipt: receipt["time"], reverse=True)

    def pull(self, sidecar: Json, target: str, token: str) -> Json:
        """Have the sidecar back up one target, and keep what it sends; gives the receipt. Raises `Refused`.

        `token` is that of the sidecar's API.
        """
        if target not in {one["key"] for one in sidecar["targets"]}:
            raise Refused(404, "the sidecar has no such target", targets=[one["key"] for one in sidecar["targets"]])
        if not sidecar["url"]:
            raise Refused(409, "the sidecar does not know where it can be reached")
        pulling = (sidecar["id"], target)
        with self._lock:
            if pulling in self._pulling:
                raise Refused(409, "this target is being backed up")
            self._pulling.add(pulling)
        try:
            return self._pull(sidecar, target, token)
        except (OSError, http.client.HTTPException) as error:
            raise Refused(502, f"the backup was not kept: {error}") from error
        finally:
            self._pulling.discard(pulling)

    def _pull(self, sidecar: Json, target: str, token: str) -> Json:
        begun = time.monotonic()
        url = f"{sidecar['url']}/targets/{urllib.parse.quote(target, safe='/')}/backup/export"
        with self._export(url, token, begun + LONGEST_PULL) as answer:
            headers = answer.headers
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".partial-") as partial:
                size, digest = copy(answer, partial)
                if size != number(headers, "Content-Length") or size != number(headers, "X-Size"):
                    raise Refused(502, f"{size} bytes came, not all that were announced")
                if digest != headers.get("X-Checksum-SHA256"):
                    raise Refused(502, "the bytes are not those that were sent: their SHA-256 differs")
                path = self._kept(Path(partial.name), target, headers.get_filename("") or "")
        receipt = {
            "name": path.name,
            "path": str(path),
            "sidecar": sidecar["id"],
            "target": target,
            "run": headers.get("X-Backup-Run", ""),
            "time": utc(),
            "size": size,
            "sha256": digest,
            "format": headers.get("X-Format", ""),
            "proof": headers.get("X-Backup-Proof", ""),
            "seconds": round(time.monotonic() - begun, 3),
        }
        self._sign(path, receipt)
        return receipt

    def _sign(self, path: Path, receipt: Json) -> None:
        """Write the receipt, which makes the download a backup; without it there is no download either."""
        try:
            with tempfile.NamedTemporaryFile("w", dir=self._folder, prefix=".partial-") as partial:
                json.dump(receipt, partial)
                settle(partial)
                os.link(partial.name, receipt_of(path))
            settle_folder(self._folder)
        except OSError:
            path.unlink()
            raise

    def _export(self, url: str, token: str, until: float) -> http.client.HTTPResponse:
        """The answer with the bytes; a sidecar that says "come back" is asked again. Raises `Refused`."""
        request = urllib.request.Request(url, b"", {"Authorization": f"Bearer {token}"}, method="POST")
        while True:
            try:
                answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=READ_TIMEOUT)
            except urllib.error.HTTPError as error:
                with error:
                    problem = parsed(error.read(CHUNK))
                if error.code != 503 or "Retry-After" not in error.headers or time.monotonic() > until:
                    raise Refused(502, f"the sidecar answers {error.code}", problem=problem) from error
                time.sleep(min(number(error.headers, "Retry-After") or 10, 60))
                continue
            if answer.status == 200:
                return answer
            answer.close()
            raise Refused(502, f"the sidecar answers {answer.status}, which carries no backup")

    def _kept(self, partial: Path, target: str, told_name: str) -> Path:
        """Give a download that was found good its own name: `shop_db_20260301T030000Z.pgdump.zst`."""
        ending = re.search(r"(\.[a-z0-9]{1,10}){1,2}$", told_name)
        stem = "_".join(re.sub(r"[^A-Za-z0-9.-]", "-", part).lstrip(".") for part in target.split("/"))
        while True:
            path = self._folder / f"{stem}_{datetime.now(UTC):%Y%m%dT%H%M%SZ}{ending[0] if ending else '.bin'}"
            try:
                os.link(partial, path)
            except FileExistsError:
                time.sleep(0.2)
            else:
                return path


def copy(source: http.client.HTTPResponse, partial: IO[bytes]) -> tuple[int, str]:
    """Everything that comes, onto the disk; gives size and SHA-256. A cut connection just ends, so compare the size."""
    size, digest = 0, hashlib.sha256()
    while chunk := source.read(CHUNK):
        partial.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    settle(partial)
    return size, digest.hexdigest()


def settle(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def settle_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def receipt_of(path: Path) -> Path:
    return path.with_name(path.name + ".receipt")


def number(headers: Message, name: str) -> int | None:
    found = headers.get(name, "")
    return int(found) if re.fullmatch(r"[0-9]{1,18}", found) else None


def parsed(body: bytes) -> Any:
    """JSON, else the text as it is."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def utc() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
