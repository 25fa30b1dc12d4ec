"""Copies at other places: how they are, their keys, and what an administrator asks of a destination."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from controller.app import program
from controller.cli.adopt import AsOf, Identity
from controller.cli.terminal import AsJson, Failed, amount, answered, as_key, client, err, out, show, show_json
from controller.cli.times import since, when

POLL_SECONDS = 0.5
CLOCK_SECONDS = 2
"""By which a clock may be another one; times there may be whole seconds."""
HEADS = ("DESTINATION", "TARGET", "STATE", "NEWEST COPY", "READ BACK", "REHEARSED", "WHY")


class What(StrEnum):
    """What can be done with copies."""

    show = "show"
    keys = "keys"
    prepare = "prepare"
    check = "check"
    send = "send"
    verify = "verify"
    rehearse = "rehearse"
    receipts = "receipts"


Action = Annotated[
    What, typer.Argument(metavar="[keys|prepare|check|send|verify|rehearse|receipts]", show_default=False)
]
Name = Annotated[str | None, typer.Argument(metavar="DESTINATION", help="One of `copies.destinations`; else all.")]
Key = Annotated[str | None, typer.Argument(metavar="KEY", help="rehearse: only of this target.")]
ByRun = Annotated[str | None, typer.Option("--run", metavar="ID", help="rehearse: this run, and not the newest.")]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="prepare: also where another sidecar, which is lost, has written.")
]


def copies(
    what: Action = What.show,
    name: Name = None,
    key: Key = None,
    *,
    take_over: TakeOver = False,
    identity: Identity = None,
    run: ByRun = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> int:
    """Show how fresh the copies at other places are; `keys` makes keys, `prepare` a place, `check` tries it, `send`
    copies now and waits, `verify` reads all copies again, `rehearse` decrypts, on any machine, and leaves a receipt;
    `receipts` takes those from standard input that it could not leave there.
    """
    if what is What.keys:
        return keys(as_json)
    if moment := when(as_of):
        return shown_then(what, name, moment, as_json)
    if what in (What.rehearse, What.receipts):
        return rehearsals(what, name, key, run=run, identity=identity, as_json=as_json)
    with client() as connection:
        known = answered(connection.get("/v1/copies"))["destinations"]
        if what is What.show:
            return shown([each for each in known if name in (None, each["name"])], as_json)
        names = [name] if name else [each["name"] for each in known]
        if not names:
            raise Failed("there is no destination", "Add `copies.destinations` to config.yaml; see docs/copies.md.")
        query = {"take_over": "true"} if take_over and what is What.prepare else {}
        answers = []
        for each in names:
            answer = answered(connection.post(f"/v1/copies/{each}/{what}", params=query, timeout=None))
            answers.append(sent(connection, each) if what is What.send else answer)
    if as_json:
        show_json(answers)
    else:
        for each, answer in zip(names, answers, strict=True):
            tell(what, each, answer)
    if any(answer.get("wrong") or answer.get("failure") for answer in answers):
        return program.FAILED
    return program.SOME if any(answer.get("warnings") for answer in answers) else program.OK


def shown_then(what: What, name: str | None, moment: datetime, as_json: bool) -> int:
    """Show what lay at a destination at a time."""
    from controller.cli.copies_then import show_copies_then  # noqa: PLC0415  # Only here a destination is read.

    if what is not What.show:
        raise Failed(f"--as-of is not for `copies {what}`", "It shows what lay there: `copies show`.", program.USAGE)
    return show_copies_then(name, moment, as_json)


def rehearsals(
    what: What, name: str | None, key: str | None, *, run: str | None, identity: str | None, as_json: bool
) -> int:
    """Decrypt here, or bring the receipts of a machine that has."""
    from controller.cli import rehearse  # noqa: PLC0415  # Only here what decrypts is needed.

    if name is None:
        raise Failed("no destination is named", f"`backup-sidecar copies {what} DESTINATION`.", program.USAGE)
    if what is What.receipts:
        return rehearse.receipts(name, as_json)
    return rehearse.rehearse(name, as_key(key) if key else None, run, identity, as_json=as_json)


def sent(connection: Any, name: str) -> dict[str, Any]:
    """Wait until a destination lacks nothing, or nothing more can be copied; gives what is known of it then."""
    while True:
        (now,) = [each for each in answered(connection.get("/v1/copies"))["destinations"] if each["name"] == name]
        if now["failure"] or (not now["waiting"] and not now["current"]):
            found: dict[str, Any] = now
            return found
        time.sleep(POLL_SECONDS)


def shown(destinations: list[Any], as_json: bool) -> int:
    if as_json:
        show_json(destinations)
    else:
        show([row(each, target) for each in destinations for target in each["targets"]], *HEADS, needed=3)
        for each in destinations:
            if current := each["current"]:
                share = f"{amount(current['bytes'])} of {amount(current['total'])}"
                out.print(f"{each['name']}: run {current['run']} of {current['key']} is being copied, {share}")
            if each["waiting"]:
                out.print(f"{each['name']}: {each['waiting']} runs are not there yet")
            if each["missed"]:
                out.print(
                    f"{each['name']}: {each['missed']} runs were deleted here before they were copied", style="yellow"
                )
            for line in kept_there(each):
                out.print(f"{each['name']}: {line}")
            if failure := each["failure"]:
                err.print(f"{each['name']}: [{failure['code']}] {failure['message']}. {failure['hint']}", style="red")
    good = all(target["state"] in ("fresh", "unpromised") for each in destinations for target in each["targets"])
    return program.OK if good and not any(each["failure"] for each in destinations) else program.SOME


def kept_there(destination: Any) -> Iterator[str]:
    """What stays at a destination though nobody here would have it so."""
    if destination["lock"]:
        yield f"the destination itself keeps each copy for {destination['lock']} at least"
    if destination["kept"]:
        yield f"{destination['kept']} copies that no rule keeps are kept by the destination"
    if not destination["delete"]:
        yield "copies that no rule keeps are left to the destination (`delete: false`)"


def row(destination: Any, target: Any) -> tuple[str, ...]:
    now = datetime.now(UTC)
    names = ("time", "proved", "rehearsed")
    newest, proved, rehearsed = (target[name] and since(datetime.fromisoformat(target[name]), now) for name in names)
    why = "" if target["state"] == "fresh" else target["reason"]
    times = (newest or "never", proved or "", rehearsed or "never")
    return destination["name"], target["key"], target["state"], *times, why


def tell(what: What, name: str, answer: dict[str, Any]) -> None:
    if what is What.verify:
        out.print(f"{name}: {answer['objects']} objects read, {amount(answer['bytes'])}; {len(answer['proved'])} whole")
        for wrong in answer["wrong"]:
            err.print(f"error: {name}: {wrong}", style="red")
    elif what is What.check:
        out.print(f"{name} takes and gives what a copy needs; {', '.join(traits(answer))}")
        for warning in answer["warnings"]:
            err.print(f"warning: {name}: {warning}", style="yellow")
    elif what is What.send and (failure := answer["failure"]):
        err.print(f"error: {name}: [{failure['code']}] {failure['message']}. {failure['hint']}", style="red")
    else:
        done = {What.prepare: "is prepared", What.send: "lacks no run"}
        out.print(f"{name} {done[what]}")


def traits(checked: dict[str, Any]) -> Iterator[str]:
    """Of a destination, in words."""
    ahead = round(checked["ahead"])
    side = "ahead of" if ahead > 0 else "behind"
    yield f"its clock is {abs(ahead)} s {side} ours" if abs(ahead) > CLOCK_SECONDS else "its clock is ours"
    if checked["versions"] is not None:
        yield "it keeps versions" if checked["versions"] else "it keeps no versions"
    if until := checked["locked_until"]:
        yield f"a copy of now is locked until {datetime.fromisoformat(until):%Y-%m-%d}"
    if checked["rules_read"] is False:
        yield "its lifecycle rules could not be read"


def keys(as_json: bool) -> int:
    """Make two identities and a signing key, and print them; nothing is kept."""
    from controller.storage.copies.by_hand import RESTORE_SHA256  # noqa: PLC0415  # Only here age is needed.
    from controller.storage.copies.sealing import new_identity  # noqa: PLC0415
    from controller.storage.copies.signing import Signer, new_key  # noqa: PLC0415

    made, signing_key = [new_identity() for _ in range(2)], new_key()
    verify, recipients = Signer(signing_key).public, [recipient for _, recipient in made]
    if as_json:
        facts = {"identities": [identity for identity, _ in made], "recipients": recipients, "verify": verify}
        show_json(facts | {"signing_key": signing_key, "restore_sh_sha256": RESTORE_SHA256})
        return program.OK
    for number, (identity, _) in enumerate(made, 1):
        print(f"# Recovery kit {number} of 2. Keep each at another place, and none on this host. Shown this once.")
        print(f"{identity}\nverify: {verify}\n# SHA-256 of restore.sh: {RESTORE_SHA256}\n")
    print("# For config.yaml:\ncopies:\n  recipients:")
    print("".join(f"    - {recipient}\n" for recipient in recipients))
    print(f"# For .env, and only there:\nCOPIES_SIGNING_KEY={signing_key}")
    return program.OK
