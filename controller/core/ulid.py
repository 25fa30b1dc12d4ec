"""Names that sort by time: ULIDs."""

import re
import secrets
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U."""


ULID = re.compile(f"[0-7][{ALPHABET}]{{25}}")


def new_ulid() -> str:
    """48 bits of time in milliseconds, 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
