"""The Docker engine, as the rest of the program sees it; nobody outside this folder knows Docker."""

from controller.engine.client import Engine
from controller.engine.models import (
    EngineVersion,
    Event,
    ExecResult,
    Inspected,
    Listed,
    Mount,
    NetworkEndpoint,
    NetworkInfo,
)
from controller.engine.stream import ExecStream

__all__ = [
    "Engine",
    "EngineVersion",
    "Event",
    "ExecResult",
    "ExecStream",
    "Inspected",
    "Listed",
    "Mount",
    "NetworkEndpoint",
    "NetworkInfo",
]
