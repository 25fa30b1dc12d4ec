"""How a target's key stands in an address, for every room of routes."""

from typing import Annotated

from fastapi import Depends

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


TargetKey = Annotated[Key, Depends(target_key)]
