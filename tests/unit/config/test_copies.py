"""Where copies go is the operator's word, and what is wrong with it is told with its line and its remedy."""

from pathlib import Path

import pytest

from config.copies import SIGNING_KEY
from tests.unit.config.test_loading import loaded, problems

ONE = "age1cy0su9fwf3gf9mw868g5yut09p6nytfmmnktexz2ya5uqg9vl9sss4euqm"
TWO = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPz9QJz5v4M6sTqXkHk0m3d5t6u7v8w9x0y1z2A3B4C5 me@home"
NAS = "destinations: {nas: {path: /copies/nas}}"
BOX = f"sftp: {{host: u1.example, user: u1, path: shop, host-key: {SSH}}}"
KEYS = {SIGNING_KEY: "a signing key", "SSH_PRIVATE_KEY": "a private key"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def copies(*lines: str) -> str:
    return "copies:\n" + "".join(f"  {line}\n" for line in lines)


BOTH = f"recipients: [{ONE}, {TWO}]"


def test_two_recipients_and_a_place_are_enough(folder: Path) -> None:
    read = loaded(folder, copies(BOTH, NAS), KEYS)

    assert read.settings.copied_to("shop/db") == ("nas",)
    assert read.signing_key == "a signing key"
    assert "a signing key" not in repr(read)


def test_a_host_that_only_takes_copies_back_needs_no_signing_key(folder: Path) -> None:
    assert loaded(folder, copies(BOTH, NAS)).signing_key is None


def test_targets_go_where_the_file_says(folder: Path) -> None:
    places = f"destinations: {{nas: {{path: /copies/nas}}, box: {{{BOX}}}}}"
    text = copies(BOTH, places) + "defaults: {copies: [box]}\ntargets: {a/b: {copies: []}, a/c: {copies: [nas, box]}}\n"
    read = loaded(folder, text, KEYS)

    assert [read.settings.copied_to(key) for key in ("a/a", "a/b", "a/c")] == [("box",), (), ("nas", "box")]
    assert read.settings.copies
    box = read.settings.copies.destinations["box"]
    assert (box.kind, box.options(read.destination_secrets["box"])["key"]) == ("sftp", "a private key")


def test_a_bucket_has_two_secrets_and_its_lock_is_in_seconds(folder: Path) -> None:
    keys = KEYS | {"S3_KEY_ID": "id of the key", "OTHER": "key of the bucket"}
    bucket = "{bucket: copies, prefix: shop, region: eu-west-1, key: {secret: OTHER}}"
    read = loaded(folder, copies(BOTH, f"destinations: {{cloud: {{s3: {bucket}, lock: 35d}}}}"), keys)

    assert read.settings.copies
    cloud = read.settings.copies.destinations["cloud"]
    assert (cloud.kind, cloud.options(read.destination_secrets["cloud"])) == (
        "s3",
        {
            "bucket": "copies", "prefix": "shop", "endpoint": None, "region": "eu-west-1", "ca_file": None,
            "key_id": "id of the key", "key": "key of the bucket", "lock_seconds": 35 * 86400,
            "lock_mode": "governance",
        },
    )  # fmt: skip
    assert "key of the bucket" not in repr(read)
    assert read.secrets.redact("the key of the bucket") == "the ***"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([f"recipients: [{ONE}]", NAS], "fewer than two"),
        ([f"recipients: [{ONE}, {ONE}]", NAS], "fewer than two"),
        ([f"recipients: ['{SSH}', '{SSH} of another name']", NAS], "fewer than two"),
        ([NAS], "names no `recipients`"),
        (["recipients: [age1short]"], "no recipient"),
        (["recipients: ['ecdsa-sha2-nistp256 AAAA']"], "a kind that age cannot use"),
        (["recipients: [AGE-SECRET-KEY-1HYMW0EZLAW2]"], "an identity"),
        ([BOTH, "signers: [AAAA]"], "public half of a signing key"),
        ([BOTH, "destinations: {Nas: {path: /copies}}"], "not the name of a destination"),
        ([BOTH, "destinations: {nas: {}}"], "does not name one place"),
        ([BOTH, f"destinations: {{nas: {{path: /copies, {BOX}}}}}"], "does not name one place"),
        ([BOTH, "destinations: {nas: {path: copies}}"], "not an absolute path"),
        ([BOTH, "destinations: {nas: {path: /var/lib/sidecar}}"], "folder of `paths`"),
        ([BOTH, "destinations: {nas: {path: /var/lib/sidecar/artifacts/nas}}"], "folder of `paths`"),
        ([BOTH, "destinations: {box: {sftp: {host: h, user: u, path: p, host-key: AAAA}}}"], "public key of a host"),
        ([BOTH, "destinations: {s: {s3: {bucket: copies}}}"], "S3_KEY_ID is not set"),
        ([BOTH, "destinations: {s: {s3: {bucket: copies}, lock: 401d}}"], "more than 400 days"),
        ([BOTH, "destinations: {s: {s3: {bucket: copies}, lock: 0d}}"], "above zero"),
        ([BOTH, "destinations: {s: {s3: {bucket: copies}, lock-mode: none}}"], "lock-mode"),
        ([BOTH, "destinations: {nas: {path: /copies, lock: 35d}}"], "only a bucket can keep"),
        ([BOTH, "destinations: {s: {s3: {bucket: UP}}}"], "s3.bucket"),
        ([BOTH, "destinations: {s: {s3: {bucket: copies, endpoint: 's3.example'}}}"], "s3.endpoint"),
        ([BOTH, "destinations: {s: {s3: {bucket: copies, prefix: '../up'}}}"], "s3.prefix"),
    ],
)
def test_what_is_wrong_is_told_and_never_repeated(folder: Path, lines: list[str], words: str) -> None:
    told = " ".join(map(str, problems(folder, copies(*lines), KEYS)))

    assert words in told
    assert "HYMW0EZLAW2" not in told


def test_a_destination_that_nobody_knows_is_told(folder: Path) -> None:
    for text in ("defaults: {copies: [nsa]}\n", "targets: {a/b: {copies: [nsa]}}\n"):
        assert "names nsa" in " ".join(map(str, problems(folder, copies(BOTH, NAS) + text, KEYS)))


def test_the_exception_for_one_recipient_is_written(folder: Path) -> None:
    assert loaded(folder, copies(f"recipients: [{ONE}]", "one-recipient: true", NAS), KEYS).settings.copies
