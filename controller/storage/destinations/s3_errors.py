"""What a failure of S3 means: the codes of AWS, and those that MinIO, Ceph and others have of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError

from controller.core.copy_errors import DestinationDown, DestinationFull, DestinationRefused, ObjectKept, UnknownObject
from controller.core.errors import SidecarError
from controller.storage.destinations.s3_client import PASSING, Pool

LONGEST_WORDS = 300
NO_ROUTE = "Correct `endpoint`, and give the sidecar a network that leads there: one that is not `internal`."
GONE = {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"}
"""The last one is the answer where a version only says that the object was deleted."""
FULL = {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}
AWAY = {"SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable", "RequestTimeout"}
ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed"}
SKEWED = {"RequestTimeTooSkewed", "RequestExpired"}
HINTS = {
    "AccessDenied": "Let the key list, read, write and delete below the prefix; with `lock` also PutObjectRetention.",
    "InvalidAccessKeyId": "Correct `key-id`.",
    "SignatureDoesNotMatch": "Correct `key`, and `region` where the provider names one.",
    "NoSuchBucket": "Make the bucket, or correct `bucket`, `endpoint` and `region`.",
    "InvalidRequest": "A `lock` needs a bucket that was made with object lock.",
    "InvalidObjectState": "It lies in an archive: have it brought back there, and let no rule move what lies below"
    " the prefix.",
    **dict.fromkeys(SKEWED, "Set this host's clock: it and the server's differ by more than 15 minutes."),
}


@contextmanager
def translated(where: str, pool: Pool) -> Iterator[None]:
    """The library's errors in our words; `where` is for people."""
    try:
        yield
    except SidecarError:
        raise
    except S3Error as error:
        raise meaning(where, error.code or "", error.message or "", pool) from error
    except (InvalidResponseError, ServerError) as error:
        raise without_code(where, pool) from error
    except MaxRetryError as error:
        if isinstance(error.reason, SSLError):
            hint = "Set `ca-file` to the certificate of who signed the server's; look whether that has expired."
            raise DestinationRefused(
                f"the certificate of {where} is not believed: {error.reason}", hint=hint
            ) from error
        # A name that nobody knows, or an address that nothing leads to: where all networks are internal it is so.
        hint = NO_ROUTE if isinstance(error.reason, NewConnectionError) else ""
        raise DestinationDown(f"{where} does not answer: {short(error.reason or error)}", hint=hint) from error
    except (HTTPError, OSError) as error:
        raise DestinationDown(f"{where} does not answer: {short(error)}") from error
    except (MinioException, ParseError, ValueError) as error:
        raise DestinationDown(f"{where} gives an answer that cannot be read: {short(error)}") from error


def meaning(where: str, code: str, words: str, pool: Pool) -> SidecarError:
    said = f"{where}: {code}: {words[:LONGEST_WORDS]}"
    if code in GONE:
        return UnknownObject(f"there is no {said}")
    if code in FULL or pool.status == 507 or "cap exceeded" in words:
        return DestinationFull(f"no room left at {said}")
    if code in ELSEWHERE:
        region = f"`{pool.region}`" if pool.region else "the one where the bucket is"
        return DestinationRefused(
            f"refused by {said}", hint=f"Set `region` to {region}, and `endpoint` to its address."
        )
    if code in AWAY or pool.status in PASSING:
        return DestinationDown(f"not now: {said}")
    return DestinationRefused(f"refused by {said}", hint=HINTS.get(code, ""))


def without_code(where: str, pool: Pool) -> SidecarError:
    """Such as that of a proxy before the server."""
    message = f"{where} answers with HTTP status {pool.status}, and not as S3 does"
    if pool.status == 507:
        return DestinationFull(message)
    if pool.status in PASSING:
        return DestinationDown(message)
    return DestinationRefused(message, hint="Correct `endpoint`, or the proxy before it, which has to take 8 MiB.")


def kept(where: str, error: S3Error) -> SidecarError:
    """That an object cannot be deleted."""
    return ObjectKept(f"not deleted at {where}: {error.code}: {(error.message or '')[:LONGEST_WORDS]}")


def short(error: object) -> str:
    return str(error)[:LONGEST_WORDS] or type(error).__name__
