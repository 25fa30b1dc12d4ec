import io
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.base import Answer, Container, Facts, Unsuitable
from strategies.mysql import DATABASES, KEEP_PASSWORDS, Mysql, MysqlOptions
from strategies.mysql_client import ACCOUNT, DUMP_USERS, QUERY
from strategies.mysql_dump import rows, whole_dump, whole_users
from strategies.plan import CHUNK, Exec, Incomplete

CONTAINER = Container("1f", "shop-db-1", "mariadb:11.8")
ABSENT = Answer(127)
MARIADB = Answer(0, "mariadb-dump from 11.8.9-MariaDB, client 10.20 for debian-linux-gnu (x86_64)\n")
ORACLE = Answer(0, "mysqldump  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)\n")
OLD_MARIADB = Answer(0, "mysqldump  Ver 10.16 Distrib 10.1.48-MariaDB, for debian-linux-gnu (x86_64)\n")
DENIED = Answer(1, "", "ERROR 1142 (42000): SELECT command denied to user 'app'@'localhost' for table `mysql`.`user`\n")
SAMPLE = (Path(__file__).parents[2] / "contract/samples/shop.sql").read_bytes()
END = b"\n-- Dump completed on 2026-11-23 23:59:05\n"


def plan(
    *,
    shell="sh",
    mariadb=MARIADB,
    mysql=ABSENT,
    account="root\nMARIADB_ROOT_PASSWORD\n",
    databases=None,
    named=(),
    users=DENIED,
    history=ABSENT,
):
    answers = {
        "mariadb-dump": mariadb,
        "mysqldump": mysql,
        "history": history,
        "system": mariadb,
        "users": users,
        "account": Answer(0, account),
        "aside": Answer(0, "3\n"),
        "databases": databases or Answer(0, "shop\t1\na\\tb\t1\n"),
    }
    return Mysql().plan(CONTAINER, Facts(shell, answers), MysqlOptions(databases=named))


def argv(**arguments):
    source = plan(**arguments).dumps[0].source
    assert isinstance(source, Exec)
    return source.argv


def check(content, *objects):
    rows = "".join("\t".join(row) + "\n" for row in objects)
    return whole_dump(io.BytesIO(content), {"objects": rows})


def refused(**arguments):
    with pytest.raises(Unsuitable) as error:
        plan(**arguments)
    return error.value


def test_each_database_is_a_dump():
    assert [dump.name for dump in plan().dumps] == ["a%09b.sql", "shop.sql"]


def test_named_databases_are_dumped_alone():
    assert [dump.name for dump in plan(named=("shop",)).dumps] == ["shop.sql"]


def test_only_the_chosen_databases_have_to_be_seen_entirely():
    seen = Answer(0, "shop\t1\nother\t0\n")
    assert [dump.name for dump in plan(databases=seen, named=("shop",)).dumps] == ["shop.sql"]


def test_what_is_not_in_the_backup_is_told():
    (warning,) = plan().warnings
    assert warning.startswith("no-users")
    assert "denied to user" in warning
    assert "newer clients" in plan(mariadb=ABSENT, mysql=ORACLE).warnings[0]


def test_users_and_grants_are_a_dump_of_their_own_where_they_may_be_read():
    with_users = plan(users=Answer(0, "1\tuser app@%\n"))
    assert [dump.name for dump in with_users.dumps] == ["accounts.grants", "a%09b.sql", "shop.sql", "users.grants"]
    assert with_users.warnings == ()


def test_the_newer_name_of_the_client_comes_first():
    assert argv(mysql=OLD_MARIADB)[3] == "mariadb-dump"
    assert argv(mariadb=ABSENT, mysql=OLD_MARIADB)[3] == "mysqldump"


def test_only_mysqls_own_client_knows_gtids():
    assert "--set-gtid-purged=OFF" in argv(mariadb=ABSENT, mysql=ORACLE)
    assert "--set-gtid-purged=OFF" not in argv(mariadb=ABSENT, mysql=OLD_MARIADB)


def test_history_is_dumped_where_the_client_can_and_told_of_where_it_cannot():
    old, new = (plan(history=answer).dumps[0] for answer in (ABSENT, Answer(0, "mariadb-dump")))
    assert "--dump-history" in " ".join(new.source.argv)
    assert "--dump-history" not in " ".join(old.source.argv)
    assert "the client has no --dump-history" in " ".join(old.left_out)
    assert "the client has no --dump-history" not in " ".join(new.left_out)


def test_accounts_come_first_by_hand_as_far_as_they_can():
    first, *_, last = plan(users=Answer(0, "1\tuser app@%\n")).dumps
    assert first.source == last.source
    assert first.restore.endswith(" --force 2>/dev/null; true; }")


