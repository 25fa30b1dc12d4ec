"""Reads what the operator wrote: `config.yaml`, `.env`, `${VAR}`, `SIDECAR_*` and secrets become one `Loaded`.

No access check on the store's folders happens here; that needs the machine, and is the controller's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from config import overrides, variables
from config.copies import SIGNING_KEY, DestinationSettings
from config.document import Document, Places
from config.layers import COMMAND, flatten
from config.lookup import Lookup, reference, secret_paths
from config.problems import ConfigurationError, Location, Problem
from config.secrets import SENSITIVE, SecretReference, Secrets, passwords_in
from config.settings import PING_HINT, TOKEN_NAME, DefaultStrategy, OwnTarget, Ping, Settings, can_be_pinged
from config.sources import FILE, config_file, digest, own_env_file
from config.tokens import ApiToken, faults, own
from config.validation import location, problem_of, problems_from
from config.variables import EnvFile, Variables
from config.wording import quoted, suggest


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that the operator wrote, checked."""

    settings: Settings
    secrets: Secrets
    """Values of the names in `secrets:`, for commands of the file; redacts token and key too."""
    api_token: str = field(repr=False)
    """Empty: none is set, nor needed from the operator."""
    more_tokens: tuple[ApiToken, ...]
    """Those of `api.tokens`."""
    orchestrator_key: str | None = field(repr=False)
    """None: no orchestrator."""
    signing_key: str | None = field(repr=False)
    """Of copies; None: there are no destinations, or none is set."""
    destination_secrets: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Values of the secrets of destinations of copies, by the destination's name and the setting's."""
    pings: Mapping[str, str] = field(repr=False)
    """URLs of checks by key of the target; the sidecar's own by the empty text."""
    problems: tuple[Problem, ...]
    """Warnings; errors are raised."""
    cut_secrets: tuple[Problem, ...]
    """Errors of the targets with a command of the file, which would get a private key without its end."""
    values: Mapping[str, Any] = field(repr=False)
    """The file as plain values, overridden and filled in, for the merge."""
    places: Places = field(repr=False)
    digest: str
    """Changes when the content of a file does."""
    copies: frozenset[str]
    """Variables of the environment that are only Compose's copy of what a file sets."""
    written: Mapping[str, Any] | None = field(repr=False)
    """The file as plain values, as it was written; None where a secret value stands in it."""
    token_made: bool = False
    """Whether the token is one that the sidecar made."""
    refused: tuple[Problem, ...] = ()
    """What is wrong with a `config.yaml` in whose place the last good one holds."""

    @property
    def tokens(self) -> tuple[ApiToken, ...]:
        """All that the API takes."""
        return (*own(self.api_token), *self.more_tokens)


