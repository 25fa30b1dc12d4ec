"""What is said of a command that failed."""

from controller.targets.session import reason

PG_RESTORE = """pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3433; 1259 16385 TABLE item auditor
pg_restore: error: could not execute query: ERROR:  role "auditor" does not exist
Command was: ALTER TABLE public.item OWNER TO auditor;


"""


def test_the_line_with_the_error_and_its_object_are_shown_however_much_comes_after() -> None:
    told = reason(PG_RESTORE + "more\n" * 20)
    assert told.startswith("pg_restore: while PROCESSING TOC:; pg_restore: from TOC entry 3433; 1259 16385 TABLE item")
    assert 'ERROR:  role "auditor" does not exist; Command was: ALTER TABLE public.item OWNER TO auditor' in told


def test_without_such_a_line_the_last_ones_are_shown() -> None:
    assert reason("one\ntwo\nthree\nfour") == "two; three; four"
    assert reason("") == "it printed nothing on standard error"
