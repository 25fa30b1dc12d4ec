import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.mysql_order import CODE, VIEWS, Aside, Later, Tables, in_force, phases
from strategies.mysql_statements import Grants, accounts, statements
from strategies.plan import Unsafe

SAMPLES = Path(__file__).parents[2] / "contract/samples"
SHOP, ACCOUNTS = (SAMPLES / "shop.sql").read_bytes(), (SAMPLES / "users.sql").read_bytes()
TABLE = b"CREATE TABLE `t` (\n  `a;` int COMMENT 'it\\'s; `x`.`y`',\n  `b` int DEFAULT nextval(`x`.`s`)\n);\n"
LINKED = b"CREATE TABLE `u` (CONSTRAINT `f` FOREIGN KEY (`i`) REFERENCES `y`.`t` (`i`), COMMENT '`y`.`t`');\n"
BLOCK = b"DELIMITER ;;\nCREATE PROCEDURE `p`()\nselect ';;\n', 'LOCK TABLES `t` WRITE;\n' ;;\nDELIMITER ;\n"
DROPPED = b"/*!50003 DROP PROCEDURE IF EXISTS `p` */;\n"
NAMESAKE = b"CREATE TABLE `x` (\n  `x` int\n);\n"
USE = b"USE `x`;\n"
CREATES = b"DELIMITER ;;\n/*!50106 CREATE EVENT "
EVENTS = b"""/*!50106 DROP EVENT IF EXISTS `a` */;
DELIMITER ;;
/*!50106 CREATE EVENT `a` ON SCHEDULE EVERY 1 DAY DO set @x = 1 */ ;;
/*!50106 DROP EVENT IF EXISTS `b````2` */;;
DELIMITER ;;
/*!50106 CREATE EVENT `b````2` ON SCHEDULE EVERY 1 DAY DO set @x = ';;' */ ;;
DELIMITER ;
"""
ROWS = b"INSERT INTO `t` VALUES\n(1,'USE `x`;'),\n(2,'\\\\';'),\n(3,'`x`.`s`');\n"


def rewritten(rewrite, *parts):
    return b"".join(rewrite(iter([b"".join(parts)])))


def pieces(content, size):
    return (content[at : at + size] for at in range(0, len(content), size))


@given(st.integers(1, 200))
def test_a_statement_is_the_same_wherever_the_chunks_end(size):
    whole = b"".join(one.text for one in statements(iter([SHOP])))
    assert b"".join(one.text for one in statements(pieces(SHOP, size))) == whole
    parts = [part.strip() for part in (TABLE, BLOCK, DROPPED, LINKED)]
    assert [one.text.strip() for one in statements(pieces(b"\n-- it's\n".join((b"", *parts)), size))] == parts


def test_a_load_aside_names_its_databases_in_statements_and_never_in_values():
    head = b"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `x` /*!40100 DEFAULT CHARACTER SET latin1 */;\n\nUSE `x`;\n"
    locks = b"LOCK TABLES `t` WRITE;\n", b"UNLOCK TABLES;\n"
    kept = b"keep (0, 'code', 'routines', x'%s'), (0, 'code', '', x'%s');" % (
        DROPPED.strip().hex().encode(),
        BLOCK.hex().encode(),
    )
    load = rewritten(
        Aside("x", {"x": "n`0", "y": "n1"}, "keep", "0"),
        head,
        NAMESAKE,
        TABLE,
        LINKED,
        locks[0],
        ROWS,
        locks[1],
        DROPPED,
        BLOCK,
    )
    named = head.replace(b"`x`", b"`n``0`"), NAMESAKE
    renamed = *named, TABLE.replace(b"(`x`", b"(`n``0`"), LINKED.replace(b"S `y`", b"S `n1`")
    assert load.split() == b"".join((*renamed, ROWS, kept)).split()


def test_tables_and_the_rest_are_the_whole_dump_but_for_locks():
    dump = USE + TABLE + b"LOCK TABLES `t` WRITE;\n" + ROWS + b"UNLOCK TABLES;\n" + DROPPED + BLOCK
    assert rewritten(Tables("x"), dump).split() == (USE + TABLE + ROWS).split()
    assert rewritten(Later("x", CODE), dump).split() == (USE + DROPPED + BLOCK).split()


