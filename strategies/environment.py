"""What a target's environment may not tell the tools: what is dumped, and how it is written.

Who connects, where to and with which library stays the target's word (`PATH`, `HOME`, `TMPDIR`, `LD_LIBRARY_PATH`,
`PGHOST`, `PGPASSFILE`, `PGSERVICE`, `PGSSL*`, `MYSQL_PWD`, `REDISCLI_AUTH`), and so is all that somebody wrote for us
as `backup.env.*`. Start-up and option files are left out by options of the tools themselves (`--no-psqlrc`,
`--no-defaults`, `-init`); functions and options of the shell are also forgotten by `engine.seal`.
"""

from collections.abc import Mapping

LOCALE = ("LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")

NEUTRAL: Mapping[str, Mapping[str, str]] = {
    # bash(1), "Shell Variables" and "INVOCATION"; POSIX, sh, ENV.
    "shells": dict.fromkeys(("BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "CDPATH", "GLOBIGNORE", *LOCALE), ""),
    # gzip(1), zstd(1), xz(1), bzip2(1), lz4(1), pigz(1): "ENVIRONMENT".
    "compressors": dict.fromkeys(
        ("GZIP", "ZSTD_CLEVEL", "ZSTD_NBTHREADS", "XZ_OPT", "XZ_DEFAULTS", "BZIP", "BZIP2", "LZ4_CLEVEL", "PIGZ"), ""
    ),
    # tar(1), "ENVIRONMENT"; ls(1) for the names in its messages.
    "tar": {"TAR_OPTIONS": "", "TAPE": "", "QUOTING_STYLE": ""},
    # mysql.cc and mysqldump.cc of MariaDB 11.8: the two do not read the same of them, so that what is counted would be
    # another server's than what is dumped. `localhost` is the socket.
    "mysql": dict.fromkeys(("MYSQL_HOST", "MARIADB_HOST"), "localhost"),
    # PostgreSQL, libpq, "Environment Variables". What a session begins with is sent as it stands, empty as well,
    # unless it is `default` (fe-protocol3.c, build_startup_packet).
    "libpq": {
        **dict.fromkeys(("PGOPTIONS", "PGCLIENTENCODING", "PG_COLOR", "PG_COLORS"), ""),
        **dict.fromkeys(("PGDATESTYLE", "PGTZ", "PGGEQO"), "default"),
    },
}
"""For each kind of tool the variables that would change its work, and the value with which they do not."""
FUNCTION = "BASH_FUNC_"
"""How the names of functions that bash exports begin; what is no function's text is ignored (bash, variables.c)."""


def neutral(environment: Mapping[str, str]) -> dict[str, str]:
    """What every command in a target gets, so that nothing in the target's environment changes its work."""
    known = {name: value for tools in NEUTRAL.values() for name, value in tools.items()}
    functions = {name: "" for name in environment if name.startswith(FUNCTION)}
    return {name: value for name, value in known.items() if name in environment} | functions
