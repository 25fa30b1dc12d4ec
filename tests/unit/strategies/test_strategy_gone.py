"""What the tools print where their server closed the connection; whatever else they complain of does not pass."""

import re

import pytest

from strategies import discover

PASSING = {
    "postgres": """pg_dump: error: query failed: server closed the connection unexpectedly
        pg_dump: error: query failed: FATAL:  terminating connection due to administrator command
        psql: error: connection to server on socket "/run/x" failed: FATAL:  the database system is starting up
        pg_dumpall: error: could not connect to database "postgres"
        psql: error: connection to server at "::1", port 5432 failed: Connection refused
        pg_dump: error: connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or directory""",
    "mysql": """mariadb-dump: Error 2013: Lost connection to server during query when dumping table `t` at row: 5
        mysqldump: Couldn't execute 'show fields from `t`': MySQL server has gone away (2006)
        mariadb-dump: Got error: 2002: "Can't connect to local server through socket '/run/mysqld/mysqld.sock' (2)"
        mysqldump: Got error: 1053: "Server shutdown in progress" when selecting the database""",
    "etcd": """Error: context deadline exceeded
        Error: rpc error: code = Unavailable desc = error reading from server: EOF""",
    "influxdb": """Failed to connect to http://127.0.0.1:8086: dial tcp: connect: connection refused""",
    "rabbitmq": """Error: unable to perform an operation on node 'rabbit@box'. Please see diagnostics information""",
    "redis": """Could not connect to Redis at 127.0.0.1:6379: Connection refused
        Error: Server closed the connection
        LOADING Redis is loading the dataset in memory""",
}
LASTING = {
    "postgres": """pg_dump: error: query failed: ERROR:  permission denied for table secret
        psql: error: connection to server on socket "/run/x" failed: FATAL:  password authentication failed for user "x"
        pg_dump: error: connection to server on socket "/run/x" failed: FATAL:  database "gone" does not exist""",
    "mysql": """mariadb-dump: Got error: 1045: "Access denied for user 'root'@'localhost' (using password: YES)"
        mariadb-dump: Got error: 1049: "Unknown database 'x'" when selecting the database""",
    "etcd": "Error: etcdserver: permission denied",
    "influxdb": "ERR: unable to parse authentication credentials",
    "rabbitmq": "Error: No permissions to read from file /tmp/x or its parent directory",
    "redis": "NOAUTH Authentication required.",
}


def lines(texts: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, line.strip()) for name, text in texts.items() for line in text.splitlines()]


@pytest.mark.parametrize(("name", "line"), lines(PASSING))
def test_a_server_that_is_gone_is_a_passing_failure(name: str, line: str) -> None:
    assert re.search(discover()[name].gone, line)


@pytest.mark.parametrize(("name", "line"), lines(LASTING))
def test_what_lasts_is_none(name: str, line: str) -> None:
    assert not re.search(discover()[name].gone, line)
