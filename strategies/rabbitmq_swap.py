"""Restores RabbitMQ's definitions: they are imported beside what is there, compared, and go again if that fails.

An import overwrites users, permissions, policies and parameters. Queues and exchanges that exist stay as they are, as
another queue of that name would lose its messages. What was there is exported before: if anything fails, what
the import has made goes, and the rest is what it was.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from strategies.plan import Argv, Feed, RestoreRequest, Step

# `$1` is the node; empty for the client's own choice. In another locale it would print names as no JSON has them.
# A broker that is only starting is asked nothing of its own: RabbitMQ 3.10 then waits for ever for a lock that the
# question holds, and never starts. The client itself looks before it exports.
CLIENT = """
node=$1
shift
ctl() { LC_ALL=C.UTF-8 rabbitmqctl ${node:+-n "$node"} -q "$@" </dev/null; }
evaluate() { ctl eval "true = lists:keymember(rabbit, 1, application:which_applications()), $1"; }
"""
EXPORT = "ctl export_definitions - --format json"
# A fresh broker has a virtual host and a user, and exchanges that are in no definitions.
OCCUPIED = r"""
evaluate 'lists:foreach(fun({What, N}) -> N > 0 andalso io:format("~b ~s~n", [N, What]) end, [
    {"queues", length(rabbit_amqqueue:list())},
    {"virtual hosts", length(rabbit_vhost:list_names()) - 1},
    {"users", length(rabbit_auth_backend_internal:list_users()) - 1}]).' | grep -vx ok || :
