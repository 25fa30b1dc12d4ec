"""The operator's words as they hold now: read again when `config.yaml` or `.env` change, by content.

The one place that the parts ask, each time anew, so that none works with a copy of its own. What is wrong is refused as
a whole, and the last good words stay. What cannot change in a running process is left as it was, and said.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from loguru import logger

from config.loading import Loaded
from config.problems import ConfigurationError, Problem
from config.sources import FILE, digest, own_env_file
from config.variables import EnvFile
from controller.app import log
from controller.core.events import Bus, ConfigReloaded

FIXED = ("paths", "orchestrator", "drills", "api.host", "api.port", "policy.create_containers")
"""What the running process has opened, and so is read only at its start."""


class Reloader:
    """`look` every second; everything else may be asked from any thread."""

    def __init__(
        self,
        loaded: Loaded,
        folder: Path,
        read: Callable[[], Loaded],
        events: Bus,
        env_files: Sequence[EnvFile] = (),
    ) -> None:
        """`read` gives what the files say or raises `ConfigurationError`; see `config.loading.load`."""
        self._folder, self._read, self._events = folder, read, events
        self._env_files = env_files or [own_env_file(folder)]
        self.loaded = loaded
        self._refused = loaded.refused
        self._unread = tuple(unreadable(folder, self._env_files))
        # What only root could read, before root was given up, cannot be compared.
        self._seen = self._found = self._digest() if self._unread else loaded.digest

    def _digest(self) -> str:
        return digest(self._folder, self._env_files)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of the words that hold, and of those that were refused."""
        return (*self.loaded.problems, *self._unread, *self._refused)

    def look(self) -> None:
        """Take over what has changed, once it has stayed the same for two looks, since an editor may still write."""
        before, self._found = self._found, self._digest()
        if self._found == self._seen or self._found != before:
            return
        self._seen = self._found
        self._unread = tuple(unreadable(self._folder, self._env_files))
        try:
            self._take(self._read())
        except ConfigurationError as error:
            self._refuse(error)

    def _take(self, new: Loaded) -> None:
        old, self._refused = self.loaded, ()
        fixed = tuple(needs_restart(old, new))
        api = new.settings.api.model_copy(update={"host": old.settings.api.host, "port": old.settings.api.port})
        allowed = {"create_containers": old.settings.policy.create_containers}
        kept = {name: getattr(old.settings, name) for name in ("paths", "orchestrator", "drills")}
        kept |= {"api": api, "policy": new.settings.policy.model_copy(update=allowed)}
        settings = new.settings.model_copy(update=kept)
        problems = (*new.problems, *fixed)
        self.loaded = replace(new, settings=settings, orchestrator_key=old.orchestrator_key, problems=problems)
        self._events.publish(ConfigReloaded())
        logger.info("the changed configuration holds")
        for problem in (*problems, *self._unread):
            log.write(problem)

    def _refuse(self, error: ConfigurationError) -> None:
        count = sum(problem.severity == "error" for problem in error.problems)
        message = f"was changed and is refused, for {count} errors; the last good one still holds"
        hint = "Mend what is listed; it is read again as soon as it changes. `backup-sidecar check` lists it too."
        refusal = Problem("reload-refused", f"folder {Path(self._env_files[0].name).parent}", message, hint)
        self._refused = (refusal, *error.problems)
        for problem in self._refused:
            log.write(problem)


def needs_restart(old: Loaded, new: Loaded) -> Iterator[Problem]:
    """What differs and cannot change in a running process."""
    hint = "Restart the sidecar; until then the value of its start holds."
    for path in FIXED:
        section, _, key = path.partition(".")
        before, after = getattr(old.settings, section), getattr(new.settings, section)
        if (getattr(before, key) != getattr(after, key)) if key else before != after:
            written = path.replace("_", "-")
            place = new.places.of(tuple(written.split(".")))
            yield Problem("needs-restart", place, f"`{written}` has changed", hint, "warning")
    if old.orchestrator_key != new.orchestrator_key and old.settings.orchestrator and new.settings.orchestrator:
        place = new.places.of(("orchestrator", "key"))
        yield Problem("needs-restart", place, "the orchestrator's key has changed", hint, "warning")


def unreadable(folder: Path, env_files: Sequence[EnvFile]) -> Iterator[Problem]:
    """Files that this process could read only while it was root, so that no change of them can be taken over."""
    folders = {file.path.parent: str(Path(file.name).parent) for file in env_files}
    files = {folder / FILE: f"{folders.get(folder, folder)}/{FILE}"} | {file.path: file.name for file in env_files}
    closed = {path for path in folders if is_closed(path, os.R_OK | os.X_OK)}
    names = [folders[path] for path in closed]
    names += [name for path, name in files.items() if path.parent not in closed and is_closed(path, os.R_OK)]
    for name in names:
        hint = f"Run `chown {os.getuid()} {name}`, or restart the sidecar after each change."
        message = f"cannot be read by uid {os.getuid()}, so a change of it is not seen"
        yield Problem("reload-off", name, message, hint, "warning")


def is_closed(path: Path, mode: int) -> bool:
    return os.access(path, os.F_OK) and not os.access(path, mode)
