"""A folder on another machine, by SFTP (draft-ietf-secsh-filexfer-02, as OpenSSH speaks it).

With its extensions fsync@openssh.com and posix-rename@openssh.com an object is durable and whole when `put` returns;
a server without them is used nevertheless, and what it has is read back as anywhere.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from posixpath import dirname
from secrets import token_hex
from stat import S_ISDIR, S_ISREG
from typing import Any, TypeVar

import asyncssh

from controller.core.copy_errors import DestinationDown, DestinationFull, DestinationRefused, UnknownObject, WrongKey
from controller.core.errors import SidecarError
from controller.storage.destinations import StoredObject, Traits, parts_of
from controller.storage.files import PARTIAL

CHUNK_BYTES = 1 << 20
BLOCK_BYTES, MOST_REQUESTS = 32 << 10, 32
"""Of one request, and how many are under way: together 1 MiB, whatever the server says of its limits."""
CONNECT_SECONDS, ANSWER_SECONDS, CLOSE_SECONDS = 30.0, 120.0, 5.0
Answer = TypeVar("Answer")


def opened(options: dict[str, Any], store: Path | None) -> "SftpDestination":
    del store  # It is on another machine.
    return SftpDestination(options)


class SftpDestination:
    """One folder; keeps its connection, and makes a new one when that is lost."""

    prefix, lock = "", timedelta(0)

    def __init__(self, options: dict[str, Any]) -> None:
        """`host`, `port`, `user`, `path`, the private `key` and the public `host_key`, in OpenSSH's form.

        Raises `WrongKey`.
        """
        self._host, self._port = str(options["host"]), int(options["port"])
        self._user, self._root = str(options["user"]), str(options["path"]).rstrip("/")
        try:
            self._key = asyncssh.import_private_key(options["key"])
            self._host_key = asyncssh.import_public_key(options["host_key"])
        except asyncssh.KeyImportError as error:
            hint = (
                "`key` is a private key without passphrase, `host-key` a line of ssh-keyscan without the host's name."
            )
            raise WrongKey("a key of the sftp destination cannot be read", hint=hint) from error
        self._loop = asyncio.new_event_loop()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None

    def probe(self) -> None:
        with self._translated(self._root):
            attributes = self._wait(self._stat(self._root))
        if attributes is None or not S_ISDIR(attributes.permissions or 0):
            raise DestinationRefused(f"{self._root} is no folder at {self._host}", hint="Make it there.")

    def put(self, name: str, content: bytes) -> None:
        path = self._path(name)
        with self._translated(path):
            self._wait(self._put(path, content))

    def get(self, name: str, version: str = "") -> Iterator[bytes]:
        self._demand_no_versions(version)
        path, offset = self._path(name), 0
        with self._translated(path):
            file = self._wait(self._opened(path, "rb"))
        try:
            while True:
                with self._translated(path):
                    piece: Any = self._wait(file.read(CHUNK_BYTES, offset))
                if not piece:
                    return
                offset += len(piece)
                yield bytes(piece)
        finally:
            with suppress(SidecarError, asyncssh.Error, OSError):
                self._wait(file.close())

    def list(self, prefix: str, as_of: datetime | None = None) -> Iterator[StoredObject]:
        self._demand_no_versions(as_of)
        folder, _, _ = prefix.rpartition("/")
        self.probe()  # A folder in it may be missing, it itself not.
        waiting = [folder]
        while waiting:
            below = waiting.pop()
            with self._translated(below):
                found = self._wait(self._scanned(below))
            for entry in found:
                own = entry.filename if isinstance(entry.filename, str) else entry.filename.decode(errors="replace")
                name = f"{below}/{own}" if below else own
                mode, size = entry.attrs.permissions or 0, entry.attrs.size or 0
                if S_ISDIR(mode):
                    waiting.append(name)
                elif S_ISREG(mode) and name.startswith(prefix):
                    yield StoredObject(name, size, datetime.fromtimestamp(entry.attrs.mtime or 0, UTC))

    def delete(self, name: str) -> None:
        path = self._path(name)
        with self._translated(path), suppress(UnknownObject), self._translated(path):
            self._wait(self._removed(path))

    def keep(self, name: str) -> None:
        """Nothing is kept against anybody's will."""

    def traits(self, name: str) -> Traits:
        return Traits()

    def close(self) -> None:
        if self._loop.is_closed():
            return
        with suppress(Exception):
            self._loop.run_until_complete(self._farewell())
        self._loop.close()

    # --- what runs in the loop

    async def _farewell(self) -> None:
        if self._connection is not None:
            self._connection.close()
            await asyncio.wait_for(self._connection.wait_closed(), CLOSE_SECONDS)

    async def _sftp(self) -> asyncssh.SFTPClient:
        if self._client is None:
            self._connection = await asyncssh.connect(
                self._host,
                self._port,
                username=self._user,
                client_keys=[self._key],
                known_hosts=([self._host_key], [], []),
                config=None,
                agent_path=None,
                preferred_auth="publickey",
                connect_timeout=CONNECT_SECONDS,
                login_timeout=CONNECT_SECONDS,
            )
            self._client = await self._connection.start_sftp_client()
        return self._client

    async def _stat(self, path: str) -> asyncssh.SFTPAttrs | None:
        sftp = await self._sftp()
        with suppress(asyncssh.SFTPNoSuchFile):
            return await sftp.stat(path or "/")
        return None

    async def _opened(self, path: str, mode: str) -> asyncssh.SFTPClientFile:
        sftp = await self._sftp()
        return await sftp.open(path, mode, block_size=BLOCK_BYTES, max_requests=MOST_REQUESTS)

    async def _put(self, path: str, content: bytes) -> None:
        sftp = await self._sftp()
        await sftp.makedirs(dirname(path), exist_ok=True)
        partial = f"{path}.{token_hex(4)}{PARTIAL}"
        try:
            async with await self._opened(partial, "wb") as file:
                for offset in range(0, len(content), CHUNK_BYTES):  # What is on its way has a bound.
                    await file.write(content[offset : offset + CHUNK_BYTES], offset)
                with suppress(asyncssh.SFTPOpUnsupported):
                    await file.fsync()
            try:
                await sftp.posix_rename(partial, path)
            except asyncssh.SFTPOpUnsupported:
                with suppress(asyncssh.SFTPNoSuchFile):
                    await sftp.remove(path)
                await sftp.rename(partial, path)
        except asyncssh.SFTPError:
            with suppress(asyncssh.Error, OSError):
                await sftp.remove(partial)
            if await self._is_full(sftp, len(content)):
                raise DestinationFull(f"no room left at {self._host}") from None
            raise

    async def _is_full(self, sftp: asyncssh.SFTPClient, size: int) -> bool:
        """Whether that is why something failed: version 3 of the protocol has no code for it."""
        with suppress(asyncssh.Error, OSError):
            disk = await sftp.statvfs(self._root)
            return disk.bavail * disk.frsize < size
        return False

    async def _scanned(self, folder: str) -> Sequence[asyncssh.SFTPName]:
        sftp = await self._sftp()
        path = f"{self._root}/{folder}" if folder else self._root
        try:
            return [entry async for entry in visible(sftp.scandir(path))]
        except asyncssh.SFTPNoSuchFile:
            return []

    async def _removed(self, path: str) -> None:
        sftp = await self._sftp()
        await sftp.remove(path)

    # --- what surrounds it

    def _wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self._loop.run_until_complete(asyncio.wait_for(work, ANSWER_SECONDS))

    def _path(self, name: str) -> str:
        return f"{self._root}/{'/'.join(parts_of(name))}"

    def _demand_no_versions(self, wanted: object) -> None:
        if wanted:
            raise DestinationRefused(f"{self._host} keeps no versions by SFTP", hint="Restore one of its snapshots.")

    def _lose(self) -> None:
        """Connect anew for the next question."""
        if self._connection is not None:
            self._connection.abort()
        self._connection = self._client = None

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """The library's errors in our words."""
        try:
            yield
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
            raise UnknownObject(f"there is no {path} at {self._host}") from error
        except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded) as error:
            raise DestinationFull(f"no room left at {self._host}: {error.reason}") from error
        except asyncssh.SFTPPermissionDenied as error:
            hint = f"Let the user {self._user} read and write there."
            raise DestinationRefused(f"{self._host} does not let us use {path}", hint=hint) from error
        except asyncssh.HostKeyNotVerifiable as error:
            self._lose()
            hint = "Find out why; if it is right, set the new one: `ssh-keyscan` prints it."
            raise DestinationRefused(f"{self._host} has another host key than `host-key`", hint=hint) from error
        except asyncssh.PermissionDenied as error:
            self._lose()
            hint = "Put the public half of `key` into its authorized_keys."
            raise DestinationRefused(f"{self._host} does not let the user {self._user} in", hint=hint) from error
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError, OSError) as error:
            self._lose()
            raise DestinationDown(f"{self._host} does not answer: {str(error) or type(error).__name__}") from error
        except TimeoutError as error:
            self._lose()
            raise DestinationDown(f"{self._host} does not answer within {ANSWER_SECONDS:.0f} s") from error
        except asyncssh.Error as error:
            self._lose()
            raise DestinationRefused(f"{self._host} answers with an error for {path}: {error.reason}") from error


async def visible(entries: AsyncIterator[asyncssh.SFTPName]) -> AsyncIterator[asyncssh.SFTPName]:
    """Without the folder itself and the one above."""
    async for entry in entries:
        if entry.filename not in (".", "..", b".", b".."):
            yield entry
