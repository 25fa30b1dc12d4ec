"""The engine as one object: what is there, what happens, and every way to run something in a container.

Each verb lives in its own file of this folder, so that a reader finds it by name.
"""

from collections.abc import Iterable, Mapping, Sequence

from controller.engine import archive, ask, drill_container, events, feed, helper_container, kill, pause, put
from controller.engine.api import Api
from controller.engine.context import ExecContext
from controller.engine.models import EngineVersion, ExecResult, Inspected, Listed, NetworkInfo
from controller.engine.stream import ExecStream
from strategies.base import Answer, Shell


class Engine:
    """A Docker engine at one address.

    The address is the argument, else `DOCKER_HOST`, else the unix socket; `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`
    make TCP into TLS. Nothing is connected until it is needed. Safe to use from many threads; `pool` is how many
    ordinary requests may be under way at a time. Every method raises `controller.core.errors`: `EngineUnreachable`,
    `EngineLost`, `EngineRefused`, `EngineError` for the engine, `TargetGone`, `TargetDied`, `TargetPaused` for
    the container.
    """

    def __init__(self, address: str | None = None, *, pool: int = 32) -> None:
        self._api = Api(address, pool=pool)

    @property
    def address(self) -> str:
        """As it was resolved, for messages: `unix:///var/run/docker.sock`."""
        return str(self._api.address)

    def close(self) -> None:
        """Drop idle connections; the object can be used again."""
        self._api.close()

    def version(self) -> EngineVersion:
        """Versions of engine and API."""
        return self._api.version()

    def ping(self, timeout: float = 5.0) -> None:
        """Whether the engine answers within so many seconds."""
        self._api.ping(timeout)

    def renegotiate(self) -> None:
        """Ask for the API's version anew, once the engine was away: it may come back as another."""
        self._api.renegotiate()

    def containers(self) -> tuple[Listed, ...]:
        """Every container, running or not, by one request."""
        return self._api.containers()

    def networks(self) -> tuple[NetworkInfo, ...]:
        """Every network, by one request."""
        return self._api.networks()

    def inspect(self, container_id: str) -> Inspected:
        """One container by id or name. Raises `TargetGone` when there is none."""
        return self._api.inspect(container_id)

    def image_labels(self, image_id: str) -> Mapping[str, str]:
        """The labels that an image brings into its containers. Raises `ImageGone` when the engine has none such."""
        return self._api.image_labels(image_id)

    def own_container_id(self) -> str | None:
        """The id of the container that this process runs in; None when it runs in none."""
        return self._api.own_container_id()

    def events(self, since: str | None = None, *, silence: float = 60.0) -> "events.EventStream":
        """Container and network events from now, or again from `since` (see `Event.time`).

        An iterator that ends when there was none for `silence` seconds: subscribe again, list again. `close()` from
        another thread ends it too; an engine that ends it is `EngineLost`.
        """
        return events.EventStream(self._api, since, silence=silence)

    def exec(self, context: ExecContext, argv: Sequence[str]) -> ExecStream:
        """Run argv; what it writes to standard output is the stream. See `ExecStream`, which opens it."""
        return ExecStream(self._api, context, argv)

    def ask(self, context: ExecContext, argv: Sequence[str], *, timeout: float = 10.0, limit: int = 1 << 20) -> Answer:
        """Run a small command and capture what it says, for probes and questions.

        `timeout` is in seconds, at most until the context's deadline (`TimedOut`), `limit` in bytes of standard output
        (`CommandFailed` beyond). A command that cannot start answers 126 or 127.
        """
        return ask.ask(self._api, context, argv, timeout=timeout, limit=limit)

    def ask_all(
        self,
        context: ExecContext,
        questions: Mapping[str, Sequence[str]],
        *,
        timeout: float = 15.0,
        limit: int = 1 << 20,
    ) -> Mapping[str, Answer]:
        """Answers by the questions' names; one exec for all that fit, where the target has a shell."""
        return ask.ask_all(self._api, context, questions, timeout=timeout, limit=limit)

    def find_shell(self, context: ExecContext) -> Shell | None:
        """Which shell the target offers; None: not even `sh`. One exec.

        Raises `TargetUnsuitable` where there is no such user or workdir.
        """
        return ask.find_shell(self._api, context)

    def probe(
        self, context: ExecContext, questions: Mapping[str, Sequence[str]], *, timeout: float = 15.0
    ) -> tuple[Shell | None, Mapping[str, Answer]]:
        """Which shell the target offers (see `find_shell`), and the answers (see `ask_all`); mostly by one exec."""
        return ask.probe(self._api, context, questions, timeout=timeout, limit=1 << 20)

    def feed(self, context: ExecContext, argv: Sequence[str], chunks: Iterable[bytes | memoryview]) -> ExecResult:
        """Run argv and write the chunks to its standard input, then end that; standard output is discarded.

        A command that stops reading early is no exception: its exit code tells. Never sealed. Exceptions of
        `chunks` pass through after the exec's connection was closed.
        """
        return feed.feed(self._api, context, argv, chunks)

    def kill(self, context: ExecContext, age: float = 1e9) -> tuple[str, ...]:
        """End every process in the container that carries the run's marker: TERM, up to 5 s, KILL; then look again.

        What has become another user's is found where it is not older than `age` seconds. One exec, and one more for
        each such user.

        Gives what is left, as `pid name` (empty: nothing; zombies do not count). Raises `CommandFailed` where nobody
        could look, as in a container without a shell.
        """
        return kill.kill(self._api, context, age)

    def transition(self, container_id: str, what: pause.Transition, *, deadline: float | None = None) -> None:
        """Pause, unpause, stop, start or restart the container; nothing is stopped or started that is so already.

        `deadline` is of `time.monotonic()` and for what stops, which waits for the container's own grace period.
        """
        pause.transition(self._api, container_id, what, deadline=deadline)

    def archive(self, context: ExecContext, path: str) -> "archive.ArchiveStream":
        """The path as a tar by the engine's archive endpoint; iterate for chunks. See `ArchiveStream`."""
        return archive.ArchiveStream(self._api, context, path)

    def exists(self, container_id: str, path: str) -> bool:
        """Whether the path is there, as the archive endpoint sees it: without tmpfs, following no link at its end."""
        return put.exists(self._api, container_id, path)

    def put(self, container_id: str, folder: str, chunks: Iterable[bytes]) -> None:
        """Unpack a tar in a folder by the archive endpoint; the folder is made, with those above it, where missing."""
        put.put(self._api, container_id, folder, chunks)

    def create_drill_container(
        self,
        like: str,
        image: str,
        labels: Mapping[str, str],
        limits: "drill_container.Limits",
        *,
        idle: Sequence[str] = (),
    ) -> str:
        """Create a throw-away container like `like` and give its id. See `drill_container.create`."""
        return drill_container.create(self._api, like, image, labels, limits, idle=idle)

    def create_helper_container(
        self, target_id: str | None, image: str, labels: Mapping[str, str], seconds: float
    ) -> str:
        """Create a container that sees the target's volumes read-only, if any, and give its id. See
        `helper_container.create`.
        """
        return helper_container.create(self._api, target_id, image, labels, seconds)

    def start_own_container(self, container_id: str) -> None:
        """Start one that was created here; raises `EngineError` when the engine cannot."""
        drill_container.start(self._api, container_id)

    def remove_own_container(self, container_id: str) -> None:
        """Remove one that was created here, with its volumes; one that is gone is fine, any other is refused
        (`EngineError`).
        """
        drill_container.remove(self._api, container_id)

    def written(self, container_id: str) -> int:
        """Bytes of the container's own layer, without its volumes; the engine walks its files for that."""
        return drill_container.written(self._api, container_id)

    def put_file(self, container_id: str, path: str, content: bytes) -> None:
        """Make a file that everybody in the container may read, by the archive endpoint."""
        put.put_file(self._api, container_id, path, content)

    def named_binds(self, container_id: str) -> Mapping[str, tuple[str, ...]]:
        """Paths that are bound into a container, and the words of its command line and environment that name them."""
        return drill_container.named_binds(self._api, container_id)

    def log_tail(self, container_id: str, *, lines: int = 5) -> str:
        """The end of a container's log."""
        return drill_container.log_tail(self._api, container_id, lines)
