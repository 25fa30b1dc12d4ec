"""moto: an S3 that others have written. It checks neither signatures nor digests, so it is for the good path alone."""

import warnings
from functools import cache
from secrets import token_hex
from typing import Any

from minio import Minio

KEYS = {"key_id": "AKIAMOTO", "key": "of-moto"}


@cache
def moto_server() -> str:
    """Its address; it ends with the tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its own.
        from moto.server import ThreadedMotoServer  # noqa: PLC0415

        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
    _, port = server.get_host_and_port()
    return f"127.0.0.1:{port}"


def moto_bucket(*, locks: bool = False) -> dict[str, Any]:
    """Options of a destination in a new bucket."""
    address, bucket = moto_server(), f"copies-{token_hex(4)}"
    Minio(address, KEYS["key_id"], KEYS["key"], secure=False, region="us-east-1").make_bucket(bucket, object_lock=locks)
    return {"bucket": bucket, "prefix": "shop", "endpoint": f"http://{address}", "region": "us-east-1", **KEYS}
