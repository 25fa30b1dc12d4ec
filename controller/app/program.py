"""What every process of this program knows: where the operator's files lie, where its own do, and how it ends.

The commands need no more of the configuration than the work folder, so all of it is read in `startup` alone.
"""

import os
from contextlib import suppress
from pathlib import Path

from pydantic_core import PydanticCustomError

from config import document, variables
from config.sources import ENV_FILE, FILE, WORKDIR
from config.variables import EnvFile

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


def work_folder() -> Path:
    """The work folder, as the operator's files say it, also where they are broken elsewhere."""
    known = variables.read(env_files(), os.environ)
    paths = document.read(config_folder() / FILE).values.get("paths")
    written = paths.get("workdir") if isinstance(paths, dict) else None
    with suppress(PydanticCustomError):  # A variable is not set.
        written = variables.fill(written, known) if isinstance(written, str) else None
        return Path(known.get("SIDECAR_PATHS_WORKDIR") or written or WORKDIR)
    return WORKDIR
