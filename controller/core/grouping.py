"""Neighbours that are dealt with together, since each time costs more than most of them."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def grouped(
    items: Iterable[Item], size: Callable[[Item], int], most: int, alike: Callable[[Item, Item], bool] | None = None
) -> Iterator[list[Item]]:
    """All items in their order, as many neighbours at a time as have `most` together, and one at least.

    What is `alike` may be in one group; without it everything is.
    """
    group: list[Item] = []
    room = most
    for item in items:
        own = size(item)
        if group and (own > room or (alike is not None and not alike(group[0], item))):
            yield group
            group, room = [], most
        group.append(item)
        room -= own
    if group:
        yield group
