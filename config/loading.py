"""Reads the operator's folder: `config.yaml`, `.env`, `${VAR}`, `SIDECAR_*` and secrets become one `Loaded`.

No access check on the store's folders happens here; that needs the machine, and is the controller's.
"""

import errno
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from config import document, overrides, variables
from config.document import Document, Path_, Places
from config.layers import COMMAND
from config.problems import ConfigurationError, Problem
from config.secrets import SENSITIVE, SHORTEST, SecretReference, Secrets, read_secret
from config.settings import PING_HINT, TOKEN_NAME, DefaultStrategy, OwnTarget, Settings, can_be_pinged
from config.validation import location, problems_from
from config.variables import Variables
from config.wording import is_variable_name, quoted, suggest

FILE, ENV_FILE = "config.yaml", ".env"
MISNAMED = ("config.yml", "config.yaml.txt", "config.json")
SHORTEST_TOKEN = 16
_DEFAULT_TOKEN = re.compile(
    r"(?i)(?:change|me|my|your|this|please|replace|insert|here|super|secret|password|token|key|api|example|default|test"
    r"|admin|backup|sidecar|x{3,}|[\d\W_])+"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that the operator wrote, checked."""

    settings: Settings
    secrets: Secrets
    """Values of the names in `secrets:`, for commands of the file; redacts token and key too."""
    api_token: str = field(repr=False)
    orchestrator_key: str | None = field(repr=False)
    """None: no orchestrator."""
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
    """Changes when the content of `config.yaml` or `.env` does."""


def digest(folder: Path) -> str:
    """SHA-256 over the content of both files, hexadecimal; a missing file counts as such."""
    found = hashlib.sha256()
    for name in (FILE, ENV_FILE):
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            data = str(error.errno).encode()
        found.update(hashlib.sha256(data).digest())
    return found.hexdigest()


def load(folder: Path, environ: Mapping[str, str], strategies: Collection[str] = ()) -> Loaded:
    """Read and check everything; raises `ConfigurationError` with every problem at once, none showing a value.

    `strategies` are the known names: with them a misspelt strategy is found here, else with its targets.
    """
    names = _names(folder)
    known = variables.read(folder / ENV_FILE, environ)
    file = _file(folder, names)
    if not file.readable:
        secrets = Secrets(also=_sensitive(known))
        raise ConfigurationError(tuple(_redacted(problem, secrets) for problem in (*file.problems, *known.problems)))
    return _Loading(folder, known, file, strategies).run()


def _names(folder: Path) -> frozenset[str]:
    """What lies in the operator's folder; raises `ConfigurationError`."""
    try:
        return frozenset(path.name for path in folder.iterdir())
    except OSError as error:
        reasons = {errno.ENOENT: "is not there", errno.ENOTDIR: "is not a folder"}
        message = reasons.get(error.errno or 0, f"cannot be read by uid {os.getuid()}: {error.strerror}")
        hint = "Mount the folder that holds config.yaml and .env (the folder, not the file)."
        raise ConfigurationError((Problem("no-folder", f"folder {folder}", message, hint),)) from None


def _file(folder: Path, names: Collection[str]) -> Document:
    """`config.yaml`; none means that every default holds, unless another name shows that one was meant."""
    other = next((name for name in MISNAMED if name in names), None)
    if other is None or FILE in names:
        return document.read(folder / FILE)
    problem = Problem("misnamed-file", other, f"is not read: the file is called {FILE}", f"Rename it to {FILE}.")
    return Document(FILE, problems=(problem,), readable=False)


class _Loading:
    """One load; gathers problems on the way."""

    def __init__(self, folder: Path, known: Variables, file: Document, strategies: Collection[str]) -> None:
        self.folder, self.known, self.file, self.strategies = folder, known, file, strategies
        self.problems: list[Problem] = [*known.problems, *file.problems]
        self.reported: set[Path_] = set()
        self.cut_secrets: list[Problem] = []
        self.shown: list[str] = []
        self.places = Places(file, {})
        self.secret_paths = frozenset(_secret_paths(file.values))

    def run(self) -> Loaded:
        values = self._filled(self.file.values, (), self._secret_names())
        applied, unknown = overrides.apply(values, self.known)
        self.problems += unknown
        self.places = Places(self.file, applied)
        settings = self._settings(values)
        self._check_strategies(settings)
        secrets = self._named(settings.secrets if settings else ())
        token = self._token(settings)
        key = (
            self._secret(settings.orchestrator.key, ("orchestrator", "key"))
            if settings and settings.orchestrator
            else None
        )
        pings = self._pings(settings) if settings else {}
        everything = Secrets(secrets, [*self.shown, *_sensitive(self.known)])
        problems = tuple(_redacted(problem, everything) for problem in self.problems)
        if settings is None or any(problem.severity == "error" for problem in problems):
            raise ConfigurationError(problems)
        found = digest(self.folder)
        return Loaded(
            settings, everything, token or "", key, pings, problems, tuple(self.cut_secrets), values, self.places, found
        )

    def add(self, path: Path_, code: str, message: str, hint: str) -> None:
        self.problems.append(Problem(code, self.places.of(path), message, hint))

    # --- values

    def _secret_names(self) -> frozenset[str]:
        """Names whose values may not be filled into the text of the file."""
        written = self.file.values.get("secrets") or []
        listed = written.split(",") if isinstance(written, str) else written if isinstance(written, list) else []
        extra = (self.known.get("SIDECAR_SECRETS") or "").split(",")
        references = [_reference(self.file.values, *path) for path in self.secret_paths]
        return frozenset(
            name.strip() for name in [TOKEN_NAME, *listed, *extra, *references] if isinstance(name, str)
        ) - {""}

    def _filled(self, value: Any, path: Path_, secret: frozenset[str]) -> Any:
        """The value with `${VAR}` filled in; empty keys count as absent, and so do those that cannot be filled."""
        if isinstance(value, dict):
            filled = {key: self._filled(item, (*path, key), secret) for key, item in value.items()}
            return {key: item for key, item in filled.items() if item is not None}
        if isinstance(value, list):
            return [self._filled(item, (*path, index), secret) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        is_secret = path in self.secret_paths
        found = variables.fill(value, self.known, () if is_secret else secret)
        if found.code is None:
            return found.text
        self.reported.add(path)
        self.add(path, found.code, found.message, found.hint)
        return None

    # --- settings

    def _settings(self, values: dict[str, Any]) -> Settings | None:
        if (schema := values.get("schema", 1)) not in (1, "1"):
            needed = f"it says {schema}, and" if isinstance(schema, int) else ""
            self.add(
                ("schema",), "unknown-schema", f"{needed} this version reads schema 1".strip(), "Use a newer sidecar."
            )
            return None
        try:
            return Settings.model_validate({**self._without_options(values), "schema": 1}, by_alias=True, by_name=False)
        except ValidationError as error:
            found = zip(error.errors(), problems_from(error, self.places.of, Settings), strict=True)
            self.problems += [problem for detail, problem in found if not self._is_reported(location(detail))]
            return None

    def _is_reported(self, path: Path_) -> bool:
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
        self, section: dict[str, Any], model: type[DefaultStrategy | OwnTarget], path: Path_
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
        named: dict[Path_, str | None] = {("strategy", "type"): settings.strategy.type}
        named |= {("targets", key, "strategy"): layer.strategy for key, layer in settings.targets.items()}
        for path, name in named.items():
            if name is not None and name not in {COMMAND, *self.strategies}:
                self.add(
                    path,
                    "unknown-strategy",
                    f"the strategy {quoted(name)} is not known",
                    suggest(name, self.strategies),
                )

    # --- secrets

    def _named(self, names: tuple[str, ...]) -> dict[str, str]:
        values = {}
        for index, name in enumerate(names):
            if (value := self._look_up(name, ("secrets", index))) is not None:
                values[name] = value
                if len(value) < SHORTEST:
                    message = (
                        f"the secret {name} has fewer than {SHORTEST} characters, so logs cannot be kept free of it"
                    )
                    self.add(("secrets", index), "short-secret", message, "Choose a longer one.")
        return values

    def _token(self, settings: Settings | None) -> str | None:
        given = settings.api.token if settings else self._written_token()
        token = self._secret(given, ("api", "token")) if given else None
        if token is None:
            return None
        hint = "Make one with `openssl rand -hex 32` and put it into `.env`."
        if _DEFAULT_TOKEN.fullmatch(token) and re.search(r"(?i)[a-z]", token):
            self.add(("api", "token"), "weak-token", "is a well-known default", hint)
        elif len(token) < SHORTEST_TOKEN or len(set(token)) < 4:
            self.add(
                ("api", "token"),
                "weak-token",
                f"has fewer than {SHORTEST_TOKEN} characters, or hardly any different",
                hint,
            )
        elif not re.fullmatch(r"[\x21-\x7e]+", token):
            self.add(("api", "token"), "weak-token", "holds characters that an HTTP header cannot carry", hint)
        return token

    def _written_token(self) -> SecretReference | None:
        """Where a file that is wrong elsewhere has its token; None when that is wrong too."""
        api = self.file.values.get("api") or {}
        if not isinstance(api, dict):
            return None
        name = _reference(self.file.values, "api", "token") if "token" in api else TOKEN_NAME
        return SecretReference(secret=name) if name else None

    def _pings(self, settings: Settings) -> dict[str, str]:
        """The URLs of all checks, by key."""
        written: dict[str, Path_] = {"": ("ping", "url")}
        written |= {key: ("targets", key, "ping", "url") for key in settings.targets}
        given = {"": settings.ping.url} | {key: own.ping.url for key, own in settings.targets.items()}
        found = {key: self._secret(url, written[key]) for key, url in given.items() if url}
        for key, url in found.items():
            if url and not can_be_pinged(url):
                self.add(written[key], "bad-value", "is not the URL of a check", PING_HINT)
        return {key: url for key, url in found.items() if url}

    def _secret(self, given: SecretReference | SecretStr, path: Path_) -> str | None:
        value = given.get_secret_value() if isinstance(given, SecretStr) else self._look_up(given.secret, path)
        if value == "":
            self.add(path, "missing-secret", "is empty", "Write `{secret: NAME}` and put NAME into `.env`.")
        self.shown += [value] if value else []
        return value or None

    def _look_up(self, name: str, path: Path_) -> str | None:
        """The value of NAME or of the file that NAME_FILE names."""
        value, file = self.known.get(name), self.known.get(f"{name}_FILE")
        if value and file:
            message = f"both {name} and {name}_FILE are set"
            self.add(path, "ambiguous-secret", message, "Remove one of the two.")
            return None
        if file:
            value = self._read(name, file)
        elif value is None:
            if not any(f" {name} " in f"{problem.place} " for problem in self.known.problems):
                hint = f"Set {name} in `.env` or the environment, or {name}_FILE to the path of a file."
                self.add(path, "missing-secret", f"the secret {name} is not set", hint)
            return None
        if value and value.startswith(variables.BEGIN) and (variables.END not in value or "\n" not in value.strip()):
            self._add_cut_key(self.known.place(f"{name}_FILE" if file else name), path)
        return value

    def _add_cut_key(self, place: str, path: Path_) -> None:
        """One that `.env` has as a line in quotes is wrong only for what gets it."""
        without_end = variables.key_without_end(place)
        if without_end not in self.known.problems:
            self.problems.append(variables.cut_key(place))
        else:
            wrong = self.cut_secrets if path[0] == "secrets" else self.problems
            wrong.append(replace(without_end, severity="error"))

    def _read(self, name: str, file: str) -> str | None:
        place = self.known.place(f"{name}_FILE")
        found = read_secret(self.folder / file)
        if isinstance(found, str):
            return found
        code, message = found
        self.problems.append(
            Problem(code, place, f"the file that it names {message}", "Name a small file with the secret.")
        )
        return None


def _secret_paths(values: Mapping[str, Any]) -> Iterator[Path_]:
    """Where the file may hold a secret, or say which."""
    yield from (("api", "token"), ("orchestrator", "key"), ("ping", "url"))
    targets = values.get("targets")
    yield from (("targets", key, "ping", "url") for key in (targets if isinstance(targets, dict) else ()))


def _reference(values: Mapping[str, Any], *path: str | int) -> str | None:
    found: Any = values
    for key in (*path, "secret"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) and is_variable_name(found) else None


def _sensitive(known: Variables) -> list[str]:
    """Values of `.env` whose names say that they are secret, though nobody listed them."""
    return [value for name, value in known.file.items() if SENSITIVE.search(name) and not name.endswith("_FILE")]


def _redacted(problem: Problem, secrets: Secrets) -> Problem:
    message, hint = secrets.redact(problem.message), secrets.redact(problem.hint)
    return Problem(problem.code, secrets.redact(problem.place), message, hint, problem.severity)
