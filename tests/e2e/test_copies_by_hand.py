"""A copy is restored by Debian's tools alone: `restore.sh`, and the lines of docs/copies-format.md."""

import re
import secrets
from collections.abc import Iterator

import pytest

from tests.kit.stage import LABEL, REPOSITORY, docker, image, said, within

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]
GOLDEN = REPOSITORY / "tests" / "fixtures" / "copies-1"
TOOLS = "age jq zstd openssl"
FIRST = "20260301T030001Z-0123abcd"
"""The older of two runs, with three artifacts, of the target `shop/it's`."""


@pytest.fixture(scope="module")
def debian() -> Iterator[str]:
    """A container with the tools, the destination at /nas and the kit; gives its name."""
    name = f"by-hand-{secrets.token_hex(3)}"
    docker("run", "--detach", "--name", name, "--label", f"{LABEL}={name}", image("DEBIAN"), "sleep", "infinity")
    try:
        script = "apt-get update -qq && apt-get install -qq --yes --no-install-recommends"
        within(name, f"export DEBIAN_FRONTEND=noninteractive; {script} {TOOLS} >/dev/null 2>&1")
        for folder in ("nas", "store", "kit"):
            docker("cp", "-q", GOLDEN / folder, f"{name}:/{folder}")
        docker("cp", "-q", REPOSITORY / "controller/storage/copies/restore.sh", f"{name}:/nas/restore.sh")
        yield name
    finally:
        docker("rm", "--force", name)


def test_restore_sh_restores_every_artifact_and_compares(debian: str) -> None:
    listed = within(debian, "sh /nas/restore.sh")
    newest = within(debian, "cd /tmp && sh /nas/restore.sh /kit 'shop/it%27s'")
    told = within(debian, f"cd /tmp && sh /nas/restore.sh /kit 'shop/it%27s' {FIRST} \"it's here\"")

    assert listed.splitlines() == [f"shop/it%27s/{FIRST}", "shop/it%27s/20260301T030002Z-0123abcd"]
    assert "restored/20260301T030002Z-0123abcd/it%27s-0.tar" in newest
    assert "tar -xf it%27s-0.tar.zst" in told
    within(debian, f'diff -r /store/{FIRST} "/tmp/it\'s here/{FIRST}"')
    within(debian, "cd /tmp/restored && diff -r /store/2*2Z-0123abcd 2*2Z-0123abcd")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("printf x >>$(ls objects/base/d8/*)", "object d8"),
        ("cp objects/base/03/* $(ls objects/base/d8/*)", "object d8"),
        ("sed -i 's/scheduled/by-hand/' runs/shop/*/*1Z-*/run.json", "not signed"),
        ("cp runs/shop/*/*2Z-*/run.json runs/shop/*/*1Z-*/run.json", "another run"),
        ("sed -i 's/^verify: ./verify: A/' ../kit", "not signed"),
        ("sed -i 's/^AGE.*//' ../kit", "no line AGE-SECRET-KEY-1"),
    ],
)
def test_restore_sh_refuses_whatever_is_wrong(debian: str, spoil: str, words: str) -> None:
    within(debian, f"rm -rf /bad && mkdir /bad && cp -r /nas /kit /bad && cd /bad/nas && {spoil}")

    script = f"cd /bad && sh nas/restore.sh kit 'shop/it%27s' {FIRST}"
    done = said("docker", "exec", debian, "sh", "-c", script)

    assert done.returncode != 0
    assert words in done.stderr


def test_the_lines_of_the_format_work_as_they_stand(debian: str) -> None:
    page = (REPOSITORY / "docs/copies-format.md").read_text()
    (script,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = script.replace("runs/shop/db/20360301T030000Z-0123abcd", f"runs/shop/it%27s/{FIRST}")

    told = within(debian, f"cd /tmp; grep ^AGE /kit >id; K=id D=/nas VERIFY=$(sed -n 's/^verify: //p' /kit)\n{lines}")

    assert "Signature Verified Successfully" in told
    assert "tar -xf it%27s-0.tar.zst" in told
    within(
        debian,
        f"cmp /tmp/artifact /store/{FIRST}/it%27s-0.tar.zst && cmp /tmp/manifest.json /store/{FIRST}/manifest.json",
    )
