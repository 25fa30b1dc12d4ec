"""How the log looks: text for people, one JSON object a line for programs; facts are fields, secrets are taken out."""

import sys
from typing import TYPE_CHECKING

from loguru import logger

from config.problems import Problem
from config.wording import as_json, escaped
from controller.core.records import rfc3339
from controller.core.redaction import Redact

if TYPE_CHECKING:
    from loguru import Message, Record


def configure(level: str, form: str, redact: Redact) -> None:
    """Send everything from `level` on to standard error; `form` is `auto`, `json` or `text`."""
    in_json = form == "json" or (form == "auto" and not sys.stderr.isatty())

    def sink(message: "Message") -> None:
        sys.stderr.write(structured(message.record, redact) + "\n" if in_json else plain(message, redact))

    logger.remove()
    logger.add(sink, level=level.upper(), format="", backtrace=False, diagnose=False)


def write(problem: Problem) -> None:
    """The line of a problem, by its severity."""
    logger.bind(code=problem.code).log(problem.severity.upper(), "{}", problem)


def plain(message: "Message", redact: Redact) -> str:
    """One record as a line for people, and the lines of its traceback; nothing in it acts on their terminal."""
    record = message.record
    facts = " ".join(f"{name}={fact}" for name, fact in record["extra"].items())
    head = f"{record['time']:HH:mm:ss} {record['level'].name: <7} {record['message']} {facts}".rstrip()
    lines = (head, *(f"  {line}" for line in str(message).splitlines() if line))
    return "".join(f"{escaped(redact(line))}\n" for line in lines)


def structured(record: "Record", redact: Redact) -> str:
    """One record as JSON: time, level, message, and the facts bound to it; redacted before quoting changes a value."""
    line = {
        "time": rfc3339(record["time"]),
        "level": record["level"].name.lower(),
        "message": redact(record["message"]),
    }
    if record["exception"] is not None:
        line["exception"] = redact(repr(record["exception"].value))
    facts = {
        name: fact if isinstance(fact, int | float | None) else redact(str(fact))
        for name, fact in record["extra"].items()
    }
    return as_json(line | facts)
