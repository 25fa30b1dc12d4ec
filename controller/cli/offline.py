"""Commands that need no running `serve`."""

import shlex
from dataclasses import asdict
from importlib.metadata import version as installed

from rich.text import Text

from config.problems import Problem
from controller.app import folders
from controller.app import startup as program
from controller.app.parts import Parts
from controller.cli.terminal import AsJson, Failed, TargetKey, as_key, out, show, show_json, show_problems
from controller.core.errors import SidecarError
from controller.targets.discovery import nearest
from controller.targets.scope import find_scope
from controller.targets.target import Target
from controller.views.targets import described


def version(as_json: AsJson = False) -> int:
    """Print the version."""
    show_json({"version": installed("backup-sidecar")}) if as_json else print(installed("backup-sidecar"))
    return program.OK


def check(as_json: AsJson = False) -> int:
    """Check configuration, engine and labels without doing anything; exit 78 for the configuration, 3 for a target."""
    loaded = program.configuration()
    targets, problems = listed(Parts(loaded))
    problems = (*loaded.problems, *folders.problems(loaded), *problems)
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


def explain(key: TargetKey, as_json: AsJson = False) -> int:
    """Show each setting of a target, where it comes from, and what a run would do."""
    loaded = program.configuration()
    parts = Parts(loaded)
    known, _ = listed(parts)
    target = next((target for target in known if target.key == as_key(key)), None)
    if target is None:
        raise Failed(f"no target {key}", nearest(as_key(key), [str(target.key) for target in known]))
    if target.options is not None and target.state != "absent":
        target = surveyed(target, parts)
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
        does = shlex.join(dump.argv) if dump.argv else f"archive of {dump.archive}"
        out.print(Text(f"\ndump {dump.name} ({dump.format}{by}):\n  {does}"))
    show_problems(target.problems)
    return program.SOME if target.state == "problem" else program.OK


def listed(parts: Parts) -> tuple[list[Target], tuple[Problem, ...]]:
    """The targets as the engine's list gives them, not yet asked, and what the sidecar itself lacks."""
    engine = parts.engine
    containers = engine.containers()
    scope = find_scope(parts.loaded, engine.own_container_id(), containers, engine.networks())
    return list(parts.resolution.find(parts.loaded, scope, containers).values()), scope.problems


def surveyed(target: Target, parts: Parts) -> Target:
    try:
        return target.with_survey(parts.surveyor.survey(target.runnable()))
    except SidecarError as error:
        return target.with_problem(Problem(error.code, f"container {target.container.name}", error.message, error.hint))
