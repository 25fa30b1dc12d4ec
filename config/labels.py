"""Turns flat `backup.*` labels into layers of settings, for one target or several; pure.

A container with `backup.targets.<name>.*` has exactly these named targets: what stands directly under `backup.` is then
what they have in common, a layer below each of them, and no unnamed target exists. A target is enabled when its own
`enable` says so, else the common one.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import PydanticCustomError

from config.commands import command_from_text
from config.fields import invalid, readable
from config.layers import Layer, Path, Sourced
from config.problems import Problem
from config.settings import Settings
from config.target import TARGET_NAME, Commands, TargetLayer, leaves
from config.validation import problem_of
from config.wording import dotted, escaped, is_variable_name, quoted, suggest

MOST_BYTES = 16 << 10
MOST_LABELS = 1000
MOST_TARGETS = 32
MOST_SUGGESTIONS = 20
"""Words that are looked up for each container's unknown labels."""
MOST_KEYS = 10
"""Of an option, one in another; what is nested without end can be neither compared nor shown."""

_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
OLD_NAMES = {"enabled": "enable", "cron": "schedule", "type": "strategy"}
"""What people write who come from elsewhere, and what it is called here."""
_SETTINGS = frozenset(path for path, _ in leaves(TargetLayer) if path != ("env",))
_KEYS = frozenset({"enable", *map(dotted, _SETTINGS)})
_NUMBERED = frozenset(("commands", name) for name in Commands.model_fields)
ASKS_TOO_MUCH = frozenset(
    {"encryption", "encrypt", "recipients", "privileged", "cap-add", "devices", "image", "volume", "volumes", "mount"}
    | {"mounts", "env-file", "host", "pid", "security-opt", "entrypoint", "container", "containers"}
)
"""First key of a label that no container may carry, and for which the file has no key either."""
_SECTIONS = ("paths", "api", "orchestrator", "scope", "policy")
"""Whose keys people write without the section."""
_OPERATORS = {
    **{path[-1]: dotted(path) for path, _ in leaves(Settings) if path[0] in _SECTIONS},
    **{key: key for field in Settings.model_fields.values() if (key := str(field.alias)) != "targets"},
    "path": "paths",
    "store": "paths.artifacts",
    "secret": "secrets",
    "concurrency": "policy.max-concurrent-runs",
    "ping": "targets.<key>.ping.url",
}
OWN_ONLY = frozenset({"user", "workdir", "env", "commands"})
"""First key of a label that reaches no further than its container, also not by a restore into another one."""
OPERATOR_ONLY: Mapping[str, str] = {
    name: key for name, key in _OPERATORS.items() if name not in ASKS_TOO_MUCH and (name,) not in _SETTINGS
}
"""First key of a label that belongs to the operator, and the file's key for it."""


@dataclass(frozen=True, slots=True)
class LabelPart:
    """What a container's labels say about one target."""

    name: str | None
    """None: the container's only, unnamed target."""
    enabled: bool
    layers: tuple[Layer, ...]
    """The common labels, then the target's own."""
    problems: tuple[Problem, ...]
    """Those of the common labels too, since they break every target of the container."""

    def elsewhere(self) -> "LabelPart":
        """What holds in another container too: nothing that says who runs what there."""
        layers = ({path: item for path, item in layer.items() if path[0] not in OWN_ONLY} for layer in self.layers)
        return replace(self, layers=tuple(layers))


def parse(
    labels: Mapping[str, str], container: str, *, prefix: str = "backup.", strategies: Collection[str]
) -> tuple[LabelPart, ...]:
    """Read a container's labels, of which those without the prefix say nothing; never raises.

    `strategies` are all known names of strategies. A value of `enable` that cannot be read counts as enabled with a
    problem, so that it is seen and runs nothing. An explicit `enable=false` silences all other problems.
    """
    own = {key.removeprefix(prefix): value for key, value in labels.items() if key.startswith(prefix)}
    if not own:
        return ()
    size = sum(len(text.encode(errors="surrogatepass")) for item in own.items() for text in item)
    if size > MOST_BYTES or len(own) > MOST_LABELS:
        message = f"the labels of this container are larger than {MOST_BYTES >> 10} KiB together, or over {MOST_LABELS}"
        return (_unread("labels-too-large", container, message, "Put long commands into a script there."),)
    reader = _Reader(container, prefix, frozenset(strategies))
    for key in sorted(own):
        reader.read(key, own[key])
    if len(reader.groups.keys() - {None}) > MOST_TARGETS:
        message = f"the labels of this container name more than {MOST_TARGETS} targets"
        return (_unread("too-many-targets", container, message, "Back up several things by one of them."),)
    return reader.parts()


def _unread(code: str, container: str, message: str, hint: str) -> LabelPart:
    """Labels that ask for too much, as a target that only has this problem."""
    return LabelPart(None, True, (), (Problem(code, f"container {container}", message, hint),))


