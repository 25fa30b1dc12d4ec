#!/usr/bin/env python3
"""Write the label table of both READMEs anew from the models; `--check` only says whether they are up to date."""

import re
import sys
from pathlib import Path

from config.reference import label_table
from config.resolve import COMMAND
from strategies import discover

READMES = tuple(Path(__file__).parents[1] / name for name in ("README.md", "README.es.md"))
PLACE = re.compile(r"(<!-- labels: [^\n]*\n).*?(<!-- /labels -->)", re.DOTALL)


def made(readme: Path) -> str:
    """The text of the README with the table as it should be."""
    models = {strategy.names[0]: strategy.options for strategy in discover().values()}
    del models[COMMAND]  # Its only option is the label commands.backup.
    text, places = PLACE.subn(lambda place: place[1] + label_table(models) + place[2], readme.read_text())
    if places != 1:
        sys.exit(f"{readme.name} needs one place for the label table, and has {places}")
    return text


def main() -> int:
    stale = {readme: text for readme in READMES if (text := made(readme)) != readme.read_text()}
    if stale and "--check" in sys.argv:
        names = " and ".join(readme.name for readme in stale)
        sys.exit(f"the label table in {names} is out of date; run scripts/readme.py in the virtual environment")
    for readme, text in stale.items():
        readme.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
