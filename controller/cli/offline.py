"""Commands that need no running `serve`.

What some of them need beyond the configuration takes a while to import: a configuration that is refused is told before.
"""

from importlib.metadata import version as installed

from controller.app import api_token, program, startup
from controller.cli.terminal import AsJson, Failed, TargetKey, Verbose, show_json


def version(as_json: AsJson = False) -> int:
    """Print the version."""
    show_json({"version": installed("backup-sidecar")}) if as_json else print(installed("backup-sidecar"))
    return program.OK


def token(as_json: AsJson = False) -> int:
    """Print the token of the API that orchestrators need."""
    loaded = startup.configuration_at_start()
    found = loaded.api_token or api_token.known(loaded.settings.paths.workdir)
    if not found:
        raise Failed("there is no token yet", "The first start of `serve` makes one.")
    show_json({"token": found}) if as_json else print(found)
    return program.OK


def check(as_json: AsJson = False) -> int:
    """Check configuration, engine, labels and containers, and start no backup; exit 78 for the configuration, 3 for
    any other error.
    """
    loaded = startup.configuration()
    from controller.cli import beside  # noqa: PLC0415  # See above.

    return beside.check(loaded, as_json=as_json)


def explain(key: TargetKey, *, verbose: Verbose = False, as_json: AsJson = False) -> int:
    """Show each setting of a target, where it comes from, and what a run would do."""
    loaded = startup.configuration()
    from controller.cli import beside  # noqa: PLC0415  # See above.

    return beside.explain(loaded, key, verbose=verbose, as_json=as_json)