class _Reader:
    """Sorts labels by target; None is what all have in common."""

    def __init__(self, container: str, prefix: str, strategies: frozenset[str]) -> None:
        self.container, self.prefix, self.strategies = container, prefix, strategies
        self.groups: defaultdict[str | None, _Group] = defaultdict(_Group)
        self.stray: list[Problem] = []
        """Problems of labels whose target has no valid name."""
        self.suggestions = MOST_SUGGESTIONS

    def read(self, key: str, value: str) -> None:
        target, rest = None, key
        if key == "targets" or key.startswith("targets."):
            name, _, rest = key.removeprefix("targets").removeprefix(".").partition(".")
            if not re.fullmatch(TARGET_NAME, name) or not rest:
                hint = "Write `targets.<name>.<key>`, the name of a-z, 0-9 and `-`, at most 32 characters."
                self.stray.append(Problem("bad-target-name", self._place(key), "does not name a target", hint))
                return
            target = name
        group = self.groups[target]
        try:
            self._setting(group, rest, value, key)
        except PydanticCustomError as error:
            group.problems.append(problem_of(error, self._place(key)))

    def _place(self, key: str) -> str:
        return f"container {self.container}, label {escaped((self.prefix + key)[:120])}"

    def _setting(self, group: "_Group", key: str, value: str, label: str) -> None:
        readable(key, "")
        readable(value)
        if (real := OLD_NAMES.get(key)) is not None:
            message, hint = f"is called `{self.prefix}{real}` here", "Rename the label."
            group.problems.append(Problem("renamed-label", self._place(label), message, hint, "warning"))
            key = real
        if key == "enable":
            self._enable(group, value.strip())
            return
        path, setting = self._path(key, value)
        source = f"label {self.prefix}{label}"
        if path in group.layer or path[:2] in group.layer:
            raise invalid("sets what another label sets already", "Remove one of the two.", "duplicate-label")
        if path[:2] in _NUMBERED and len(path) == 3:
            group.numbered[path[:2]][int(path[2])] = Sourced(setting, source, "label")
        else:
            group.layer[path] = Sourced(setting, source, "label")

    def _enable(self, group: "_Group", value: str) -> None:
        if group.enable is not None:
            raise invalid("sets what another label sets already", "Remove one of the two.", "duplicate-label")
        group.enable = value.casefold() not in _NO
        if value.casefold() not in _YES | _NO:
            raise invalid(f"{quoted(value, 20)} is neither yes nor no", "Write `true` or `false`.", "bad-enable")

    def _path(self, key: str, value: str) -> tuple[Path, Any]:
        """Path and value of a label; raises for a key that is not for labels."""
        first, *others = path = tuple(key.split("."))
        if path in _SETTINGS:
            return path, value.strip()
        if first == "env" and len(path) == 2 and is_variable_name(others[0]):
            return path, value
        if first in self.strategies and all(others) and 2 <= len(path) <= MOST_KEYS:
            return ("options", *path), value.strip()
        if path[:2] in _NUMBERED and len(path) == 3 and re.fullmatch(r"[1-9]\d{0,2}", path[2]):
            return path, command_from_text(value)
        if first in ASKS_TOO_MUCH:
            hint = "Remove the label; what the sidecar may do is decided in config.yaml."
            raise invalid("is nothing that a container may ask for", hint, "operator-only")
        if first in OPERATOR_ONLY:
            hint = f"Remove the label; the operator sets `{OPERATOR_ONLY[first]}` in config.yaml."
            raise invalid("belongs to the operator, and no label may set it", hint, "operator-only")
        if first == "env":
            raise invalid("does not name a variable", f"Write `{self.prefix}env.NAME` with letters, digits and `_`.")
        self.suggestions -= 1
        hint = suggest(key, self._known(path)) if self.suggestions >= 0 else "`explain` shows what there is."
        raise invalid("is not a known label", hint, "unknown-label")

    def _known(self, path: Path) -> frozenset[str]:
        """What may have been meant: a setting, or the option of a strategy that is spelt differently."""
        return _KEYS | {dotted((strategy, *path[1:])) for strategy in self.strategies if len(path) > 1}

    def parts(self) -> tuple[LabelPart, ...]:
        """The unnamed target, or the named ones."""
        common = self.groups.pop(None, _Group())
        if not self.groups:
            return (self._part(None, common.enable, (common.settings(),), (*common.problems, *self.stray)),)
        # A target that cannot even be named is no reason to stop the others, but has to be seen somewhere.
        shared = (*common.problems, *(replace(problem, severity="warning") for problem in self.stray))
        return tuple(
            self._part(
                name,
                common.enable if group.enable is None else group.enable,
                (common.settings(), group.settings()),
                (*shared, *group.problems),
            )
            for name, group in sorted(self.groups.items(), key=lambda item: str(item[0]))
        )

    def _part(
        self, name: str | None, enable: bool | None, layers: tuple[Layer, ...], problems: tuple[Problem, ...]
    ) -> LabelPart:
        if enable is None:
            message, hint = "carries labels, but does not opt in", f"Add the label `{self.prefix}enable=true`."
            problems = (*problems, Problem("not-enabled", f"container {self.container}", message, hint, "warning"))
        return LabelPart(name, bool(enable), layers, () if enable is False else problems)


@dataclass(slots=True)
class _Group:
    """The labels of one target, or the common ones."""

    enable: bool | None = None
    layer: dict[Path, Sourced] = field(default_factory=dict)
    numbered: defaultdict[Path, dict[int, Sourced]] = field(default_factory=lambda: defaultdict(dict))
    problems: list[Problem] = field(default_factory=list)

    def settings(self) -> Layer:
        """One layer, with numbered commands in their order."""
        layer = dict(self.layer)
        for path, commands in self.numbered.items():
            ordered = [commands[number] for number in sorted(commands)]
            source = ", ".join(command.source for command in ordered)
            layer[path] = Sourced([command.value for command in ordered], source, "label")
        return layer