def test_a_dump_that_names_no_database_goes_into_its_own():
    settings, drop = b"/*!40101 SET NAMES utf8mb4 */;\n", b"/*!40000 DROP DATABASE IF EXISTS `x`*/;\n"
    into = b"CREATE DATABASE IF NOT EXISTS `%s`; USE `%s`;"
    for rewrite, rest in ((Tables("x"), TABLE + ROWS), (Later("x", CODE), DROPPED)):
        dump = settings + drop + TABLE + ROWS + DROPPED
        assert rewritten(rewrite, dump).split() == (settings + into % (b"x", b"x") + b"\n" + rest).split()
    aside = rewritten(Aside("x", {"x": "n0"}, "keep", "0"), ROWS)
    assert aside.split() == (into % (b"n0", b"n0") + b"\n" + ROWS).split()


@pytest.mark.parametrize("other", [b"USE `xy`;", b"USE x;", b"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `y`;"])
def test_a_dump_that_goes_into_another_database_is_refused(other):
    for rewrite in (Aside("x", {"x": "n0", "y": "n1"}, "keep", "0"), Tables("x"), Later("x", CODE)):
        with pytest.raises(Unsafe, match=r"goes into another database than `x`: `(USE|CREATE)"):
            rewritten(rewrite, USE, TABLE, other, ROWS)


def test_what_the_server_counts_is_kept_as_that():
    load = rewritten(Aside("we ird/=-;ñ", {}, "keep", "0"), SHOP).decode()
    found = re.findall(r"\(0, '\w+', '(\w+)', x'", load)
    assert sorted(found) == ["events", "routines", "routines", "routines", "routines", "triggers", "views"]


@pytest.mark.parametrize("size", [1, 70, 10_000])
def test_each_event_is_a_statement_where_the_client_leaves_the_delimiter_of_the_first(size):
    found = [one.text for one in statements(pieces(EVENTS, size))]
    assert [text.partition(b"`")[0] for text in found] == [b"/*!50106 DROP EVENT IF EXISTS ", CREATES] * 2
    assert b"".join(found).count(b"DELIMITER ;\n") == 2
    load = rewritten(Aside("x", {}, "keep", "0"), EVENTS).decode()
    assert re.findall(r"\(0, '\w+', '(\w*)', x'", load) == ["events", "", "events", ""]


def test_an_archive_takes_its_own_rows_back_below_the_number_at_which_it_goes_on():
    column = b"`i` int COMMENT 'ENGINE=ARCHIVE AUTO_INCREMENT=3'"
    table = b"CREATE TABLE `t` (\n  " + column + b"\n) ENGINE=%s AUTO_INCREMENT=3 CHARSET=x;\n"
    tables = rewritten(Tables("x"), USE, table % b"ARCHIVE", table % b"InnoDB")
    assert tables.count(b" AUTO_INCREMENT=3") == 3
    assert b") ENGINE=ARCHIVE CHARSET=x;" in tables


VERSIONED = b"CREATE TABLE `t` (\n  `x` text%s\n) ENGINE=InnoDB%s;\n"
OWN = b",\n  `s` timestamp(6) GENERATED ALWAYS AS ROW START,\n  `e` timestamp(6) GENERATED ALWAYS AS ROW END INVISIBLE"
MOMENT = b"2038-01-19 03:14:07.999999"
KEPT = b"INSERT INTO `t` (`x`) VALUES\n('" + MOMENT + b"','2026-01-01'),\n('a,\\'" + MOMENT + b"\\')',%s;\n"
OLD, NEW = b"'" + MOMENT + b"')", b"'2106-02-07 06:28:15.999999')"


@pytest.mark.parametrize("size", [1, 33, 10_000])
@pytest.mark.parametrize(
    ("columns", "options", "end"),
    [
        (b"", b" WITH SYSTEM VERSIONING", NEW),
        (OWN, b" WITH SYSTEM VERSIONING", NEW),
        (OWN + b",\n  `y` timestamp(6)", b" WITH SYSTEM VERSIONING", OLD),
        (b"", b"", OLD),
    ],
)
def test_rows_in_force_of_an_older_server_are_so_in_a_newer_one(columns, options, end, size):
    table = VERSIONED % (columns, options)
    done = b"".join(one.text for one in in_force(statements(pieces(table + KEPT % OLD + USE, size))))
    assert done == b"".join(one.text for one in statements(iter([table + KEPT % end + USE])))


