"""What the operator's files say, for a process that begins, and for one that runs."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from config import document
from config.loading import Loaded, load
from config.problems import ConfigurationError, Problem
from config.settings import TOKEN_NAME
from config.sources import FILE
from controller.app import api_token, folders, last_good
from controller.app.last_good import LastGood
from controller.app.program import config_folder, env_files, work_folder
from strategies import discover


def configuration(*, written: Mapping[str, Any] | None = None) -> Loaded:
    """Read the operator's files; raises `ConfigurationError`. For `written` see `config.loading.load`."""
    good = last_good.known(work_folder())
    return load(
        config_folder(),
        os.environ,
        discover().keys(),
        env_files=env_files(),
        copies=good.own_copies if good else (),
        written=written,
    )


def configuration_at_start() -> Loaded:
    """As `configuration`; in place of a `config.yaml` that was good before and is broken, the last good one holds."""
    try:
        return configuration()
    except ConfigurationError as error:
        good = last_good.known(work_folder())
        if good is None or not can_wait(error, good):
            raise
        if good.written is None:
            raise ConfigurationError((*error.problems, last_good.not_kept(work_folder()))) from None
        try:
            loaded = configuration(written=good.written)
        except ConfigurationError:
            raise error from None
        message = "is broken; what it said at the last good start or change holds"
        hint = "Mend what is listed; it is read again as soon as it changes. `backup-sidecar check` lists it too."
        told = Problem("last-good-holds", f"{Path(env_files()[0].name).parent}/{FILE}", message, hint)
        return replace(loaded, refused=(told, *error.problems))


def can_wait(error: ConfigurationError, good: LastGood) -> bool:
    """Whether a broken file may be mended later: not where it says where backups lie, or needs something else first."""
    file = document.read(config_folder() / FILE)
    if any(
        problem.code in {"no-folder", "unknown-schema"}
        or (problem.code == "missing-secret" and problem.place.endswith("api.token"))
        for problem in error.problems
    ):
        return False
    return not file.readable or good.written is None or file.values.get("paths") == good.written.get("paths")


def with_token(loaded: Loaded) -> Loaded:
    """With a token of the sidecar's own where the operator has never given one; raises `ConfigurationError`."""
    if loaded.api_token:
        return loaded
    workdir = loaded.settings.paths.workdir
    good = last_good.known(workdir)
    if good and good.token_given:
        hint = f"Set {TOKEN_NAME} again in `{env_files()[0].name}`."
        problem = Problem("missing-secret", f"{FILE} api.token", f"the secret {TOKEN_NAME} is not set any more", hint)
        raise ConfigurationError((problem,))
    token = api_token.known_or_made(workdir)
    return replace(loaded, api_token=token, token_made=True, secrets=loaded.secrets.with_also([token]))


def checked() -> Loaded:
    """What the operator's files say, for a process that runs; raises `ConfigurationError`."""
    loaded = configuration()
    loaded = replace(loaded, problems=(*loaded.problems, *folders.problems(loaded)))
    if any(problem.severity == "error" for problem in loaded.problems):
        raise ConfigurationError(loaded.problems)
    return with_token(loaded)
