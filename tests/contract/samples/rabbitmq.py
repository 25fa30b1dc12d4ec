from strategies.base import Answer, Facts
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target

ANSWERS = {"client": Answer(0, "/usr/sbin/rabbitmqctl\n"), "left-out": Answer(0, "12 messages\nhidden\nok\n")}
DEFINITIONS = (FOLDER / "definitions.json").read_bytes().strip()

SAMPLE = Sample(
    container=target(image="rabbitmq:4"),
    options={"node": "rabbit@box"},
    facts=Facts("sh", ANSWERS),
    unsuitable=Facts("sh", dict.fromkeys(ANSWERS, NOT_FOUND)),
    streams={"rabbitmq": (Stream(DEFINITIONS, needed=len(DEFINITIONS)),)},
)
