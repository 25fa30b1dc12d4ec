"""A prefix of a bucket, by the API of S3 (AWS, or one of the many that speak it), signed by version 4.

What many of them do not have is not used: no trailers, no checksums but `Content-MD5`, no parts, no conditions. An
object is one request. See docs.aws.amazon.com/AmazonS3/latest/API.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from minio.datatypes import Object
from minio.error import S3Error
from minio.retention import Retention

from controller.core.copy_errors import DestinationDown, DestinationRefused, UnknownObject
from controller.storage.destinations import StoredObject, Traits, parts_of
from controller.storage.destinations.s3_client import Client, Pool
from controller.storage.destinations.s3_errors import kept, translated
from controller.storage.destinations.s3_rules import complaints

CHUNK_BYTES = 1 << 20
PART_BYTES = 64 << 20
"""Above every object, or the library would make parts."""
GET_SECONDS = 1800.0
"""For an object as a whole; the wait for each piece of it is shorter."""
SPARE = timedelta(days=14)
"""How much longer than asked for an object is locked, so that what is named again need not be renewed each night."""
MOST_APART = timedelta(minutes=5)
"""Of the two clocks, where there is a lock: it ends by the server's, and is reckoned with by ours."""
NOTHING = "backup-sidecar-probe/"
"""What no object's name begins with."""


def opened(options: dict[str, Any], store: Path | None) -> "S3Destination":
    del store  # It is on another machine.
    return S3Destination(options)


