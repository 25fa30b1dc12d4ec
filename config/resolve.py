"""Merges what holds for one target: built-in < file (`strategy`, `defaults`) < labels < file `targets.<key>`; pure.

The operator's word on one target beats its labels. Each value keeps where it was written, and each list of commands who
wrote it, because a secret only goes to commands of the file.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from config.fields import written
from config.label_policy import LabelRules
from config.labels import LabelPart
from config.layers import COMMAND, Author, Layer, Path, Sourced, brings_command, flatten, merge, nest
from config.loading import Loaded
from config.minimums import shortfalls
from config.problems import Location, Problem
from config.secrets import passwords_in, sensitive
from config.settings import OwnTarget
from config.target import Commands, TargetSettings
from config.validation import problems_from
from config.wording import dotted, quoted, suggest

_DOLLAR_HINT = "Write one `$`: only Compose halves `$$`, and only in a compose file."
_VARIABLE_HINT = "Let the shell in the target expand a variable of its own."
_REFUSED = {"lock": ("locked-label", "is locked"), "allow": ("label-not-allowed", "is not allowed")}
_ASKING_FOR_DRILLS = (("drill", "schedule"), ("drill", "check"))
_SECTIONS = frozenset(field.alias for field in OwnTarget.model_fields.values())


@dataclass(frozen=True, slots=True)
class Resolved:
    """Everything that holds for one target."""

    settings: TargetSettings | None
    """None exactly when one of the problems is an error."""
    provenance: Mapping[str, str]
    """By label key (`retention.keep-daily`, `postgres.databases`): `built-in`, `config.yaml:12 defaults.schedule`,
    `environment SIDECAR_STRATEGY_TYPE` or `label backup.schedule`."""
    values: Mapping[str, str] = field(repr=False)
    """By the same keys the value, as text for people; redact it before it is shown."""
    problems: tuple[Problem, ...] = ()
    origins: Mapping[str, Author] = field(default_factory=dict)
    """Who wrote the list `pre`, `backup`, `post` or `restore`: `file` or `label`; absent for an empty list."""
    secrets: frozenset[str] | None = None
    """Names of the secrets that commands of the file see here; None for all."""
    sensitive: tuple[str, ...] = field(default=(), repr=False)
    """Passwords found in the commands, to be redacted like secrets."""
    places: Mapping[Path, str] = field(default_factory=dict, repr=False)

    def place_of_option(self, path: Location) -> str:
        """Where an option of the strategy was written, for `problems_from` with the strategy's model."""
        return _nearest(self.places, ("options", *path))


def resolve(loaded: Loaded, key: str, part: LabelPart, container: str, strategies: Mapping[str, str]) -> Resolved:
    """Merge what holds for one target; never raises.

    `key` is `project/service` or `project/service/name`; `strategies` gives the canonical name for every known name.
    """
    return _Resolving(loaded, key, part, container, strategies).run()


