"""Makes an awkward file tree, and describes one as JSON; runs in a container beside the one that is backed up.

python3 - make /data
python3 - list /data
"""

import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

TIME = 1_700_000_000_123_456_789


def make(root: Path) -> None:
    """Everything that a backup of files is known to lose."""
    files: dict[bytes, bytes] = {
        b"plain.txt": b"plain\n",
        b"empty": b"",
        b"binary": bytes(range(256)) * 4096,
        b"name with  spaces ": b"spaces",
        b"line\nbreak": b"newline",
        b"tab\tand\\back\\slash": b"escapes",
        b"'quotes\" $(and) `more` *?[x]": b"shell",
        b"-rf": b"an option",
        b".hidden": b"hidden",
        "ñandú-日本-🪶".encode(): b"composed",
        "n\u0303".encode(): b"decomposed",
        b"latin-\xe9": b"no UTF-8",
        b"n" * 200: b"a long name",
        b"/".join([b"deep" * 10] * 12) + b"/bottom": b"a path of 500 bytes",
        b"folder/kept": b"kept",
    }
    for raw, content in files.items():
        path = root / os.fsdecode(raw)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for mode in (0o000, 0o400, 0o640, 0o755, 0o4755, 0o2710, 0o1666):
        path = root / f"mode-{mode:o}"
        path.write_text(oct(mode))
        os.chown(path, 1000 + mode, 65534)
        path.chmod(mode)
    for mode in (0o700, 0o1777, 0o2750):
        (root / f"folder-{mode:o}").mkdir()
        os.chown(root / f"folder-{mode:o}", 4242, 4243)
        (root / f"folder-{mode:o}").chmod(mode)
    with (root / "sparse").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
    for name, leads_to in {
        "to-file": "plain.txt",
        "to-nowhere": "no/such",
        "to-root": "/etc/passwd",
        "up": "../..",
    }.items():
        (root / f"link-{name}").symlink_to(leads_to)
    os.lchown(root / "link-to-nowhere", 77, 78)
    os.link(root / "binary", root / "folder" / "hard")
    os.link(root / "link-to-file", root / "folder" / "hard-symlink")
    os.mkfifo(root / "pipe", 0o620)
    for folder, folders, names in os.walk(root, topdown=False):
        for name in (*folders, *names):
            os.utime(Path(folder, name), ns=(TIME, TIME + len(name)), follow_symlinks=False)
    os.utime(root, ns=(TIME, TIME))


def listing(root: Path) -> dict[str, Any]:
    """By path everything that has to come back."""
    found = {}
    first: dict[int, str] = {}
    for folder, folders, names in sorted(os.walk(root)):
        for name in sorted((*folders, *names)):
            path = Path(folder, name)
            status = path.lstat()
            key = repr(os.fsencode(path.relative_to(root)))
            first.setdefault(status.st_ino, key)
            found[key] = {
                "type": stat.S_IFMT(status.st_mode),
                "mode": oct(stat.S_IMODE(status.st_mode)),
                "owner": [status.st_uid, status.st_gid],
                "size": None if path.is_dir() else status.st_size,
                "time": status.st_mtime_ns,
                "same as": first[status.st_ino],
                "link": str(path.readlink()) if path.is_symlink() else None,
                "sha256": digest(path) if stat.S_ISREG(status.st_mode) else None,
                "sparse": stat.S_ISREG(status.st_mode) and status.st_blocks * 512 < status.st_size,
            }
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    action, folder = sys.argv[1:]
    make(Path(folder)) if action == "make" else print(json.dumps(listing(Path(folder))))
