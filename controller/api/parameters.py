"""What several routes take: a target's key as it stands in an address, who asks, and which start is the same."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from controller.core.errors import UnknownTarget
from controller.core.key import Key


def parsed(key: str) -> Key:
    """Raises `UnknownTarget` for what can be no key."""
    try:
        return Key.parse(key)
    except ValueError as error:
        raise UnknownTarget(str(error), hint="`/v1/targets` lists them.") from None


async def target_key(key: str) -> Key:
    """From an address; a coroutine, so that it takes no thread."""
    return parsed(key)


async def trigger(request: Request) -> str:
    """`cli` for the unix socket, which has no port."""
    return "cli" if request["server"][1] is None else "api"


TargetKey = Annotated[Key, Depends(target_key)]
Trigger = Annotated[str, Depends(trigger)]
IdempotencyKey = Annotated[str, Header(max_length=255, description="The same key starts the same thing only once.")]
RunId = Annotated[str, Query(max_length=64, description="Which run; by default the last good one.")]
Limit = Annotated[int, Query(ge=1, le=1000)]
