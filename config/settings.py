"""The models say what may stand in `config.yaml`; the text under a field is its reference, so it is written once."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.copies import Copies, DestinationName
from config.fields import CommaItems, CommaList, Duration, Folder, Model, Size, Span, VariableNames, invalid
from config.secrets import Secret, SecretReference
from config.sources import WORKDIR
from config.target import TARGET_NAME, Commands, CommonSettings, TargetLayer
from config.tokens import Tokens

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
TOKEN_NAME = "BACKUP_API_TOKEN"  # noqa: S105 - a name, not a token


class DefaultStrategy(Model):
    """The strategy of targets that name none; its options stand beneath its name."""

    type: str | None = None
    """Strategy of targets that name none. Unset: every target has to name one."""
    commands: Commands = Commands()
    """Commands of targets that name no strategy; they come from the file, so they may see the secrets."""
    secrets: VariableNames | None = None
    """Names of the secrets that these commands see. Unset: all."""


class Paths(Model):
    """Folders in the sidecar's container."""

    artifacts: Folder = Path("/var/lib/sidecar/artifacts")
    """Folder for finished backups; mount a volume here."""
    workdir: Folder = WORKDIR
    """Folder for the catalog, journals, identity and socket; it has to outlive the container."""
    tmp: Folder = Path("/var/lib/sidecar/tmp")
    """Folder for temporary files."""

    @model_validator(mode="after")
    def _distinct(self) -> "Paths":
        if len({self.artifacts, self.workdir, self.tmp}) < 3:
            raise invalid("names one folder twice", "Give artifacts, workdir and tmp a folder each.")
        return self


class LabelPolicy(Model):
    """What labels may set."""

    allow: CommaList = ()
    """Patterns of allowed label keys (`retention.*`, or `retention` for the whole section). Empty: all are allowed."""
    lock: CommaList = ()
    """Patterns of label keys that only this file may set (`user`); `strategy` also locks `commands.backup`, which
    replaces it."""


EVERY = "*"
"""For the keys of all services."""


def _services(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and value.casefold() in {"true", "false"}):
        return (EVERY,) if str(value).casefold() == "true" else ()
    return value


def _service(value: str) -> str:
    if value != EVERY and not re.fullmatch(rf"{_NAME}/{_NAME}", value):
        raise invalid("is not the key of a service", "Write `[project/service]`, or `true` for all of them.")
    return value


Services = Annotated[tuple[Annotated[str, AfterValidator(_service)], ...], CommaItems, BeforeValidator(_services)]
"""`true` for all, or keys: `[shop/db]`."""


class Policy(Model):
    """What the operator allows."""

    labels: LabelPolicy = LabelPolicy()
    """What labels may set."""
    image_labels: Services = ()
    """Services whose image's labels count too: `true` for all, or a list such as `[shop/db]`. Empty: what an image says
    is not the operator's word."""
    min_interval: Duration = timedelta(minutes=5)
    """Minimum time between two scheduled runs, or two scheduled drills, of a target."""
    max_timeout: Duration = timedelta(hours=24)
    """Maximum for a `timeout` that a label sets; a longer one counts as this. `targets.<key>` may have any."""
    min_keep: Annotated[int, Field(ge=1, le=1000)] = 1
    """Minimum for the largest `keep-*` number of a target's retention."""
    min_max_age: Duration | None = None
    """Minimum for `retention.max-age`. Unset: no minimum."""
    safety: Duration = timedelta(days=7)
    """How long the backup stays that a restore makes of what it replaces, whatever the retention says."""
    undelete: Span = timedelta(hours=48)
    """How long a deleted run can be brought back by `undelete`; until then it takes room. `0s` deletes for good."""
    max_store_per_target: Size | None = None
    """Maximum for all runs of one target in the store; a run that would go beyond it fails. Unset: no maximum."""
    max_concurrent_runs: Annotated[int, Field(ge=1, le=100)] = 2
    """Maximum number of runs at the same time; each takes about one core and 16 MiB of memory."""
    create_containers: bool = False
    """Whether the sidecar may create temporary containers, for drills and to read SQLite without its client. Off by
    default, because creating containers is the most powerful permission of the engine."""


