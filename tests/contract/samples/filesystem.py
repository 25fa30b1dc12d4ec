import gzip
from pathlib import Path

from strategies.base import Answer, Facts
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target


def archive(path: Path) -> Stream:
    """The last member ends before the two zero blocks; none of these ends with zeros of its own."""
    whole = gzip.decompress(path.read_bytes())
    return Stream(whole, needed=-(-len(whole.rstrip(b"\0")) // 512) * 512 + 1024)


SAMPLE = Sample(
    container=target(),
    options={"paths": "/data/a b,/srv/-x", "exclude": ["cache", "/data/*.tmp"]},
    facts=Facts(
        "bash",
        {
            "tar": Answer(0, "tar (GNU tar) 1.35\nCopyright (C) 2023 Free Software Foundation, Inc.\n"),
            "exclude": Answer(0),
            "paths": Answer(0, "there\nthere\n"),
            "places": Answer(0, "0\n/\n"),
        },
    ),
    unsuitable=Facts(None, {"tar": NOT_FOUND, "exclude": NOT_FOUND, "paths": NOT_FOUND, "places": NOT_FOUND}),
    streams={"tar": tuple(archive(path) for path in sorted(FOLDER.glob("*.tar.gz")))},
)
