"""Redaction takes secrets out of what was said, and leaves what things are called."""

from controller.views.schemas import View, redacted


class Shown(View):
    strategy: str
    name: str
    message: str
    settings: dict[str, object]


def test_a_password_that_is_a_common_word_spoils_no_key_name_or_strategy() -> None:
    settings = {"postgres.databases": "the postgres one", "strategy": "postgres"}
    shown = Shown(strategy="postgres", name="immich_postgres", message="password postgres refused", settings=settings)
    seen = redacted(shown, lambda text: text.replace("postgres", "***"))
    assert (seen.strategy, seen.name) == ("postgres", "immich_postgres")
    assert seen.message == "password *** refused"
    assert seen.settings == {"postgres.databases": "the *** one", "strategy": "postgres"}
