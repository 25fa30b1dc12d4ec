"""The API's token that the sidecar makes for itself, because the operator gives none; kept in the work folder."""

from pathlib import Path
from secrets import token_hex

from config.secrets import weakness
from controller.storage import files, journal

FILE = "api-token"


def known(workdir: Path) -> str | None:
    """The one that was made; None where there is none. Raises `StoreError`."""
    return journal.parsed(workdir / FILE, checked)


def known_or_made(workdir: Path) -> str:
    """Raises `StoreError` when a new one cannot be kept."""
    token = known(workdir)
    if token is None:
        token = token_hex(32)
        files.write(workdir / FILE, f"{token}\n".encode(), private=True)
    return token


def checked(data: bytes) -> str:
    """Raises ValueError for what is none."""
    token = data.decode("ascii").strip()
    if reason := weakness(token):
        raise ValueError(reason)
    return token
