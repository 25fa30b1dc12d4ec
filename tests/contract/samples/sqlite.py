from strategies.base import Answer, Facts
from tests.contract.sample import FOLDER, NOT_FOUND, Sample, Stream, target

ANSWERS = {
    "client": Answer(
        0, "3.46.1 2024-08-13 09:16:08 c9c2ab54ba1f5f46360f1b4f35d849cd3f080e6fc2b6c60e91b16c63f69aalt1\n"
    ),
    "databases": Answer(0, "database /data/shop.db\ndatabase /data/o'dd name?.db\n"),
}
DATABASE = (FOLDER / "shop.sqlite").read_bytes()

SAMPLE = Sample(
    container=target(image="shop:1"),
    options={},
    facts=Facts("sh", ANSWERS),
    unsuitable=Facts("sh", dict.fromkeys(ANSWERS, NOT_FOUND)),
    streams={"sqlite": (Stream(DATABASE, needed=len(DATABASE)),)},
)
