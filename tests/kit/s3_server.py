"""A strict S3 of a bucket in memory, and one that misbehaves when it is told to; of the standard library alone.

It refuses what AWS refuses: a signature, payload digest, MD5, region or clock that is wrong, a lock without MD5,
headers that are not signed, and deleting what is locked. `python3 -m tests.kit.s3_server PORT` serves one with locks.
"""

import base64
import hashlib
import secrets
import ssl
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree as ET

from tests.kit.s3_signature import signature, tags

KEY_ID, KEY, BUCKET, REGION = "AKIAKEEPER", "a/secret+of=the-keeper", "copies", "eu-test-1"
MOST_SKEW = timedelta(minutes=15)
XML = '<?xml version="1.0" encoding="UTF-8"?>'


@dataclass
class Version:
    """One of an object; without data it says that the object was deleted."""

    data: bytes | None
    modified: datetime
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    mode: str = ""
    until: datetime | None = None


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str = "no", **headers: str) -> None:
        self.status, self.code, self.message, self.headers = status, code, message, headers


@dataclass
class S3Server:
    """What it does; whoever changes a field changes that from then on."""

    versioned: bool = False
    locks: bool = False
    """Whether the bucket was made with object lock; then it has versions, too."""
    forgets_locks: bool = False
    """Whether it takes an object with a lock, and does not lock it."""
    keys: dict[str, str] = field(default_factory=lambda: {KEY_ID: KEY})
    region: str = REGION
    page: int = 1000
    """Most entries of a listing."""
    ahead: timedelta = timedelta(0)
    """Of its clock before ours."""
    quota: int = 1 << 40
    lifecycle: str = ""
    """Rules in XML; empty for none."""
    failing: deque[tuple[int, str]] = field(default_factory=deque)
    """Status and code of the next answers."""
    denied: set[str] = field(default_factory=set)
    """Methods, and names of parts of the API such as `lifecycle`, that are refused."""
    lies: dict[str, int] = field(default_factory=dict)
    """How often it says that it has taken an object, and has kept `nothing`, `half` of it, or a `flip`ped bit."""
    late: int = 0
    """How often an object is not there yet."""
    archived: bool = False
    """Whether all that is there was moved to where it cannot be read."""
    hangs: str = ""
    """Before an answer (`asleep`), within one (`halfway`), at each byte (`dripping`); or it `cut`s there."""
    html: int = 0
    """Status with which a proxy before it answers."""
    objects: dict[str, list[Version]] = field(default_factory=dict)
    """The newest version of each last."""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path with query, and headers."""
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)
    port: int = 0
    scheme: str = "http"

    @property
    def options(self) -> dict[str, Any]:
        endpoint = f"{self.scheme}://127.0.0.1:{self.port}"
        place = {"bucket": BUCKET, "prefix": "shop", "endpoint": endpoint, "region": REGION}
        return place | {"key_id": KEY_ID, "key": KEY}

    @property
    def now(self) -> datetime:
        return (datetime.now(UTC) + self.ahead).replace(microsecond=0)

    def passes(self, span: timedelta) -> None:
        """Let everything that is there be older by a span."""
        for version in (each for versions in self.objects.values() for each in versions):
            version.modified -= span
            version.until = version.until and version.until - span

    # --- what it is asked

    def put(self, key: str, data: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        mode, until = headers.get("x-amz-object-lock-mode", ""), headers.get("x-amz-object-lock-retain-until-date", "")
        if mode and "content-md5" not in headers:
            raise Refusal(400, "InvalidRequest", "Content-MD5 HTTP header is required for Put with Object Lock")
        if mode and not self.locks:
            raise Refusal(400, "InvalidRequest", "Bucket is missing Object Lock Configuration")
        mode, until = ("", "") if self.forgets_locks else (mode, until)
        used = sum(len(each.data or b"") for versions in self.objects.values() for each in versions)
        if used + len(data) > self.quota:
            raise Refusal(403, "QuotaExceeded", "the bucket has its bytes")
        etag = hashlib.md5(data).hexdigest()
        lie = next((kind for kind, often in self.lies.items() if often and "/objects/" in key), "")
        if lie:
            self.lies[lie] -= 1
            data = {"half": data[: len(data) // 2], "flip": data[:-1] + bytes([data[-1] ^ 1])}.get(lie, b"")
        version = Version(data, self.now, mode=mode, until=datetime.fromisoformat(until) if until else None)
        if lie != "nothing":
            self._add(key, version)
        return {"ETag": f'"{etag}"', "x-amz-version-id": version.id}

    def get(self, key: str, version: str) -> Version:
        versions = self.objects.get(key, [])
        found = next((each for each in versions if each.id == version), None) if version else (versions or [None])[-1]
        if self.late and found:
            self.late, found = self.late - 1, None
        if found is None:
            raise Refusal(404, "NoSuchVersion" if version else "NoSuchKey", "is not there")
        if found.data is None:
            raise Refusal(405, "MethodNotAllowed") if version else Refusal(404, "NoSuchKey", "was deleted")
        if self.archived:
            raise Refusal(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
        return found

    def delete(self, key: str, version: str) -> None:
        versions = self.objects.get(key, [])
        if not version and (self.versioned or self.locks):
            self._add(key, Version(None, self.now))
            return
        for each in [each for each in versions if each.id == version or not version]:
            if each.until and each.until > self.now:
                raise Refusal(403, "AccessDenied", "Access Denied because object protected by object lock.")
            versions.remove(each)
        if not versions:
            self.objects.pop(key, None)

    def retain(self, key: str, version: str, body: bytes) -> None:
        found = self.get(key, version)
        told = {each.tag.rpartition("}")[2]: each.text or "" for each in ET.fromstring(body)}
        until = datetime.fromisoformat(told["RetainUntilDate"])
        if found.until and until < found.until:
            raise Refusal(403, "AccessDenied", "a lock is not made shorter")
        found.mode, found.until = told["Mode"], until

    def retention(self, key: str, version: str) -> str:
        found = self.get(key, version)
        if found.until is None:
            raise Refusal(404, "NoSuchObjectLockConfiguration")
        facts = {"Mode": found.mode, "RetainUntilDate": found.until.strftime("%Y-%m-%dT%H:%M:%S.000Z")}
        return f"{XML}<Retention>{tags(facts)}</Retention>"

    def _add(self, key: str, version: Version) -> None:
        kept = self.objects.get(key, []) if self.versioned or self.locks else []
        self.objects[key] = [*kept, version]

    def listed(self, query: Mapping[str, str]) -> str:
        """Of the newest versions, or with `versions` of all, in pages."""
        with_versions, prefix = "versions" in query, query.get("prefix", "")
        rows = [
            (key, version, number == 0)
            for key, versions in sorted(self.objects.items())
            for number, version in enumerate(reversed(versions))
            if key.startswith(prefix) and (with_versions or (number == 0 and version.data is not None))
        ]
        if token := query.get("continuation-token"):
            rows = rows[int(base64.b64decode(token)) :]
        elif marker := query.get("key-marker"):
            at = query.get("version-id-marker", "")
            rows = rows[next(index for index, row in enumerate(rows) if (row[0], row[1].id) == (marker, at)) + 1 :]
        page, more = rows[: self.page], len(rows) > self.page
        facts = {"Name": BUCKET, "EncodingType": "url", "IsTruncated": str(more).lower()}
        if more and with_versions:
            facts |= {"NextKeyMarker": quote(page[-1][0], safe=""), "NextVersionIdMarker": page[-1][1].id}
        elif more:
            begun = int(base64.b64decode(query.get("continuation-token", "MA==")))
            facts["NextContinuationToken"] = base64.b64encode(str(begun + self.page).encode()).decode()
        entries = "".join(self._entry(*row, with_versions=with_versions) for row in page)
        kind = "ListVersionsResult" if with_versions else "ListBucketResult"
        return f"{XML}<{kind}>{tags(facts)}{entries}</{kind}>"

    def _entry(self, key: str, version: Version, newest: bool, *, with_versions: bool) -> str:
        facts = {"Key": quote(key, safe=""), "LastModified": version.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")}
        if with_versions:
            facts |= {"VersionId": version.id, "IsLatest": str(newest).lower()}
        if version.data is None:
            return f"<DeleteMarker>{tags(facts)}</DeleteMarker>"
        facts |= {"Size": str(len(version.data)), "StorageClass": "GLACIER" if self.archived else "STANDARD"}
        kind = "Version" if with_versions else "Contents"
        return f"<{kind}>{tags(facts)}</{kind}>"

    def setting(self, name: str) -> str:
        """One of the bucket."""
        enabled = "<Status>Enabled</Status>" if self.versioned or self.locks else " "
        text = {"versioning": enabled, "lifecycle": self.lifecycle}[name]
        if not text:
            raise Refusal(404, "NoSuchLifecycleConfiguration")
        return f"{XML}<{name.title()}Configuration>{text}</{name.title()}Configuration>"

    # --- what it demands

    def demand_willing(self, method: str, bucket: str, query: Mapping[str, str]) -> None:
        if self.failing:
            raise Refusal(*self.failing.popleft(), Location=f"http://127.0.0.1:{self.port}/elsewhere")
        if method in self.denied or self.denied & query.keys():
            raise Refusal(403, "AccessDenied", "Access Denied")
        if bucket != BUCKET:
            raise Refusal(404, "NoSuchBucket", "The bucket does not exist")

    def demand_signed(self, method: str, address: str, headers: Mapping[str, str], body: bytes) -> None:
        """Raises `Refusal`."""
        kind, _, rest = headers.get("authorization", "").partition(" ")
        told = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        if kind != "AWS4-HMAC-SHA256" or not {"Credential", "SignedHeaders", "Signature"} <= told.keys():
            raise Refusal(403, "AccessDenied", "not signed")
        key_id, _, region, service, _ = told["Credential"].split("/")
        if key_id not in self.keys:
            raise Refusal(403, "InvalidAccessKeyId", "The key id does not exist")
        if region != self.region:
            words = f"the region '{region}' is wrong; expecting '{self.region}'"
            raise Refusal(400, "AuthorizationHeaderMalformed", words, **{"x-amz-bucket-region": self.region})
        signed = told["SignedHeaders"].split(";")
        if unsigned := {name for name in headers if name.startswith("x-amz-") or name == "host"} - {*signed}:
            raise Refusal(403, "AccessDenied", f"There were headers present which were not signed: {unsigned}")
        secret = self.keys[key_id]
        if told["Signature"] != signature(secret, method, address, headers, signed, region, service):
            raise Refusal(403, "SignatureDoesNotMatch", "The signature does not match")
        date = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(date - self.now) > MOST_SKEW:
            raise Refusal(403, "RequestTimeTooSkewed", "The difference between the times is too large.")
        self._demand_whole(headers, body)

    def _demand_whole(self, headers: Mapping[str, str], body: bytes) -> None:
        digest = headers["x-amz-content-sha256"]
        if digest == "UNSIGNED-PAYLOAD" and self.scheme == "http":
            raise Refusal(400, "InvalidRequest", "UNSIGNED-PAYLOAD needs HTTPS")
        if digest.startswith("STREAMING-") or "x-amz-trailer" in headers:
            raise Refusal(501, "NotImplemented", "no trailers here")
        if digest not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            raise Refusal(400, "XAmzContentSHA256Mismatch", "The payload is another one")
        if (md5 := headers.get("content-md5")) and md5 != base64.b64encode(hashlib.md5(body).digest()).decode():
            raise Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")


class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    s3: S3Server

    def _answer(self) -> None:
        if self.s3.hangs == "asleep":
            self.s3.released.wait()
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        with self.s3.lock:
            self.s3.asked.append((self.command, self.path, headers))
            try:
                status, content, more = self._obeyed(headers, body)
            except Refusal as no:
                error = f"{XML}<Error>{tags({'Code': no.code, 'Message': no.message})}</Error>"
                status, content, more = no.status, error.encode(), no.headers
        self._send(status, content, {"Content-Type": "application/xml"} | more)

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = _answer  # noqa: N815

    def _obeyed(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        s3, (path, query) = self.s3, (urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query, True)))
        if s3.html:
            return s3.html, b"<html>no</html>", {"Content-Type": "text/html"}
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        s3.demand_willing(self.command, bucket, query)
        s3.demand_signed(self.command, self.path, headers, body)
        version = query.get("versionId", "")
        match self.command:
            case "GET" if "retention" in query:
                return 200, s3.retention(key, version).encode(), {}
            case "GET" if not key:
                names = {"versioning", "lifecycle"} & query.keys()
                return 200, (s3.setting(names.pop()) if names else s3.listed(query)).encode(), {}
            case "GET":
                return 200, s3.get(key, version).data or b"", {"Content-Type": "application/octet-stream"}
            case "PUT" if "retention" in query:
                s3.retain(key, version, body)
                return 200, b"", {}
            case "PUT":
                return 200, b"", s3.put(key, body, headers)
            case "DELETE":
                s3.delete(key, version)
                return 204, b"", {}
        raise Refusal(501, "NotImplemented")

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in (headers | {"Date": format_datetime(self.s3.now, usegmt=True)}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.s3.hangs and content:
            self.wfile.write(content[: len(content) // 2])
            while self.s3.hangs != "cut" and not self.s3.released.wait(0.2):
                self.wfile.write(b"x" if self.s3.hangs == "dripping" else b"")
            self.close_connection = True
        else:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def s3_server(
    address: tuple[str, int] = ("127.0.0.1", 0), *, tls: ssl.SSLContext | None = None, **settings: Any
) -> Iterator[S3Server]:
    """A running one, with an empty bucket."""
    server = S3Server(**settings, scheme="https" if tls else "http")
    http = ThreadingHTTPServer(address, type("Bound", (Handler,), {"s3": server}))
    http.daemon_threads, http.block_on_close, http.handle_error = True, False, lambda *_: None
    if tls:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join(10)


if __name__ == "__main__":
    with s3_server(("", int(sys.argv[1])), locks=True) as running:
        running.released.wait()
