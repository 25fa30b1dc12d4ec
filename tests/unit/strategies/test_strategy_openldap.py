import io

import pytest

from strategies.base import Answer, Facts, NotReady, Unsuitable
from strategies.openldap import END, Openldap, OpenldapOptions, read_entries, whole_ldif
from strategies.plan import RESTART, Incomplete, RestoreRequest, Run, StoredDump
from tests.contract.samples.openldap import ANSWERS, LDIF, SAMPLE


def plan(**answers):
    return Openldap().plan(SAMPLE.container, Facts("sh", ANSWERS | answers), OpenldapOptions())


def test_the_configuration_and_each_database_of_lmdb_are_dumps():
    dumps = plan().dumps
    assert [dump.subject for dump in dumps] == ["cn=config", "dc=example,dc=org", "ou=Vögel,dc=second"]
    assert [dump.name for dump in dumps][:2] == ["config.ldif", "dc%3Dexample%2Cdc%3Dorg.ldif"]
    assert dumps[2].source.argv[-3:] == ("-g", "-n", "2")


def test_a_database_of_another_kind_is_a_warning_by_its_name():
    other = "dn: olcDatabase={4}ldif,cn=config\nolcSuffix: dc=old\nolcDbDirectory: /old\n"
    assert plan(databases=Answer(0, ANSWERS["databases"].stdout + other)).warnings == (
        "left-out: dc=old, a database of ldif",
    )


@pytest.mark.parametrize(
    "text",
    ["", "what\n", "dn: cn=x\n", "dn: olcDatabase={1}mdb,cn=config\nolcSuffix:: !\n", "dn:: gICA\n", "dn:: AA==\n"],
)
def test_what_is_no_list_of_databases_is_refused(text):
    with pytest.raises(Unsuitable) as refused:
        plan(databases=Answer(0, f"folder: /conf\n{text}"))
    assert refused.value.code == "unreadable-answer"


def test_a_server_that_starts_is_waited_for():
    with pytest.raises(NotReady):
        plan(server=Answer(1))


def test_a_configuration_that_is_not_there_names_the_way_out():
    with pytest.raises(Unsuitable, match="no cn=config in /etc/x") as refused:
        plan(databases=Answer(1, "", "there is no cn=config in /etc/x\n"))
    assert "slaptest" in refused.value.hint


def test_entries_are_counted_by_their_class():
    assert read_entries(io.BytesIO(LDIF)) == {"entries of organization": 1, "entries of device": 1}
    assert read_entries(io.BytesIO(END)) == {}
    without = LDIF.replace(b"structuralObjectClass: device\n", b"")
    assert read_entries(io.BytesIO(without)) == {"entries of organization": 1, "other entries": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LDIF.removesuffix(END), "does not end"),
        (LDIF.replace(b"\n\n# ", b"\n# "), "does not end"),
        (b"# a comment\n" + LDIF, "does not begin"),
        (LDIF.replace(b"a line", b"a" * 4_000_000), "longer lines"),
        (b"x" + END, "does not end"),
    ],
)
def test_what_slapcat_has_not_ended_is_refused(text, why):
    with pytest.raises(Incomplete, match=why):
        whole_ldif(io.BytesIO(text), {})


def restore(*subjects):
    stored = tuple(StoredDump(f"{subject}.ldif", "ldif", subject) for subject in subjects)
    request = RestoreRequest("r", stored, replace=True, restore="r1")
    return Openldap().restore(SAMPLE.container, SAMPLE.facts, OpenldapOptions(), request)


def test_the_configuration_is_loaded_first_and_the_server_started_anew_once_all_is_compared():
    plan = restore("c=AR", "cn=config")
    assert [step.artifact for step in plan.steps] == ["cn=config.ldif", "c=AR.ldif"]
    assert [step.argv == RESTART for step in plan.swap] == [False, False, True, False]
    first, second = plan.swap[:2]
    assert isinstance(first, Run)
    assert first.undo == RESTART
    assert second.undo != RESTART


def test_without_its_configuration_a_run_is_refused():
    with pytest.raises(Unsuitable) as refused:
        restore("dc=example,dc=org")
    assert refused.value.code == "no-config"
