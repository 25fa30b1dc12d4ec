"""Sends a bundle: the contract's headers, ranges, and an end only for bytes that are proved right."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loguru import logger
from starlette.concurrency import iterate_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from controller.api.problems import Refused
from controller.core.errors import SidecarError
from controller.storage.bundle import MEDIA_TYPES, Bundle
from controller.storage.leases import Leases

NO_HEADERS = Headers()
RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*")
CONTENT: dict[str, Any] = {kind: {} for kind in ("application/x-tar", *MEDIA_TYPES.values())}
HEADERS = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "X-Checksum-SHA256": "Of the bytes sent, hexadecimal.",
        "X-Size": "Number of the bytes of the whole.",
        "X-Format": "`pg_custom+zstd`, `tar+zstd`, `mysql+zstd`; `tar` for artifacts with their manifests.",
        "X-Backup-Format": "The same.",
        "X-Backup-Proof": "`full`, `sealed`, `framed` or `adopted`.",
        "X-Backup-Run": "Ids of the runs, with commas.",
        "X-Backup-Older": "Keys, with commas, of stopped targets, whose last good run is in it.",
        "X-Backup-Suspicious": "Why it may not be what it should, such as a dump that has shrunk.",
    }.items()
}
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "As stored, or a tar of that.", "content": CONTENT, "headers": HEADERS}
}
PART: dict[int | str, dict[str, Any]] = {
    206: {"description": "The bytes of the header Range.", "content": CONTENT, "headers": HEADERS}
}


class Delivery(Response):
    """The answer that carries a bundle, whole or in part; raises `Refused` (416) for a range that it does not have.

    A whole one never arrives unless its digest is right. A part is sent as it lies on the disk, with the digest of the
    whole: who puts parts together has to compare that.
    """

    def __init__(
        self,
        bundle: Bundle,
        leases: Leases,
        request: Headers = NO_HEADERS,
        *,
        headers: Mapping[str, str] | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        """`leases` keeps the runs from being deleted meanwhile.

        `on_sent` is called with the last bytes of the whole bundle, if the client is still there.
        """
        self.bundle, self.on_sent, self.background = bundle, on_sent, None
        self._leases = leases
        part = span(bundle, request)
        self.span = range(bundle.size) if part is None else part
        self.status_code = 200 if part is None else 206
        fields = headers_of(bundle) | {"Content-Length": str(len(self.span))} | dict(headers or {})
        if part is not None:
            fields["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{bundle.size}"
        self.raw_headers = [(name.encode("ascii"), value.encode("ascii", "replace")) for name, value in fields.items()]

    @property
    def is_whole(self) -> bool:
        return len(self.span) == self.bundle.size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ends without completing when the bytes are not what they should be; the server then cuts the connection."""
        with self._leases.held(*self.bundle.runs):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD" or await self._sent_bytes(receive, send):
                await send({"type": "http.response.body"})

    async def _sent_bytes(self, receive: Receive, send: Send) -> bool:
        """Whether everything went out; the client may have gone, the file may be damaged."""
        gone, left = asyncio.create_task(disconnected(receive)), len(self.span)
        try:
            async for chunk in iterate_in_threadpool(self._chunks()):
                if gone.done():
                    return False
                left -= len(chunk)
                if not left and self.is_whole and self.on_sent:
                    self.on_sent()  # Before the bytes: a client that has them all may ask for the next at once.
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except SidecarError as error:
            logger.bind(code=error.code).error("download cut: {}", error)
            return False
        finally:
            gone.cancel()
        return True

    def _chunks(self) -> Iterator[bytes]:
        return self.bundle.verified() if self.is_whole else self.bundle.read(self.span.start, self.span.stop)


def headers_of(bundle: Bundle) -> dict[str, str]:
    """Contract v1's headers, in its spelling."""
    said = {"X-Backup-Suspicious": "; ".join(bundle.suspicious), "X-Backup-Older": ",".join(bundle.older)}
    return {
        "Content-Type": bundle.media_type,
        "Content-Disposition": f'attachment; filename="{bundle.name}"',
        "X-Checksum-SHA256": bundle.sha256,
        "X-Size": str(bundle.size),
        "X-Format": bundle.format,
        "X-Backup-Format": bundle.format,
        "X-Backup-Proof": bundle.proof,
        "X-Backup-Run": ",".join(bundle.runs),
        "ETag": etag(bundle),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store, no-transform",
        "Vary": "Accept",
    } | {name: in_a_header(text) for name, text in said.items() if text}


def in_a_header(text: str) -> str:
    """A text with what a header can hold; names of tables may have anything in them."""
    return re.sub("[^ -~]", "?", text)[:1000]


def echoed(name: str, value: str) -> dict[str, str]:
    """A header that repeats what a client said, as far as that is made of letters, digits, `_`, `-` and `.`."""
    clean = re.sub(r"[^A-Za-z0-9_.-]", "", value)[:256]
    return {name: clean} if clean else {}


def etag(bundle: Bundle) -> str:
    return f'"{bundle.sha256}"'


def span(bundle: Bundle, request: Headers) -> range | None:
    """Which bytes are wanted (RFC 9110, 14.2); None for all: no range, several, or one of another bundle than this.

    Raises `Refused` (416) for a range that is reversed or beyond the end.
    """
    match = RANGE.fullmatch(request.get("range", ""))
    if match is None or match.groups() == ("", "") or request.get("if-range", etag(bundle)) != etag(bundle):
        return None
    first, last = (number(text) for text in match.groups())
    if first is None:
        part = range(max(bundle.size - (last or 0), 0), bundle.size)
    else:
        part = range(first, bundle.size if last is None else min(last + 1, bundle.size))
    if not part:
        detail = f"This range is not within the {bundle.size} bytes that there are."
        raise Refused(416, "bad-range", detail, headers={"Content-Range": f"bytes */{bundle.size}"})
    return part


def number(text: str) -> int | None:
    """Of decimal digits, however many; beyond 19 they only mean "too many"."""
    return int(text.lstrip("0")[:19] or "0") if text else None


async def disconnected(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
