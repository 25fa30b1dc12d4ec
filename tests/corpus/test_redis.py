"""Redis: every type, encoding and setting of a key; what `DUMP` says of it, and when it ends, has to be the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.ways import WAYS, Corpus, backed_up, into_newer, rows_in
from tests.kit.second_engine import make_images
from tests.kit.stage import App, Sidecar, within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROWS = rows_in("redis.sh")
# What is kept in a hash table has no order, so that `DUMP` says the same in several ways.
DIGEST = r"""
digest() {
    if [ "$1" = functions ]; then CLIENT FUNCTION LIST WITHCODE | sort | sha256sum; return; fi
    for base in 0 1 9 15; do
        CLIENT -n "$base" EVAL "
            local found = {}
            for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
                local kind, facts = redis.call('TYPE', key).ok, {}
                if kind == 'set' then
                    facts = redis.call('SMEMBERS', key)
                elseif kind == 'hash' then
                    for _, field in ipairs(redis.call('HKEYS', key)) do
                        local ends = ''
                        if ARGV[1] == 'hash_expiry' then
                            ends = redis.call('HPEXPIRETIME', key, 'FIELDS', 1, field)[1]
                        end
                        facts[#facts + 1] = field .. '=' .. redis.call('HGET', key, field) .. ends
                    end
                else
                    facts = FACTS
                end
                table.sort(facts)
                local told = redis.sha1hex(table.concat(facts, ' '))
                found[#found + 1] = key .. kind .. told .. redis.call('PEXPIRETIME', key)
            end
            table.sort(found)
            return redis.sha1hex(table.concat(found, ' '))" 0 "$1"
    done | sha256sum
}
"""


DUMPED = "{redis.call('DUMP', key)}"
CONTENT = """({
                        list = function() return redis.call('LRANGE', key, 0, -1) end,
                        zset = function()
                            local told = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
                            for n = 2, #told, 2 do told[n] = string.format('%.17g', tonumber(told[n])) end
                            return told
                        end,
                        string = function() return {redis.call('GET', key)} end,
                        stream = function()
                            local told = {cjson.encode(redis.call('XRANGE', key, '-', '+'))}
                            for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
                                told[#told + 1] = cjson.encode({unpack(group, 1, 8)})
                            end
                            return told
                        end,
                    })[kind]()"""
"""What another version of the server says in the same way."""


def corpus(name: str, rows: dict[str, str], facts: str = DUMPED) -> Corpus:
    """Of the server that is called so, by its client."""
    client = f"{name}-cli"
    digest, names = DIGEST.replace("CLIENT", client).replace("FACTS", facts), " ".join(rows)
    return Corpus(
        f"keys-of-{name}",
        name.upper(),
        {"strategy": name, "expect.ignore": "db*"},
        fill=f"R={client}\n" + "".join(rows.values()),
        note=f'{digest}for row in {names}; do {client} HSET noted $row "$(digest $row)"; done',
        differing=f"{digest}for row in {names}; do"
        f' [ "$({client} HGET noted $row)" = "$(digest $row)" ] || echo $row; done',
        destroy=f"{client} FLUSHALL; {client} FUNCTION FLUSH; {client} SET stray 1",
        write=f"while {client} RPUSH busy x; do sleep 0.1; done",
        command=(f"{name}-server", "--save", "", "--repl-diskless-sync-delay", "0"),
        ready=f"{client} PING",
    )


@pytest.mark.slow
def test_every_row_comes_back_by_each_way(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    there = backed_up(corpus("redis", ROWS), *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == {name: [] for name in WAYS}


@pytest.mark.slow
def test_every_row_of_valkey_does_so_too(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    make_images("valkey:8")
    rows = {name: make for name, make in ROWS.items() if name != "hash_expiry"}
    there = backed_up(corpus("valkey", rows), *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == {name: [] for name in WAYS}


@pytest.mark.slow
def test_every_row_of_an_older_server_comes_back_in_a_newer_one(stand: tuple[Sidecar, App]) -> None:
    """Debian 12 has Redis 7.0, Debian 13 has 8.0."""
    make_images("redis7:1")
    rows = {name: make for name, make in ROWS.items() if name != "hash_expiry"}
    old = replace(corpus("redis", rows, CONTENT), service="keys-of-redis7", of="REDIS7")
    container, _ = into_newer(old, replace(old, service="keys-newer", of="REDIS"), *stand)
    within(container, "redis-cli SET string:text another; redis-cli XDEL stream:a 100-1")
    assert old.differs(container) == ["string", "stream"], "what is another is seen"