def test_views_come_in_a_phase_of_their_own_with_what_is_set_and_dropped_for_them():
    texts = {phase: [one.text for one in them] for phase, them in by_phase(SHOP).items()}
    made = [text for text in texts[VIEWS] if b"VIEW `v1` AS" in text]
    assert len(made) == 1
    assert all(text.startswith((b"/*!50001 DROP VIEW", b"/*!50001 SET ")) for text in texts[VIEWS] if text not in made)
    assert not [text for text in texts[CODE] if b"DEFINER" in text and b" VIEW `" in text]
    set_there, set_back = ([text for text in texts[VIEWS] if word in text] for word in (b"SET @saved", b"= @saved"))
    assert len(set_there) == len(set_back) > 0
    whole = sorted(one.text for one in statements(iter([SHOP])))
    assert sorted(text for phase in texts.values() for text in phase) == whole, "nothing is lost"


def by_phase(dump):
    found = {CODE: [], VIEWS: []}
    for phase, statement in phases(statements(iter([dump]))):
        found[phase].append(statement)
    return found


@pytest.mark.parametrize("cut", [b"CREATE TABLE `t` (`a", b"INSERT INTO `t` VALUES (1", b"DELIMITER ;;\nCREATE x;;\n"])
def test_a_statement_without_an_end_is_refused(cut):
    with pytest.raises(Unsafe, match="has no end"):
        rewritten(Tables("x"), cut)


def test_only_accounts_and_servers_are_made_first():
    server = b"CREATE SERVER /*M!100103 IF NOT EXISTS */ `s` FOREIGN DATA WRAPPER `mysql` OPTIONS (`host` ';');\n"
    made = rewritten(accounts, ACCOUNTS, server).decode().strip().split("\n")
    assert len(made) == 7
    assert all(line.startswith("CREATE USER IF NOT EXISTS") for line in made[:6])
    assert made[6].startswith("CREATE SERVER ")


def test_grants_change_nobodys_password_unless_they_are_to_and_never_that_of_the_account_in_use():
    plain = rewritten(Grants(), ACCOUNTS)
    wanted = [line for line in plain.split(b"\n") if line.startswith(b"GRANT ")]
    assert b"GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION;" in wanted
    assert b"GRANT USAGE ON *.* TO `u2`@`localhost` REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 9;" in wanted
    assert not [line for line in wanted if b"IDENTIFIED" in line]
    told = [line for line in rewritten(Grants(passwords=True, but="root"), ACCOUNTS).split(b"\n") if b"GRANT" in line]
    assert [b"`app`" in line or b"`u2`" in line for line in told if b"IDENTIFIED" in line] == [True, True]


ON_ONE = [
    b"GRANT SELECT (`i`) ON `d`.`t (x)` TO `u`@`%` WITH GRANT OPTION;\n",
    b"GRANT SELECT (`j``(,`) ON `d`.`t (x)` TO `u`@`%` WITH GRANT OPTION;\n",
    b"GRANT CREATE VIEW ON `d`.`t (x)` TO `u`@`%` WITH GRANT OPTION;\n",
]


@pytest.mark.parametrize(
    ("grant", "each"),
    [
        (b"GRANT SELECT (`i`, `j``(,`), CREATE VIEW ON `d`.`t (x)` TO `u`@`%` WITH GRANT OPTION;\n", ON_ONE),
        (b"GRANT SELECT, CREATE VIEW ON `d`.`t (x)` TO `u`@`%`;\n", None),
        (b"GRANT `r (x)` TO `u`@`%`;\n", None),
        (b"GRANT PROXY ON 'a (b)'@'%' TO 'u'@'%';\n", None),
    ],
)
def test_a_column_that_is_no_longer_there_holds_up_no_other_grant(grant, each):
    assert list(Grants()(iter([grant]))) == (each or [grant])