class Drills(Model):
    """Rehearsals of restores in throw-away containers; only under `policy.create-containers`."""

    memory: Size = 1 << 30
    """Memory limit of a drill's container; the target's own limit applies if it is lower."""
    cpus: Annotated[float, Field(gt=0, le=256)] = 1.0
    """CPU limit of a drill's container."""
    disk: Size = 2 << 30
    """What a drill's container may write beyond three times the size of what it restores."""
    timeout: Duration = timedelta(hours=1)
    """Maximum duration of a drill."""
    auto: bool = True
    """Whether targets are drilled by themselves as `drill.auto` says: from 00:00 to 06:00, each at most once a week, up
    to 5 GiB before compression, and with three times that free on the engine's disk."""


def _http(url: str) -> SplitResult | None:
    """The parts of a URL of http or https that names a host; None for any other text."""
    try:
        parts = urlsplit(url)
        return parts if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _url(value: str) -> str:
    if (parts := _http(value)) is None:
        raise invalid("is not a URL", "Write `http://host:port` or `https://host`.")
    if parts.username is not None or parts.password is not None:
        raise invalid("holds a user or a password", "Remove it: a URL is shown in logs, and requests are signed.")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_url)]


class Api(Model):
    """The HTTP interface on `scope.external`."""

    host: str | None = None
    """Address to listen on; `0.0.0.0` for all. Unset: loopback, the sidecar's address on `scope.external`, and the one
    that a published port leads to."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to listen on."""
    token: Secret = SecretReference(secret=TOKEN_NAME)
    """Bearer token of the role `backup`, at least 16 characters; preferably `{secret: NAME}`."""
    tokens: Tokens = ()
    """More tokens, each with a name, the name of its secret, and a role: `read`, `backup`, `restore` or `admin`. Two of
    one name are for changing it."""
    advertise: Url | None = None
    """URL that the orchestrator is told to call. Unset: the sidecar's IPv4 address on `scope.external`."""
    respond_within: Duration = timedelta(seconds=240)
    """Maximum time that an export request waits for its backup; after it, the answer is 503 with `Retry-After`, and the
    client's next export gets that backup at once."""
    bundle: bool = False
    """Whether an export is always a tar that holds the manifest too, even of a single artifact. Off by default, because
    existing orchestrators store the artifact itself; one client gets it by `Accept: application/x-tar`."""


class Orchestrator(Model):
    """The central orchestrator that the sidecar announces itself to."""

    url: Url
    """URL of the orchestrator, without a path."""
    key: Secret
    """Key that signs heartbeats; it is never sent."""
    interval: Duration = timedelta(seconds=15)
    """Time between heartbeats; the orchestrator may change it in its answer."""
    patience: Duration = timedelta(hours=26)
    """How long the orchestrator may begin no run before targets without a schedule of their own run once a night
    nevertheless; `8d` for one that comes once a week."""


PING_HINT = "Write `https://host/uuid` or the like, without user, password and fragment."


class Ping(Model):
    """A dead man's switch, as healthchecks.io has them: it raises the alarm when nobody pings it any more."""

    url: Secret | None = None
    """URL of the check; `/start` and `/fail` are appended to it. It works like a password: use `{secret: NAME}`."""


def can_be_pinged(url: str) -> bool:
    """Whether it can be pinged as it stands: http or https, without user, password, fragment and blanks."""
    if (parts := _http(url)) is None or not re.fullmatch(r"[\x21-\x7e]+", url):
        return False
    return not parts.fragment and "@" not in parts.netloc


CopyTo = Annotated[tuple[DestinationName, ...], CommaItems]


class Defaults(CommonSettings):
    """`defaults` of the file: what labels may set, and what they may not."""

    copies: CopyTo | None = None
    """Names of the destinations that runs are copied to. Unset: all of `copies.destinations`."""


class OwnTarget(TargetLayer):
    """`targets.<key>` of the file: what labels may set, and what they may not."""

    ping: Ping = Ping()
    """A check that is told when a run starts, succeeds or fails."""
    secrets: VariableNames | None = None
    """Names of the secrets that the file's commands see in this target. Unset: all, or those of `strategy.secrets`."""
    copies: CopyTo | None = None
    """Names of the destinations that its runs are copied to; `[]`: none. Unset: those of `defaults.copies`."""