def load(
    folder: Path,
    environ: Mapping[str, str],
    strategies: Collection[str] = (),
    *,
    env_files: Sequence[EnvFile] = (),
    copies: Collection[str] = (),
    written: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read and check everything; raises `ConfigurationError` with every problem at once, none showing a value.

    `strategies` are the known names: with them a misspelt strategy is found here, else with its targets. `env_files`
    are all that there are, the first to go first; without any it is the one in the folder. `copies`: see
    `variables.read`. `written` takes the place of the file: what an earlier `Loaded` had.
    """
    env_files = env_files or [own_env_file(folder)]
    seen = digest(folder, env_files)
    file = config_file(folder) if written is None else Document(f"last good {FILE}", dict(written))
    known = variables.read(env_files, environ, copies)
    if not file.readable:
        secrets = Secrets(also=_sensitive(known))
        raise ConfigurationError(tuple(_redacted(problem, secrets) for problem in (*file.problems, *known.problems)))
    return _Loading(folder, known, file, strategies).run(seen)


class _Loading:
    """One load; gathers problems on the way."""

    def __init__(self, folder: Path, known: Variables, file: Document, strategies: Collection[str]) -> None:
        self.folder, self.known, self.file, self.strategies = folder, known, file, strategies
        self.problems: list[Problem] = [*known.problems, *file.problems]
        self.reported: set[Location] = set()
        self.lookup = Lookup(folder, known, self.add)
        self.places = Places(file, {})
        self.orchestrated = False
        self.secret_paths = frozenset(secret_paths(file.values))

    def run(self, digest: str) -> Loaded:
        values = self._filled(self.file.values, (), self._secret_names())
        applied, unknown = overrides.apply(values, self.known)
        self.problems += unknown
        self.places = Places(self.file, applied)
        self.orchestrated = bool(values.get("orchestrator"))
        settings = self._settings(values)
        self._check_strategies(settings)
        secrets = self.lookup.named(settings.secrets if settings else ())
        token = self._token(settings)
        more = self._more_tokens(settings) if settings else []
        for fault in faults([*((("api", "token"), given) for given in own(token)), *more], self.known.home):
            self.add(*fault)
        orchestrator = settings.orchestrator if settings else None
        key = self.lookup.secret(orchestrator.key, ("orchestrator", "key")) if orchestrator else None
        copies = settings.copies if settings and settings.copies and settings.copies.destinations else None
        signing_key = self._signing_key(copies.signing_key) if copies else None
        destinations = copies.destinations if copies else {}
        destination_secrets = {name: self._secrets_of(name, each) for name, each in destinations.items()}
        pings = self._pings(settings) if settings else {}
        everything = Secrets(secrets, [*self.lookup.shown, *_sensitive(self.known)])
        problems = tuple(_redacted(problem, everything) for problem in (*self.problems, *self.lookup.problems))
        if settings is None or any(problem.severity == "error" for problem in problems):
            raise ConfigurationError(problems)
        return Loaded(
            settings,
            everything,
            token or "",
            tuple(given for _, given in more),
            key,
            signing_key,
            destination_secrets,
            pings,
            problems,
            tuple(self.lookup.cut_secrets),
            values,
            self.places,
            digest,
            self.known.copies,
            None if self._shows(everything) else self.file.values,
        )

    def add(self, path: Location, code: str, message: str, hint: str) -> None:
        self.problems.append(Problem(code, self.places.of(path), message, hint))

    def _shows(self, secrets: Secrets) -> bool:
        """Whether the file itself holds a secret value, and not only a name or `${VAR}`."""
        for path, value in flatten(self.file.values):
            text = _text(value)
            is_own = "env" in path[:-1] and SENSITIVE.search(path[-1]) and "${" not in text
            if is_own or secrets.redact(text) != text or any(passwords_in(text)):
                return True
        return False

    # --- values

    def _secret_names(self) -> frozenset[str]:
        """Names whose values may not be filled into the text of the file."""
        written = self.file.values.get("secrets") or []
        listed = written.split(",") if isinstance(written, str) else written if isinstance(written, list) else []
        extra = (self.known.get("SIDECAR_SECRETS") or "").split(",")
        references = [reference(self.file.values, *path) for path in self.secret_paths]
        names = [TOKEN_NAME, *listed, *extra, *references]
        return frozenset(name.strip() for name in names if isinstance(name, str)) - {""}

    def _filled(self, value: Any, path: Location, secret: frozenset[str]) -> Any:
        """The value with `${VAR}` filled in; empty keys count as absent, and so do those that cannot be filled."""
        if isinstance(value, dict):
            filled = {key: self._filled(item, (*path, key), secret) for key, item in value.items()}
            return {key: item for key, item in filled.items() if item is not None}
        if isinstance(value, list):
            return [self._filled(item, (*path, index), secret) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        is_secret = path in self.secret_paths
        try:
            return variables.fill(value, self.known, () if is_secret else secret)
        except PydanticCustomError as error:
            self.reported.add(path)
            self.problems.append(problem_of(error, self.places.of(path)))
            return None

    # --- settings

    def _settings(self, values: dict[str, Any]) -> Settings | None:
        if (schema := values.get("schema", 1)) not in (1, "1"):
            needed = f"it says {schema}, and" if isinstance(schema, int) else ""
            message = f"{needed} this version reads schema 1".strip()
            self.add(("schema",), "unknown-schema", message, "Use a newer sidecar.")
            return None
        try:
            return Settings.model_validate({**self._without_options(values), "schema": 1}, by_alias=True, by_name=False)
        except ValidationError as error:
            details = zip(error.errors(), problems_from(error, self.places.of, Settings), strict=True)
            self.problems += [problem for detail, problem in details if not self._is_reported(location(detail))]
            return None

    def _is_reported(self, path: Location) -> bool:
        return any(known[: len(path)] == path for known in self.reported)

    def _without_options(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values without strategies' options, which only a strategy can check; they stay in `Loaded.values`."""
        plain = dict(values)
        if isinstance(values.get("strategy"), dict):
            plain["strategy"] = self._section(values["strategy"], DefaultStrategy, ("strategy",))
        if isinstance(targets := values.get("targets"), dict):
            plain["targets"] = {
                key: self._section(layer, OwnTarget, ("targets", key)) if isinstance(layer, dict) else layer
                for key, layer in targets.items()
            }
        return plain

    def _section(
        self, section: dict[str, Any], model: type[DefaultStrategy | OwnTarget], path: Location
    ) -> dict[str, Any]:
        fields = {field.alias or name for name, field in model.model_fields.items()}
        for key, value in section.items():
            if key not in fields and isinstance(value, dict) and self.strategies and key not in self.strategies:
                hint = suggest(key, {*fields, *self.strategies})
                self.add((*path, key), "unknown-key", "is neither a setting nor a strategy", hint)
        return {key: value for key, value in section.items() if key in fields or not isinstance(value, dict)}

    def _check_strategies(self, settings: Settings | None) -> None:
        if settings is None or not self.strategies:
            return
        named: dict[Location, str | None] = {("strategy", "type"): settings.strategy.type}
        named |= {("targets", key, "strategy"): layer.strategy for key, layer in settings.targets.items()}
        for path, name in named.items():
            if name is not None and name not in {COMMAND, *self.strategies}:
                hint = suggest(name, self.strategies)
                self.add(path, "unknown-strategy", f"the strategy {quoted(name)} is not known", hint)

    # --- secrets

    def _token(self, settings: Settings | None) -> str | None:
        given = settings.api.token if settings else self._written_token()
        if given == SecretReference(secret=TOKEN_NAME) and not self.orchestrated and not self._is_set(TOKEN_NAME):
            return None
        return None if given is None else self.lookup.secret(given, ("api", "token"))

    def _signing_key(self, given: SecretReference | SecretStr) -> str | None:
        """None where it is not there: a new host, which only takes copies back, needs none."""
        if given == SecretReference(secret=SIGNING_KEY) and not self._is_set(SIGNING_KEY):
            return None
        return self.lookup.secret(given, ("copies", "signing-key"))

    def _secrets_of(self, name: str, destination: DestinationSettings) -> dict[str, str]:
        path = ("copies", "destinations", name, destination.kind)
        return {
            setting: self.lookup.secret(given, (*path, setting.replace("_", "-"))) or ""
            for setting, given in destination.secrets.items()
        }

    def _more_tokens(self, settings: Settings) -> list[tuple[Location, ApiToken]]:
        """With their places."""
        found: list[tuple[Location, ApiToken]] = []
        for index, token in enumerate(settings.api.tokens):
            path = ("api", "tokens", index, "secret")
            if value := self.lookup.secret(SecretReference(secret=token.secret), path):
                found.append((path, ApiToken(token.name, token.role, value)))
        return found

    def _is_set(self, secret: str) -> bool:
        """Whether a secret has a value, or something is wrong with the one that it should have."""
        names = (secret, f"{secret}_FILE")
        wrong = [name for problem in self.known.problems for name in problem.place.split(" ")[1:]]
        return any(self.known.get(name) or name in wrong for name in names)

    def _written_token(self) -> SecretReference | None:
        """Where a file that is wrong elsewhere has its token; None when that is wrong too."""
        api = self.file.values.get("api") or {}
        if not isinstance(api, dict):
            return None
        name = reference(self.file.values, "api", "token") if "token" in api else TOKEN_NAME
        return SecretReference(secret=name) if name else None

    def _pings(self, settings: Settings) -> dict[str, str]:
        """The URLs of all checks, by key."""
        sections: dict[str, tuple[Ping, Location]] = {"": (settings.ping, ("ping",))}
        sections |= {key: (target.ping, ("targets", key, "ping")) for key, target in settings.targets.items()}
        urls = {}
        for key, (ping, section) in sections.items():
            if ping.url and (url := self.lookup.secret(ping.url, (*section, "url"))):
                urls[key] = url
                if not can_be_pinged(url):
                    self.add((*section, "url"), "bad-value", "is not the URL of a check", PING_HINT)
        return urls


def _text(value: Any) -> str:
    """A value as it stands in the file, the entries of a list side by side."""
    return " ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _sensitive(known: Variables) -> list[str]:
    """Values of the `.env` files whose names say that they are secret, though nobody listed them."""
    return [value for name, value in known.file.items() if SENSITIVE.search(name) and not name.endswith("_FILE")]


def _redacted(problem: Problem, secrets: Secrets) -> Problem:
    message, hint = secrets.redact(problem.message), secrets.redact(problem.hint)
    return Problem(problem.code, secrets.redact(problem.place), message, hint, problem.severity)
