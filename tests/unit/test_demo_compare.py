from scripts.rehearsal.compare import Difference, differences, files, first_difference, shown, tables, unhexed

TABLES = "bank notes\t2\taaaa\nbank empty\t0\tbbbb\nbank definitions\t\tcccc\n"


def paths(*records: tuple[str, ...], digests: dict[str, str] | None = None) -> bytes:
    """As `filesystem.sh` prints it."""
    listed = "".join("\0".join(record) + "\0" for record in records)
    hashed = "".join(f"{digest}  {path}\0" for path, digest in (digests or {}).items())
    return f"{listed}\0{hashed}".encode(errors="surrogateescape")


def file(
    path: str,
    *,
    mode: str = "644",
    owner: str = "0:0",
    size: str = "4",
    time: str = "0.0",
    names: str = "1",
    inode: str = "7",
    blocks: str = "8",
) -> tuple[str, ...]:
    return (path, "f", mode, owner, size, time, "", names, inode, blocks)


def test_equal_things_differ_in_nothing() -> None:
    assert differences(tables(TABLES), tables(TABLES)) == []


def test_changed_row_names_its_table_and_both_digests() -> None:
    found = differences(tables(TABLES), tables(TABLES.replace("aaaa", "dddd")))
    assert found == [Difference("bank notes", "md5 of all rows", "aaaa", "dddd")]
    assert str(found[0]) == "bank notes: md5 of all rows is aaaa in the source, dddd in the copy"


def test_lost_row_is_also_a_wrong_count() -> None:
    found = differences(tables(TABLES), tables(TABLES.replace("2\taaaa", "1\tdddd")))
    assert [difference.property for difference in found] == ["count(*)", "md5 of all rows"]


def test_lost_table_is_told_as_such() -> None:
    found = differences(tables(TABLES), tables("".join(TABLES.splitlines(keepends=True)[1:])))
    assert [str(difference) for difference in found] == ["bank notes: only in the source"]


def test_empty_copy_lacks_everything() -> None:
    assert len(differences(tables(TABLES), tables(""))) == 3


def test_surplus_table_is_told_as_such() -> None:
    assert str(differences({}, tables("bank new\t0\taaaa\n"))[0]) == "bank new: only in the copy"


def test_definitions_have_no_rows() -> None:
    assert tables(TABLES)["bank definitions"] == {"md5": "cccc"}


def test_each_property_of_a_file_is_compared() -> None:
    before = files(paths(file("/data/a"), digests={"/data/a": "aa"}))
    other = file("/data/a", mode="4755", owner="1:2", size="5", time="1.5")
    after = files(paths(other, digests={"/data/a": "bb"}))
    assert {difference.property for difference in differences(before, after)} == {
        "mode",
        "owner",
        "size",
        "time",
        "SHA-256",
    }


def test_lost_setuid_bit_is_told_as_people_write_modes() -> None:
    found = differences(files(paths(file("/data/a", mode="4755"))), files(paths(file("/data/a", mode="755"))))
    assert str(found[0]) == "/data/a: mode is 4755 in the source, 0755 in the copy"


def test_time_is_compared_to_the_nanosecond() -> None:
    before, after = (
        files(paths(file("/data/a", time=time))) for time in ("999999999.0000000010", "999999999.0000000020")
    )
    assert [difference.source for difference in differences(before, after)] == ["2001-09-09T01:46:39.000000001Z"]


def test_time_before_1970_has_its_right_date() -> None:
    found = files(paths(file("/data/a", time="-14182940.1234567890")))
    assert found["/data/a"]["time"] == "1969-07-20T20:17:40.123456789Z"


def test_folder_has_no_size_of_its_own() -> None:
    folder = ("/data", "d", "755", "0:0", "4096", "0.0", "", "2", "1", "8")
    assert "size" not in files(paths(folder))["/data"]


def test_other_link_target_is_found() -> None:
    link = ("/data/l", "l", "777", "0:0", "1", "0.0", "a", "1", "1", "0")
    found = differences(files(paths(link)), files(paths((*link[:6], "b", *link[7:]))))
    assert found == [Difference("/data/l", "link target", "a", "b")]


def test_hard_link_that_became_a_copy_is_found() -> None:
    linked = paths(file("/data/b", names="2"), file("/data/a", names="2"))
    copied = paths(file("/data/b", inode="8"), file("/data/a", inode="9"))
    found = differences(files(linked), files(copied))
    assert [(difference.name, difference.property) for difference in found] == [
        ("/data/a", "names"),
        ("/data/b", "names"),
    ]
    assert found[1].source == "2, the first /data/a"


def test_filled_hole_is_found_in_a_large_file_only() -> None:
    before = files(paths(file("/data/large", size="2097152", blocks="8"), file("/data/small", blocks="0")))
    after = files(paths(file("/data/large", size="2097152", blocks="4096"), file("/data/small", blocks="8")))
    assert [(difference.name, difference.property) for difference in differences(before, after)] == [
        ("/data/large", "holes")
    ]


def test_names_may_hold_anything_but_nul() -> None:
    awkward = ["/data/two\nlines", "/data/ ", "/data/-rf", "/data/a  b", "/data/\udcf1"]
    found = files(paths(*(file(path, inode=path) for path in awkward), digests=dict.fromkeys(awkward, "aa")))
    assert {path: thing["SHA-256"] for path, thing in found.items()} == dict.fromkeys(awkward, "aa")


def test_names_are_shown_on_one_line() -> None:
    assert shown("/data/two\nlines \udcf1 ñ 🎉") == r"/data/two\nlines \udcf1 ñ 🎉"


def test_first_different_rows_stand_side_by_side() -> None:
    assert first_difference(["a", "b", "c"], ["a", "B", "c"]) == ("b", "B")
    assert first_difference(["a", "b"], ["a"]) == ("b", None)
    assert first_difference(["a"], ["a"]) is None


def test_hexadecimal_row_is_readable_and_any_other_line_is_kept() -> None:
    assert unhexed("31,C3B6,NULL,") == "1, ö, NULL, "
    assert unhexed("89504E47,31") == "89504E47,31"
    assert unhexed("CREATE TABLE a (b int);") == "CREATE TABLE a (b int);"
