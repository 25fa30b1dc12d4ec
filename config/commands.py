"""Reads commands as people write them: a string for a shell, a list for argv.

In the file a YAML list holds several commands. In one text (a label, a variable) a JSON array is one argv, and an
array of arrays is several. Text that only looks like an array, `[ -f x ] && y`, is a shell's test and stays a string.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from config.fields import invalid, json_array, readable

Argv = tuple[str, ...]
Command = str | Argv
"""A string is run by a shell, a tuple is argv without one."""

_HINT = 'Write a text for a shell, or an argv such as `["pg_dump","shop"]`.'
_ARRAY = re.compile(r"""\[(\[?["'{]|\s*\]$|\[)""")
_SHELL_TEST = re.compile(r"\[\[?\s")


def command_from_text(text: str) -> Command:
    """One command from a label or a variable; raises for an array of several."""
    commands = commands_from_text(text)
    if len(commands) != 1:
        raise invalid("holds several commands where one is wanted", "Give each command a number of its own.")
    return commands[0]


def commands_from_text(text: str) -> tuple[Command, ...]:
    """`cmd` -> one string, `["a","b"]` -> one argv, `[["a"],["b"]]` -> several, `[]` -> none."""
    array = _array(text.strip())
    if array is None:
        return (_checked(text),)
    if all(isinstance(item, str) for item in array):
        return (_checked(array),) if array else ()
    if not all(isinstance(item, list) for item in array):
        raise invalid("mixes words and lists in one array", "Write one argv, or a list of argvs.")
    return tuple(_checked(item) for item in array)


def _array(text: str) -> list[Any] | None:
    if _SHELL_TEST.match(text):
        try:
            return json_array(text)
        except ValueError:
            return None
    return json_array(text) if _ARRAY.match(text) else None


def _checked(command: Any) -> Command:
    if isinstance(command, str):
        if not command.strip():
            raise invalid("is an empty command", _HINT, "empty-command")
        words: tuple[Any, ...] = (command,)
    elif isinstance(command, list | tuple):
        words = tuple(command)
        if not words or not words[0]:
            raise invalid("is an empty command", _HINT, "empty-command")
    else:
        raise invalid("is not a command", _HINT)
    if not all(isinstance(word, str) for word in words):
        raise invalid("holds something that is not text", "Put every word of an argv into quotes.")
    words = tuple(map(readable, words))
    return command.strip() if isinstance(command, str) else words


def _commands(value: Any) -> tuple[Command, ...]:
    if isinstance(value, str):
        return commands_from_text(value)
    if not isinstance(value, list | tuple):
        raise invalid("is not a list of commands", "Write a list whose entries are texts or argvs.")
    return tuple(_checked(item) for item in value)


CommandList = Annotated[tuple[Command, ...], BeforeValidator(_commands)]
"""Commands in order; see the module for the two grammars."""
CommandField = Annotated[
    Command, BeforeValidator(lambda value: command_from_text(value) if isinstance(value, str) else _checked(value))
]
"""One command."""
