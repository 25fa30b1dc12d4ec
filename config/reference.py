"""Makes the reference tables of labels and of config.yaml from the models, so that docs and program cannot disagree."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.fields import Size, written
from config.layers import flatten
from config.secrets import SecretReference
from config.settings import OwnTarget, Settings
from config.target import TargetLayer, TargetSettings, leaves
from config.wording import dotted

_FIRST = (
    (
        "enable",
        "Turns backups on: `true`, `yes`, `on` or `1`. A container that only has other labels is `disabled`.",
        "",
    ),
)
_LAST = (
    (
        "targets.<name>.<key>",
        "Any label above, for one of several targets in the same container. Names consist of `a-z`, `0-9` and `-`.",
        "",
    ),
)


def label_table(strategies: Mapping[str, type[BaseModel]] | None = None, prefix: str = "backup.") -> str:
    """Rows of label, what it does and its default; `strategies` are the models of the options by canonical name."""
    rows = [*_FIRST, *_settings(), *_options(strategies or {}), *_LAST]
    return _table("label", [(prefix + key, what, default) for key, what, default in rows])


def config_table() -> str:
    """Rows of key, what it does and its default; what labels can set as well is one row."""
    fields = [leaf for leaf in leaves(Settings) if leaf[0][0] not in {"defaults", "targets"}]
    fields += [
        (("defaults", "<setting>"), Settings.model_fields["defaults"]),
        (("targets", "<key>", "<setting>"), Settings.model_fields["targets"]),
        (("targets", "<key>", "ping", "url"), OwnTarget.model_fields["ping"]),
    ]
    return _table("key", [(dotted(path), _first_paragraph(field), _shown(_default(field))) for path, field in fields])


def _table(head: str, rows: Iterable[tuple[str, str, str]]) -> str:
    lines = [f"| `{name}` | {_cell(what)} | {_cell(default)} |" for name, what, default in rows]
    return "\n".join([f"| {head} | what it does | default |", "| --- | --- | --- |", *lines]) + "\n"


def _settings() -> Iterator[tuple[str, str, str]]:
    defaults = dict(flatten(TargetSettings().model_dump(mode="json", by_alias=True)))
    # The strategy first: it is the one label besides `enable` that people need.
    for path, field in sorted(leaves(TargetLayer), key=lambda leaf: leaf[0] != ("strategy",)):
        name = "env.NAME" if path == ("env",) else dotted(path)
        yield name, _first_paragraph(field), _shown(defaults.get(path))


def _options(strategies: Mapping[str, type[BaseModel]]) -> Iterator[tuple[str, str, str]]:
    for strategy, model in sorted(strategies.items()):
        for name, field in model.model_fields.items():
            yield f"{strategy}.{field.alias or name}", _first_paragraph(field), _shown(_default(field))


def _default(field: FieldInfo) -> object:
    """The field's default, as a person writes it."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, timedelta):
        return written(default)
    if isinstance(default, SecretReference):
        return f"{{secret: {default.secret}}}"
    if isinstance(default, int) and get_args(Size)[1] in field.metadata:
        return f"{default / (1 << 30):g}GiB"
    return None if isinstance(default, BaseModel) else default


def _first_paragraph(field: FieldInfo) -> str:
    return (field.description or "").split("\n\n")[0]


def _shown(value: object) -> str:
    if value is None or value in ((), [], {}, ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"`{text}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
