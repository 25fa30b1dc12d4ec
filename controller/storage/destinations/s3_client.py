"""The library's S3 client, and what is added to it: the MD5 of every body, bounded waits, the server's clock."""

import os
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import md5
from io import BytesIO
from typing import Any

import certifi
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import S3Error
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout

CONNECT_SECONDS, READ_SECONDS = 30.0, 120.0
"""For a connection and each block of a body, and for each answer."""
BLOCK_BYTES = 128 << 10
TRIES, FIRST_PAUSE_SECONDS = 3, 0.3
"""More, after a failure that may pass; the pauses double. Who calls has a longer patience of its own."""
PASSING = (429, 500, 502, 503, 504)
Headers = dict[str, str | list[str] | tuple[str]]


class Pool(PoolManager):
    """Sends a body block by block, follows no redirection, and knows what the last answer said beside its content."""

    def __init__(self, ca_file: str = "") -> None:
        """`ca_file` holds the certificates that are believed; empty for those that everybody believes."""
        super().__init__(
            timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            cert_reqs="CERT_REQUIRED",
            ca_certs=ca_file or os.environ.get("SSL_CERT_FILE") or certifi.where(),
            blocksize=BLOCK_BYTES,
            # A server's `Retry-After` may be a day.
            retries=Retry(
                TRIES,
                redirect=0,
                allowed_methods=None,
                status_forcelist=PASSING,
                backoff_factor=FIRST_PAUSE_SECONDS,
                raise_on_status=False,
                respect_retry_after_header=False,
            ),
        )
        self.status, self.region = 0, ""
        """Of the last answer; the region is where the bucket is, if it is not where it was looked for."""
        self._date: tuple[datetime, float] | None = None

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> BaseHTTPResponse:  # type: ignore[override]
        """A body as a whole would have to be sent within one wait; a redirection would be for another signature."""
        del redirect
        if body := options.get("body"):
            options["body"] = BytesIO(body)
        response = super().urlopen(method, url, redirect=False, **options)
        self.status, self.region = response.status, response.headers.get("x-amz-bucket-region", "")
        if date := response.headers.get("Date"):
            self._take(date)
        return response

    @property
    def server_now(self) -> datetime | None:
        """By the server's clock, a second exactly; None where it has told none."""
        if self._date is None:
            return None
        date, taken = self._date
        return date + timedelta(seconds=time.monotonic() - taken)

    def _take(self, date: str) -> None:
        try:
            self._date = parsedate_to_datetime(date).astimezone(UTC), time.monotonic()
        except ValueError:
            self._date = None


class Client(Minio):
    """Over HTTP the library would leave the MD5 out, without which no server takes an object with a lock."""

    def lifecycle(self, bucket: str) -> str:
        """The rules of a bucket as XML; empty where there are none."""
        try:
            document: str = self._execute("GET", bucket, query_params={"lifecycle": ""}).data.decode()
        except S3Error as error:
            if error.code != "NoSuchLifecycleConfiguration":
                raise
            return ""
        return document

    def _build_headers(
        self,
        host: str,
        headers: Headers | None = None,
        body: bytes | None = None,
        creds: Credentials | None = None,
    ) -> tuple[Headers, datetime]:
        if body is not None:
            digest = b64encode(md5(body, usedforsecurity=False).digest()).decode()
            headers = {**(headers or {}), "Content-MD5": digest}
        return super()._build_headers(host, headers, body, creds)
