"""Apps that stay up while their database is restored: they write again and again, and connect anew each time."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kit.stage import docker, eventually, execute


@contextmanager
def living(server: str, **scripts: str) -> Iterator[dict[str, list[str]]]:
    """Let each shell script run in the container until the end, over and over; then the lines that each has printed."""
    over, printed = "/tmp/over", dict[str, list[str]]()
    apps = {}
    for name, script in scripts.items():
        loop = f"until [ -e {over} ]; do {script}; touch /tmp/{name}.turn; sleep 0.05; done"
        apps[name] = subprocess.Popen(["docker", "exec", server, "sh", "-c", loop], stdout=subprocess.PIPE, text=True)
    try:
        turns = " && ".join(f"[ -e /tmp/{name}.turn ]" for name in scripts)
        eventually(lambda: execute("docker", "exec", server, "sh", "-c", turns).returncode == 0, what="the apps live")
        yield printed
    finally:
        docker("exec", server, "touch", over)
        for name, app in apps.items():
            printed[name] = app.communicate(timeout=60)[0].splitlines()
        docker("exec", server, "sh", "-c", f"rm -f {over} /tmp/*.turn")
