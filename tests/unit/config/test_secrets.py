"""`.env` and secrets: keys arrive whole or are refused with the remedy, and no text shows a value."""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.loading import Loaded, load
from config.problems import ConfigurationError, Problem
from config.secrets import Secrets, sensitive

TOKEN = "gK4c0nT2vQ8yZp1LrX6w"
KEY = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz
QyNTUxOQAAACBrZXkgb2YgYSB0ZXN0IHRoYXQgb3BlbnMgbm90aGluZwAAAAA=
AAAEDRoaXMga2V5
-----END OPENSSH PRIVATE KEY-----"""


def loaded(folder: Path, env: str | bytes, names: str = "", environ: Mapping[str, str] | None = None) -> Loaded:
    (folder / ".env").write_bytes(env if isinstance(env, bytes) else env.encode())
    (folder / "config.yaml").write_text(f"schema: 1\nsecrets: [{names}]\n")
    return load(folder, {"BACKUP_API_TOKEN": TOKEN} if environ is None else environ)


def problems(
    folder: Path, env: str | bytes, names: str = "", environ: Mapping[str, str] | None = None
) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, env, names, environ)
    return list(caught.value.problems)


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_quoted_key_of_many_lines_arrives_intact(tmp_path: Path, quote: str, newline: str) -> None:
    env = f"A=1\nSSH_PRIVATE_KEY={quote}{KEY}{quote}\nB=2\n".replace("\n", newline)
    assert loaded(tmp_path, env, "SSH_PRIVATE_KEY").secrets["SSH_PRIVATE_KEY"] == KEY


def test_an_unquoted_key_of_many_lines_is_one_problem_with_the_remedy(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, f"A=1\nSSH_PRIVATE_KEY={KEY}\nB=2\n", "SSH_PRIVATE_KEY")
    assert (problem.code, problem.place) == ("cut-key", f"{tmp_path}/.env:2 SSH_PRIVATE_KEY")
    assert "double quotes" in problem.hint


def test_what_follows_a_cut_key_is_still_looked_at(tmp_path: Path) -> None:
    refusals = problems(tmp_path, f"SSH_PRIVATE_KEY={KEY}\nBROKEN\n", "SSH_PRIVATE_KEY")
    assert [(problem.code, problem.place) for problem in refusals] == [
        ("cut-key", f"{tmp_path}/.env:1 SSH_PRIVATE_KEY"),
        ("bad-variable", f"{tmp_path}/.env:6"),
    ]


@pytest.mark.parametrize("value", [KEY.splitlines()[0], KEY.replace("\n", "\\n")])
def test_a_key_that_somebody_else_cut_is_found_too(tmp_path: Path, value: str) -> None:
    environ = {"BACKUP_API_TOKEN": TOKEN, "SSH_PRIVATE_KEY": value}
    (problem,) = problems(tmp_path, "", "SSH_PRIVATE_KEY", environ)
    assert (problem.code, problem.place) == ("cut-key", "environment SSH_PRIVATE_KEY")


PLACEHOLDER = '"-----BEGIN OPENSSH PRIVATE KEY-----..."'


def test_a_quoted_line_of_a_key_is_a_warning_and_hides_no_line_behind_it(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, f"A=1\nSSH_PRIVATE_KEY={PLACEHOLDER}\nPASSWORD=correct horse\n", "PASSWORD")
    (problem,) = configuration.problems
    place = f"{tmp_path}/.env:2 SSH_PRIVATE_KEY"
    assert (problem.code, problem.severity, problem.place) == ("cut-key", "warning", place)
    assert "END line" in problem.message
    assert "the whole key between the quotes" in problem.hint
    assert configuration.secrets["PASSWORD"] == "correct horse"
    assert configuration.cut_secrets == ()
    assert PLACEHOLDER.strip('"') not in str(problem)


def test_a_quoted_line_of_a_key_that_is_listed_is_wrong_only_for_what_gets_it(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, f"SSH_PRIVATE_KEY={PLACEHOLDER}\n", "SSH_PRIVATE_KEY")
    (warning,), (error,) = configuration.problems, configuration.cut_secrets
    assert (warning.severity, error.severity) == ("warning", "error")
    assert warning.place == error.place == f"{tmp_path}/.env:1 SSH_PRIVATE_KEY"


@pytest.mark.parametrize(
    "use", ["orchestrator: {url: 'http://o', key: {secret: A_KEY}}", "defaults: {env: {A: '${A_KEY}'}}"]
)
def test_a_quoted_line_of_a_key_is_an_error_where_the_file_itself_uses_it(tmp_path: Path, use: str) -> None:
    (tmp_path / ".env").write_text(f"A_KEY={PLACEHOLDER}\n")
    (tmp_path / "config.yaml").write_text(f"{use}\n")
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, {"BACKUP_API_TOKEN": TOKEN})
    (error,) = (problem for problem in caught.value.problems if problem.severity == "error")
    assert error.code == "cut-key"


@pytest.mark.parametrize("value", [f'"{KEY.splitlines()[0]}\nAAAA"', f"'{KEY}'".replace("\n", "\\n")])
def test_a_quoted_key_of_another_form_stays_an_error(tmp_path: Path, value: str) -> None:
    (problem,) = problems(tmp_path, f"SSH_PRIVATE_KEY={value}\n", "SSH_PRIVATE_KEY")
    assert (problem.code, problem.severity) == ("cut-key", "error")


def test_the_environment_goes_before_a_quoted_line_of_a_key(tmp_path: Path) -> None:
    environ = {"BACKUP_API_TOKEN": TOKEN, "SSH_PRIVATE_KEY": KEY}
    configuration = loaded(tmp_path, f"SSH_PRIVATE_KEY={PLACEHOLDER}\n", "SSH_PRIVATE_KEY", environ)
    assert configuration.secrets["SSH_PRIVATE_KEY"] == KEY
    assert configuration.cut_secrets == ()


@pytest.mark.parametrize(
    ("env", "code", "line"),
    [
        ('A=1\nB="open\nC=2\n', "open-quote", 2),
        ("A='open\n", "open-quote", 1),
        ('A="x"y\n', "open-quote", 1),
        ("A=1\n\n# c\nno equals here\n", "bad-variable", 4),
        ("A=1\nA=2\n", "duplicate-variable", 2),
        ("A-B=1\n", "bad-variable", 1),
        (b"A=1\nB=\xf1\n", "not-utf-8", 2),
        ("A=1\n".encode("utf-16"), "not-utf-8", 1),
        ("A=1\nB=\0\n", "bad-characters", 2),
        ("# " + "x" * (1 << 20), "too-large", None),
    ],
)
def test_a_fault_of_the_env_file_is_named_with_its_line(
    tmp_path: Path, env: str | bytes, code: str, line: int | None
) -> None:
    refusals = problems(tmp_path, env)
    assert refusals[0].code == code
    assert refusals[0].place == f"{tmp_path}/.env" + ("" if line is None else f":{line}")


def test_byte_order_mark_comments_export_and_dollars_are_read(tmp_path: Path) -> None:
    env = b"\xef\xbb\xbf# first\n\nexport ONE='a ${HOME} $$' # c\nTWO = plain text\n"
    assert dict(loaded(tmp_path, env, "ONE, TWO").secrets) == {"ONE": "a ${HOME} $$", "TWO": "plain text"}


def test_a_secret_comes_from_the_file_that_its_variable_names(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "password").write_text("correct horse\n")
    env = f"SSH_PRIVATE_KEY_FILE={tmp_path}/key\nPASSWORD_FILE=password\n"
    secrets = loaded(tmp_path, env, "SSH_PRIVATE_KEY, PASSWORD").secrets
    assert secrets["SSH_PRIVATE_KEY"] == KEY + "\n"
    assert secrets["PASSWORD"] == "correct horse"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "not there"), ("", "empty"), ("\n", "empty"), ("x" * 65_537, "64 KiB"), ("folder", "folder")],
)
def test_a_bad_secret_file_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "secret"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    (problem,) = problems(tmp_path, f"PASSWORD_FILE={path}\n", "PASSWORD")
    assert (problem.code, problem.place) == ("secret-file", f"{tmp_path}/.env:1 PASSWORD_FILE")
    assert words in problem.message


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ("", "missing-secret"),
        ("PASSWORD=\n", "missing-secret"),
        ("PASSWORD=a-secret\nPASSWORD_FILE=/x\n", "ambiguous-secret"),
        ("PASSWORD=abc\n", "short-secret"),
    ],
)
def test_a_named_secret_needs_exactly_one_value(tmp_path: Path, env: str, code: str) -> None:
    (problem,) = problems(tmp_path, env, "PASSWORD")
    assert (problem.code, problem.place.split(" ")[0]) == (code, "config.yaml:2")


def test_the_sidecars_own_names_are_no_secrets_for_commands(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "", "BACKUP_API_TOKEN")
    assert problem.code == "reserved-name"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("short", "weak-token"),
        ("changeme", "weak-token"),
        ("changeme-changeme-changeme", "weak-token"),
        ("secret1234567890", "weak-token"),
        ("aaaaaaaaaaaaaaaaaaaa", "weak-token"),
        ("gK4c0nT2vQ8yZp1LrX6w ñ", "weak-token"),
    ],
)
def test_a_token_that_anyone_could_guess_is_refused(tmp_path: Path, token: str, code: str) -> None:
    (problem,) = problems(tmp_path, "", environ={"BACKUP_API_TOKEN": token})
    assert problem.code == code
    assert token not in str(problem)


@pytest.mark.parametrize(
    "text",
    [
        "orchestrator: {url: 'http://o', key: a-key-of-the-orchestrator}",
        "api: {token: {secret: ANOTHER}}",
        "api: {token: ''}",
    ],
)
def test_a_token_is_missing_where_an_orchestrator_needs_it_or_the_file_says_where_it_is(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, {"BACKUP_API_TOKEN": ""})
    (problem,) = caught.value.problems
    assert problem.code == "missing-secret"
    assert "api.token" in problem.place


@pytest.mark.parametrize("text", ["", "api: {token: {secret: BACKUP_API_TOKEN}}"])
def test_without_an_orchestrator_no_token_is_needed(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert load(tmp_path, {"BACKUP_API_TOKEN": ""}).api_token == ""


def test_a_token_with_a_fault_is_not_taken_for_one_that_is_not_set(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "", environ={"BACKUP_API_TOKEN_FILE": "nowhere"})
    assert problem.code == "secret-file"


def test_the_token_may_stand_in_a_file_and_no_command_gets_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    configuration = loaded(tmp_path, "", environ={"BACKUP_API_TOKEN_FILE": str(tmp_path / "token")})
    assert configuration.api_token == TOKEN
    assert dict(configuration.secrets) == {}
    assert configuration.secrets.redact(f"Bearer {TOKEN}") == "Bearer ***"


def test_nothing_that_is_printed_shows_a_secret(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, "PASSWORD=hunter2hunter2\n", "PASSWORD")
    assert "hunter2" not in f"{configuration!r} {configuration.secrets} {configuration.settings!r}"
    assert TOKEN not in repr(configuration)


PING = "https://hc.example/ping/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


def pinged(folder: Path, text: str, environ: Mapping[str, str]) -> Loaded:
    (folder / "config.yaml").write_text(text)
    return load(folder, {"BACKUP_API_TOKEN": TOKEN, **environ})


def test_the_urls_of_checks_are_secrets_by_target_and_for_the_sidecar(tmp_path: Path) -> None:
    text = "ping: {url: {secret: OWN}}\ntargets:\n  shop/db: {ping: {url: '${HOST}/db'}}\n  shop/web: {timeout: 2h}\n"
    configuration = pinged(tmp_path, text, {"OWN": f"{PING}?create=1", "HOST": "http://hc"})
    assert configuration.pings == {"": f"{PING}?create=1", "shop/db": "http://hc/db"}
    assert "hc" not in repr(configuration)
    assert configuration.secrets.redact(f"no {PING}?create=1 and no http://hc/db") == "no *** and no ***"
    assert pinged(tmp_path, "", {"SIDECAR_PING_URL": PING}).pings == {"": PING}
    assert pinged(tmp_path, "", {}).pings == {}


@pytest.mark.parametrize(
    "url",
    [
        *("hc.example/ping", "ftp://hc.example/x", "http://", "http://h:x/", "https://user:word@hc.example/x"),
        *("https://hc.example/x#y", "https://hc.example/a b", "https://hc.example/\N{SNOWMAN}"),
    ],
)
def test_what_cannot_be_pinged_is_refused_with_its_place_and_without_its_value(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pinged(tmp_path, "ping: {url: {secret: URL}}\ntargets: {shop/db: {ping: {url: '${URL}'}}}\n", {"URL": url})
    places = [(problem.place, problem.code, problem.message) for problem in caught.value.problems]
    assert places == [
        ("config.yaml:1 ping.url", "bad-value", "is not the URL of a check"),
        ("config.yaml:2 targets.shop/db.ping.url", "bad-value", "is not the URL of a check"),
    ]
    assert not [problem for problem in caught.value.problems if url in str(problem)]


def test_a_url_that_is_not_set_is_missed_and_filled_into_no_other_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pinged(tmp_path, "targets: {shop/db: {ping: {url: {secret: URL}}, env: {X: '${URL}'}}}", {})
    assert [problem.code for problem in caught.value.problems] == ["secret-in-text", "missing-secret"]


def test_redaction_covers_lines_urls_and_passwords_in_urls() -> None:
    secrets = Secrets({"KEY": KEY, "URL": "postgres://shop:p%40ss-word@db/shop"}, also=["the token"])
    assert secrets.redact(f"error in {KEY.splitlines()[1]}!") == "error in ***!"
    assert secrets.redact("password p@ss-word is wrong, or p%40ss-word") == "password *** is wrong, or ***"
    assert secrets.redact("postgres%3A%2F%2Fshop%3Ap%2540ss-word%40db%2Fshop the token") == "*** ***"
    assert secrets.with_also(["further"]).redact("further") == "***"
    assert secrets.redact("AAAA harmless") == "AAAA harmless"


def test_an_unreadable_env_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(".env")  # a loop, which root cannot read either
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path, {"BACKUP_API_TOKEN": TOKEN})


printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


@given(printable, st.text(max_size=9), st.text(max_size=9))
@example('p"a\\s/w+o=r&d%', "user:", "@db")
def test_a_secret_is_taken_out_however_it_is_encoded(secret: str, before: str, after: str) -> None:
    redact, around = Secrets({"A": secret}).redact, before + secret + after
    in_urls = (quote(secret), quote(secret, safe=""), quote_plus(secret))
    lower = (re.sub("%..", lambda found: found[0].lower(), encoded) for encoded in in_urls)
    for encoded in (*in_urls, *lower, json.dumps(secret)[1:-1]):
        assert encoded not in redact(f"< {encoded} >")
    for encoded in (base64.b64encode(around.encode()), base64.urlsafe_b64encode(around.encode())):
        left = redact(encoded.decode())
        assert len(encoded) - len(left.replace("***", "")) >= len(secret)


@pytest.mark.parametrize(
    ("environment", "secret"),
    [
        ({"API_TOKEN": "hunter22"}, ["hunter22"]),
        ({"MYSQL_PWD": "hunter22"}, ["hunter22"]),
        ({"REDISCLI_AUTH": "hunter22"}, ["hunter22"]),
        ({"KEY": "/aGk+bA=="}, ["/aGk+bA=="]),
        ({"MONGO_URI": "mongodb://u:hunt%65r22@h/x"}, ["hunt%65r22", "hunter22"]),
        ({"HOSTS": "amqp://a:first1@h1,amqp://b:second2@h2"}, ["first1", "second2"]),
        ({"DSN": "host=db password=hunter22 user=x"}, ["hunter22"]),
        ({"JDBC": "jdbc:x://h/d?password=hunter22&a=b"}, ["hunter22"]),
        ({"PASSWORD_FILE": "/run/secrets/password", "PWD": "/srv/app", "AUTHOR": "somebody", "URL": "http://h/x"}, []),
    ],
)
def test_what_is_secret_in_an_environment_is_known_by_name_and_by_look(
    environment: dict[str, str], secret: list[str]
) -> None:
    found = list(sensitive(environment))
    assert set(secret) <= set(found)
    assert bool(found) == bool(secret)
