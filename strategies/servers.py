"""What the strategies of database servers share: which databases are meant, and why there can be no dump of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from urllib.parse import unquote

from config.wording import shortened
from strategies.base import Container, Facts, NotReady, Unsuitable, demand_few
from strategies.checks import read_counts
from strategies.plan import RESTART, Argv, Incomplete, RestoreRequest, Run, Step


def choose(named: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """Those that the options name, else all that a probe found. Raises `Unsuitable` for a name that was not found."""
    if missing := sorted(set(named) - set(there)):
        hint = f"There is {shortened(there)}." if there else "There is none at all."
        raise Unsuitable(f"there is no database {shortened(missing)}", hint, "unknown-database")
    chosen = tuple(sorted(set(named) or set(there)))
    demand_few(chosen, "<strategy>.databases")
    return chosen


def databases_in(request: RestoreRequest, kind: str, suffix: str) -> dict[str, str]:
    """The artifacts of a format by name, with their databases, which a run of an older release tells only thereby."""
    return {
        stored.name: stored.subject or unquote(stored.name.removesuffix(suffix))
        for stored in request.artifacts
        if stored.format == kind
    }


def restarted(look: Argv, swap: Argv, back: Argv, wait: Argv) -> Iterator[Step]:
    """Exchange what a server reads only at its start; undone last is what is named first: it starts with old data."""
    yield Run(look, undo=RESTART)
    yield Run(swap, undo=back)
    yield Run(RESTART, undo=("true",))
    yield Run(wait, undo=("true",))


def sizes_in(facts: Facts) -> Mapping[str, int]:
    """Bytes of databases on the server's disk by name, as far as the probe `sizes` told."""
    answer = facts.answers.get("sizes")
    with suppress(Incomplete):
        return read_counts(BytesIO(answer.stdout.encode())) if answer and answer.ok else {}
    return {}


def no_client(container: Container, lacking: str) -> Unsuitable:
    """The target has no shell or lacks the client."""
    hint = "Label the container that runs the server, of an image that has its client, as the official ones have."
    return Unsuitable(f"{container.image} lacks {lacking}", hint, "no-client")


def not_ready() -> NotReady:
    """The server starts or stops."""
    hint = "It is asked again; see its log if it stays so."
    return NotReady("the server does not accept connections yet", hint, "not-ready")


def refused(complaint: str, hint: str, gone: str = "") -> Unsuitable:
    """The server knows its account otherwise, unless the complaint is what is printed where it is `gone`."""
    if gone and re.search(gone, complaint):
        return not_ready()
    return Unsuitable(f"the server refused: {complaint}", hint, "refused")
