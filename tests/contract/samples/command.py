from strategies.base import Facts
from tests.contract.sample import Sample, target

SAMPLE = Sample(
    container=target(),
    options={"commands": ["cat /data/* | sort", ["tool", "two words"]], "restore": [["tool", "--load"]]},
    facts=Facts("sh-pipefail"),
    unsuitable=Facts(None),
)
