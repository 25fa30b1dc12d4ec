"""What every process of this program begins with, the operator's files, and the codes with which it ends."""

import os
from dataclasses import replace
from pathlib import Path

from config.loading import ENV_FILE, Loaded, load
from config.problems import ConfigurationError
from config.variables import EnvFile
from controller.app import folders
from strategies import discover

FOLDER = Path("/etc/sidecar")
"""Where the operator's `config.yaml` and `.env` are mounted, unless `SIDECAR_CONFIG` names another folder."""
REPOSITORY = Path("/etc/sidecar-repository")
"""Where `compose.sidecar.yml` mounts the folder that it lies in, for the `.env` there."""
SOCKET, CATALOG = "sidecar.sock", "catalog.sqlite"
OK, FAILED, USAGE, SOME, CONFIGURATION, INTERRUPTED = 0, 1, 2, 3, 78, 130
"""Exit codes; 78 is EX_CONFIG of sysexits.h."""


def config_folder() -> Path:
    return Path(os.environ.get("SIDECAR_CONFIG") or FOLDER)


def env_files() -> tuple[EnvFile, ...]:
    """The `.env` files, the first to go first, called as on the host, where Compose has told how."""
    folder = config_folder()
    beside = EnvFile(folder / ENV_FILE, f"{os.environ.get('SIDECAR_CONFIG_DIR') or folder}/{ENV_FILE}")
    return (beside, EnvFile(REPOSITORY / ENV_FILE, f"sidecar/{ENV_FILE}", copied=True))


def configuration() -> Loaded:
    """Read the operator's files; raises `ConfigurationError`."""
    return load(config_folder(), os.environ, discover().keys(), env_files=env_files())


def checked() -> Loaded:
    """What the operator's files say, for a process that runs; raises `ConfigurationError`."""
    loaded = configuration()
    loaded = replace(loaded, problems=(*loaded.problems, *folders.problems(loaded)))
    if any(problem.severity == "error" for problem in loaded.problems):
        raise ConfigurationError(loaded.problems)
    return loaded
