"""A target of which everything is known that a run, a restore or a drill needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from config.layers import Author
from config.secrets import Secrets
from config.target import TargetSettings
from controller.core.key import Key
from controller.engine.models import Listed
from strategies.base import Options


@dataclass(frozen=True, slots=True)
class RunnableTarget:
    """A target without anything wrong in its words."""

    key: Key
    container: Listed
    settings: TargetSettings
    strategy: str
    options: Options
    """The strategy's, validated."""
    sensitive: tuple[str, ...]
    """Passwords in its commands, for redaction."""
    origins: Mapping[str, Author]
    """Who wrote the commands `pre`, `backup`, `post` or `restore`."""
    secrets: frozenset[str] | None
    """Names of the secrets that those of the file see; None for all."""
    provenance: Mapping[str, str]
    """By label key (`commands.pre`): where it was written."""
    remarks: tuple[str, ...] = ()
    """Warnings of each run."""

    def secrets_for(self, commands: str, secrets: Secrets) -> Mapping[str, str]:
        """Those of the operator's secrets that commands see which the file wrote; none for commands of a label."""
        if self.origins.get(commands) != "file":
            return {}
        return {name: value for name, value in secrets.items() if self.secrets is None or name in self.secrets}
