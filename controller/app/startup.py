"""What every process of this program begins with, the operator's folder, and the codes with which it ends."""

import os
from dataclasses import replace
from pathlib import Path

from config.loading import Loaded, load
from config.problems import ConfigurationError
from controller.app import folders
from strategies import discover

FOLDER = Path("/etc/sidecar")
"""Where the operator's `config.yaml` and `.env` are mounted, unless `SIDECAR_CONFIG` names another folder."""
SOCKET, CATALOG = "sidecar.sock", "catalog.sqlite"
OK, FAILED, USAGE, SOME, CONFIGURATION, INTERRUPTED = 0, 1, 2, 3, 78, 130
"""Exit codes; 78 is EX_CONFIG of sysexits.h."""


def config_folder() -> Path:
    return Path(os.environ.get("SIDECAR_CONFIG") or FOLDER)


def configuration() -> Loaded:
    """Read the operator's folder; raises `ConfigurationError`."""
    return load(config_folder(), os.environ, discover().keys())


def checked() -> Loaded:
    """What the operator's folder says, for a process that runs; raises `ConfigurationError`."""
    loaded = configuration()
    loaded = replace(loaded, problems=(*loaded.problems, *folders.problems(loaded)))
    if any(problem.severity == "error" for problem in loaded.problems):
        raise ConfigurationError(loaded.problems)
    return loaded
