"""Who asks, and whether that is enough: each route declares the role that it needs, and nothing else does."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from loguru import logger
from starlette.routing import BaseRoute

from config.tokens import ROLES, Role
from controller.api.problems import Refused

LOGGED: tuple[Role, ...] = ("restore", "admin")
"""Roles of routes that leave a line in the log, since not all of what they do has a record of its own."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request: the name and the role of a token, and the address."""

    name: str
    role: Role
    address: str

    def __str__(self) -> str:
        """As it is kept with what was done."""
        return f"{self.name}@{self.address}" if self.address else self.name

    @property
    def trigger(self) -> str:
        """Of what is started."""
        return "api" if self.address else "cli"

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)

    def may_cancel(self, by: str) -> bool:
        """Whether it may cancel what somebody has started: its own, under whichever address, or everything."""
        return self.may("admin") or by.partition("@")[0] == self.name


OPERATOR = Caller("socket", "admin", "")
"""Whoever can open the unix socket."""


class Needs:
    """What a route depends on: a caller of this role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request) -> None:
        """Raises `Refused`."""
        caller: Caller = request["caller"]
        if not caller.may(self.role):
            raise lacks_role(caller, self.role, "This")
        if self.role in LOGGED:
            path = request["raw_path"].decode("ascii", "replace")
            logger.bind(by=str(caller), query=str(request.query_params)).info("{} {}", request.method, path)


READ, BACKUP, RESTORE, ADMIN = (Depends(Needs(role)) for role in ROLES)


async def caller(request: Request) -> Caller:
    found: Caller = request["caller"]
    return found


Asking = Annotated[Caller, Depends(caller)]


def role_of(route: BaseRoute) -> Role:
    """The role that a route declares; raises ValueError where it is not just one."""
    declared: list[Any] = [each.dependency for each in getattr(route, "dependencies", ())]
    roles: list[Role] = [each.role for each in declared if isinstance(each, Needs)]
    if len(roles) != 1:
        raise ValueError(f"{getattr(route, 'path', route)} declares {len(roles)} roles, not one")
    return roles[0]


def demand_may_cancel(caller: Caller, what: str, by: str) -> None:
    """Raises `Refused` for what somebody else has started."""
    if not caller.may_cancel(by):
        raise lacks_role(caller, "admin", f"{what}, which {by or 'nobody by the API'} has started, to cancel it")


def lacks_role(caller: Caller, role: Role, what: str) -> Refused:
    detail = f"{what} needs the role {role}, and the token {caller.name} has the role {caller.role}."
    entry = f"{{name: {role}, secret: {role.upper()}_TOKEN, role: {role}}}"
    hint = (
        f"Add `api: {{tokens: [{entry}]}}` to config.yaml, set {role.upper()}_TOKEN in its `.env` and send that token; "
        "or run `backup-sidecar` in the sidecar's container."
    )
    # A body that is not read would be taken for the next request.
    return Refused(403, "role-needed", detail, hint=hint, headers={"Connection": "close"}, role=role)
