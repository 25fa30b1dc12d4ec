"""The models of `copies` in `config.yaml`: where copies go, for whom they are sealed, how fresh they have to be."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from config.fields import CommaItems, Duration, Folder, Model, Size, Span, invalid
from config.secrets import Secret, SecretReference
from config.target import Retention

SIGNING_KEY, SSH_KEY = "COPIES_SIGNING_KEY", "SSH_PRIVATE_KEY"
S3_KEY_ID, S3_KEY = "S3_KEY_ID", "S3_KEY"
LONGEST_LOCK = timedelta(days=400)
_AGE = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_SSH = re.compile(r"ssh-(?:ed25519|rsa) [A-Za-z0-9+/]{20,}={0,2}(?: .*)?")
_LEAST_RECIPIENTS = 2


def _recipient(value: str) -> str:
    if value.startswith("AGE-SECRET-KEY-"):
        raise invalid("is an identity, which can decrypt", "Write its recipient, which begins with `age1`.")
    if value.startswith(("ecdsa-", "sk-")):
        raise invalid("is an SSH key of a kind that age cannot use", "Write one of ssh-ed25519 or ssh-rsa, or age1...")
    if not (_AGE.fullmatch(value) or _SSH.fullmatch(value)):
        raise invalid("is no recipient", "Write a line `age1...` of `backup-sidecar copies keys`, or ssh-ed25519 ...")
    return value


def is_ssh(recipient: str) -> bool:
    """Whether a recipient is a public SSH key."""
    return recipient.startswith("ssh-")


Recipients = Annotated[tuple[Annotated[str, AfterValidator(_recipient)], ...], CommaItems]


def _signer(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", value):
        raise invalid("is not the public half of a signing key", "Write what follows `verify:` in the recovery kit.")
    return value


Signers = Annotated[tuple[Annotated[str, AfterValidator(_signer)], ...], CommaItems]


def _destination_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", value):
        raise invalid("is not the name of a destination", "Use lower-case letters, digits and `-`.")
    return value


DestinationName = Annotated[str, AfterValidator(_destination_name)]


def _host_key(value: str) -> str:
    if not re.fullmatch(r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d{3}) [A-Za-z0-9+/]+={0,2}(?: .*)?", value):
        hint = "Write `ssh-ed25519 AAAA...`: what `ssh-keyscan` prints behind the host's name."
        raise invalid("is not the public key of a host", hint)
    return value


def _lock(value: timedelta) -> timedelta:
    if value > LONGEST_LOCK:
        hint = "Nobody, you neither, can delete what is locked; write 400d or less."
        raise invalid("locks copies for more than 400 days", hint)
    return value


Lock = Annotated[Duration, AfterValidator(_lock)]


class Sftp(Model):
    """A folder on another machine."""

    SECRETS: ClassVar = ("key",)

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$")]
    """Name or address of the machine."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    """Port of its SSH server."""
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """User there."""
    path: Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$")]
    """Folder there, which has to exist; relative to the user's own without `/`."""
    host_key: Annotated[str, AfterValidator(_host_key)]
    """Public key of the machine: `ssh-ed25519 AAAA...`. Another one is refused."""
    key: Secret = SecretReference(secret=SSH_KEY)
    """Private key of the user, without a passphrase."""


class S3(Model):
    """A prefix of a bucket."""

    SECRETS: ClassVar = ("key_id", "key")

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """Name of the bucket, which has to exist."""
    prefix: Annotated[
        str, Field(pattern=r"^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?/?$", max_length=200)
    ] = ""
    """What the names of all objects begin with, such as `shop`. Nobody else writes below it."""
    endpoint: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+/?$")] | None = None
    """Address of the server, such as `https://s3.eu-central-003.backblazeb2.com`; the bucket then stands in the path.
    Unset: AWS."""
    region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,40}$")] = "us-east-1"
    """Region of the bucket, which is part of each signature. Many servers other than AWS take any."""
    ca_file: Folder | None = None
    """File in the sidecar's container with the certificates that are believed, in the place of everybody's."""
    key_id: Secret = SecretReference(secret=S3_KEY_ID)
    """Id of the access key."""
    key: Secret = SecretReference(secret=S3_KEY)
    """Secret access key. It needs to list the bucket, and to read, write and delete below the prefix."""


