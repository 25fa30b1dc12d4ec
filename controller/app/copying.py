"""The part that keeps copies elsewhere."""

from functools import cached_property

from controller.app.parts import Parts
from controller.core.key import Key
from controller.upkeep.copier import Copier
from controller.upkeep.copy_chores import Rules
from controller.upkeep.pruner import Aging


class Copying(Parts):
    """To be asked like the other parts."""

    def rules_of(self, key: Key) -> Rules | None:
        """By which a target's runs go, also of one that is gone; None where nobody knows."""
        targets = (Aging.of(target) for target in self.targets() if target.key == key)
        found = next((aging for aging in (*targets, *self.aging()) if aging and aging.key == key), None)
        return (found.retention, found.zone) if found else None

    @cached_property
    def copier(self) -> Copier:
        return Copier(
            self.store,
            self.catalog,
            self.leases,
            self.verifier,
            workdir=self.workdir,
            writer=self.identity,
            loaded=lambda: self.loaded,
            rules=self.rules_of,
            trusted=self.clock_watch.look,
            redact=self.redact,
            clock=self.clock,
        )
