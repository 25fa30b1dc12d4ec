"""Overrides the file by `SIDECAR_<PATH>` variables, which are generated from the settings."""

from typing import Any, get_origin

from config.problems import Location, Problem
from config.settings import Settings
from config.target import leaves
from config.variables import Variables
from config.wording import nearest, quoted

PREFIX = "SIDECAR_"
READ_ELSEWHERE = frozenset({"SIDECAR_CONFIG", "SIDECAR_CONFIG_DIR", "SIDECAR_DIR", "SIDECAR_IMAGE", "SIDECAR_MEMORY"})
"""The folder of the file, and what the Compose files read."""


def names() -> dict[str, tuple[str, ...]]:
    """Every variable with the path that it sets: `SIDECAR_API_PORT` -> `("api", "port")`."""
    plain = (path for path, field in leaves(Settings) if get_origin(field.annotation) is not dict)
    return {PREFIX + "_".join(path).upper().replace("-", "_"): path for path in plain}


def apply(values: dict[str, Any], variables: Variables) -> tuple[dict[Location, str], tuple[Problem, ...]]:
    """Write the overrides into the file's values; gives where each came from, and unknown names."""
    known = names()
    applied: dict[Location, str] = {}
    problems = []
    for name in variables.names():
        if not name.startswith(PREFIX) or name in READ_ELSEWHERE:
            continue
        if name not in known:
            problems.append(_unknown(name, variables, known))
        elif _set(values, known[name], variables.get(name)):
            applied[known[name]] = variables.place(name)
    return applied, tuple(problems)


def _set(values: dict[str, Any], path: tuple[str, ...], value: str | None) -> bool:
    """Set a value at a path; False where the file has no section on the way, which validation will tell."""
    for key in path[:-1]:
        if values.get(key) is None:
            values[key] = {}
        values = values[key]
        if not isinstance(values, dict):
            return False
    values[path[-1]] = value
    return True


def _unknown(name: str, variables: Variables, known: dict[str, tuple[str, ...]]) -> Problem:
    by_key = {".".join(path): variable for variable, path in known.items()}
    meant = nearest(name.removeprefix(PREFIX).replace("_", "."), by_key)
    hint = "Its name is the key's path in config.yaml, such as SIDECAR_API_PORT."
    if meant:
        hint = f"Did you mean {by_key[meant]}?"
    return Problem("unknown-variable", variables.place(name), f"{quoted(name)} names no setting", hint)
