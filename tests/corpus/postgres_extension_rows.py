"""Extensions of PostgreSQL that Debian has, and those that come with the server: a row of the corpus each.

Each brings a kind of object that a dump has to treat in its own way: types and index methods of its own, tables whose
rows are the user's, languages, triggers, jobs, tables that it makes itself.
"""

from tests.corpus.rows import BY_HAND, Row

ROWS = (
    Row(
        "contrib_types",
        """create extension isn schema contrib_types; create extension seg schema contrib_types;
        create extension earthdistance schema contrib_types cascade; create extension hstore schema contrib_types;
        create extension lo schema contrib_types; create extension xml2 schema contrib_types;
        create table t (i isbn13, s seg, c cube, h hstore, r lo); create trigger manage before update or delete on t
            for each row execute function lo_manage(r);
        insert into t values ('978-0-393-04002-9', '0.1 .. 7.5', '(1,2)', 'a=>b', lo_create(91001));
        create index on t using gist (s); create index on t using gist (ll_to_earth(1, 2))""",
    ),
    Row(
        "contrib_indexes",
        """create extension bloom schema contrib_indexes; create extension btree_gin schema contrib_indexes;
        create extension fuzzystrmatch schema contrib_indexes; create extension unaccent schema contrib_indexes;
        create extension dict_int schema contrib_indexes; create extension dict_xsyn schema contrib_indexes;
        create table t (a int, b int, x text); insert into t values (1, 2, 'Ñandú');
        create index on t using bloom (a, b) with (length = 80, col1 = 2); create index on t using gin (a);
        create function plain(x text) returns text language sql immutable return contrib_indexes.unaccent(x);
        create index on t (plain(x)); create index on t (soundex(x));
        create text search dictionary ints (template = intdict_template, maxlen = 4)""",
    ),
    Row(
        "contrib_triggers",
        """create extension moddatetime schema contrib_triggers; create extension insert_username schema contrib_triggers;
        create extension tcn schema contrib_triggers; create extension refint schema contrib_triggers;
        create table t (i int primary key, who text, at timestamp); insert into t values (1, 'a', '2026-01-01');
        create trigger m before update on t for each row execute function moddatetime(at);
        create trigger u before insert or update on t for each row execute function insert_username(who);
        create trigger n after insert on t for each row execute function triggered_change_notification()""",
    ),
    Row(
        "contrib_foreign",
        """create extension postgres_fdw schema contrib_foreign; create extension dblink schema contrib_foreign;
        create extension tablefunc schema contrib_foreign; create extension "uuid-ossp" schema contrib_foreign;
        create extension pg_stat_statements schema contrib_foreign; create extension pgcrypto schema contrib_foreign;
        create server contrib_foreign_s foreign data wrapper postgres_fdw options (host 'nowhere.example');
        create user mapping for public server contrib_foreign_s options (user 'u', password 'p');
        create foreign table f (i int) server contrib_foreign_s; create view v as select dblink_get_connections();
        create table t (u uuid default uuid_generate_v4(), p text); insert into t values (default, crypt('a', 'ab'))""",
    ),
    Row(
        "languages_more",
        """create extension plperl; create extension plperlu; create extension plpython3u; create extension pltcl;
        create function p() returns int language plperl as 'return 1;'; create function y() returns int language
            plpython3u as 'return 2'; create function c() returns int language pltcl as 'return 3';
        create extension bool_plperl cascade; create extension hstore_plpython3u cascade; create extension jsonb_plpython3u;
        create table t (i int default languages_more.y()); insert into t default values;
        create function tr() returns trigger language plpython3u as 'TD["new"]["i"] += 1; return "MODIFY"';
        create trigger tr before insert on t for each row execute function tr()""",
    ),
    Row(
        "shells",
        """create extension plsh; create function sh(t text) returns text language plsh as $$
#!/bin/sh
echo "$1"
$$; create table t (x text); insert into t values (sh('a'))""",
    ),
    Row(
        "postgis",
        """create extension postgis schema postgis; create extension postgis_raster schema postgis;
        create table places (id serial primary key, name text, at geometry(pointz, 4326), area geography(polygon), r raster);
        insert into places (name, at, area, r) values ('a', 'SRID=4326;POINT Z (1 2 3)', 'POLYGON((0 0,1 0,1 1,0 0))',
            st_makeemptyraster(3, 3, 0, 0, 1)), ('empty', 'SRID=4326;POINT Z EMPTY', null, null);
        create index on places using gist (at); create index on places using spgist (at); create index on places using brin (at);
        insert into spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) values (990001, 'own', 1, 'x', '+proj=longlat');
        create view near as select name, st_asewkt(at) as t from places where at && st_makeenvelope(0, 0, 5, 5, 4326);
        create table lines (g geometry check (st_isvalid(g)), l float8 generated always as (st_length(g)) stored);
        insert into lines values ('LINESTRING(0 0, 3 4)');
        create table m (g geometry(geometry, 990001)); insert into m values ('SRID=990001;POINT(0 0)')""",
    ),
    Row(
        "topology_own",
        """create database topology_own; \\connect topology_own
        create extension postgis; create extension postgis_topology; create extension postgis_tiger_geocoder cascade; select topology.createtopology('city', 4326);
        create table roads (id serial primary key); select topology.addtopogeometrycolumn('city', 'public', 'roads', 'g', 'LINE');
        insert into roads (g) values (topology.totopogeom('SRID=4326;LINESTRING(0 0,1 1)', 'city', 1))""",
        own=True,
    ),
    Row(
        "routing",
        """create database routing; \\connect routing
        create extension pgrouting cascade; create table e (id int, source int, target int, cost float8);
        insert into e values (1, 1, 2, 1.5); create view way as
            select node from pgr_dijkstra('select id, source, target, cost from e', 1, 2)""",
        own=True,
    ),
    Row(
        "vector",
        """create extension vector schema vector; create table t (id bigserial primary key, v vector(3), h halfvec(3), s sparsevec(5),
            b bit(3)); insert into t (v, h, s, b) values ('[1,2,3]', '[1,2,3]', '{1:1.5,3:2}/5', '101'), (null, null, null, null);
        create index on t using hnsw (v vector_l2_ops) with (m = 8); create index on t using ivfflat (v vector_cosine_ops) with
            (lists = 1); create index on t using hnsw (b bit_hamming_ops); create table a (v vector[]);
        insert into a values (array['[1,2]'::vector])""",
    ),
    Row(
        "cron",
        """create database cron; \\connect cron
        create extension pg_cron; select cron.schedule('nightly', '0 3 * * *', 'vacuum'), cron.schedule('@reboot', 'select 1');
        update cron.job set active = false where jobname is null; create table t (i int); insert into t values (1)""",
        own=True,
    ),
    Row(
        "partman",
        """create extension pg_partman schema partman; create table t (d timestamptz not null, i int) partition by range (d);
        select create_parent('partman.t', 'd', '1 month', p_start_partition := '2026-01-01');
        update part_config set retention = '5 years', infinite_time_partitions = true; insert into t values ('2026-01-05', 1)""",
    ),
    Row(
        "hypothetical",
        """create extension hypopg schema hypothetical; create table t (i int); insert into t values (1);
        select * from hypopg_create_index('create index on hypothetical.t (i)'); create view v as select indexrelid from hypopg_list_indexes""",
    ),
    Row(
        "sketches",
        """create extension hll schema sketches; create extension roaringbitmap schema sketches; create extension tdigest schema sketches;
        create table t (h hll, r roaringbitmap, d tdigest); insert into t values (hll_add(hll_empty(), hll_hash_integer(1)),
            rb_build(array[1, 2]), (select tdigest(x, 100) from generate_series(1, 100) x)); create extension pg_rational schema sketches;
        create table q (r rational); insert into q values ('1/3'); create index on q (r)""",
    ),
    Row(
        "addresses",
        """create extension ip4r schema addresses; create extension prefix schema addresses; create extension asn1oid schema addresses;
        create table t (i ip4r, i6 ipaddress, p prefix_range, o asn1oid); insert into t values ('10.0.0.0/8', '::1', '123[4-5]', '1.3.6');
        create index on t using gist (i); create index on t using gist (p)""",
    ),
    Row(
        "versions",
        """create extension semver schema versions; create extension debversion schema versions; create extension unit schema versions;
        create extension numeral schema versions; create extension pgmp schema versions;
        create table t (s semver, d debversion, u unit, n numeral, z mpz, q mpq); insert into t values
            ('1.2.3-rc1', '1:2.0~rc1-1', '9.81 m/s^2', 'forty-two', 123456789012345678901234567890, '1/3'); create index on t (s)""",
    ),
    Row(
        "search",
        """create extension rum schema search; create extension jsquery schema search; create extension pg_similarity schema search;
        create table t (v tsvector, j jsonb, q jsquery); insert into t values ('a fat cat', '{"a": 1}', 'a = 1');
        create index on t using rum (v rum_tsvector_ops); create index on t using gin (j jsonb_path_value_ops)""",
    ),
    Row(
        "oracle",
        """create database oracle; \\connect oracle
        create extension orafce; set search_path = public, oracle; create table t (v varchar2(9), d oracle.date default oracle.sysdate()); insert into t values ('a', '2026-01-01');
        create view v as select nvl(v::text, 'x'::text) as n from t; create function f() returns text language sql as $$ select oracle.substr('abc', 2) $$""",
        own=True,
    ),
    Row(
        "temporary",
        """create database temporary; \\connect temporary
        create extension pgtt; create /*GLOBAL*/ temporary table g (i int); create table t (i int); insert into t values (1)""",
        own=True,
    ),
    Row(
        "graph",
        """create database graph; \\connect graph
        create extension age; load 'age'; set search_path = ag_catalog, "$user", public; select create_graph('people');
        select * from cypher('people', $$ create (:person {name: 'a'})-[:knows]->(:person {name: 'b'}) $$) as (v agtype)""",
        own=True,
    ),
    Row(
        "timescale",
        """create database timescale; \\connect timescale
        create extension timescaledb; create table m (at timestamptz not null, device int, v float8);
        select create_hypertable('m', 'at', chunk_time_interval => interval '7 days');
        insert into m select t, 1, 0.5 from generate_series('2026-01-01'::timestamptz, '2026-03-01', '6 hours') t;
        create index on m (device, at desc); create table d (at timestamptz not null, k int, v text); select create_hypertable('d',
            'at'); select add_dimension('d', 'k', number_partitions => 2); insert into d values ('2026-01-01', 1, 'a'); create view w as select time_bucket('1 day', at) as day, avg(v) from m group by 1""",
        own=True,
        volatile=("metadata", "bgw_job"),
    ),
    Row(
        "queue",
        """create database queue; \\connect queue
        create extension pgq; select pgq.create_queue('jobs'); select pgq.register_consumer('jobs', 'one');
        select pgq.insert_event('jobs', 'kind', 'data')""",
        own=True,
        volatile=("_seq",),
    ),
    Row(
        "logical",
        """create database logical; \\connect logical
        create extension pglogical; select pglogical.create_node('n', 'host=nowhere.example dbname=logical');
        create table t (i int primary key); insert into t values (1); select pglogical.create_replication_set('own');
        select pglogical.replication_set_add_table('own', 't')""",
        own=True,
        volatile=("logical depend", "logical local_", "logical node", "logical replication_"),
    ),
    Row(
        "audit",
        """create extension pgaudit; create extension set_user schema audit; create extension credcheck schema audit; create extension pgtap schema audit;
        create extension plpgsql_check schema audit; create extension pg_repack; create extension table_log schema audit cascade""",
    ),
    Row(
        "foreign_wrappers",
        """create extension mysql_fdw schema foreign_wrappers; create server foreign_wrappers_s foreign data wrapper mysql_fdw
            options (host 'nowhere.example', port '3306'); create user mapping for postgres server foreign_wrappers_s
            options (username 'u', password 'p'); create foreign table f (i int) server foreign_wrappers_s
            options (dbname 'd', table_name 't')""",
    ),
    Row(
        "clouds",
        """create database clouds; \\connect clouds
        create extension pointcloud; insert into pointcloud_formats (pcid, srid, schema) values (1, 4326, '<?xml version="1.0"?>
            <pc:PointCloudSchema xmlns:pc="http://pointcloud.org/schemas/PC/1.1"><pc:dimension><pc:position>1</pc:position>
            <pc:size>4</pc:size><pc:name>X</pc:name><pc:interpretation>int32_t</pc:interpretation><pc:scale>0.01</pc:scale>
            </pc:dimension><pc:dimension><pc:position>2</pc:position><pc:size>4</pc:size><pc:name>Y</pc:name>
            <pc:interpretation>int32_t</pc:interpretation><pc:scale>0.01</pc:scale></pc:dimension></pc:PointCloudSchema>');
        create table p (id serial, pt pcpoint(1)); insert into p (pt) values (pc_makepoint(1, array[1.5, 2.5]))""",
        own=True,
        without={BY_HAND: "pg_restore loads the points before the formats that they need, and stops"},
    ),
    Row(
        "periods",
        """create database periods; \\connect periods
        create extension periods cascade; create table t (id int primary key, s date, e date);
        select periods.add_period('t', 'validity', 's', 'e'), periods.add_unique_key('t', array['id'], 'validity');
        create table versioned (id int primary key, v text); select periods.add_system_time_period('versioned');
        select periods.add_system_versioning('versioned'); insert into versioned (id, v) values (1, 'a');
        update versioned set v = 'b'; insert into t values (1, '2026-01-01', '2026-02-01');
        create table r (id int, of int, s date, e date); select periods.add_period('r', 'validity', 's', 'e');
        select periods.add_foreign_key('r', array['of'], 'validity', 't_id_validity');
        insert into r values (7, 1, '2026-01-03', '2026-01-05')""",
        own=True,
        without={
            BY_HAND: "its event trigger refuses what pg_restore makes: set PGOPTIONS='-c event_triggers=off' before"
        },
    ),
)
