"""The operator's words as they hold now: read again when `config.yaml` or `.env` change, by content.

The one place that the parts ask, each time anew, so that none works with a copy of its own. What is wrong is refused as
a whole, and the last good words stay. What cannot change in a running process is left as it was, and said.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from loguru import logger

from config.loading import ENV_FILE, FILE, Loaded, digest
from config.problems import ConfigurationError, Problem
from controller.app import log
from controller.core.events import Bus, ConfigReloaded

FIXED = ("paths", "orchestrator", "drills", "api.host", "api.port", "policy.create_containers")
"""What the running process has opened, and so is read only at its start."""


class Reloader:
    """`look` every second; everything else may be asked from any thread."""

    def __init__(self, loaded: Loaded, folder: Path, read: Callable[[], Loaded], events: Bus) -> None:
        """`read` gives what the folder says or raises `ConfigurationError`."""
        self._folder, self._read, self._events = folder, read, events
        self.loaded = loaded
        self._refused: tuple[Problem, ...] = ()
        self._unread = tuple(unreadable(folder))
        # What only root could read, before root was given up, cannot be compared.
        self._seen = self._found = digest(folder) if self._unread else loaded.digest

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of the words that hold, and of those that were refused."""
        return (*self.loaded.problems, *self._unread, *self._refused)

    def look(self) -> None:
        """Take over what has changed, once it has stayed the same for two looks, since an editor may still write."""
        before, self._found = self._found, digest(self._folder)
        if self._found == self._seen or self._found != before:
            return
        self._seen = self._found
        self._unread = tuple(unreadable(self._folder))
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
        refusal = Problem("reload-refused", f"folder {self._folder}", message, hint)
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


def unreadable(folder: Path) -> Iterator[Problem]:
    """Files that this process could read only while it was root, so that no change of them can be taken over."""
    files = [folder / name for name in (FILE, ENV_FILE)] if os.access(folder, os.X_OK) else [folder]
    for path in files:
        if os.access(path, os.F_OK) and not os.access(path, os.R_OK | (os.X_OK if path == folder else 0)):
            hint = f"Let uid {os.getuid()} read it, or restart the sidecar after each change."
            message = f"cannot be read by uid {os.getuid()}, so a change of it is not seen"
            yield Problem("reload-off", str(path), message, hint, "warning")
