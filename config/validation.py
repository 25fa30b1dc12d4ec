"""Turns pydantic's errors, also of strategies' options, into problems with place and remedy, never with the value."""

from collections.abc import Callable
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from config.problems import Problem
from config.wording import quoted, suggest

Location = tuple[int | str, ...]


def problems_from(
    error: ValidationError, place: Callable[[Location], str], model: type[BaseModel] | None = None
) -> tuple[Problem, ...]:
    """One problem for each error.

    `place` gets the path of keys (`("retention", "keep-daily")`) and says where it was written. With the `model`, an
    unknown key gets a suggestion.
    """
    details = error.errors(include_input=False, include_url=False)
    return tuple(_problem(detail, place, model) for detail in details)


def problem_of(error: PydanticCustomError, place: str) -> Problem:
    """The problem of an error that `invalid` made and no model caught."""
    context = error.context or {}
    return Problem(context["code"], place, context["message"], context["hint"])


def location(detail: ErrorDetails) -> Location:
    """The path of keys, without pydantic's marks for the key of a mapping."""
    return tuple(part for part in detail["loc"] if part != "[key]")


def _problem(detail: ErrorDetails, place: Callable[[Location], str], model: type[BaseModel] | None) -> Problem:
    path, context = location(detail), detail.get("ctx", {})
    where = place(path)
    if detail["type"] == "problem":
        return Problem(context["code"], where, context["message"], context["hint"])
    if detail["type"] == "extra_forbidden":
        known = _keys(model, path[:-1])
        key = str(path[-1])
        return Problem("unknown-key", where, f"the key {quoted(key)} is not known", suggest(key, known))
    if detail["type"] == "missing":
        return Problem("missing-key", where, "is missing, and has no default", "Add it.")
    return Problem("bad-value", where, _message(detail), "Correct the value.")


def _message(detail: ErrorDetails) -> str:
    """Pydantic's own words, which describe what is allowed; the value itself is not in them."""
    if detail["type"] in {"model_type", "dict_type"}:
        return "has to be a section with keys of its own"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message.replace("Input should be", "has to be").replace("a valid string", "text; put it in quotes")


def _keys(model: type[BaseModel] | None, path: Location) -> tuple[str, ...]:
    """The keys that a model knows at a path."""
    for part in path:
        model = _inner(model, part)
    return tuple(field.alias or name for name, field in model.model_fields.items()) if model else ()


def _inner(model: type[BaseModel] | None, part: int | str) -> type[BaseModel] | None:
    if model is None:
        return None
    for name, field in model.model_fields.items():
        if part in (field.alias, name):
            return _model_in(field.annotation)
    # A part that is no field is the key of a mapping whose model was given instead of the mapping's own.
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)
