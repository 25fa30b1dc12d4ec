"""Writing a tar into a container by the engine's archive endpoint, for containers without `tar`."""

import contextlib
import io
import posixpath
import tarfile
from collections.abc import Iterable
from urllib.parse import urlencode

from controller.core.errors import UnsafeArtifact
from controller.engine.api import Api
from controller.engine.errors import message_of, refusal, translated

TIMEOUT_SECONDS = 600.0
"""Seconds that the engine may take no byte, and that it may take to answer after the last one."""


def exists(api: Api, container_id: str, path: str) -> bool:
    """See `Engine.exists`."""
    return _request(api, "HEAD", container_id, path, None) != 404


def put(api: Api, container_id: str, folder: str, chunks: Iterable[bytes]) -> None:
    """See `Engine.put`."""
    place = "/"
    for name in filter(None, folder.split("/")):
        inner = posixpath.join(place, name)
        if not exists(api, container_id, inner):
            _request(api, "PUT", container_id, place, [_folder(name)])
        place = inner
    _request(api, "PUT", container_id, folder, chunks)


def put_file(api: Api, container_id: str, path: str, content: bytes) -> None:
    """See `Engine.put_file`."""
    folder, name = posixpath.split(path)
    member = tarfile.TarInfo(name)
    member.mode, member.size = 0o444, len(content)
    put(api, container_id, folder, [_tar(member, content)])


def _request(api: Api, method: str, container_id: str, path: str, chunks: Iterable[bytes] | None) -> int:
    """The status of an answer that is good, or 404 for a path that is not there."""
    address = api.path(f"/containers/{container_id}/archive?{urlencode({'path': path})}")
    connection = api.http(timeout=TIMEOUT_SECONDS)
    headers = {} if chunks is None else {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
    try:
        with translated("writing an archive", container_id):
            # The engine may refuse before it took everything; its answer says why.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, address, body=chunks, headers=headers, encode_chunked=True)
            answer = connection.getresponse()
            text = message_of(answer.read(4096))
            missing = answer.status == 404 and chunks is None and "No such container" not in text
            if answer.status == 500 and "invalid symlink" in text:
                hint = "Restore in place, or into a container with tar."
                raise UnsafeArtifact(f"the engine unpacks no link that leads out of the folder: {text}", hint=hint)
            if answer.status != 200 and not missing:
                raise refusal(answer.status, text, "writing an archive", container_id)
            return answer.status
    finally:
        connection.close()


def _folder(name: str) -> bytes:
    """A tar that holds one empty folder."""
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return _tar(member)


def _tar(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(member, io.BytesIO(content))
    return file.getvalue()
