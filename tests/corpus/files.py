"""Makes every type and attribute of files below /data, and tells which are others than they were; runs in the target.

`python3 files.py make`, `note`, `differing` or `destroy`. Standard library alone.
"""

import hashlib
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path

HOME = next(
    (base for base in (Path("/"), *Path("/").glob("restore-*")) if (base / "data/noted.json").exists()), Path("/")
)
"""Where the drill has put it, or where it belongs."""
DATA = HOME / "data"
ACL = "system.posix_acl_access", "system.posix_acl_default"
READ, ALL = 4, 7


def acl(*users: tuple[int, int]) -> bytes:
    """Owner, these users, group, mask and others (acl(5), linux/posix_acl_xattr.h)."""
    entries = [(1, 6, -1), *((2, may, user) for user, may in users), (4, 4, -1), (16, 7, -1), (32, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def plain(at: Path) -> None:
    (at / "empty").touch()
    (at / "binary").write_bytes(bytes(range(256)) * 5000)
    (at / "folder/empty").mkdir(parents=True)


def modes(at: Path) -> None:
    for mode in (0o4755, 0o2755, 0o1777, 0o000, 0o444, 0o7777):
        (path := at / f"{mode:o}").write_text(str(mode))
        path.chmod(mode)
    for mode in (0o2775, 0o1777, 0o500):
        (at / f"folder-{mode:o}").mkdir()
        (at / f"folder-{mode:o}").chmod(mode)


def owners(at: Path) -> None:
    for owner in (0, 1000, 70000, 4_000_000_000):
        (path := at / str(owner)).write_text("x")
        os.chown(path, owner, owner)
    (at / "link").symlink_to("x")
    os.lchown(at / "link", 12, 34)


def times(at: Path) -> None:
    for moment in (0, 1, -86_400 * 10**9, 1_000_000_000_123_456_789, 4_102_444_800 * 10**9):
        (path := at / str(moment)).write_text("x")
        os.utime(path, ns=(moment, moment))
    (at / "folder").mkdir()
    os.utime(at / "folder", ns=(5, 1_000_000_000_000_000_007))
    (at / "link").symlink_to("x")
    os.utime(at / "link", ns=(7, 900_000_000_000_000_001), follow_symlinks=False)


def links(at: Path) -> None:
    for name, target in {
        "abs": "/etc/passwd",
        "gone": "nowhere",
        "self": "self",
        "long": "x/" * 400,
        "up": "../..",
    }.items():
        (at / name).symlink_to(target)
    (at / "deep").mkdir()
    (at / "one").write_text("one")
    os.link(at / "one", at / "two")
    os.link(at / "one", at / "deep/three")
    os.link(at / "gone", at / "deep/gone", follow_symlinks=False)


def special(at: Path) -> None:
    os.mkfifo(at / "fifo", 0o640)


def sockets(at: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(at / "socket"))


def sparse(at: Path) -> None:
    for name, parts in {
        "all": [],
        "begin": [9_000_000],
        "middle": [0, 9_000_000],
        "many": range(0, 9_000_000, 300_000),
    }.items():
        with (at / name).open("wb") as file:
            for offset in parts:
                file.seek(offset)
                file.write(b"x" * 5000)
            file.truncate(10_000_000)


def xattrs(at: Path) -> None:
    for name in ("file", "folder"):
        (at / name).mkdir() if name == "folder" else (at / name).touch()
        os.setxattr(at / name, "user.plain", b"value")
        os.setxattr(at / name, "user.binary", b"\0=\n\xff" * 50)
        os.setxattr(at / name, "user.empty", b"")


def acls(at: Path) -> None:
    (at / "folder").mkdir()
    (at / "file").touch()
    os.setxattr(at / "file", ACL[0], acl((1000, READ), (70000, ALL)))
    os.setxattr(at / "folder", ACL[1], acl((1000, ALL)))
    (at / "folder/inherits").touch()


def capabilities(at: Path) -> None:
    (at / "ping").write_bytes(b"\x7fELF")
    os.setxattr(at / "ping", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))


def names(at: Path) -> None:
    odd = [
        b"two\nlines",
        b" blank ",
        b"-dash",
        b"*?[a]",
        b"back\\slash",
        b"'\"$x`",
        b"\xff\xe4",
        "ñ😀".encode(),
        b"x" * 255,
        b"~",
    ]
    for name in (*odd, b"e\xcc\x81", "é".encode(), b".hidden", b"a:b", b"tab\t", b"\x01\x7f"):
        Path(os.fsdecode(os.path.join(os.fsencode(at), name))).write_bytes(name)


def deep(at: Path) -> None:
    path = at
    for number in range(60):
        path = path / f"folder-{number}-{'x' * 40}"
    path.mkdir(parents=True)
    (path / "end").write_text("end")
    (at / ("f" * 200)).mkdir()
    (at / ("f" * 200) / ("g" * 200)).write_text("g")


def many(at: Path) -> None:
    for number in range(3000):
        (at / str(number)).write_text(str(number))


ROWS = {
    made.__name__: made
    for made in (
        plain,
        modes,
        owners,
        times,
        links,
        special,
        sockets,
        sparse,
        xattrs,
        acls,
        capabilities,
        names,
        deep,
        many,
    )
}


def digest(row: str) -> str:
    """Of everything that the system tells of a row."""
    seen, first = [], {}
    for folder, folders, files in os.walk(os.fsencode(DATA / row)):
        for name in (b".", *folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            is_file, is_link = stat.S_ISREG(status.st_mode), stat.S_ISLNK(status.st_mode)
            # A link's own attributes cannot hold what users set; a sparse file may lie in more blocks, not in all.
            facts = [status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev]
            facts += [status.st_size, status.st_blocks * 512 < status.st_size // 2] if is_file else []
            facts += [os.readlink(path).hex()] if is_link else []
            facts += [hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()] if is_file else []
            facts += [] if is_link else [(key, os.getxattr(path, key).hex()) for key in sorted(os.listxattr(path))]
            where = os.path.relpath(path, os.fsencode(DATA)).hex()
            facts += [] if stat.S_ISDIR(status.st_mode) else [first.setdefault(status.st_ino, where)]
            seen.append([where, *map(str, facts)])
    return hashlib.sha256(json.dumps(sorted(seen)).encode()).hexdigest()


def main(what: str) -> None:
    if what == "make":
        for row, make in ROWS.items():
            (DATA / row).mkdir()
            make(DATA / row)
        return
    if what == "note":
        (DATA / "noted.json").write_text(json.dumps({row: digest(row) for row in ROWS}))
    elif what == "destroy":
        for row in ROWS:
            subprocess.run(["find", DATA / row, "-type", "f", "-delete"], check=True)
            shutil.rmtree(DATA / row / "folder", ignore_errors=True)
            (DATA / row / "stray").touch()
    else:
        noted = json.loads((DATA / "noted.json").read_text())
        sys.stdout.write("".join(f"{row}\n" for row in ROWS if not (DATA / row).exists() or digest(row) != noted[row]))


if __name__ == "__main__":
    main(sys.argv[1])