class _Resolving:
    """One merge; gathers problems on the way."""

    def __init__(
        self, loaded: Loaded, key: str, part: LabelPart, container: str, strategies: Mapping[str, str]
    ) -> None:
        self.loaded, self.key, self.part, self.container = loaded, key, part, container
        self.canonical = {**strategies, COMMAND: COMMAND}
        self.problems: list[Problem] = list(part.problems)

    def run(self) -> Resolved:
        labels = [self._allowed(self._canonical(layer)) for layer in self.part.layers]
        layers = [self._canonical(self._usual()), *labels, self._canonical(self._own())]
        for layer in layers:
            self.problems += [*self._replaced(layer), *self._forbidden(layer)]
        merged = merge(layers)
        strategy = self._strategy(merged)
        settings = self._validated(merged, strategy)
        self.problems += self._cut_secrets(merged)
        secret: tuple[str, ...] = ()
        if settings is not None:
            settings, merged = self._within_policy(settings, merged)
            passwords = self._look_at_commands(settings.commands, merged)
            secret = (*passwords, *sensitive(settings.env))
            self.problems += self._below_policy(settings, merged)
        problems = tuple(dict.fromkeys(self.problems))
        if any(problem.severity == "error" for problem in problems):
            settings = None
        shown = self._shown(merged, strategy)
        return Resolved(
            settings,
            {name: source for name, (_, source) in sorted(shown.items())},
            {name: value for name, (value, _) in sorted(shown.items())},
            problems,
            {path[1]: merged[path].author for path in merged if path[0] == "commands" and merged[path].value},
            self._seen(),
            secret,
            self._places(merged),
        )

    # --- layers

    def _usual(self) -> Layer:
        """The file's word on every target: `strategy` and `defaults`."""
        section = dict(self.loaded.values.get("strategy") or {})
        section.pop("secrets", None)
        layer: dict[Path, Sourced] = {}
        for path, value in flatten(self._without_others(section)):
            there = ("strategy",) if path == ("type",) else path if path[0] == "commands" else ("options", *path)
            layer[there] = self._from_file(value, ("strategy", *path))
        for path, value in flatten(self.loaded.values.get("defaults") or {}):
            layer[path] = self._from_file(value, ("defaults", *path))
        return layer

    def _without_others(self, section: dict[str, Any]) -> dict[str, Any]:
        """The section without options of other strategies than its type, which the environment may override."""
        kind = self.canonical.get(str(section.get("type")))
        return {key: item for key, item in section.items() if kind is None or self.canonical.get(key, kind) == kind}

    def _own(self) -> Layer:
        """The file's word on this target."""
        section = (self.loaded.values.get("targets") or {}).get(self.key) or {}
        return {
            path if path[0] in _SECTIONS else ("options", *path): self._from_file(value, ("targets", self.key, *path))
            for path, value in flatten(section)
        }

    def _from_file(self, value: Any, path: Path) -> Sourced:
        return Sourced(value, self.loaded.places.of(path), "file")

    def _allowed(self, layer: Layer) -> Layer:
        """The labels that the operator's policy lets through."""
        settings, kept = self.loaded.settings, dict(layer)
        rules = LabelRules(settings.policy.labels, self.canonical, settings.label_prefix)
        for path in layer:
            if refusal := rules.refusal(path, layer):
                code, words = _REFUSED[refusal]
                message = f"{words} by `policy.labels.{refusal}` in {self._policy('labels', refusal)}"
                hint = f"Remove the label, or have the operator set it for `targets.{self.key}` in config.yaml."
                self.problems.append(Problem(code, self._place(kept.pop(path)), message, hint))
        return kept

    def _policy(self, *key: str) -> str:
        return self.loaded.places.of(("policy", *key)).split(" ")[0]

    def _canonical(self, layer: Layer) -> Layer:
        """The layer with the strategies' first names."""
        changed: dict[Path, Sourced] = {}
        for path, item in layer.items():
            if path == ("strategy",):
                changed[path] = Sourced(self.canonical.get(str(item.value), item.value), item.source, item.author)
            elif path[0] == "options":
                changed["options", self.canonical.get(path[1], path[1]), *path[2:]] = item
            else:
                changed[path] = item
        return changed

    # --- findings

    def _replaced(self, layer: Layer) -> Iterator[Problem]:
        named = layer.get(("strategy",))
        if named is not None and brings_command(layer) and named.value != COMMAND:
            message = f"`commands.backup` replaces the strategy {_shown_name(named.value)}, whose checks do not run"
            hint = "Remove one of the two, or name the strategy `command`."
            yield Problem("strategy-replaced", self._place(layer["commands", "backup"]), message, hint, "warning")

    def _forbidden(self, layer: Layer) -> Iterator[Problem]:
        """Drills where the operator has not allowed their containers; backups go on."""
        if self.loaded.settings.policy.create_containers:
            return
        hint = "Have the operator set `policy.create-containers: true` in config.yaml, or remove it."
        for path, item in layer.items():
            if path in _ASKING_FOR_DRILLS and item.value != "none":
                message = f"`{dotted(path)}` has no effect, since no throw-away container may be created"
                yield Problem("containers-forbidden", self._place(item), message, hint, "warning")

    def _strategy(self, merged: Layer) -> str | None:
        named = merged.get(("strategy",))
        known = sorted(self.canonical)
        if named is None:
            message, hint = "no strategy is set", f"Set one of {', '.join(f'`{name}`' for name in known)}."
            options = {path[1] for path in merged if path[0] == "options"}
            if len(options) == 1 and options <= set(known):
                hint = f"Set `strategy={options.pop()}`, since there are options for it."
            self.problems.append(Problem("no-strategy", self._place_of(("strategy",)), message, hint))
            return None
        strategy = str(named.value)
        if strategy not in known:
            message = f"the strategy {_shown_name(named.value)} is not known"
            self.problems.append(Problem("unknown-strategy", self._place(named), message, suggest(strategy, known)))
            return None
        if strategy == COMMAND and not brings_command(merged):
            message = "the strategy `command` needs `commands.backup`"
            hint = "Add the command whose standard output is the backup."
            self.problems.append(Problem("no-command", self._place(named), message, hint))
        self.problems += self._unused_options(merged, strategy)
        return strategy

    def _unused_options(self, merged: Layer, strategy: str) -> Iterator[Problem]:
        for path, item in merged.items():
            if path[0] != "options" or path[1] == strategy:
                continue
            if path[1] in self.canonical.values():
                message = f"is an option of the strategy `{path[1]}`, and the target's strategy is `{strategy}`"
                yield Problem("unused-option", self._place(item), message, "Remove it, or set that strategy.")
            else:
                message = f"{quoted(path[1])} is neither a setting nor a strategy"
                yield Problem("unknown-key", self._place(item), message, suggest(path[1], self.canonical))

    def _validated(self, merged: Layer, strategy: str | None) -> TargetSettings | None:
        others = {"options", "strategy", "ping", "secrets", "copies"}
        flat = {path: item.value for path, item in merged.items() if path[0] not in others}
        options = {
            path[2:]: item.value for path, item in merged.items() if path[:2] == ("options", strategy) and path[2:]
        }
        values = {**nest(flat), "strategy": strategy, "options": nest(options)}
        try:
            return TargetSettings.model_validate(values, by_alias=True, by_name=False)
        except ValidationError as error:
            places = self._places(merged)
            self.problems += problems_from(error, lambda path: _nearest(places, path), TargetSettings)
            return None

    def _within_policy(self, settings: TargetSettings, merged: Layer) -> tuple[TargetSettings, Layer]:
        """With no longer timeout of a label than the policy allows."""
        item, most = merged.get(("timeout",)), self.loaded.settings.policy.max_timeout
        if item is None or item.author == "file" or settings.timeout <= most:
            return settings, merged
        message = f"counts as {written(most)}, which is `policy.max-timeout` of {self._policy('max-timeout')}"
        hint = f"Write {written(most)} or less, or have the operator set it for `targets.{self.key}` in config.yaml."
        self._warn("timeout-too-long", item, message, hint)
        counting = {**merged, ("timeout",): Sourced(written(most), item.source, item.author)}
        return settings.model_copy(update={"timeout": most}), counting

    def _below_policy(self, settings: TargetSettings, merged: Layer) -> Iterator[Problem]:
        for shortfall in shortfalls(settings, self.loaded.settings.policy):
            path, policy = shortfall.path, shortfall.policy
            item = next((merged[key] for key in merged if key[: len(path)] == path), None)
            message = f"{shortfall.message}, which is `policy.{policy}` of {self._policy(policy)}"
            yield Problem("below-minimum", self._place(item) if item else self._place_of(path), message, shortfall.hint)

    def _seen(self) -> frozenset[str] | None:
        """The secrets for the file's commands; none in a stranger's container that the file does not name."""
        settings, own = self.loaded.settings, self.loaded.settings.targets.get(self.key)
        if own is None and settings.scope.project == "any":
            return frozenset()
        named = settings.strategy.secrets if own is None or own.secrets is None else own.secrets
        return None if named is None else frozenset(named)

    def _cut_secrets(self, merged: Layer) -> Iterator[Problem]:
        """A command of the file gets every secret, so none may be cut."""
        of_file = (path for path, item in merged.items() if path[0] == "commands" and item.author == "file")
        if command := next((path for path in of_file if merged[path].value), None):
            for problem in self.loaded.cut_secrets:
                yield replace(problem, message=f"{problem.message}, and `{dotted(command)}` would get it")

    def _places(self, merged: Layer) -> dict[Path, str]:
        """Where each setting was written; an option's path is that of its model, without the strategy's name."""
        written = {("options", *path[2:]) if path[0] == "options" else path: item for path, item in merged.items()}
        return {(): self._place_of(())} | {path: self._place(item) for path, item in written.items()}

    def _place(self, item: Sourced) -> str:
        return item.source if item.author == "file" else f"container {self.container}, {item.source}"

    def _place_of(self, path: Path) -> str:
        return f"container {self.container}, target {self.key}{', ' if path else ''}{dotted(path)}"

    def _look_at_commands(self, commands: Commands, merged: Layer) -> Iterator[str]:
        """Warn of what a person hardly meant; gives the passwords found."""
        for name, given in commands:
            texts = [command if isinstance(command, str) else " ".join(command) for command in given]
            passwords = [password for text in texts for password in passwords_in(text)]
            if any("$$" in text for text in texts):
                message = "holds `$$`, which a shell reads as its process id"
                self._warn("doubled-dollar", merged["commands", name], message, _DOLLAR_HINT)
            if passwords:
                message = "holds what looks like a password"
                self._warn("password-in-command", merged["commands", name], message, _VARIABLE_HINT)
            yield from passwords

    def _warn(self, code: str, item: Sourced, message: str, hint: str) -> None:
        self.problems.append(Problem(code, self._place(item), message, hint, "warning"))

    # --- what is shown

    def _shown(self, merged: Layer, strategy: str | None) -> dict[str, tuple[str, str]]:
        """Value and source of every setting, by the key of its label."""
        defaults = flatten(TargetSettings().model_dump(mode="json", by_alias=True))
        shown = {dotted(path): (_text(value), "built-in") for path, value in defaults}
        used = (item for item in merged.items() if item[0][0] != "options" or item[0][1] == strategy)
        return shown | {_name(path): (_text(item.value), item.source) for path, item in used}


def _nearest(places: Mapping[Path, str], path: Location) -> str:
    """The place of a setting, else of the section that it stands in, else of the whole target."""
    keys = tuple(map(str, path))
    return next(places[keys[:end]] for end in range(len(keys), -1, -1) if keys[:end] in places)


def _name(path: Path) -> str:
    return dotted(path[1:] if path[0] == "options" else path)


def _shown_name(value: Any) -> str:
    text = str(value)
    return quoted(text) if re.fullmatch(r"[\w.-]{1,32}", text) else "given"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
