"""The labels of recipes in the docs, taken from there, with a stand-in for the tools that no package of Debian has."""

import re
from typing import Any

import pytest
import yaml

from tests.e2e.test_restore import succeeded
from tests.kit.stage import REPOSITORY, App, Sidecar, within

pytestmark = pytest.mark.e2e

PASSWORD = 'it\'s a "word" of $HOME'
STAND_IN = """
cat >/bin/mongotool <<'END'
#!/bin/sh
for word; do
    case $word in
        --config=*) settings=$(cat "${word#--config=}") ;;
        --username=root | --authenticationDatabase=admin | --archive) ;;
        --drop | --stopOnError) [ "${0##*/}" = mongorestore ] || exit 2 ;;
        *) echo "an option that is not known: $word" >&2; exit 2 ;;
    esac
done
[ "$settings" = "password: 'it''s a \\"word\\" of \\$HOME'" ] || { echo 'Authentication failed.' >&2; exit 1; }
case ${0##*/} in
    mongodump) cat /data/db ;;
    mongorestore) cat >/data/db ;;
esac
END
chmod +x /bin/mongotool
ln -s mongotool /bin/mongodump
ln -s mongotool /bin/mongorestore
mkdir /data
seq 1000 >/data/db
"""


def labels() -> dict[str, str]:
    """As Compose passes them on."""
    text = (REPOSITORY / "docs/strategies.md").read_text().partition("## MongoDB")[2]
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    found: dict[str, Any] = yaml.safe_load(block)["labels"]
    return {key.removeprefix("backup."): value.replace("$$", "$") for key, value in found.items()}


def test_the_recipe_for_mongodb_gives_its_tools_what_they_need_and_shows_no_password(
    sidecar: Sidecar, app: App
) -> None:
    options = (f"--env=MONGO_INITDB_ROOT_PASSWORD={PASSWORD}", "--env=MONGO_INITDB_ROOT_USERNAME=root")
    container = app.start("mongo-stand-in", labels(), *options)
    within(container, STAND_IN)

    report = sidecar.backup("mongo-stand-in")
    within(container, "echo lost >/data/db")
    succeeded(sidecar, "mongo-stand-in", "--replace", "--run", report["id"])

    assert report["proof"] == "sealed"
    assert within(container, "seq 1000 | cmp - /data/db; ls /tmp") == ""
    assert PASSWORD not in str(report) + sidecar.log()
