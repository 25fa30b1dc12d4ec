import pytest

from controller.targets.command_line import words


@pytest.mark.parametrize(
    ("command", "read"),
    [
        (("redis-server", "--requirepass", "$X"), ("redis-server", "--requirepass", "$X")),
        (("sh", "-c", 'exec redis-server --requirepass "$X"'), ("exec", "redis-server", "--requirepass", "a b")),
        (("tini", "--", "/bin/bash", "-c", "run '${X}y' $Z"), ("tini", "--", "run", "a by", "$Z")),
        (("sh", "-c", "an open ' quote"), ()),
        (("sh", "-c"), ("sh", "-c")),
        ((), ()),
    ],
)
def test_a_text_for_a_shell_is_read_as_it_would(command, read):
    assert words(command, {"X": "a b"}) == read
