import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.base import Answer, Facts, NotReady, Unsuitable
from strategies.plan import Incomplete, RestoreRequest, StoredDump
from strategies.rabbitmq import Rabbitmq, RabbitmqOptions
from strategies.rabbitmq_definitions import read_definitions, read_kept
from tests.contract.samples.rabbitmq import ANSWERS, DEFINITIONS, SAMPLE
from tests.contract.test_strategies import Dripping

COUNTS = {
    "permissions": 2,
    "bindings": 1,
    "queues": 2,
    "policies": 1,
    "exchanges": 1,
    "vhosts": 2,
    "users": 2,
    "global parameters": 1,
}


def plan(**answers):
    return Rabbitmq().plan(SAMPLE.container, Facts("sh", ANSWERS | answers), RabbitmqOptions())


def kept(change):
    """What of the sample is in another document."""
    other = json.loads(DEFINITIONS)
    change(other)
    return read_kept(io.BytesIO(DEFINITIONS + b"\n" + json.dumps(other).encode()))


def test_messages_are_said_to_be_left_out():
    assert plan().warnings == (
        "messages-left-out: the queues hold 12 messages, which are in no definitions",
        "left-out: internal exchanges, which RabbitMQ exports in no definitions: hidden",
    )
    assert plan(**{"left-out": Answer(0, "0 messages\nok\n")}).warnings == ()


def test_a_broker_that_starts_is_waited_for():
    with pytest.raises(NotReady):
        plan(**{"left-out": Answer(69, "", "Error: unable to perform an operation on node")})


def test_nothing_is_asked_of_a_broker_that_is_only_starting():
    """Its start may wait for ever for a lock that the question holds (RabbitMQ 3.10)."""
    asked = RestoreRequest("r", (StoredDump("d", "rabbitmq", ""),), replace=True, restore="r1")
    restore = Rabbitmq().restore(SAMPLE.container, SAMPLE.facts, RabbitmqOptions(), asked)
    (load,), (occupied,) = restore.steps, restore.occupied
    scripts = [Rabbitmq().probes(RabbitmqOptions())["left-out"], occupied.argv, load.argv, load.undo]
    for text in (script[2] for script in scripts):
        assert text.count("ctl eval ") == text.count('ctl eval "true = lists:keymember(rabbit, 1, ') == 1
        assert "evaluate " in text


@pytest.mark.parametrize(
    "answer",
    [
        Answer(1, "\nOnly root or rabbitmq should run rabbitmqctl\n\n"),
        Answer(69, "", "* Authentication failed (rejected by the remote node), please check the Erlang cookie\n"),
    ],
)
def test_who_may_not_ask_the_broker_is_told_so_and_not_waited_for(answer):
    with pytest.raises(Unsuitable, match="only root and the server's own user") as refusal:
        plan(**{"left-out": answer})
    assert not isinstance(refusal.value, NotReady)


def test_objects_are_counted_by_their_kind():
    assert read_definitions(io.BytesIO(DEFINITIONS)) == COUNTS


@given(st.integers(1, 50))
def test_the_count_does_not_depend_on_how_the_stream_arrives(step):
    text = json.dumps(json.loads(DEFINITIONS), ensure_ascii=False, indent=1).encode()
    assert read_definitions(Dripping(text, step)) == COUNTS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "has to be"),
        (b"[]", "has to be"),
        (b"{}", "no whole JSON"),
        (b'{"users": [{"name": "a"}]}', "no virtual hosts"),
        (b'{"users": [7]}', "is no object"),
        (b'{"x": ' + b"[" * 9999, "no whole JSON"),
        (b'{"x": "' + b"x" * 3_000_000, "larger than any"),
        (DEFINITIONS + b"x", "follows its end"),
        (DEFINITIONS.replace("ñ".encode(), b"\xf1"), "no UTF-8"),
        (DEFINITIONS.replace(b'"q1"', b'"\xc3"'), "no UTF-8"),
    ],
)
def test_what_is_no_definitions_is_refused(text, why):
    with pytest.raises(Incomplete, match=why):
        read_definitions(io.BytesIO(text))


def test_what_there_is_besides_is_no_difference():
    assert kept(lambda other: other["queues"].append({"name": "another", "vhost": "/"})) == COUNTS
    assert kept(lambda other: other["users"][0].update(password_hash="other", tags=[])) == COUNTS


def test_what_is_missing_or_another_is_counted_as_missing():
    assert kept(lambda other: other["queues"].pop())["queues"] == 1
    assert kept(lambda other: other["queues"][0].update(durable=False))["queues"] == 1
    assert kept(lambda other: other["policies"].clear())["policies"] == 0


def test_an_object_of_a_global_parameter_is_the_same_as_pairs():
    pairs, other = b'{"global_parameters": [{"name": "a", "value": [["x", 1]]}]}', b'[{"name": "a", "value": {"x": 1}}]'
    assert read_kept(io.BytesIO(pairs + b'{"global_parameters": ' + other + b"}")) == {"global parameters": 1}


def test_an_operators_policy_is_the_same_as_pairs_and_as_an_object():
    def document(definition):
        value = {"pattern": ".*", "definition": definition}
        policy = {"vhost": "/", "component": "operator_policy", "name": "a", "value": value}
        return json.dumps({"parameters": [policy]}).encode()

    pairs = document([["max-length", 1], ["expires", 2]])
    assert read_kept(io.BytesIO(pairs + document({"expires": 2, "max-length": 1}))) == {"parameters": 1}
    assert read_kept(io.BytesIO(pairs + document({"expires": 3, "max-length": 1}))) == {"parameters": 0}
    assert read_kept(io.BytesIO(document([1]) + document([1]))) == {"parameters": 1}


def test_the_usual_type_of_a_queue_need_not_be_named():
    def document(**arguments):
        queue = {"vhost": "/", "name": "a", "durable": True, "auto_delete": False, "arguments": arguments}
        return json.dumps({"queues": [queue]}).encode()

    typed = document(**{"x-max-length": 1, "x-queue-type": "classic"})
    assert read_kept(io.BytesIO(document(**{"x-max-length": 1}) + typed)) == {"queues": 1}
    assert read_kept(io.BytesIO(document() + document(**{"x-queue-type": "quorum"}))) == {"queues": 0}


def test_accounts_keep_their_passwords_unless_those_of_the_run_are_wanted():
    def users(**more):
        request = RestoreRequest("r", (StoredDump("d", "rabbitmq", ""),), replace=True, restore="r1", **more)
        return Rabbitmq().restore(SAMPLE.container, SAMPLE.facts, RabbitmqOptions(), request).steps[0].argv[-1]

    of_users = 'ok = Imported(#{<<"users">> => Kept})'
    assert (of_users in users(), of_users in users(with_passwords=True)) == (True, False)
