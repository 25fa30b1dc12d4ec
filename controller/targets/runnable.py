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
    provenance: Mapping[str, str]
    """By label key (`commands.pre`): where it was written."""

    def secrets_for(self, commands: str, secrets: Secrets) -> Mapping[str, str]:
        """The operator's secrets, for commands that the operator's file wrote; none for those of a label."""
        return secrets if self.origins.get(commands) == "file" else {}
