"""Looks up secrets by name: in the environment, in an `.env`, or in the file that `NAME_FILE` names."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from config.files import read_text
from config.problems import Location, Problem
from config.secrets import SHORTEST_SECRET, SecretReference
from config.variables import KEY_BEGIN, Variables, cut_key, key_without_end, lacks_end
from config.wording import is_variable_name

MOST_BYTES = 64 << 10
OF_DESTINATIONS = (("sftp", "key"), ("s3", "key-id"), ("s3", "key"))


class Lookup:
    """Values of secrets; tells what is wrong with one by `add`, where the file names it, or where it is set."""

    def __init__(self, folder: Path, known: Variables, add: Callable[[Location, str, str, str], None]) -> None:
        self._folder, self._known, self._add = folder, known, add
        self.problems: list[Problem] = []
        """Of the places at which secrets are set."""
        self.cut_secrets: list[Problem] = []
        """Errors of whatever gets a private key without its end."""
        self.shown: list[str] = []
        """Values that were looked up, but are for no command."""

    def named(self, names: tuple[str, ...]) -> dict[str, str]:
        """The values of the names in `secrets:`."""
        values = {}
        for index, name in enumerate(names):
            if (value := self._look_up(name, ("secrets", index))) is not None:
                values[name] = value
                if len(value) < SHORTEST_SECRET:
                    reason = f"has fewer than {SHORTEST_SECRET} characters, so logs cannot be kept free of it"
                    self._add(("secrets", index), "short-secret", f"the secret {name} {reason}", "Choose a longer one.")
        return values

    def secret(self, given: SecretReference | SecretStr, path: Location) -> str | None:
        """The value of a setting."""
        value = given.get_secret_value() if isinstance(given, SecretStr) else self._look_up(given.secret, path)
        if value == "":
            hint = f"Write `{{secret: NAME}}` and put NAME into `{self._known.home}`."
            self._add(path, "missing-secret", "is empty", hint)
        self.shown += [value] if value else []
        return value or None

    def _look_up(self, name: str, path: Location) -> str | None:
        value, file = self._known.get(name), self._known.get(f"{name}_FILE")
        if value and file:
            message = f"both {name} and {name}_FILE are set"
            self._add(path, "ambiguous-secret", message, "Remove one of the two.")
            return None
        if file:
            value = self._read(name, file)
        elif value is None:
            if not any(f" {name} " in f"{problem.place} " for problem in self._known.problems):
                hint = f"Set {name} in `{self._known.home}` or the environment, or {name}_FILE to the path of a file."
                self._add(path, "missing-secret", f"the secret {name} is not set", hint)
            return None
        if value and value.startswith(KEY_BEGIN) and ("\n" not in value.strip() or lacks_end(value)):
            self._add_cut_key(self._known.place(f"{name}_FILE" if file else name), path)
        return value

    def _add_cut_key(self, place: str, path: Location) -> None:
        """One that an `.env` has as a line in quotes is wrong only for what gets it."""
        without_end = key_without_end(place)
        if without_end not in self._known.problems:
            self.problems.append(cut_key(place))
        else:
            wrong = self.cut_secrets if path[0] == "secrets" else self.problems
            wrong.append(replace(without_end, severity="error"))

    def _read(self, name: str, file: str) -> str | None:
        """The secret in a file, without the line end of a single line."""
        text = read_text(self._folder / file, file, MOST_BYTES)
        if isinstance(text, str) and text.strip():
            return text if "\n" in text.strip() else text.strip("\n")
        what = text.message if isinstance(text, Problem) else "is not there" if text is None else "is empty"
        message, hint = f"the file that it names {what}", "Name a small file with the secret."
        self.problems.append(Problem("secret-file", self._known.place(f"{name}_FILE"), message, hint))
        return None


def secret_paths(values: Mapping[str, Any]) -> Iterator[Location]:
    """Where the file may hold a secret, or say which."""
    yield from (("api", "token"), ("orchestrator", "key"), ("ping", "url"), ("copies", "signing-key"))
    targets, api = values.get("targets"), values.get("api")
    yield from (("targets", key, "ping", "url") for key in (targets if isinstance(targets, dict) else ()))
    copies = values.get("copies")
    places = copies.get("destinations") if isinstance(copies, dict) else None
    for name in places if isinstance(places, dict) else ():
        yield from (("copies", "destinations", name, *setting) for setting in OF_DESTINATIONS)
    tokens = api.get("tokens") if isinstance(api, dict) else None
    yield from (("api", "tokens", index) for index in range(len(tokens) if isinstance(tokens, list) else 0))


def reference(values: Mapping[str, Any], *path: str | int) -> str | None:
    """The name of the secret that the file names there."""
    value: Any = values
    for key in (*path, "secret"):
        value = dict(enumerate(value)) if isinstance(value, list) else value
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and is_variable_name(value) else None
