"""What a container says when it is asked is told without its secrets."""

import pytest

from controller.core.errors import CommandFailed, TargetNotReady, TargetUnsuitable
from controller.targets.survey import suitable
from strategies.base import NotReady, Unsuitable


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Unsuitable("answered by hunter2", "Not hunter2.", "x"), TargetUnsuitable),
        (NotReady("answered by hunter2", "Not hunter2."), TargetNotReady),
        (CommandFailed("answered by hunter2", hint="Not hunter2.", stderr="hunter2"), CommandFailed),
    ],
)
def test_a_refusal_repeats_no_secret_of_the_container(refusal: Exception, told: type[Exception]) -> None:
    with pytest.raises(told) as raised, suitable(lambda text: text.replace("hunter2", "***")):
        raise refusal
    assert "hunter2" not in str(vars(raised.value))
    assert "answered by ***" in str(raised.value)
