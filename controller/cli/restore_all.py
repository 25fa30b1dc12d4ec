"""`restore --all`: every target that was adopted comes back, one after the other, and a table says which did not."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from pydantic import BaseModel

from config.wording import shortened
from controller.app import program
from controller.cli.activities import follow, listed
from controller.cli.terminal import Failed, address_of, amount, answered, client, err, out, seconds, show, show_json
from controller.core.run import SAFETY

PATIENCE_SECONDS, ABSENT_SECONDS = 120.0, 5.0
"""In all, for an app that is only just starting; for containers that are not there at all."""
LOOK_SECONDS = 1.0
PLAN_TIMEOUT_SECONDS = 300.0
ABSENT = {"unknown-target", "target-gone"}
BEGINNING = {"not-ready", "run-in-progress", "restore-in-progress", "server-gone", "target-died", "target-replaced"}
STARTING = ABSENT | BEGINNING
"""What a target answers that may only be on its way."""
BACK, WOULD, NOT = "restored", "would be restored", "not restored"
HEADS = ("TARGET", "RUN", "STATE", "SIZE", "TIME", "COMPARED", "WHY")


class Comeback(BaseModel):
    """What has become of one target."""

    key: str
    run: str | None
    """The one that was chosen; None where no good one was adopted."""
    state: str = NOT
    report: Any = None
    """Of the restore, as the sidecar tells it; on a dry run the plan."""
    error: dict[str, str] | None = None
    """Why it did not come back: code, message and hint."""

    @classmethod
    def refused(cls, key: str, run: str | None, code: str, message: str, hint: str = "") -> "Comeback":
        return cls(key=key, run=run, error={"code": code, "message": message, "hint": hint})


def restore_all(
    query: Mapping[str, str],
    at: datetime | None,
    arrived: Sequence[Mapping[str, Any]] | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Restore the newest good adopted run of each target; `query` is that of every restore.

    `arrived` is what `adopt` has just told of runs, of which only these are restored; None for what was ever adopted,
    up to `at`. One that does not come back keeps no other from it. Raises `Failed` where nothing was adopted.
    """
    with client() as connection:
        if arrived is None:
            chosen = adopted(connection, at)
        else:
            chosen = {row["key"]: row["run"] for row in arrived if not row["error"]}
        refused = {row["key"]: row for row in arrived or () if row["error"]}
        for key in refused.keys() & chosen.keys():
            err.print(f"warning: {key}: {refused[key]['error']['message']}; an older run was taken", style="yellow")
        if not chosen and not refused:
            hint = "`backup-sidecar adopt DESTINATION --identity -` takes in copies from elsewhere first."
            raise Failed("no run was adopted here" + (f" that began by {at.isoformat()}" if at else ""), hint)
        asking = Asking(connection, query, time.monotonic(), dry_run)
        rows = [asking.one(key, run) for key, run in sorted(chosen.items())]
        rows += [
            Comeback.refused(row["key"], row["run"], **error_of(row["error"]))
            for row in refused.values()
            if row["key"] not in chosen
        ]
        warn_of_younger(connection, chosen)
    if as_json:
        show_json([row.model_dump() for row in rows])
    else:
        show_rows(rows, dry_run)
    return program.OK if all(row.error is None for row in rows) else program.FAILED


def adopted(connection: httpx.Client, at: datetime | None) -> dict[str, str]:
    """By key: the newest good run that was adopted, empty where each of them is in doubt."""
    chosen: dict[str, str] = {}
    for run in listed(connection, "runs"):
        if not run["origin"] or run["pruned"] or run["state"] != "succeeded":
            continue
        if at is not None and datetime.fromisoformat(run["started"]) > at:
            continue
        good = not run["damaged"] and (run["accepted"] or not run["suspicious"]) and run["trigger"] != SAFETY
        known = chosen.setdefault(run["key"], "")
        if good and not known:
            chosen[run["key"]] = run["id"]
    return chosen


