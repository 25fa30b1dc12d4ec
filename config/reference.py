"""The label reference as a table in Markdown, made from the models, so that README and program cannot disagree."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.layers import flatten
from config.target import TargetLayer, TargetSettings, leaves
from config.wording import dotted

_FIRST = (
    (
        "enable",
        "Opt in: `true`, `yes`, `on`, `1`. Without it a container with other labels is listed as `disabled`.",
        "",
    ),
)
_LAST = (
    (
        "targets.<name>.<key>",
        "Any of the above for one of several targets of a container; names of `a-z`, `0-9`, `-`.",
        "",
    ),
)


def label_table(strategies: Mapping[str, type[BaseModel]] | None = None, prefix: str = "backup.") -> str:
    """Rows of label, what it does and its default; `strategies` are the models of the options by canonical name."""
    rows = [*_FIRST, *_settings(), *_options(strategies or {}), *_LAST]
    lines = [f"| `{prefix}{key}` | {_cell(what)} | {_cell(default)} |" for key, what, default in rows]
    return "\n".join(["| label | what it does | default |", "| --- | --- | --- |", *lines]) + "\n"


def _settings() -> Iterator[tuple[str, str, str]]:
    defaults = dict(flatten(TargetSettings().model_dump(mode="json", by_alias=True)))
    # The strategy first: it is the one label besides `enable` that people need.
    for path, field in sorted(leaves(TargetLayer), key=lambda leaf: leaf[0] != ("strategy",)):
        name = "env.NAME" if path == ("env",) else dotted(path)
        yield name, _first_paragraph(field), _shown(defaults.get(path))


def _options(strategies: Mapping[str, type[BaseModel]]) -> Iterator[tuple[str, str, str]]:
    for strategy, model in sorted(strategies.items()):
        for name, field in model.model_fields.items():
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield f"{strategy}.{field.alias or name}", _first_paragraph(field), _shown(default)


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