class S3Destination:
    """One prefix of one bucket."""

    def __init__(self, options: dict[str, Any]) -> None:
        """`bucket`, `prefix`, `endpoint`, `region`, `key_id`, `key`, `ca_file`, `lock_seconds`, `lock_mode`.

        Without `endpoint` it is AWS. Raises `DestinationRefused`.
        """
        self._bucket, self.prefix = str(options["bucket"]), str(options.get("prefix") or "").strip("/")
        self._prefix = f"{self.prefix}/" if self.prefix else ""
        region = str(options.get("region") or "us-east-1")
        endpoint = str(options.get("endpoint") or f"https://s3.{region}.amazonaws.com").rstrip("/")
        scheme, _, address = endpoint.partition("://")
        self.lock = timedelta(seconds=float(options.get("lock_seconds") or 0))
        self._mode = str(options.get("lock_mode") or "governance").upper()
        self._where = f"{address}/{self._bucket}"
        self._pool = Pool(str(options.get("ca_file") or ""))
        key_id, key = str(options["key_id"]), str(options["key"])
        try:
            self._client = Client(address, key_id, key, secure=scheme == "https", region=region, http_client=self._pool)
        except ValueError as error:
            raise DestinationRefused(f"{self._where} cannot be used: {error}") from error
        if options.get("endpoint"):
            self._client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]

    def probe(self) -> None:
        for _ in self.list(NOTHING):
            break
        self._demand_clock()

    def put(self, name: str, content: bytes) -> datetime | None:
        key, retention = self._key(name), self._retention()
        with self._at(name):
            self._client.put_object(
                self._bucket, key, BytesIO(content), len(content), part_size=PART_BYTES, retention=retention
            )
        return retention.retain_until_date if retention else None

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        key, until = self._key(name), time.monotonic() + GET_SECONDS
        with self._at(name):
            response = self._client.get_object(self._bucket, key, version_id=version or None)
            try:
                # As much as has come, so that the time is looked at though it comes drop by drop.
                while piece := response.read1(CHUNK_BYTES, decode_content=False):
                    if time.monotonic() > until:
                        raise DestinationDown(f"{self._where} takes more than {GET_SECONDS:.0f} s for {name}")
                    yield piece
            finally:
                response.close()
                response.release_conn()

    def list(self, prefix: str, as_of: datetime | None = None) -> Iterator[StoredObject]:
        with self._at(prefix):
            found = self._client.list_objects(
                self._bucket, prefix=self._prefix + prefix, recursive=True, include_version=as_of is not None
            )
            for each in as_they_were(found, as_of) if as_of else found:
                if each.object_name and not each.is_dir:
                    own = each.object_name.removeprefix(self._prefix)
                    modified = each.last_modified or datetime.fromtimestamp(0, UTC)
                    yield StoredObject(own, each.size or 0, modified, each.version_id or "")

    def delete(self, name: str) -> None:
        """In a bucket with versions the last one stays, below a mark that says that it is gone."""
        try:
            with self._at(name):
                try:
                    self._client.remove_object(self._bucket, self._key(name))
                except S3Error as error:
                    if error.code == "AccessDenied":
                        raise kept(f"{self._where}/{name}", error) from error
                    raise
        except UnknownObject:
            return

    def keep(self, name: str) -> datetime | None:
        key = self._key(name)
        if (retention := self._retention()) is None:
            return None
        with self._at(name):
            self._client.set_object_retention(self._bucket, key, retention)
        return retention.retain_until_date

    def traits(self, name: str) -> Traits:
        """A key need not have the rights to read these."""
        warnings, key = list[str](), self._key(name)
        versions = locked_until = document = None
        with suppress(DestinationRefused), self._at(""):
            versions = self._client.get_bucket_versioning(self._bucket).status == "Enabled"
        with suppress(DestinationRefused), self._at(""):
            document = self._client.lifecycle(self._bucket)
            warnings += complaints(document, self._prefix, keeps_versions=bool(versions))
        if self.lock:
            with suppress(DestinationRefused), self._at(name):
                retention = self._client.get_object_retention(self._bucket, key)
                locked_until = retention.retain_until_date if retention else None
                if locked_until is None:
                    warnings.append("the bucket takes locked objects and does not lock them: they can be deleted")
        return Traits(versions, locked_until, document is not None, tuple(warnings))

    def close(self) -> None:
        self._pool.clear()

    def _key(self, name: str) -> str:
        return self._prefix + "/".join(parts_of(name))

    def _retention(self) -> Retention | None:
        """As it is now: by the server's clock."""
        if not self.lock:
            return None
        now = self._demand_clock()
        return Retention(self._mode, (now + self.lock + SPARE).replace(microsecond=0))

    def _demand_clock(self) -> datetime:
        """What the server's says; raises `DestinationRefused` where a lock could not be reckoned with."""
        if self._is_apart(self._pool.server_now):  # Or the host has slept since.
            with self._at(NOTHING):
                list(self._client.list_objects(self._bucket, prefix=self._prefix + NOTHING, recursive=True))
        there, here = self._pool.server_now, datetime.now(UTC)
        if self.lock and self._is_apart(there):
            said = f"{there:%Y-%m-%d %H:%M:%S}" if there else "nothing"
            message = f"the clock of {self._where} says {said}, this one {here:%Y-%m-%d %H:%M:%S} UTC"
            raise DestinationRefused(message, hint="Set the one that is wrong: by it the lock of copies would be, too.")
        return there or here

    def _is_apart(self, there: datetime | None) -> bool:
        return there is None or abs(there - datetime.now(UTC)) > MOST_APART

    def _at(self, name: str) -> AbstractContextManager[None]:
        return translated(f"{self._where}/{self._prefix}{name}".rstrip("/"), self._pool)


def as_they_were(versions: Iterator[Object], moment: datetime) -> Iterator[Object]:
    """Of each object the version that was its newest at a time; none of one that did not exist then.

    Of two in one second the one that is no deletion counts: what is brought back is compared anyway.
    """
    newest: dict[str, Object] = {}
    for each in versions:
        if each.object_name is None or each.last_modified is None or each.last_modified > moment:
            continue
        known = newest.get(each.object_name)
        if known is None or (known.last_modified or moment) < each.last_modified:
            newest[each.object_name] = each
    yield from (each for each in newest.values() if not each.is_delete_marker)
