"""An SFTP server of a folder, in a thread of its own: what destinations are tried against, also by faults."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

USER = "keeper"


@dataclass
class SftpServer:
    """A running one; whoever changes `lacks` or `refuses` changes what it does from then on."""

    folder: Path
    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    user_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    port: int = 0
    lacks: set[str] = field(default_factory=set)
    """Extensions that it does not know: `fsync`, `posix_rename`."""
    refuses: set[str] = field(default_factory=set)
    """Methods that end with SSH_FX_PERMISSION_DENIED: `open`, `rename`."""
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @property
    def options(self) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "path": "/place",
            "key": self.user_key.export_private_key().decode(),
            "host_key": self.host_key.export_public_key().decode().strip(),
        }

    def cut(self) -> None:
        """End every connection in the middle of whatever it is doing."""
        for connection in self.connections:
            self.loop.call_soon_threadsafe(connection.abort)


def served(server: SftpServer) -> type[asyncssh.SFTPServer]:
    class Served(asyncssh.SFTPServer):
        def __init__(self, channel: Any) -> None:
            super().__init__(channel, chroot=str(server.folder))

        def open(self, *arguments: Any) -> Any:
            self._demand("open")
            return super().open(*arguments)

        def fsync(self, file: Any) -> Any:
            if "fsync" in server.lacks:
                raise asyncssh.SFTPOpUnsupported("no fsync")
            return super().fsync(file)

        def posix_rename(self, old: bytes, new: bytes) -> Any:
            if "posix_rename" in server.lacks:
                raise asyncssh.SFTPOpUnsupported("no posix-rename")
            return super().posix_rename(old, new)

        def _demand(self, what: str) -> None:
            if what in server.refuses:
                raise asyncssh.SFTPPermissionDenied("no")

    return Served


@contextmanager
def sftp_server(folder: Path) -> Iterator[SftpServer]:
    """`folder/place` is where copies go."""
    server = SftpServer(folder)
    (folder / "place").mkdir()
    authorized = asyncssh.import_authorized_keys(server.user_key.export_public_key().decode())

    class Login(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            server.connections.append(conn)

    async def start() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Login,
            server_host_keys=[server.host_key],
            authorized_client_keys=authorized,
            sftp_factory=served(server),
        )

    acceptor = server.loop.run_until_complete(start())
    server.port = acceptor.get_port()
    thread = threading.Thread(target=server.loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(ended(server, acceptor), server.loop).result(10)
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join(10)
        server.loop.close()


async def ended(server: SftpServer, acceptor: asyncssh.SSHAcceptor) -> None:
    acceptor.close()
    await acceptor.wait_closed()
    for connection in server.connections:
        connection.abort()
        await connection.wait_closed()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
