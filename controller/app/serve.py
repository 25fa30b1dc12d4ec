"""The process that serves: from the operator's words to a running sidecar, until somebody wants it to stop."""

import sys
import threading

from loguru import logger

from config.problems import ConfigurationError
from controller.app import folders, log, privileges
from controller.app.program import CONFIGURATION, FAILED, OK
from controller.app.sidecar import Sidecar
from controller.app.startup import configuration_at_start, with_token
from controller.core.errors import SidecarError

LOOK_SECONDS = 1.0
"""Between two looks whether every part of the program lives."""


def serve(stop: threading.Event) -> int:
    """Run until `stop` is set; gives the exit code."""
    try:
        loaded = configuration_at_start()
    except ConfigurationError as error:
        sys.stderr.writelines(f"{problem.severity}: {problem}\n" for problem in error.problems)
        return CONFIGURATION
    paths, copies = loaded.settings.paths, loaded.settings.copies
    privileges.take_descriptors()
    places = [each.path for each in copies.destinations.values() if each.path] if copies else []
    privileges.drop((paths.workdir, paths.artifacts, paths.tmp), places)
    log.configure(loaded.settings.log.level, loaded.settings.log.format, loaded.secrets.redact)
    problems = (*loaded.problems, *folders.problems(loaded), *privileges.problems())
    for problem in problems:
        log.write(problem)
    if any(problem.severity == "error" for problem in problems):
        return CONFIGURATION
    try:
        loaded = with_token(loaded)
        log.configure(loaded.settings.log.level, loaded.settings.log.format, loaded.secrets.redact)
        sidecar = Sidecar(loaded)
        for problem in sidecar.problems:
            if problem not in problems:
                log.write(problem)
        sidecar.open()
    except ConfigurationError as error:
        for problem in error.problems:
            log.write(problem)
        return CONFIGURATION
    except SidecarError as error:
        logger.bind(code=error.code).error("{}", error)
        return CONFIGURATION
    logger.bind(id=sidecar.identity, version=sidecar.version, port=loaded.settings.api.port).info("sidecar is serving")
    code = until_over(sidecar, stop)
    sidecar.close()
    logger.info("sidecar has stopped")
    return code


def until_over(sidecar: Sidecar, stop: threading.Event) -> int:
    """Wait for `stop`, or for a part of the program to end by itself, which only a new process mends; the exit code."""
    while not stop.wait(LOOK_SECONDS):
        if ended := sidecar.services.ended:
            logger.critical("{} has ended by itself: the sidecar ends too, to be started again", ", ".join(ended))
            return FAILED
    return OK
