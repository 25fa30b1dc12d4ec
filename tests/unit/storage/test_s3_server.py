"""The strict S3 of the tests refuses what AWS refuses, so that what it takes is right."""

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from urllib.parse import quote

import pytest

from tests.kit.s3_server import BUCKET, KEY, KEY_ID, REGION, S3Server, s3_server
from tests.kit.s3_signature import signature

EMPTY = hashlib.sha256(b"").hexdigest()
EXAMPLE = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HOST = {"host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z"}
LOCKED = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2199-01-01T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("method", "address", "headers", "expected"),
    [
        (
            "GET",
            "/test.txt",
            {"range": "bytes=0-9", "x-amz-content-sha256": EMPTY},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {
                "date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-content-sha256": hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            {"x-amz-content-sha256": EMPTY},
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            {"x-amz-content-sha256": EMPTY},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get", "put", "lifecycle", "list"],
)
def test_it_signs_as_the_published_examples(method: str, address: str, headers: dict[str, str], expected: str) -> None:
    """Of docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html."""
    told = HOST | headers

    assert signature(EXAMPLE, method, address, told, sorted(told), "us-east-1", "s3") == expected


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server(locks=True) as running:
        yield running


def asked(
    server: S3Server,
    method: str = "PUT",
    body: bytes = b"content",
    *,
    key: str = KEY,
    key_id: str = KEY_ID,
    region: str = REGION,
    date: datetime | None = None,
    unsigned: dict[str, str] | None = None,
    query: str = "",
    **changed: str,
) -> str:
    """Status and code of the answer to a request that is right but for what is changed."""
    address = f"/{BUCKET}/{quote('shop/it%27s')}{query}"
    headers = {
        "host": f"127.0.0.1:{server.port}",
        "x-amz-date": (date or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ"),
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    signed = sorted(headers)
    scope = f"{key_id}/{headers['x-amz-date'][:8]}/{region}/s3/aws4_request"
    made = signature(key, method, address, headers, signed, region, "s3")
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={';'.join(signed)}, Signature={made}"
    )
    connection = HTTPConnection("127.0.0.1", server.port, timeout=15)
    connection.request(method, address, body, headers | (unsigned or {}))
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return f"{answer.status} {text.partition('<Code>')[2].partition('<')[0]}".strip()


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def test_it_takes_what_is_right(server: S3Server) -> None:
    assert asked(server) == "200"
    assert asked(server, content_md5=md5(b"content"), **LOCKED) == "200"
    assert asked(server, "GET", b"") == "200"
    assert [version.data for version in server.objects["shop/it%27s"]] == [b"content", b"content"]


def test_it_refuses_what_is_not(server: S3Server) -> None:
    far = datetime.now(UTC) + timedelta(minutes=16)
    refused = {
        "403 SignatureDoesNotMatch": asked(server, key="another"),
        "403 InvalidAccessKeyId": asked(server, key_id="ANOTHER"),
        "400 AuthorizationHeaderMalformed": asked(server, region="us-east-1"),
        "403 RequestTimeTooSkewed": asked(server, date=far),
        "400 XAmzContentSHA256Mismatch": asked(server, x_amz_content_sha256=EMPTY),
        "400 BadDigest": asked(server, content_md5=md5(b"other")),
        "400 InvalidRequest": asked(server, **LOCKED),
        "501 NotImplemented": asked(server, x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        "403 AccessDenied": asked(server, unsigned={"x-amz-meta-more": "x"}),
    }

    assert list(refused) == list(refused.values())
    assert server.objects == {}


def test_it_keeps_what_is_locked(server: S3Server) -> None:
    asked(server, content_md5=md5(b"content"), **LOCKED)
    (locked,) = server.objects["shop/it%27s"]

    assert asked(server, "DELETE", b"") == "204"
    assert [version.data for version in server.objects["shop/it%27s"]] == [b"content", None]
    assert asked(server, "DELETE", b"", query=f"?versionId={locked.id}") == "403 AccessDenied"
    server.passes(timedelta(days=99_999))
    assert asked(server, "DELETE", b"", query=f"?versionId={locked.id}") == "204"
    assert [version.data for version in server.objects["shop/it%27s"]] == [None]
