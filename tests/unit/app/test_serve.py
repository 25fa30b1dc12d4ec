"""What serves loads nothing that only the commands for people need, which would double its memory."""

import subprocess
import sys

LOADED = "import sys, controller.app.serve; print(*filter(sys.modules.get, sys.modules))"
ASKED = """
import sys
from controller.__main__ import main
sys.argv[1:] = ["version"]
try:
    main()
except SystemExit:
    print("\\n".join(sys.modules))
"""


def test_serve_loads_no_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = {module.split(".")[0] for module in done.stdout.split()}
    assert {"fastapi", "uvicorn"} <= loaded
    assert not {"typer", "rich", "httpx", "pyrage", "cryptography", "asyncssh", "minio", "Crypto"} & loaded
    assert "charset_normalizer" not in loaded


def test_a_command_starts_without_what_it_never_shows() -> None:
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"httpx", "rich.console"} <= loaded
    assert not {"rich.progress", "pygments", "click", "docker", "fastapi"} & loaded
