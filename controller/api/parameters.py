"""What several routes take: a target's key as it stands in an address, who asks, and which start is the same."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict

from config.wording import is_unsafe
from controller.core.drill import Drill
from controller.core.errors import UnknownTarget
from controller.core.key import Key
from controller.core.restoration import Restoration
from controller.core.run import Report

TAR = "application/x-tar"
REFUSED = {"q=0", "q=0.0", "q=0.00", "q=0.000"}
"""What follows a type that is not wanted (RFC 9110, 12.4.2)."""
Limit = Annotated[int, Query(ge=1, le=1000)]


def parsed(key: str) -> Key:
    """Raises `UnknownTarget` for what can be no key."""
    try:
        return Key.parse(key)
    except ValueError as error:
        raise UnknownTarget(str(error), hint="`/v1/targets` lists them.") from None


async def target_key(key: str) -> Key:
    """From an address; a coroutine, so that it takes no thread."""
    return parsed(key)


async def client(request: Request) -> str:
    """Who asks, by the digest of the token; the same for all on the unix socket."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    return sha256(token.encode()).hexdigest()[:16] if token else "local"


def one_line(text: str) -> str:
    """The same; raises ValueError for what would do something to a terminal."""
    if is_unsafe(text, ""):
        raise ValueError("holds control characters")
    return text.strip()


async def named_tar(accept: Annotated[str, Header(description="`application/x-tar`: with its manifest.")] = "") -> bool:
    """Whether a tar is asked for by its name: `*/*` is what clients send that take what they have always got."""
    items = (item.lower().replace(" ", "").split(";") for item in accept.split(","))
    return any(kind == TAR and not REFUSED.intersection(parameters) for kind, *parameters in items)


class PageQuery(BaseModel):
    """A page of a list that begins with the newest."""

    model_config = ConfigDict(extra="forbid")

    target: Annotated[str | None, Query(description="Key of the only target; else all.")] = None
    limit: Limit = 50
    before: Annotated[str, Query(description="Id of the last one of the page before: its `next`.")] = ""

    @property
    def key(self) -> Key | None:
        """Raises `UnknownTarget`."""
        return parsed(self.target) if self.target else None

    def following(self, page: Sequence[Report | Drill | Restoration]) -> str | None:
        """`before` of the next page; None on the last one."""
        return page[-1].id if len(page) == self.limit else None


Page = Annotated[PageQuery, Query()]
TargetKey = Annotated[Key, Depends(target_key)]
Client = Annotated[str, Depends(client)]
NamedTar = Annotated[bool, Depends(named_tar)]
IdempotencyKey = Annotated[str, Header(max_length=255, description="The same key starts the same thing only once.")]
Note = Annotated[str, Query(max_length=200), AfterValidator(one_line)]
RunId = Annotated[str, Query(max_length=64, description="Which run; by default the last good one.")]