def test_what_a_restore_has_kept_is_left_out_and_told():
    found = plan(databases=Answer(0, "shop\t1\nbefore_20261129t114542z_b0496a8a_0\t1\n"))
    assert [dump.subject for dump in found.dumps if dump.format == "mysql"] == ["shop"]
    assert any(warning.startswith("left-out: before_20261129t") for warning in found.warnings)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mariadb": ABSENT}, "no-client"),
        ({"shell": None}, "no-client"),
        ({"databases": Answer(1, "", "ERROR 2002 (HY000): Can't connect to local server\n")}, "not-ready"),
        ({"databases": Answer(1, "", "ERROR 1045 (28000): Access denied for user 'root'\n")}, "refused"),
        ({"databases": Answer(0)}, "no-database"),
        ({"named": ("shpo",)}, "unknown-database"),
        ({"databases": Answer(0, "shop\t1\nother\t0\n")}, "lacks-privilege"),
        ({"databases": Answer(0, "shop\n")}, "unreadable-answer"),
        ({"account": "root\nx$(id)\n"}, "unreadable-answer"),
    ],
)
def test_what_keeps_a_dump_from_working_is_known_beforehand(change, code):
    assert refused(**change).code == code


@pytest.mark.parametrize(
    ("environment", "user", "variable"),
    [
        ({}, "root", ""),
        ({"MARIADB_ROOT_PASSWORD": "pw"}, "root", "MARIADB_ROOT_PASSWORD"),
        ({"MYSQL_ROOT_PASSWORD": "pw", "MYSQL_USER": "u", "MYSQL_PASSWORD": "x"}, "root", "MYSQL_ROOT_PASSWORD"),
        ({"MYSQL_USER": "u", "MYSQL_PASSWORD": "pw", "MYSQL_RANDOM_ROOT_PASSWORD": "1"}, "u", "MYSQL_PASSWORD"),
        ({"MARIADB_USER": "u v", "MARIADB_PASSWORD": "pw"}, "u v", "MARIADB_PASSWORD"),
        ({"MARIADB_USER": "u", "MARIADB_PASSWORD": "x", "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD": "1"}, "root", ""),
    ],
)
def test_the_account_is_the_targets_own(environment, user, variable):
    probe = Mysql().probes(MysqlOptions())["account"]
    done = subprocess.run(
        probe, env={"PATH": "/usr/bin:/bin"} | environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{user}\n{variable}\n"


@pytest.mark.parametrize(("script", "tool"), [(DUMP_USERS, "mariadb-dump"), (QUERY, "mariadb"), (QUERY, "mysql")])
def test_the_password_is_never_an_argument(script, tool, tmp_path):
    secret = "p'w \"$x\\ y"
    (tmp_path / "password").write_text(secret + "\n")
    client = tmp_path / tool
    client.write_text('#!/bin/sh\nprintf "%s\\n" "$MYSQL_PWD" "$@"\n')
    client.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "MYSQL_ROOT_PASSWORD_FILE": str(tmp_path / "password")}
    argv = ["sh", "-c", script, "mariadb-dump" if script == DUMP_USERS else "shop", DATABASES]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    password, first, user, *words = done.stdout.split("\n")
    assert (password, first, user) == (secret, "--no-defaults", "--user=root")
    assert secret not in " ".join(words)


@pytest.mark.parametrize(
    ("account", "beginning"),
    [
        ("root\nMARIADB_ROOT_PASSWORD\n", 'MYSQL_PWD="$MARIADB_ROOT_PASSWORD" mariadb --user=root '),
        ("root\nMYSQL_ROOT_PASSWORD_FILE\n", 'MYSQL_PWD="$(cat "$MYSQL_ROOT_PASSWORD_FILE")" mariadb --user=root '),
        ("u v\n\n", "mariadb --user='u v' "),
    ],
)
def test_the_restore_names_the_password_by_its_variable(account, beginning):
    assert plan(account=account).dumps[0].restore.startswith(beginning)


def test_the_account_is_chosen_in_one_place():
    assert ACCOUNT in DUMP_USERS
    assert ACCOUNT in QUERY


@pytest.mark.parametrize(
    "lacking",
    [
        ("TABLE", "other", "InnoDB"),
        ("TABLE", "fake", "InnoDB"),
        ("VIEW", "seqt", "NULL"),
        ("SEQUENCE", "seqt", "InnoDB"),
        ("PROCEDURE", "f `1", ""),
        ("TRIGGER", "tr2", ""),
        ("EVENT", "ev2", ""),
    ],
)
def test_what_the_server_lists_and_the_dump_lacks_is_named(lacking):
    with pytest.raises(Incomplete, match=f"{lacking[0].lower()} {lacking[1]}"):
        check(SAMPLE, ("TABLE", "seqt", "InnoDB"), lacking)


def test_tables_without_transactions_are_told():
    (warning,) = check(SAMPLE, ("TABLE", "seqt", "MyISAM"), ("VIEW", "v1", "NULL"))
    assert warning.endswith(": seqt")


def test_a_row_that_the_server_would_not_take_back_is_told():
    row = b"INSERT INTO `t` VALUES\n(1,0x" + b"78" * 10_000_000 + b");\n"
    assert whole_dump(io.BytesIO(row + END), {"objects": "", "packet": "67108864\n"}) == ()
    (warning,) = whole_dump(io.BytesIO(row + END), {"objects": "", "packet": "16777216\n"})
    assert warning.startswith("large-values: a row takes 20000007 bytes")


