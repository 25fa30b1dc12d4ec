"""Says who made a copy: Ed25519; the only module that knows how it is computed."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from controller.core.copy_errors import NotACopy, WrongKey

KEY_BYTES = 32


class Signer:
    """The host's key."""

    def __init__(self, text: str) -> None:
        """`text` is base64 of 32 bytes; raises `WrongKey`."""
        if not text:
            hint = "Set COPIES_SIGNING_KEY in `.env`; `backup-sidecar copies keys` makes one."
            raise WrongKey("there is no `copies.signing-key`, so no copy can be signed", hint=hint)
        self._key = Ed25519PrivateKey.from_private_bytes(key_bytes(text, "`copies.signing-key`"))
        public = self._key.public_key().public_bytes_raw()
        self.public, self.name = b64encode(public).decode(), name_of(public)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    @property
    def verifier(self) -> "Verifier":
        return Verifier([self.public])


class Verifier:
    """The public keys that are believed."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Each is base64 of 32 bytes; raises `WrongKey`."""
        self._keys = [Ed25519PublicKey.from_public_bytes(key_bytes(key, "the kit's line `verify:`")) for key in keys]
        if not self._keys:
            raise WrongKey("no public signing key is given", hint="Give the line `verify:` of the recovery kit, too.")

    def demand(self, data: bytes, signature: bytes) -> None:
        """Raises `NotACopy` where none of the keys has signed."""
        for key in self._keys:
            try:
                key.verify(signature, data)
            except InvalidSignature:
                continue
            return
        raise NotACopy("is not signed by a known key", hint="Give the line `verify:` of the sidecar that made it.")


def new_key() -> str:
    return b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()


def public_ssh_key(text: str) -> str:
    """The public half of an SSH key that has no passphrase; raises `WrongKey`, which does not repeat the text."""
    try:
        key = load_ssh_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise WrongKey("this is no SSH key", hint="Give one without a passphrase.") from error
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def key_bytes(text: str, what: str) -> bytes:
    """Raises `WrongKey`, which does not repeat the text."""
    try:
        key = b64decode(text.strip(), validate=True)
    except (Base64Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise WrongKey(f"{what} is not base64 of {KEY_BYTES} bytes", hint="`backup-sidecar copies keys` makes one.")
    return key


def name_of(public: bytes) -> str:
    return sha256(public).hexdigest()[:16]
