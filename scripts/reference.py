#!/usr/bin/env python3
"""Updates the reference tables in docs/ from the models; `--check` only says whether they are up to date."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.copies import DestinationSettings
from config.fields import Size, written
from config.layers import COMMAND, flatten
from config.secrets import SecretReference
from config.settings import Defaults, OwnTarget, Settings
from config.target import TargetLayer, TargetSettings, leaves
from config.wording import dotted
from controller.api.problems import status_of
from controller.core.errors import SidecarError
from strategies import discover

DOCS = Path(__file__).parents[1] / "docs"
PLACE = re.compile(r"(<!-- table: [^\n]*\n).*?(<!-- /table -->)", re.DOTALL)
HEAD = "{} | what it does | default"
ENABLE = "Turns backups on: `true`, `yes`, `on` or `1`. A container that only has other labels is `disabled`."
TARGETS = "Any label above, for one of several targets in the same container. Names consist of `a-z`, `0-9` and `-`."


def pages() -> Mapping[Path, str]:
    """The text that each page with a table should have."""
    options = {strategy.names[0]: strategy.options for strategy in discover().values()}
    del options[COMMAND]  # Its only option is the label commands.backup.
    tables = {"labels": label_table(options), "configuration": config_table(), "errors": error_table()}
    return {(page := DOCS / f"{name}.md"): with_table(page, table) for name, table in tables.items()}


def label_table(strategies: Mapping[str, type[BaseModel]]) -> str:
    """Rows of label, what it does and its default; `strategies` are the models of the options by canonical name."""
    rows = [("enable", ENABLE, ""), *settings_rows(), *option_rows(strategies), ("targets.<name>.<key>", TARGETS, "")]
    return table_of(HEAD.format("label"), ((f"`backup.{key}`", what, default) for key, what, default in rows))


def config_table() -> str:
    """Rows of key, what it does and its default; what labels can set as well is one row."""
    fields = [leaf for leaf in leaves(Settings) if leaf[0][0] not in {"defaults", "targets"}]
    fields += [
        (("defaults", "<setting>"), Settings.model_fields["defaults"]),
        (("targets", "<key>", "<setting>"), Settings.model_fields["targets"]),
        (("targets", "<key>", "ping", "url"), OwnTarget.model_fields["ping"]),
        (("targets", "<key>", "copies"), OwnTarget.model_fields["copies"]),
        (("defaults", "copies"), Defaults.model_fields["copies"]),
        *((("copies", "destinations", "<name>", *path), field) for path, field in leaves(DestinationSettings)),
    ]
    rows = ((f"`{dotted(path)}`", first_paragraph(field), shown(default_of(field))) for path, field in fields)
    return table_of(HEAD.format("key"), rows)


def settings_rows() -> Iterator[tuple[str, str, str]]:
    defaults = dict(flatten(TargetSettings().model_dump(mode="json", by_alias=True)))
    # The strategy first: it is the one label besides `enable` that people need.
    for path, field in sorted(leaves(TargetLayer), key=lambda leaf: leaf[0] != ("strategy",)):
        name = "env.NAME" if path == ("env",) else dotted(path)
        yield name, first_paragraph(field), shown(defaults.get(path))


def option_rows(strategies: Mapping[str, type[BaseModel]]) -> Iterator[tuple[str, str, str]]:
    for strategy, model in sorted(strategies.items()):
        for name, field in model.model_fields.items():
            yield f"{strategy}.{field.alias or name}", first_paragraph(field), shown(default_of(field))


def default_of(field: FieldInfo) -> object:
    """The field's default, as a person writes it."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, timedelta):
        return written(default)
    if isinstance(default, SecretReference):
        return f"{{secret: {default.secret}}}"
    if isinstance(default, int) and get_args(Size)[1] in field.metadata:
        return f"{default / (1 << 30):g}GiB"
    return None if isinstance(default, BaseModel) else default


def first_paragraph(field: FieldInfo) -> str:
    return (field.description or "").split("\n\n")[0]


def shown(value: object) -> str:
    if value is None or value in ((), [], {}, ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"`{text}`"


def error_table() -> str:
    rows = (
        (f"`{error.code}`", error.__doc__ or "", error.remedy, "yes" if error.transient else "", str(status_of(error)))
        for error in sorted(errors(SidecarError), key=lambda error: error.code)
    )
    return table_of("code | what happened | what to do | retried | HTTP", rows)


def errors(parent: type[SidecarError]) -> Iterator[type[SidecarError]]:
    """Those that have a code of their own."""
    for error in parent.__subclasses__():
        if "code" in vars(error):
            yield error
        yield from errors(error)


def table_of(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = (" | ".join(map(cell, row)) for row in rows)
    return "".join(f"| {line} |\n" for line in (head, " | ".join("---" for _ in head.split(" | ")), *lines))


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def with_table(page: Path, table: str) -> str:
    text, places = PLACE.subn(lambda place: place[1] + table + place[2], page.read_text())
    if places != 1:
        sys.exit(f"{page.name} needs one place for its table, and has {places}")
    return text


def main() -> int:
    stale = {page: text for page, text in pages().items() if text != page.read_text()}
    if stale and "--check" in sys.argv:
        names = " and ".join(page.name for page in stale)
        sys.exit(f"the table in {names} is out of date; run scripts/reference.py in the virtual environment")
    for page, text in stale.items():
        page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