class Scope(Model):
    """Which containers are looked at."""

    network: Annotated[str, Field(min_length=1)] = "app_internal"
    """Network shared with the application, by its name in the Compose or stack file, or its plain name."""
    external: Annotated[str, Field(min_length=1)] = "backups_net"
    """Network shared with the orchestrator."""
    project: Literal["own", "any"] = "own"
    """`own`: only containers in the sidecar's Compose project or stack; `any`: all containers on the network."""


class Verify(Model):
    """The re-reading of what is stored."""

    budget: Size = 10 << 30
    """Maximum amount of stored data to re-read in a day, oldest check first; `0B` turns this off."""
    every: Duration = timedelta(days=7)
    """How long a run counts as checked; after that it is read again."""


class Log(Model):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum severity of log lines."""
    format: Literal["auto", "json", "text"] = "auto"
    """`text`, `json`, or `auto`: text on a terminal, otherwise JSON."""


def _prefix(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,60}", value):
        raise invalid("is not a prefix of labels", "Write lower-case words with dots, such as `backup.`.")
    return value.rstrip(".") + "."


def _target_key(value: str) -> str:
    if not re.fullmatch(rf"{_NAME}/{_NAME}(/{TARGET_NAME})?", value):
        raise invalid("is not the key of a target", "Write `project/service` or `project/service/name`.")
    return value


TargetKey = Annotated[str, AfterValidator(_target_key)]


class Settings(Model):
    """The whole of `config.yaml`."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    """Version of this file's format."""
    strategy: DefaultStrategy = DefaultStrategy()
    """The strategy of targets that name none."""
    paths: Paths = Paths()
    """Folders in the sidecar's container."""
    secrets: VariableNames = ()
    """Names of the secrets for commands in this file; their values come from the environment, `.env` or `NAME_FILE`."""
    defaults: Defaults = Defaults()
    """Settings for all targets; labels override them."""
    targets: dict[TargetKey, OwnTarget] = Field(default_factory=dict)
    """Settings for one target; they override its labels."""
    policy: Policy = Policy()
    """What the operator allows."""
    drills: Drills = Drills()
    """Rehearsals of restores."""
    api: Api = Api()
    """The HTTP interface."""
    orchestrator: Orchestrator | None = None
    """The central orchestrator; unset announces nothing."""
    ping: Ping = Ping()
    """A check that is told the result of `status` every few minutes."""
    scope: Scope = Scope()
    """Which containers are looked at."""
    verify: Verify = Verify()
    """The re-reading of what is stored."""
    copies: Copies | None = None
    """Copies of every run at other places."""
    label_prefix: Annotated[str, AfterValidator(_prefix)] = "backup."
    """Prefix of the labels."""
    log: Log = Log()

    @model_validator(mode="after")
    def _known_secrets(self) -> "Settings":
        narrowed = {
            "strategy": self.strategy.secrets,
            **{f"targets.{key}": own.secrets for key, own in self.targets.items()},
        }
        for place, names in narrowed.items():
            if unknown := sorted({*(names or ())} - {*self.secrets}):
                message = f"`{place}.secrets` names {', '.join(unknown)}, which `secrets` does not"
                raise invalid(message, "Add the name to the list `secrets`, or remove it there.")
        return self

    @model_validator(mode="after")
    def _known_destinations(self) -> "Settings":
        known = self.copies.destinations if self.copies else {}
        named = {
            "defaults": self.defaults.copies,
            **{f"targets.{key}": own.copies for key, own in self.targets.items()},
        }
        for place, names in named.items():
            if unknown := sorted({*(names or ())} - {*known}):
                message = f"`{place}.copies` names {', '.join(unknown)}, which `copies.destinations` does not"
                raise invalid(message, "Add the destination there, or remove its name.")
        own_folders = (self.paths.artifacts, self.paths.workdir, self.paths.tmp)
        for name, path in ((name, each.path) for name, each in known.items() if each.path):
            if any(path.is_relative_to(own) or own.is_relative_to(path) for own in own_folders):
                message = f"`copies.destinations.{name}.path` lies in a folder of `paths`, or holds one"
                raise invalid(message, "Mount the place for copies elsewhere, such as at `/copies`.")
        return self

    def copied_to(self, key: str) -> tuple[str, ...]:
        """Names of the destinations that a target's runs are copied to."""
        own, known = self.targets.get(key), self.copies.destinations if self.copies else {}
        named = self.defaults.copies if own is None or own.copies is None else own.copies
        return tuple(known) if named is None else named

    """What is written to standard error."""