def test_a_final_view_counts_and_its_place_holder_does_not():
    holder = SAMPLE.replace(b"VIEW `v1` AS select", b"VIEW `v2` AS select")
    with pytest.raises(Incomplete, match="view v1"):
        check(holder, ("VIEW", "v1", "NULL"))


def test_nothing_at_all_is_no_dump():
    with pytest.raises(Incomplete, match="Dump completed"):
        check(b"")


def test_the_trailer_in_a_row_is_not_the_end():
    with pytest.raises(Incomplete, match="Dump completed"):
        check(b"INSERT INTO `t` VALUES ('\\n-- Dump completed');\n")


EVENTS = b"""/*!50106 DROP EVENT IF EXISTS `a` */;
DELIMITER ;;
/*!50106 CREATE EVENT `a` ON SCHEDULE EVERY 1 DAY DO set @x = ';
/*!50106 DROP EVENT IF EXISTS `c` */;;
' */ ;;
/*!50106 DROP EVENT IF EXISTS `b````2` */;;
DELIMITER ;;
/*!50106 CREATE EVENT `b````2` ON SCHEDULE EVERY 1 DAY DO set @x = 1 */ ;;
DELIMITER ;
"""
"""As clients of MySQL, and of MariaDB before 11, write them."""


@given(st.integers(-60, 60))
def test_a_routines_text_is_none_on_either_side_of_two_chunks(shift):
    body = (
        b"\nDELIMITER ;;\nCREATE PROCEDURE `p`()\nCREATE TABLE `fake` (a int);\n;;\nDELIMITER ;\nCREATE TABLE `t` (\n"
    )
    content = b"x" * (CHUNK + shift) + body + END
    assert check(content, ("TABLE", "t", "InnoDB")) == ()
    with pytest.raises(Incomplete, match="table fake"):
        check(content, ("TABLE", "fake", "InnoDB"))


@given(st.integers(-200, 60))
def test_an_object_is_seen_on_either_side_of_two_chunks(shift):
    name = b"t ``1\nn"
    content = b"x" * (CHUNK + shift) + b"\nCREATE TABLE `" + name + b"` (\n" + END
    assert check(content, ("TABLE", "t `1\\nn", "InnoDB")) == ()


@given(st.integers(-300, 60))
def test_every_event_is_seen_where_the_client_leaves_the_delimiter_of_the_first(shift):
    content = b"x" * (CHUNK + shift) + b"\n" + EVENTS + END
    assert check(content, ("EVENT", "a", ""), ("EVENT", "b``2", "")) == ()
    with pytest.raises(Incomplete, match="event c"):
        check(content, ("EVENT", "c", ""))


def test_a_row_of_any_length_takes_little_memory():
    class Row(io.BytesIO):
        left = 64

        def read(self, size=-1):
            self.left -= 1
            return b"A" * CHUNK if self.left > 0 else END if self.left == 0 else b""

    tracemalloc.start()
    whole_dump(Row(), {"objects": ""})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * CHUNK


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_the_clients_escapes_are_undone(fields):
    def escaped(text):
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")

    found = list(rows("\t".join(map(escaped, fields)) + "\n", columns=len(fields)))
    assert found == ([fields] if fields != [""] else [])


ACCOUNTS = (Path(__file__).parents[2] / "contract/samples/users.sql").read_bytes()


def test_a_user_that_the_server_lists_and_the_dump_lacks_is_named():
    listed = {"users": "app\t%\nghost\tlocalhost\n"}
    with pytest.raises(Incomplete, match="user ghost@localhost"):
        whole_users(io.BytesIO(ACCOUNTS), listed)


def without_passwords(accounts: bytes) -> bytes:
    return subprocess.run(KEEP_PASSWORDS, input=accounts, capture_output=True, check=True).stdout


def test_a_name_or_a_text_that_looks_like_a_password_stays_as_it_is():
    odd = b"""-- Host: it's
CREATE USER IF NOT EXISTS `a; GRANT x IDENTIFIED BY PASSWORD 'y'`@`%` IDENTIFIED BY PASSWORD '*1';
GRANT USAGE ON *.* TO `b
GRANT ``x`` IDENTIFIED BY PASSWORD '*2'`@`%` %sREQUIRE SUBJECT ' it''s IDENTIFIED BY PASSWORD \\'*3';
"""
    assert without_passwords(odd.replace(b"%s", b"IDENTIFIED BY PASSWORD '*4' ")) == odd.replace(b"%s", b"")


def test_grants_of_a_restore_change_nobodys_password():
    done = without_passwords(ACCOUNTS).decode()
    grants = [line for line in done.splitlines() if line.startswith("GRANT ")]
    assert "GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION;" in grants
    assert "GRANT USAGE ON *.* TO `u2`@`localhost` REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 9;" in grants
    assert not [line for line in grants if "IDENTIFIED" in line]
    assert done.count("IDENTIFIED") == 4, "what creates a user says its password"
