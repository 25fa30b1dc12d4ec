"""Encrypts to public keys and decrypts with private ones; the only module that knows age."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, BinaryIO

import pyrage  # type: ignore[import-untyped]  # it carries no types

from controller.core.copy import fingerprint
from controller.core.copy_errors import NotACopy, WrongKey

IDENTITY = "AGE-SECRET-KEY-1"


class Sealer:
    """Encrypts to the recipients and to one key more, which lives in memory and serves to read back what was sent."""

    def __init__(self, recipients: Sequence[str]) -> None:
        """Raises `WrongKey` for one that is no recipient."""
        self.fingerprints = tuple(sorted({fingerprint(text) for text in recipients}))
        self._own = pyrage.x25519.Identity.generate()
        self._recipients = [*map(recipient, dict.fromkeys(recipients)), self._own.to_public()]

    def seal(self, plain: bytes) -> bytes:
        sealed = BytesIO()  # By its `encrypt` the library would hold the whole twice.
        pyrage.encrypt_io(BytesIO(plain), sealed, self._recipients)
        return sealed.getvalue()

    def holds(self, sealed: BinaryIO, plain: bytes) -> bool:
        """Whether this very sealer has sealed just that."""
        found = BytesIO()
        try:
            pyrage.decrypt_io(sealed, found, [self._own])
        except (pyrage.DecryptError, OSError):  # It raises either, by where the first wrong byte is.
            return False
        return found.getvalue() == plain


class Opener:
    """Decrypts with the identities of people."""

    def __init__(self, identities: Iterable[str]) -> None:
        """Raises `WrongKey` for what is none."""
        self._identities = [identity(text) for text in identities]
        if not self._identities:
            raise WrongKey("no identity is given", hint=f"Give the line {IDENTITY}... of the recovery kit.")

    def opened(self, sealed: bytes) -> bytes:
        """Raises `NotACopy` where it is none for these identities, or was changed."""
        return opened(sealed, self._identities)


def opened(sealed: bytes, identities: Sequence[Any]) -> bytes:
    try:
        plain: bytes = pyrage.decrypt(sealed, identities)
    except pyrage.DecryptError as error:
        raise NotACopy(f"cannot be decrypted: {error}", hint="Give the identity of one of its recipients.") from error
    return plain


def recipient(text: str) -> Any:
    """Of age itself (`age1...`), or a public SSH key; raises `WrongKey`."""
    kind = pyrage.ssh.Recipient if text.startswith("ssh-") else pyrage.x25519.Recipient
    try:
        return kind.from_str(text)
    except pyrage.RecipientError as error:
        message = f"the recipient {text[:24]}... is none that age can take"
        raise WrongKey(message, hint="Write age1..., ssh-ed25519 ... or ssh-rsa ... in `copies.recipients`.") from error


def identity(text: str) -> Any:
    """Never repeats what it was given; raises `WrongKey`."""
    try:
        if text.startswith(IDENTITY):
            return pyrage.x25519.Identity.from_str(text)
        return pyrage.ssh.Identity.from_buffer(text.encode())
    except pyrage.IdentityError as error:
        raise WrongKey(
            "this is no identity", hint="Give the whole line of the kit, or an SSH key that has no passphrase."
        ) from error


def new_identity() -> tuple[str, str]:
    """A new identity, and its recipient."""
    made = pyrage.x25519.Identity.generate()
    return str(made), str(made.to_public())


def recipient_of(text: str) -> str:
    """The recipient of an identity of age's own kind; raises `WrongKey`."""
    return str(identity(text).to_public())
