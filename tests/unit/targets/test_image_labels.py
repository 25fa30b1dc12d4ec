"""Labels that an image brings count for nothing, unless the operator says so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.loading import Loaded, load
from controller.core.errors import EngineError, TargetUnsuitable
from controller.core.key import Key
from controller.core.run import Report
from controller.engine.client import Engine
from controller.targets.discovery import find
from controller.targets.image_labels import ImageLabels
from controller.targets.scope import Scope
from controller.targets.target import Target
from strategies import discover
from tests.kit.played_engine import LISTED, PlayedEngine, answer, playing, well
from tests.kit.world import utc_now

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
ENABLED = {"backup.enable": "true", "backup.commands.backup": "dump"}


@dataclass
class Images:
    """An engine with one container: its own labels, those of its image, and what becomes of questions for that."""

    played: PlayedEngine
    labels: Mapping[str, str] = field(default_factory=dict)
    image: Mapping[str, str] | None = None
    status: int = 200
    asked: int = 0

    def __post_init__(self) -> None:
        self.played.script = self.answers
        self.looks = ImageLabels(Engine(self.played.address))

    def answers(self, request: str) -> bytes:
        if request.startswith("GET /containers/json"):
            return answer([LISTED | {"Labels": {**COMPOSE, **(self.image or {}), **self.labels}}])
        if not request.startswith("GET /images/"):
            return well(request)  # type: ignore[return-value]
        self.asked += 1
        body = {"Id": "sha256:1", "Config": {"Labels": self.image}} if self.status == 200 else {"message": "no"}
        return answer(body, self.status)

    def targets(self, loaded: Loaded) -> dict[str, Target]:
        (container,) = self.looks.containers(loaded)
        scope = Scope(frozenset(end.id for end in container.networks.values()), None, None)
        return find(loaded, scope, [container], discover())


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    with playing(tmp_path) as played:
        yield Images(played)


def configured(tmp_path: Path, text: str = "") -> Loaded:
    (tmp_path / "config.yaml").write_text(text)
    return load(tmp_path, {"BACKUP_API_TOKEN": "0123456789abcdef-token"}, discover().keys())


def codes(target: Target) -> list[tuple[str, str]]:
    return [(problem.code, problem.severity) for problem in target.problems]


def test_an_image_enrols_nobody_and_is_named(images: Images, tmp_path: Path) -> None:
    images.image = ENABLED | {"backup.user": "root"}
    target = images.targets(configured(tmp_path))["shop/web"]
    assert (target.state, codes(target)) == ("disabled", [("image-labels", "warning")])
    assert "backup.commands.backup, backup.enable, backup.user" in target.problems[0].message
    assert "policy.image-labels: [shop/web]" in target.problems[0].hint


@pytest.mark.parametrize("text", ["true", "[shop/web]", "shop/web"])
def test_the_operator_lets_an_image_speak(images: Images, tmp_path: Path, text: str) -> None:
    images.image = ENABLED
    target = images.targets(configured(tmp_path, f"policy: {{image-labels: {text}}}"))["shop/web"]
    assert (target.state, target.problems) == ("pending", ())


@pytest.mark.parametrize("text", ["[shop/web/main]", "[web]", "'*/*'"])
def test_what_is_no_service_lets_none_speak(tmp_path: Path, text: str) -> None:
    with pytest.raises(Exception, match="is not the key of a service"):
        configured(tmp_path, f"policy: {{image-labels: {text}}}")


def test_of_a_container_that_opts_in_the_images_other_labels_count_for_nothing(images: Images, tmp_path: Path) -> None:
    images.labels, images.image = ENABLED, {"backup.user": "root", "backup.targets.two.strategy": "filesystem"}
    target = images.targets(configured(tmp_path))["shop/web"]
    assert target.settings is not None
    assert (target.state, target.settings.user) == ("pending", None)
    images.image = {"backup.timeout": "2h", "backup.enable": "true"}
    images.labels = ENABLED | {"backup.enable": "yes", "backup.timeout": "3h"}
    target = images.targets(configured(tmp_path))["shop/web"]
    assert (target.state, target.problems) == ("pending", ())


def test_no_label_of_an_image_without_an_opt_in_is_told(images: Images, tmp_path: Path) -> None:
    images.image = {"backup.user": "root"}
    assert images.targets(configured(tmp_path)) == {}


def test_each_named_target_of_an_image_is_told(images: Images, tmp_path: Path) -> None:
    images.image = {"backup.enable": "true", "backup.targets.a.strategy": "redis", "backup.targets.b.enable": "no"}
    found = images.targets(configured(tmp_path))
    assert {key: target.state for key, target in found.items()} == {"shop/web/a": "disabled"}


@pytest.mark.parametrize(("status", "words"), [(403, "GET /images/{id}/json"), (404, "Pull it again"), (500, "")])
def test_where_nobody_knows_what_the_image_says_labels_count_with_a_problem(
    images: Images, tmp_path: Path, status: int, words: str
) -> None:
    images.image, images.status = ENABLED, status
    target = images.targets(configured(tmp_path))["shop/web"]
    assert (target.state, codes(target)) == ("pending", [("image-unseen", "warning")])
    assert words in target.problems[0].hint


def test_an_image_is_asked_once_and_again_after_a_while_when_it_did_not_answer(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, images.image = configured(tmp_path), ENABLED
    images.targets(loaded)
    images.targets(loaded)
    assert images.asked == 1
    images.looks, images.status = ImageLabels(Engine(images.played.address)), 403
    images.targets(loaded)
    first = images.targets(loaded)["shop/web"]
    assert images.asked == 2
    images.status = 200
    monkeypatch.setattr("controller.targets.image_labels.time.monotonic", lambda: 1e9)
    assert first.state == "pending"
    assert images.targets(loaded)["shop/web"].state == "disabled"


def test_an_engine_that_is_away_says_nothing_of_labels(images: Images, tmp_path: Path) -> None:
    images.image, images.status = ENABLED, 503
    with pytest.raises(EngineError):
        images.targets(configured(tmp_path))


def test_runs_by_labels_that_count_no_more_are_a_problem(images: Images, tmp_path: Path) -> None:
    def report(*warnings: str) -> Report:
        key = Key(project="shop", service="web")
        return Report(id="r", target=key, state="succeeded", trigger="api", created=utc_now(), warnings=warnings)

    images.labels, images.image = ENABLED, {"backup.user": "root"}
    target = images.targets(configured(tmp_path))["shop/web"]
    remark = target.runnable().remarks[0]
    assert target.after(lambda _: None) is target
    assert target.after(lambda _: report(remark)) is target
    red = target.after(lambda _: report())
    assert (red.state, codes(red)) == ("problem", [("image-labels", "error")])
    with pytest.raises(TargetUnsuitable, match="lost now"):
        red.runnable()

    images.labels, images.image, images.looks = {}, ENABLED, ImageLabels(Engine(images.played.address))
    lost = images.targets(configured(tmp_path))["shop/web"]
    assert lost.after(lambda _: report(remark)).state == "problem"
