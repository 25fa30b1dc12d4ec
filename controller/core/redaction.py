"""What takes secrets out of a text."""

from collections.abc import Callable

Redact = Callable[[str], str]
"""Takes known secret values out of a text."""
