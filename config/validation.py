"""Turns pydantic's errors, also of strategies' options, into problems with place and remedy, never with the value."""

from collections.abc import Callable

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from config.fields import model_in
from config.problems import Location, Problem
from config.wording import quoted, suggest


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
    return Problem(place=place, **error.context or {})


def location(detail: ErrorDetails) -> Location:
    """The path of keys, without pydantic's marks for the key of a mapping."""
    return tuple(part for part in detail["loc"] if part != "[key]")


def _problem(detail: ErrorDetails, place: Callable[[Location], str], model: type[BaseModel] | None) -> Problem:
    path, context = location(detail), detail.get("ctx", {})
    where = place(path)
    if detail["type"] == "problem":
        return Problem(place=where, **context)
    if detail["type"] == "extra_forbidden":
        key, known = str(path[-1]), _keys(model, path[:-1])
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
        fields = model.model_fields.items() if model else ()
        field = next((field for name, field in fields if part in (field.alias, name)), None)
        # A part that is no field is the key of a mapping whose model was given instead of the mapping's own.
        model = model_in(field.annotation) if field else model
    return tuple(field.alias or name for name, field in model.model_fields.items()) if model else ()