@dataclass(frozen=True, slots=True)
class Asking:
    """How each target is asked for."""

    connection: httpx.Client
    query: Mapping[str, str]
    began: float
    """By the monotonic clock."""
    dry_run: bool

    def one(self, key: str, run: str) -> Comeback:
        """Restore one target, and wait for its end; never raises for what is wrong with that target alone."""
        if not run:
            hint = f"`backup-sidecar runs {key}` shows them; `restore {key} --run ID` restores what you choose."
            return Comeback.refused(key, None, "no-good-run", "every run that was adopted is in doubt", hint)
        address, asked = f"{address_of(key)}/restore", {**self.query, "run": run}
        plan = self._planned(address, asked)
        if "type" in plan:
            return Comeback.refused(key, run, plan["type"], plan["detail"], plan.get("hint", ""))
        there = plan["in_the_way"] or plan["beside"]
        if there and "replace" not in self.query:
            hint = "Give --replace, which backs that up first and then replaces it."
            return Comeback.refused(key, run, "not-empty", f"there is already {shortened(there)}", hint)
        if self.dry_run:
            return Comeback(key=key, run=run, state=WOULD, report=plan)
        return self._restored(key, address, asked | ({"in_place": "true"} if plan["beside"] else {}))

    def _restored(self, key: str, address: str, asked: Mapping[str, str]) -> Comeback:
        """One that a server has ended that was only starting is begun again."""
        run = asked["run"]
        while True:
            try:
                start = self.connection.build_request("POST", address, params=asked, timeout=PLAN_TIMEOUT_SECONDS)
                report = follow(self.connection, "restores", start, progress)
            except Failed as error:
                return Comeback.refused(key, run, "refused", str(error))
            if (failure := report["failure"]) is None:
                return Comeback(key=key, run=run, state=BACK, report=report)
            plan = self._planned(address, asked) if failure["transient"] and not self._is_over() else {"type": ""}
            if "type" in plan:
                return Comeback(key=key, run=run, report=report, error=error_of(failure))

    def _is_over(self, patience: float = PATIENCE_SECONDS) -> bool:
        return time.monotonic() > self.began + patience

    def _planned(self, address: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """The plan, or the problem that is left once an app that is starting has had its time."""
        query = {**asked, "dry_run": "true"}
        with err.live() as live:
            while True:
                answer = self.connection.post(address, params=query, timeout=PLAN_TIMEOUT_SECONDS)
                found: dict[str, Any] = json_of(answer)
                code = found.get("type")
                patience = ABSENT_SECONDS if code in ABSENT else PATIENCE_SECONDS
                if answer.is_success or self._is_over(patience) or code not in STARTING:
                    return found or answered(answer)
                live(f"{found['detail']}; waiting for it")
                time.sleep(LOOK_SECONDS)


def json_of(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return {}


def error_of(error: Mapping[str, Any]) -> dict[str, str]:
    return {name: error[name] for name in ("code", "message", "hint")}


def warn_of_younger(connection: httpx.Client, chosen: Mapping[str, str]) -> None:
    """A host that has made good runs of its own since may not want what it has adopted."""
    for target in answered(connection.get("/v1/targets"))["targets"]:
        last, run = target["last_good"], chosen.get(target["key"])
        if run and last and last["id"] > run and not last["origin"]:
            err.print(f"warning: {target['key']}: run {last['id']} is younger, and was made here", style="yellow")


def progress(report: dict[str, Any]) -> str:
    return f"{report['key']}  {report['step']}  {amount(report['bytes'])} of {amount(report['total'])}"


def show_rows(rows: list[Comeback], dry_run: bool) -> None:
    show([tuple(cells(row)) for row in rows], *HEADS)
    for row in rows:
        if row.error:
            err.print(f"error: {row.key}: {row.error['message']}. {row.error['hint']}".rstrip(), style="red")
        for warning in (row.report or {}).get("warnings", ()):
            err.print(f"warning: {row.key}: {warning}", style="yellow")
    good = sum(row.error is None for row in rows)
    out.print(f"{good} of {len(rows)} targets {'would come' if dry_run else 'came'} back")


def cells(row: Comeback) -> Iterator[object]:
    report = row.report or {}
    code = row.error["code"] if row.error else ""
    done = "finished" in report
    size = amount(report["bytes"]) if done else ""
    yield from (row.key, row.run or "", row.state, size, seconds(report) if done else "")
    yield from (report["compared"] if done else "", code)
