"""Restores RabbitMQ's definitions: they are imported beside what is there, compared, and go again if that fails.

An import overwrites users, permissions, policies and parameters. Queues and exchanges that exist stay as they are, as
another queue of that name would lose its messages. What was there is exported before: if anything fails, what
the import has made goes, and the rest is what it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from strategies.plan import Argv, Feed, RestoreRequest, Step

# `$1` is the node; empty for the client's own choice. In another locale it would print names as no JSON has them.
CLIENT = """
node=$1
shift
ctl() { LC_ALL=C.UTF-8 rabbitmqctl ${node:+-n "$node"} -q "$@"; }
"""
EXPORT = "ctl export_definitions - --format json"
# A fresh broker has a virtual host and a user, and exchanges that are in no definitions.
OCCUPIED = r"""
ctl eval 'lists:foreach(fun({What, N}) -> N > 0 andalso io:format("~b ~s~n", [N, What]) end, [
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
# What the broker runs: `New` and `Old` are what is restored and what was there, each kind as its objects.
READ = r"""
    Read = fun(File) -> {ok, Text} = file:read_file(<<WORK, File/binary>>), rabbit_json:decode(Text) end,
    Of = fun(Kind, All) -> maps:get(Kind, All, []) end,
    G = fun(Field, Object) -> maps:get(Field, Object) end,
"""
# Accounts that exist keep their passwords and tags.
USERS = f"""{READ}
    New = Read(<<"/new.json">>), Old = Read(<<"/old.json">>),
    Names = [G(<<"name">>, U) || U <- Of(<<"users">>, New)],
    Kept = [U || U <- Of(<<"users">>, Old), lists:member(G(<<"name">>, U), Names)],
    Kept =:= [] orelse rabbit_definitions:import_raw(rabbit_json:encode(#{{<<"users">> => Kept}})).
"""
BACK = rf"""{READ}
    New = Read(<<"/new.json">>), Old = Read(<<"/old.json">>), By = <<"restore">>,
    Key = fun(O, Fields) -> [maps:get(F, O, none) || F <- Fields] end,
    Made = fun(Kind, Fields) ->
        There = sets:from_list([Key(O, Fields) || O <- Of(Kind, Old)]),
        [O || O <- Of(Kind, New), not sets:is_element(Key(O, Fields), There)] end,
    Try = fun(F) -> try F() catch _:_ -> ok end end,
    N = <<"name">>, V = <<"vhost">>, U = <<"user">>,
    [Try(fun() -> rabbit_binding:remove({{binding, rabbit_misc:r(G(V, B), exchange, G(<<"source">>, B)),
        G(<<"routing_key">>, B), rabbit_misc:r(G(V, B), binary_to_atom(G(<<"destination_type">>, B)),
        G(<<"destination">>, B)), rabbit_misc:to_amqp_table(G(<<"arguments">>, B))}}, By) end)
        || B <- Made(<<"bindings">>, [V, <<"source">>, <<"destination">>, <<"destination_type">>, <<"routing_key">>,
            <<"arguments">>])],
    [Try(fun() -> {{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(G(V, O), queue, G(N, O))),
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
    ok.
"""
# The broker exports objects within parameters as lists of pairs, and would import them as such.
FIXED = rf"""{READ}
    Are = fun(Pairs) -> is_list(Pairs) andalso Pairs =/= [] andalso
        lists:all(fun([K, _]) -> is_binary(K); (_) -> false end, Pairs) end,
    Object = fun(Value) -> case Are(Value) of
        true -> maps:from_list([{{K, X}} || [K, X] <- Value]); false -> Value end end,
    Within = fun(P = #{{<<"value">> := #{{<<"definition">> := D}} = V}}) ->
            P#{{<<"value">> := V#{{<<"definition">> := Object(D)}}}};
        (P) -> P#{{<<"value">> := Object(maps:get(<<"value">>, P))}} end,
    Fixed = maps:map(fun(Kind, All) -> case lists:member(Kind, [<<"parameters">>, <<"global_parameters">>]) of
        true -> [Within(P) || P <- All]; false -> All end end, Read(<<"/FILE.json">>)),
    file:write_file(<<WORK, "/FILE.fixed">>, rabbit_json:encode(Fixed)).
"""
RUN = rf"""
evaluated() {{
    folder=$(printf '"%s"' "$work")
    ctl eval "$(printf %s "$1" | sed "s|<<WORK, |<<$folder, |g")" >"$work/said" 2>&1 &&
        ! grep -q 'error\|Error' "$work/said" || {{ tail -n 3 "$work/said" >&2; return 1; }}
}}
fixed='{FIXED}'
imported() {{
    evaluated "$(printf %s "$fixed" | sed "s|/FILE|/$1|g")" || return
    ctl import_definitions "$work/$1.fixed" --format json >"$work/said" 2>&1 ||
        {{ tail -n 3 "$work/said" >&2; return 1; }}
}}
"""
LOAD = f"""{PLACES}{RUN}
users=$1 keep=$2
mkdir "$work" && cat >"$work/new.json" && {EXPORT} >"$work/old.json" && readable || exit
: >"$work/imported"
imported new || exit
[ -z "$keep" ] || evaluated "$users"
"""
UNDO = f"""{PLACES}{RUN}
[ -d "$work" ] || exit 0
if [ -e "$work/imported" ]; then
    evaluated "$1" && imported old || exit
fi
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
cat >"$work/new.json" && readable && imported new
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    node: str

    def steps(self) -> Iterator[Step]:
        keep = "" if self.request.with_passwords else "keep"
        for stored in self.request.artifacts:
            yield Feed(stored.name, self.script(LOAD, USERS, keep), undo=self.script(UNDO, BACK))

    def finish(self) -> tuple[Argv, ...]:
        return (self.script(FINISH),)

    def script(self, text: str, *arguments: str) -> Argv:
        return script(text, self.node, f"restore-{self.request.restore or self.request.run}", *arguments)


def script(text: str, node: str, *arguments: str) -> Argv:
    """A script whose first argument is the node; messages call it `rabbitmq`."""
    return ("sh", "-c", CLIENT + text, "rabbitmq", node, *arguments)


def by_hand(node: str) -> Argv:
    """The import alone, for the manifest."""
    return script(BY_HAND, node, "restore")
