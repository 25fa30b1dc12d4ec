#!/usr/bin/env bash
# The bank in PostgreSQL, once: pgbench's tables at scale 10, some trade, and what belongs to the whole cluster.
set -euo pipefail

export PGUSER=$POSTGRES_USER PGDATABASE=$POSTGRES_DB
pgbench --initialize --init-steps=dtgvpf --scale=10 --quiet
pgbench --client=4 --transactions=500 --no-vacuum
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 <<'SQL'
CREATE ROLE clerks NOLOGIN;
CREATE ROLE "Zoë O'Hara" LOGIN PASSWORD 'only for the demo' CONNECTION LIMIT 3 IN ROLE clerks;
COMMENT ON ROLE clerks IS 'may look, but not touch';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerks;

CREATE TABLE notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    branch int REFERENCES pgbench_branches (bid),
    written timestamptz NOT NULL,
    amount numeric(30, 12),
    text text,
    scan bytea,
    tags text[],
    extra jsonb
);
INSERT INTO notes (branch, written, amount, text, scan, tags, extra)
SELECT 1 + n % 10, timestamptz '1999-12-31 23:59:59.999999+00' + n * interval '17 hours 1 microsecond',
    CASE WHEN n % 5 > 0 THEN (n * n)::numeric / 7 END,
    CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'tab\tbreak\nback\\slash' ELSE '¡Olé! 日本語 🎉 ' || n END,
    decode(md5(n::text), 'hex'), ARRAY['a', NULL, 'b "quoted", ' || n], jsonb_build_object('n', n, 'void', NULL)
FROM generate_series(1, 2000) AS n;
CREATE VIEW wealth AS SELECT bid, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid;
SQL
