"""The recovery kit: what a person keeps, and what opens and proves every copy."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.core.copy import fingerprint
from controller.core.copy_errors import WrongKey
from controller.storage.copies.sealing import IDENTITY, Opener, recipient_of
from controller.storage.copies.signing import Verifier, public_ssh_key

VERIFY = "verify:"
SSH_BEGIN, SSH_END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Kit:
    """To open copies, and to believe them."""

    opener: Opener
    verifier: Verifier
    openers: Mapping[str, Opener]
    """Each identity alone, by the fingerprint of its recipient."""


def read(text: str, *also: str) -> Kit:
    """From the lines that count; `also` are public signing keys that are known anyway. Raises `WrongKey`."""
    lines = [line.strip() for line in text.splitlines()]
    identities = [line for line in lines if line.startswith(IDENTITY)]
    if SSH_BEGIN in lines and SSH_END in lines:
        begin, end = lines.index(SSH_BEGIN), lines.index(SSH_END)
        identities.append("\n".join([*lines[begin : end + 1], ""]))
    verify = [line.removeprefix(VERIFY).strip() for line in lines if line.startswith(VERIFY)]
    if not identities:
        hint = f"Give the recovery kit on standard input: it holds a line that begins with {IDENTITY}."
        raise WrongKey("no identity is given", hint=hint)
    openers = {fingerprint(public_of(identity)): Opener([identity]) for identity in identities}
    return Kit(Opener(identities), Verifier(dict.fromkeys([*verify, *also])), openers)


def public_of(identity: str) -> str:
    """The recipient of an identity; raises `WrongKey`."""
    return recipient_of(identity) if identity.startswith(IDENTITY) else public_ssh_key(identity)