class DestinationSettings(Model):
    """One place for copies."""

    path: Folder | None = None
    """Folder in the sidecar's container, on a share or a disk that is mounted there."""
    sftp: Sftp | None = None
    """Folder on another machine, by SFTP; instead of `path`."""
    s3: S3 | None = None
    """Prefix of a bucket, by the API of S3; instead of `path`."""
    lock: Lock | None = None
    """How long the bucket keeps every copy whoever wants it gone, such as `35d`, at most `400d`: by object lock, which
    the bucket has to have. Unset: no lock."""
    lock_mode: Literal["governance", "compliance"] = "governance"
    """Whether a key with a right of its own may lift locks, or nobody at all."""
    same_disk: bool = False
    """Whether the folder may lie on the disk of the store, with which it would be lost."""
    max_age: Duration | None = None
    """Maximum age of the newest copied run; beyond it the copies of the target are `stale`. Unset: what is promised for
    the target's runs, and a day more."""
    retention: Retention | None = None
    """Which copies stay there, in the words of `retention` of targets. Unset: those of the target itself."""
    delete: bool = True
    """Whether copies that no rule keeps are deleted there. Off: somebody else sees to that."""
    bandwidth: Size | None = None
    """Maximum of bytes sent in a second, such as `4MiB`. Unset: as fast as it goes."""

    @property
    def kind(self) -> str:
        """Of destination: the name of a file in `controller/storage/destinations/`."""
        return "s3" if self.s3 else "sftp" if self.sftp else "path"

    @property
    def secrets(self) -> dict[str, SecretReference | SecretStr]:
        """By the names of the fields."""
        place = self.s3 or self.sftp
        return {name: getattr(place, name) for name in place.SECRETS} if place else {}

    def options(self, secrets: Mapping[str, str]) -> dict[str, Any]:
        """What a destination of this kind is opened with; `secrets` are the values of its secrets."""
        if self.s3:
            plain = self.s3.model_dump(mode="json", exclude={*S3.SECRETS})
            lock = self.lock.total_seconds() if self.lock else 0
            return {**plain, **secrets, "lock_seconds": lock, "lock_mode": self.lock_mode}
        if self.sftp:
            return {**self.sftp.model_dump(exclude={*Sftp.SECRETS}), **secrets}
        return {"path": str(self.path), "same_disk": self.same_disk}

    @model_validator(mode="after")
    def _one_place(self) -> "DestinationSettings":
        if sum(place is not None for place in (self.path, self.sftp, self.s3)) != 1:
            raise invalid("does not name one place", "Give it one of `path`, `sftp` and `s3`.")
        if self.lock and not self.s3:
            raise invalid("has a `lock`, which only a bucket can keep", "Remove it, or name a place by `s3`.")
        return self


class VerifyCopies(Model):
    """The re-reading of what lies at destinations."""

    budget: Size = 1 << 30
    """Maximum amount of copies to read again in a day at each destination; `0B` turns this off."""
    every: Duration = timedelta(days=30)
    """How long an object counts as proved after it was read."""


class Copies(Model):
    """Copies of every run at other places, sealed so that this host cannot read them."""

    recipients: Recipients = ()
    """Public keys that copies are encrypted for: at least two, or `one-recipient`. An SSH key (ssh-ed25519, ssh-rsa)
    counts as one of the two only once a copy was decrypted with it: `backup-sidecar copies rehearse`."""
    one_recipient: bool = False
    """Whether one recipient is enough: whoever loses its identity loses every copy."""
    signing_key: Secret = SecretReference(secret=SIGNING_KEY)
    """Key that signs copies; `backup-sidecar copies keys` makes it. Without one nothing is copied, but copies can be
    restored."""
    signers: Signers = ()
    """Public halves of earlier signing keys, as in the lines `verify:` of their kits: what they signed is believed too.
    Without them copies of before a change of the key count as forged, and nothing is deleted there."""
    hold: Span = timedelta(days=7)
    """How long a run that no rule keeps here waits for its copy, counted from the last copy of its target that arrived;
    where room is needed it does not wait."""
    destinations: dict[DestinationName, DestinationSettings] = Field(default_factory=dict)
    """Places for copies, by names of your choice."""
    verify: VerifyCopies = VerifyCopies()
    """The re-reading of what lies there."""

    @model_validator(mode="after")
    def _enough_recipients(self) -> "Copies":
        own = {tuple(recipient.split()[:2]) for recipient in self.recipients}
        if self.destinations and not self.recipients:
            raise invalid("names no `recipients`", "`backup-sidecar copies keys` makes two, and tells where they go.")
        if self.destinations and len(own) < _LEAST_RECIPIENTS and not self.one_recipient:
            raise invalid(
                "names fewer than two different recipients",
                "Add another one, whose identity lies elsewhere, or set `one-recipient: true`.",
            )
        return self
