"""What the command line of a Redis or Valkey server tells its client: where it listens, and its password."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

PROGRAMS = ("redis-server", "valkey-server")
SETTINGS, PASSWORD = "BACKUP_REDIS", "BACKUP_REDIS_PASSWORD"
"""Names of variables."""
TOLD = ("port", "unixsocket", "tls-port", "tls-cert-file", "tls-key-file", "tls-ca-cert-file", "tls-auth-clients")
"""The settings that a client needs, beside `file`, which is the server's configuration."""
OF_DEFAULT_USER = re.compile(r"default\s(?:.*\s)?>(\S+)")


def told(command: Sequence[str]) -> Mapping[str, str]:
    """Variables for the client: `SETTINGS` is a line for each setting, `PASSWORD` that of the default user."""
    settings = dict(_settings(command))
    lines = "\n".join(f"{name} {value}" for name, value in settings.items() if name in ("file", *TOLD))
    user = OF_DEFAULT_USER.match(settings.get("user", ""))
    password = settings.get("requirepass") or (user[1] if user else "")
    if "$(" in password:  # Only the shell that started the server knows it.
        password = ""
    return {name: value for name, value in ((SETTINGS, lines), (PASSWORD, password)) if value}


def _settings(command: Sequence[str]) -> Iterator[tuple[str, str]]:
    """As the server reads its words: a file first, then `--name` and its values (Redis, server.c, main)."""
    names = [PurePosixPath(word).name for word in command]
    begin = max((names.index(program) + 1 for program in PROGRAMS if program in names), default=0)
    words = command[begin:]
    if begin and words and not words[0].startswith("-"):
        yield "file", words[0]
    name, values = "", list[str]()
    for word in words:
        if word.startswith("--"):
            yield name, " ".join(values)
            name, values = word[2:].lower(), []
        else:
            values.append(word)
    yield name, " ".join(values)
