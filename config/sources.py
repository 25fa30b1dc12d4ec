"""The files that the operator writes: where they lie, and whether their content has changed."""

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from config import document
from config.document import Document
from config.problems import ConfigurationError, Problem
from config.variables import EnvFile

FILE, ENV_FILE = "config.yaml", ".env"
WORKDIR = Path("/var/lib/sidecar/work")
"""The work folder where nobody says otherwise."""
MISNAMED_FILES = ("config.yml", "config.yaml.txt", "config.json")


def own_env_file(folder: Path) -> EnvFile:
    """The `.env` beside `config.yaml`."""
    return EnvFile(folder / ENV_FILE, str(folder / ENV_FILE))


def digest(folder: Path, env_files: Sequence[EnvFile] = ()) -> str:
    """SHA-256 over the content of all files, hexadecimal; a missing file counts as such."""
    whole = hashlib.sha256()
    for path in (folder / FILE, *(file.path for file in env_files or [own_env_file(folder)])):
        try:
            data = path.read_bytes()
        except OSError as error:
            data = str(error.errno).encode()
        whole.update(hashlib.sha256(data).digest())
    return whole.hexdigest()


def config_file(folder: Path) -> Document:
    """`config.yaml`; none means that every default holds, unless another name shows that one was meant."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        reasons = {errno.ENOENT: "is not there", errno.ENOTDIR: "is not a folder"}
        message = reasons.get(error.errno or 0, f"cannot be read by uid {os.getuid()}: {error.strerror}")
        hint = "Mount the folder that holds config.yaml and .env (the folder, not the file)."
        raise ConfigurationError((Problem("no-folder", f"folder {folder}", message, hint),)) from None
    other = next((name for name in MISNAMED_FILES if name in names), None)
    if other is None or FILE in names:
        return document.read(folder / FILE)
    problem = Problem("misnamed-file", other, f"is not read: the file is called {FILE}", f"Rename it to {FILE}.")
    return Document(FILE, problems=(problem,), readable=False)
