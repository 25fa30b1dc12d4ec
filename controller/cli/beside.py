"""What `check` and `explain` do, with parts of their own beside `serve`, or without one."""

import shlex
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from config.loading import Loaded
from config.problems import Problem
from controller.app import folders, program
from controller.app.parts import Parts
from controller.cli.terminal import Failed, answered, as_key, client, out, show, show_json, show_problems
from controller.core.errors import SidecarError
from controller.core.ulid import new_ulid
from controller.targets.discovery import nearest
from controller.targets.holders import Holders
from controller.targets.image_labels import ImageLabels
from controller.targets.session import tool
from controller.targets.survey import Surveyor
from controller.targets.surveys import AT_A_TIME, unanswered
from controller.targets.target import Target
from controller.views.targets import described


class PartsBeside(Parts):
    """The parts of a process beside `serve`, which leaves nothing in the work folder and owns nothing of its."""

    @cached_property
    def identity(self) -> str:
        return new_ulid()

    @cached_property
    def holders(self) -> Holders:
        return Holders(self.workdir, keeps=False)


def check(loaded: Loaded, *, as_json: bool) -> int:
    """Tell what is wrong with engine, labels and containers; gives the exit code."""
    parts, told = PartsBeside(loaded), told_by_serve()
    found, problems = listed(parts)
    surveyor = parts.surveyor
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        targets = list(pool.map(lambda target: asked(target, surveyor, told), found))
    known = (*loaded.problems, *folders.problems(loaded), *problems)
    problems = tuple(dict.fromkeys((*known, *(Problem(**each) for each in told["problems"]))))
    broken = [target for target in targets if target.state == "problem"]
    if as_json:
        views = [described(target, loaded.secrets) for target in targets]
        show_json(
            {"problems": list(map(asdict, problems)), "targets": [view.model_dump(mode="json") for view in views]}
        )
    else:
        show_problems(problems)
        for target in targets:
            show_problems(target.problems)
        out.print(f"configuration: good; targets: {len(targets)}, with problems: {len(broken)}")
    return program.SOME if broken or any(problem.severity == "error" for problem in problems) else program.OK


def explain(loaded: Loaded, key: str, *, verbose: bool, as_json: bool) -> int:
    """Show a target's settings and its plan; gives the exit code."""
    parts = PartsBeside(loaded)
    known, _ = listed(parts)
    target = next((target for target in known if target.key == as_key(key)), None)
    if target is None:
        raise Failed(f"no target {key}", nearest(as_key(key), [str(target.key) for target in known]))
    if target.options is not None and target.state != "absent":
        target = surveyed(target, parts.surveyor)
    if as_json:
        show_json(described(target, loaded.secrets).model_dump(mode="json"))
        return program.OK
    if target.resolved:
        redact = loaded.secrets.with_also(target.resolved.sensitive).redact
        values = target.resolved.values
        show(
            [(name, redact(values[name]), source) for name, source in target.resolved.provenance.items()],
            "SETTING",
            "VALUE",
            "FROM",
        )
    plan = described(target, loaded.secrets).plan
    by = ", by a helper container" if plan and plan.helper else ""
    for dump in plan.dumps if plan else ():
        does = tool(dump.argv) if dump.argv else f"archive of {dump.archive}"
        out.print(f"dump {dump.name} ({dump.format}{by}): {does}")
    if verbose:
        show_commands([dump.argv for dump in plan.dumps if dump.argv] if plan else [])
    show_problems(target.problems)
    return program.SOME if target.state == "problem" else program.OK


def show_commands(commands: Iterable[Sequence[str]]) -> None:
    """Each argv; a script that several have is there once."""
    scripts: list[str] = []
    for argv in commands:
        new = [word for word in dict.fromkeys(argv) if "\n" in word and word not in scripts]
        scripts += new
        for script in new:
            out.print(f"script {scripts.index(script) + 1}:")
            out.block(script.strip("\n"))
        words = (f"<script {scripts.index(word) + 1}>" if word in scripts else shlex.quote(word) for word in argv)
        out.block(" ".join(words))


def listed(parts: Parts) -> tuple[list[Target], tuple[Problem, ...]]:
    """The targets as the engine's list gives them, not yet asked, and what the sidecar itself lacks."""
    engine = parts.engine
    containers = ImageLabels(engine).containers(parts.loaded)
    scope = parts.resolution.scope(parts.loaded, engine.own_container_id(), containers, engine.networks())
    return list(parts.resolution.find(parts.loaded, scope, containers).values()), scope.problems


def told_by_serve() -> Any:
    """What the running `serve` says of the targets and of itself; without one nothing."""
    try:
        with client() as connection:
            return answered(connection.get("/v1/targets"))
    except Failed:
        return {"targets": [], "problems": []}


def asked(target: Target, surveyor: Surveyor, told: Any) -> Target:
    """A target with what its container answered, to the running `serve` if it has asked the same one."""
    if target.state != "pending":
        return target
    name = (str(target.key), target.container.id)
    for view in told["targets"]:
        if (view["key"], view["container"]["id"]) == name and view["state"] in ("ready", "problem"):
            return replace(target, state=view["state"], problems=tuple(Problem(**each) for each in view["problems"]))
    return surveyed(target, surveyor)


def surveyed(target: Target, surveyor: Surveyor) -> Target:
    try:
        return target.with_survey(surveyor.survey(target.runnable()))
    except SidecarError as error:
        return unanswered(target, error)
