"""The errors of copies elsewhere and of the places that they go to; made as those of `errors`."""

from controller.core.errors import SidecarError


class DestinationError(SidecarError):
    """A place for copies is the trouble, not the run."""


class DestinationDown(DestinationError):
    """A destination of copies does not answer, or has gone away; it is tried again."""

    code, transient = "destination-down", True
    remedy = "`backup-sidecar copies check` says more."


class DestinationRefused(DestinationError):
    """A destination of copies does not let the sidecar in, or is not what it should be."""

    code = "destination-refused"
    remedy = "Mend what is named; `backup-sidecar copies check` tries again at once."


class DestinationFull(DestinationError):
    """A destination of copies has no room left; nothing there is deleted for it."""

    code, transient = "destination-full", True
    remedy = "Make room there, or keep fewer copies."


class DestinationForeign(DestinationError):
    """Somebody else writes to a destination of copies, or nobody has prepared it."""

    code = "destination-foreign"
    remedy = "`backup-sidecar copies prepare` prepares a new one; with --take-over it takes one from a lost sidecar."


class DestinationLies(DestinationError):
    """What a destination of copies took is not what it gives back."""

    code = "destination-lies"
    remedy = "Do not count on this destination: look at its disk, or ask its provider."


class DestinationBusy(DestinationError):
    """A destination of copies is at work, or cannot be reached at all."""

    code, transient = "destination-busy", True


class UnknownDestination(SidecarError):
    """No destination of copies has this name."""

    code = "unknown-destination"


class UnknownObject(DestinationError):
    """A destination of copies has no object of this name."""

    code = "unknown-object"
    remedy = "`backup-sidecar copies verify` finds every copy that lacks something."


class ObjectKept(DestinationError):
    """A destination of copies does not let an object go: it is locked, or the key may not delete."""

    code = "object-kept"
    remedy = "Set `delete: false` for the destination, if it sees to that itself."


class NotACopy(SidecarError):
    """What lies at a destination is no copy that can be believed: signature, place, form or content are wrong."""

    code = "not-a-copy"
    remedy = "Take another run; look who can write to the destination."


class WrongKey(SidecarError):
    """A key for copies is none, or not one that this needs."""

    code = "wrong-key"
    remedy = "Take the recovery kit that `backup-sidecar copies keys` once printed."
