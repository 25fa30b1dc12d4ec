"""The store's folders: one that came from elsewhere may belong to somebody else, and not even root may change that."""

from collections.abc import Iterator

from config.problems import Problem
from controller.app.parts import Parts
from controller.storage import access


def check(parts: Parts) -> Iterator[Problem]:
    if problem := access.problem(parts.store.root, parts.unreadable):
        yield problem
