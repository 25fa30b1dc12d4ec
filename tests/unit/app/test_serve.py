"""What serves loads nothing that only the commands for people need, which would double its memory."""

import subprocess
import sys

LOADED = "import sys, controller.app.serve; print(*sys.modules)"


def test_serve_loads_no_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = {module.split(".")[0] for module in done.stdout.split()}
    assert {"fastapi", "uvicorn"} <= loaded
    assert not {"typer", "rich", "httpx", "pyrage", "cryptography", "asyncssh", "minio", "Crypto"} & loaded
