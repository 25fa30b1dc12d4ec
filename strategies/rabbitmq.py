"""RabbitMQ, by its own client: the definitions of virtual hosts, users, queues, exchanges, bindings and policies.

Messages are in no definitions: whoever needs them has to keep them elsewhere, and is warned.
"""

import re
from collections.abc import Iterator, Mapping

from pydantic import Field

from config.wording import shortened
from strategies.base import Container, Facts, Options, Strategy, Unsuitable
from strategies.plan import Argv, Check, Count, Dump, Exec, Plan, Restore, RestoreRequest, shell_line
from strategies.rabbitmq_definitions import read_definitions, read_kept, whole_definitions
from strategies.rabbitmq_swap import EXPORT, KEPT, OCCUPIED, Load, Remade, by_hand, script
from strategies.servers import no_client, not_ready

# One question, since each start of the client takes a second.
LEFT_OUT = r"""
evaluate 'io:format("~b messages~n", [lists:sum([N || Q <- rabbit_amqqueue:list(),
        {messages, N} <- rabbit_amqqueue:info(Q, [messages]), is_integer(N)])]),
    [io:format("~ts~n", [N]) || X <- rabbit_exchange:list(), not lists:prefix("amq.", binary_to_list(
        element(4, proplists:get_value(name, rabbit_exchange:info(X, [name]))))),
        [{internal, true}] =:= rabbit_exchange:info(X, [internal]),
        N <- [element(4, proplists:get_value(name, rabbit_exchange:info(X, [name])))]], ok.'
"""
NUMBER = re.compile(r"([0-9]{1,18}) messages\n")
GONE = "unable to perform an operation on node|not running|nodedown|connection_refused|noconnection"
NOT_ALLOWED = "Only root or|[Cc]ookie"
"""What Debian's wrapper prints for anybody else, and what the client itself does."""
NO_MESSAGES = "messages-left-out: the queues hold {} messages, which are in no definitions"


class RabbitmqOptions(Options):
    """`backup.rabbitmq.*`."""

    node: str = Field(default="", pattern=r"^[\w.-]+@[\w.-]+$")
    """Name of the node in the target, such as `rabbit@box`. Default: what the client takes by itself, which is
    `RABBITMQ_NODENAME`, else `rabbit@` and the container's host name."""


class Rabbitmq(Strategy[RabbitmqOptions]):
    """`rabbitmqctl export_definitions`."""

    names = ("rabbitmq",)
    options = RabbitmqOptions
    gone = GONE

    def probes(self, options: RabbitmqOptions) -> Mapping[str, Argv]:
        return {"client": ("sh", "-c", "command -v rabbitmqctl"), "left-out": script(LEFT_OUT, options.node)}

    def plan(self, container: Container, facts: Facts, options: RabbitmqOptions) -> Plan:
        _demand_server(container, facts)
        warnings = tuple(_left_out(facts.answers["left-out"].stdout))
        source, line = Exec(script(EXPORT, options.node)), shell_line(by_hand(options.node))
        count = Count(source, read_definitions)
        return Plan((Dump("definitions.json", "rabbitmq", source, line, whole_definitions, count=count),), warnings)

    def formats(self) -> Mapping[str, Check]:
        return {"rabbitmq": whole_definitions}

    def restore(self, container: Container, facts: Facts, options: RabbitmqOptions, request: RestoreRequest) -> Restore:
        _demand_server(container, facts)
        load = Load(request, options.node)
        names = [stored.name for stored in request.artifacts]
        return Restore(
            "the broker's definitions, beside what is there",
            "they stay connected, and no message is lost",
            occupied=(Exec(script(OCCUPIED, options.node)),),
            steps=tuple(load.steps()),
            counts=dict.fromkeys(names, Count(Exec(load.script(KEPT)), read_kept, remade=Remade(load.mirrored))),
            present=dict.fromkeys(names, Count(Exec(script(EXPORT, options.node)), read_definitions)),
            finish=load.finish(),
        )


def _left_out(text: str) -> Iterator[str]:
    """What no definitions hold, as warnings; `text` is the broker's answer."""
    if (found := NUMBER.match(text)) and int(found[1]):
        yield NO_MESSAGES.format(int(found[1]))
    if internal := [name for name in text.splitlines()[1:] if name != "ok"]:
        yield f"left-out: internal exchanges, which RabbitMQ exports in no definitions: {shortened(internal)}"


def _demand_server(container: Container, facts: Facts) -> None:
    """Raises `Unsuitable` when one of the probes found a reason against a dump."""
    if facts.shell is None or not facts.answers["client"].ok:
        raise no_client(container, "sh or rabbitmqctl")
    answer = facts.answers["left-out"]
    if not answer.ok and re.search(NOT_ALLOWED, answer.stdout + answer.stderr):
        hint = "Leave backup.user out, or name root or the server's own user by it."
        raise Unsuitable("rabbitmqctl lets only root and the server's own user in", hint, "refused")
    if not answer.ok:
        raise not_ready()