"""

# `$1` is the restore's own folder; the broker reads in it, as another user.
PLACES = r"""
umask 077
work=${TMPDIR:-/tmp}/$1
shift
node() {
    for process in /proc/[0-9]*; do
        case $(cat "$process/comm" 2>/dev/null) in beam*) stat -c %u:%g "$process"; return ;; esac
    done
}
readable() { chown -R "$(node)" "$work"; }
"""
# What the broker runs: `New` and `Old` are what is restored and what was there, each kind as its objects. Each start of
# the client takes a second, so all of it is one question. Objects within parameters are exported as lists of pairs,
# which the broker would import as such.
READ = r"""
    At = fun(Name) -> <<WORK, Name/binary>> end,
    Read = fun(Name) -> {ok, Text} = file:read_file(At(Name)), rabbit_json:decode(Text) end,
    Of = fun(Kind, All) -> maps:get(Kind, All, []) end,
    G = fun(Field, Object) -> maps:get(Field, Object) end,
    Are = fun(Pairs) -> is_list(Pairs) andalso Pairs =/= [] andalso
        lists:all(fun([K, _]) -> is_binary(K); (_) -> false end, Pairs) end,
    Object = fun(Value) -> case Are(Value) of
        true -> maps:from_list([{K, X} || [K, X] <- Value]); false -> Value end end,
    Within = fun(P = #{<<"value">> := #{<<"definition">> := D} = V}) ->
            P#{<<"value">> := V#{<<"definition">> := Object(D)}};
        (P) -> P#{<<"value">> := Object(maps:get(<<"value">>, P))} end,
    New = maps:map(fun(Kind, All) -> case lists:member(Kind, [<<"parameters">>, <<"global_parameters">>]) of
        true -> [Within(P) || P <- All]; false -> All end end, Read(<<"/new.json">>)),
    Imported = fun(All) -> case rabbit_definitions:import_raw(rabbit_json:encode(All)) of
        ok -> ok; {error, Why} -> io:format("refused: ~ts~n", [Why]), {error, refused} end end,
"""
# A newer broker takes no policy of mirrored queues: the rest of such a policy is imported, and what is not is told.
IMPORT = r"""
    Mirrors = fun(D) when is_map(D) -> [K || K <- maps:keys(D), string:prefix(K, <<"ha-">>) =/= nomatch];
        (_) -> [] end,
    Tell = fun(Kind, P, Keys) ->
        io:format("not-mirrored: the ~s ~ts of ~ts, without ~ts, since this broker mirrors no queues~n",
            [Kind, G(<<"name">>, P), G(<<"vhost">>, P), lists:join(<<", ">>, Keys)]) end,
    Without = fun(Kind, P, D, Put) -> case Mirrors(D) of
        [] -> [P];
        Keys -> Tell(Kind, P, Keys), [Put(Rest) || Rest <- [maps:without(Keys, D)], map_size(Rest) > 0] end end,
    Policy = fun(P = #{<<"definition">> := D}) ->
        Without("policy", P, D, fun(Rest) -> P#{<<"definition">> := Rest} end); (P) -> [P] end,
    Parameter = fun(P = #{<<"component">> := <<"operator_policy">>, <<"value">> := V = #{<<"definition">> := D}}) ->
        Without("operator policy", P, D, fun(Rest) -> P#{<<"value">> := V#{<<"definition">> := Rest}} end);
        (P) -> [P] end,
    Unmirrored = fun(All) -> All#{<<"policies">> => lists:flatmap(Policy, Of(<<"policies">>, All)),
        <<"parameters">> => lists:flatmap(Parameter, Of(<<"parameters">>, All))} end,
    ok = case Imported(New) of ok -> ok; Refused -> case Unmirrored(New) of
        Known when Known =/= New -> Imported(Known); _ -> Refused end end,
"""
KEEP = r"""
    ok = file:write_file(At(<<"/old.json">>), rabbit_json:encode(rabbit_definitions:all_definitions())),
    ok = file:write_file(At(<<"/imported">>), <<>>),
"""
# Accounts that exist keep their passwords and tags.
USERS = r"""
    Names = [G(<<"name">>, U) || U <- Of(<<"users">>, New)],
    Kept = [U || U <- Of(<<"users">>, Read(<<"/old.json">>)), lists:member(G(<<"name">>, U), Names)],
    ok = Imported(#{<<"users">> => Kept}),
"""
BACK = r"""
    Old = Read(<<"/old.json">>), By = <<"restore">>,
    Key = fun(O, Fields) -> [maps:get(F, O, none) || F <- Fields] end,
    Made = fun(Kind, Fields) ->
        There = sets:from_list([Key(O, Fields) || O <- Of(Kind, Old)]),
        [O || O <- Of(Kind, New), not sets:is_element(Key(O, Fields), There)] end,
    Try = fun(F) -> try F() catch _:_ -> ok end end,
    N = <<"name">>, V = <<"vhost">>, U = <<"user">>,
    [Try(fun() -> rabbit_binding:remove({binding, rabbit_misc:r(G(V, B), exchange, G(<<"source">>, B)),
        G(<<"routing_key">>, B), rabbit_misc:r(G(V, B), binary_to_atom(G(<<"destination_type">>, B)),
        G(<<"destination">>, B)), rabbit_misc:to_amqp_table(G(<<"arguments">>, B))}, By) end)
        || B <- Made(<<"bindings">>, [V, <<"source">>, <<"destination">>, <<"destination_type">>, <<"routing_key">>,
            <<"arguments">>])],
    [Try(fun() -> {ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(G(V, O), queue, G(N, O))),
        rabbit_amqqueue:delete(Q, false, false, By) end) || O <- Made(<<"queues">>, [V, N])],
    [Try(fun() -> rabbit_exchange:delete(rabbit_misc:r(G(V, O), exchange, G(N, O)), false, By) end)
        || O <- Made(<<"exchanges">>, [V, N])],
    [Try(fun() -> rabbit_policy:delete(G(V, O), G(N, O), By) end) || O <- Made(<<"policies">>, [V, N])],
    [Try(fun() -> rabbit_runtime_parameters:clear(G(V, O), G(<<"component">>, O), G(N, O), By) end)
        || O <- Made(<<"parameters">>, [V, <<"component">>, N])],
    [Try(fun() -> rabbit_runtime_parameters:clear_global(binary_to_atom(G(N, O)), By) end)
        || O <- Made(<<"global_parameters">>, [N])],
    [Try(fun() -> rabbit_auth_backend_internal:clear_permissions(G(U, O), G(V, O), By) end)
        || O <- Made(<<"permissions">>, [U, V])],
    [Try(fun() -> rabbit_auth_backend_internal:clear_topic_permissions(G(U, O), G(V, O), G(<<"exchange">>, O), By) end)
        || O <- Made(<<"topic_permissions">>, [U, V, <<"exchange">>])],
    [Try(fun() -> rabbit_auth_backend_internal:delete_user(G(N, O), By) end) || O <- Made(<<"users">>, [N])],
    [Try(fun() -> rabbit_vhost:delete(G(N, O), By) end) || O <- Made(<<"vhosts">>, [N])],
    ok = Imported(Old),
"""
RUN = r"""
evaluated() {
    folder=$(printf '"%s"' "$work")
    asked=$(printf %s "$1" | sed "s|<<WORK, |<<$folder, |g")
    if evaluate "$asked io:format(\"done~n\")." >"$work/said" 2>&1 && grep -qx 'done' "$work/said"; then
        sed -n '/^not-mirrored: /p' "$work/said" >&2
    else
        grep -a '^refused: ' "$work/said" | tail -n 1 | sed 's/\\n/ /g;s/&lt;/</g;s/&gt;/>/g' >&2 || :
        grep -q '^refused: ' "$work/said" || tail -n 3 "$work/said" >&2
        return 1
    fi
}
"""
LOAD = f"""{PLACES}{RUN}
mkdir "$work" && cat >"$work/new.json" && readable && evaluated "$1"
"""
UNDO = f"""{PLACES}{RUN}
[ -d "$work" ] || exit 0
[ ! -e "$work/imported" ] || evaluated "$1" || exit
rm -rf "$work"
"""
KEPT = f"""{PLACES}
cat "$work/new.json" && {EXPORT}
"""
FINISH = f"""{PLACES}
rm -rf "$work"
"""
BY_HAND = f"""{PLACES}{RUN}
mkdir "$work" || exit
trap 'rm -rf "$work"' EXIT
cat >"$work/new.json" && readable && evaluated "$1"
"""
MIRROR = re.compile(r"not-mirrored: the (policy|operator policy) ")
KINDS = {"policy": "policies", "operator policy": "parameters"}


@dataclass(frozen=True, slots=True)
class Mirrored:
    """How many objects of each kind have come back without what this broker does not know, as it has said itself."""

    numbers: Counter[str] = field(default_factory=Counter)

    def __call__(self, line: str) -> None:
        """As `Feed.hear`."""
        if found := MIRROR.match(line):
            self.numbers[KINDS[found[1]]] += 1


@dataclass(frozen=True, slots=True)
class Remade:
    """Why there are fewer that are the same; as `Count.remade`."""

    mirrored: Mirrored

    def __call__(self, what: str, counted: int, restored: Mapping[str, int]) -> str:
        fewer = counted - restored.get(what, 0)
        return "this broker mirrors no queues" if 0 < fewer <= self.mirrored.numbers[what] else ""


@dataclass(frozen=True, slots=True)
class Load:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    node: str

    mirrored: Mirrored = field(default_factory=Mirrored)

    def steps(self) -> Iterator[Step]:
        load = READ + KEEP + IMPORT + ("" if self.request.with_passwords else USERS)
        for stored in self.request.artifacts:
            undo = self.script(UNDO, READ + BACK)
            yield Feed(stored.name, self.script(LOAD, load), undo=undo, hear=self.mirrored)

    def finish(self) -> tuple[Argv, ...]:
        return (self.script(FINISH),)

    def script(self, text: str, *arguments: str) -> Argv:
        return script(text, self.node, f"restore-{self.request.restore or self.request.run}", *arguments)


def script(text: str, node: str, *arguments: str) -> Argv:
    """A script whose first argument is the node; messages call it `rabbitmq`."""
    return ("sh", "-c", CLIENT + text, "rabbitmq", node, *arguments)


def by_hand(node: str) -> Argv:
    """The import alone, for the manifest."""
    return script(BY_HAND, node, "restore", READ + IMPORT)
