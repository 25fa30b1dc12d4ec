"""Each kind of object of MariaDB's manual (SQL structure, data types, engines): a row of the corpus each, made by its SQL.

A row's objects are in the database `corpus`, and their names begin with the row's; one with `own` makes databases whose
names do.
"""

from tests.corpus.rows import BY_HAND, Row

ROWS = (
    Row(
        "numbers",
        """create table numbers_t (b bit(9), ti tinyint unsigned, s smallint, m mediumint, i int zerofill, bi bigint unsigned,
            d decimal(65,30), f float(10,4), dd double, bo boolean);
        insert into numbers_t values (b'101010101', 255, -32768, 8388607, 42, 18446744073709551615,
            12345678901234567890123456789012345.123456789012345678901234567890, 1234.5678, 1.7976931348623157e308, true),
            (null, 0, 0, 0, 0, 0, 0, 0.0001, 0.1, false)""",
    ),
    Row(
        "floats",
        "create table floats_t (id int primary key, f float); insert into floats_t values (1, 16777216), (2, 1.23456789)",
        without={"rows": "mariadb-dump writes six digits of a FLOAT"},
        told="inexact: the client writes 6 digits of FLOAT",
    ),
    Row(
        "texts",
        r"""create table texts_t (c char(5), v varchar(9) character set latin1, t tinytext, mt mediumtext, lt longtext
            character set utf16, e enum('a','b''"','ñ'), s set('x','y'), j json, b binary(4), vb varbinary(9), bl blob,
            ci varchar(9) collate utf8mb4_bin, big5 varchar(9) character set big5);
        insert into texts_t values ('a ', 'ñ', '\\N', '\t\n\r\0\Z\'"', '😀漢', 'b''"', 'x,y', '{"a":  [1e3]}', x'00ff', x'00',
            x'00275c220a1a', 'É', '中'), (null, '', '', null, null, 'ñ', '', null, null, '', null, null, null)""",
    ),
    Row(
        "times",
        """create table times_t (d date, dt datetime(6), ts timestamp(3) null default current_timestamp(3) on update
            current_timestamp(3), t time(2), y year); insert into times_t values ('0000-00-00', '9999-12-31 23:59:59.999999',
            '2026-03-29 01:30:00.123', '-838:59:59', 1901), ('2026-00-00', '1000-01-01', '2026-10-25 02:30:00', '00:00', 2155)""",
    ),
    Row(
        "newer_types",
        """create table newer_types_t (u uuid, i6 inet6, i4 inet4);
        insert into newer_types_t values ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::ffff:1.2.3.4', '1.2.3.4')""",
        since="10.10",
    ),
    Row(
        "spatial",
        """create table spatial_t (g geometry not null, p point, ls linestring, po polygon, gc geometrycollection, spatial index (g));
        insert into spatial_t values (point(1.5, -2e100), point(0, 0), st_geomfromtext('linestring(0 0,1 1)'),
            st_geomfromtext('polygon((0 0,1 0,1 1,0 0))'), st_geomfromtext('geometrycollection(point(1 1))'))""",
    ),
    Row(
        "vectors",
        """create table vectors_t (id int primary key, v vector(3) not null, vector index (v));
        insert into vectors_t values (1, vec_fromtext('[0.1,0.2,0.3]'))""",
        since="11.7",
    ),
    Row(
        "odd_names",
        """create table `odd_names we``ird.'"\\tab; -- x` (`a b` int, `select` int, `ñ漢` int comment 'it''s; `x`.`y`');
        insert into `odd_names we``ird.'"\\tab; -- x` values (1, 2, 3);
        create view `odd_names v``'w` as select `a b` from `odd_names we``ird.'"\\tab; -- x`;
        create index `i``x` on `odd_names we``ird.'"\\tab; -- x` (`a b`); create table `odd_names_%_` (i int)""",
    ),
    Row(
        "engines",
        """create table engines_aria (i int, key (i)) engine=Aria transactional=1; insert into engines_aria values (1);
        create table engines_myisam (i int, t text, fulltext (t)) engine=MyISAM; insert into engines_myisam values (1, 'words');
        create table engines_csv (i int not null) engine=CSV; insert into engines_csv values (1);
        create table engines_memory (i int) engine=MEMORY; insert into engines_memory values (1);
        create table engines_a (i int) engine=MyISAM; create table engines_merge (i int) engine=MERGE union=(engines_a);
        insert into engines_a values (7)""",
        told="not-in-snapshot:",
    ),
    Row(
        "formats",
        """create table formats_c (i int primary key, t mediumtext) row_format=compressed key_block_size=8 comment='c';
        insert into formats_c values (1, repeat('x', 100000)); create table formats_p (t text) page_compressed=1;
        create table formats_r (i int) row_format=redundant stats_persistent=0 character set latin1 collate latin1_german2_ci;
        create table formats_cc (t text compressed, h int invisible default 3); insert into formats_cc (t) values ('a')""",
    ),
    Row(
        "generated",
        """create table generated_t (a int, v int as (a * 2) virtual, p int as (a + 1) persistent, h int invisible default 5,
            u char(36) default uuid(), e varchar(50) default concat('x', a), check (a > 0), constraint c2 check (p < 1000),
            key (v)); insert into generated_t (a) values (1), (2);
        create table generated_auto (id int unsigned auto_increment primary key, zero int) auto_increment=100;
        set sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; insert into generated_auto values (0, 1), (null, 2); set sql_mode = default""",
    ),
    Row(
        "indexes",
        """create table indexes_t (i int, x varchar(300), t text, key (x(10) desc), unique (i, x), fulltext ft (t), key ig (i) ignored,
            unique uh (t) using hash); insert into indexes_t values (1, 'a', 'words here')""",
    ),
    Row(
        "foreign_keys",
        """create table foreign_keys_b (id int primary key, a int); create table foreign_keys_a (id int primary key, b int,
            constraint `fk a` foreign key (b) references foreign_keys_b (id) on delete set null on update cascade);
        insert into foreign_keys_b values (1, 1); insert into foreign_keys_a values (1, 1);
        alter table foreign_keys_b add foreign key (a) references foreign_keys_a (id);
        create table foreign_keys_self (id int primary key, up int, foreign key (up) references foreign_keys_self (id));
        set foreign_key_checks = 0; insert into foreign_keys_self values (1, 2), (2, 1); set foreign_key_checks = 1""",
    ),
    Row(
        "sequences",
        """create sequence sequences_s start 7 increment 3; select nextval(sequences_s);
        create sequence sequences_down start -1 increment -1 minvalue -100 maxvalue -1 cycle; select nextval(sequences_down);
        create sequence sequences_far maxvalue 9223372036854775806 nocache; select setval(sequences_far, 9000000000000000000);
        create table sequences_t (id bigint default next value for sequences_s primary key, v int);
        insert into sequences_t (v) values (1), (2)""",
    ),
    Row(
        "history",
        """create table history_t (id int primary key, amount int) with system versioning; insert into history_t values (1, 10),
            (2, 20); update history_t set amount = 11 where id = 1; update history_t set amount = 12 where id = 1;
        delete from history_t where id = 2; create table history_part (x int) with system versioning partition by system_time
            interval 1 day partitions 3; insert into history_part values (1); update history_part set x = 2;
        create table history_own (x int, y int without system versioning, s timestamp(6) generated always as row start,
            e timestamp(6) generated always as row end invisible, period for system_time (s, e)) with system versioning;
        insert into history_own (x, y) values (1, 1); update history_own set x = 2""",
        since="10.11",
    ),
    Row(
        "transaction_history",
        """create database transaction_history; use transaction_history;
        create table t (x int, s bigint unsigned generated always as row start, e bigint unsigned generated
            always as row end, period for system_time (s, e)) with system versioning; insert into t (x)
            values (1); update t set x = 2; create table plain (x int) with system versioning; insert into plain values (1)""",
        own=True,
        without={"rows": "the numbers of transactions are the server's own"},
        told="history-left-out: ",
    ),
    Row(
        "periods",
        """create table periods_t (id int, s date, e date, period for app (s, e), unique (id, app without overlaps));
        insert into periods_t values (1, '2026-01-01', '2026-02-01')""",
    ),
    Row(
        "partitions",
        """create table partitions_r (d date, k int) partition by range columns (d) subpartition by hash (k) subpartitions 2
            (partition p0 values less than ('2026-01-01'), partition p1 values less than maxvalue);
        insert into partitions_r values ('2025-01-01', 1), ('2027-01-01', 2);
        create table partitions_l (k int) partition by list (k) (partition a values in (1, null), partition b default);
        insert into partitions_l values (1), (9), (null); create table partitions_k (k int primary key) partition by key ()
            partitions 3; insert into partitions_k values (1), (2), (3)""",
    ),
    Row(
        "views",
        """create table views_t (i int, x varchar(9)); insert into views_t values (1, 'a');
        create view views_zz as select * from views_t where i > 0 with cascaded check option;
        create algorithm=temptable sql security invoker view views_aa (a, b) as select i, x from views_zz;
        create function views_f(i int) returns int deterministic return i + 1;
        create view views_ab as select views_f(a) as n from views_aa; create view views_text as select 'it''s; \\\\n`x`' as `a;``b`""",
    ),
    Row(
        "broken_views",
        """create table broken_views_gone (i int); create view broken_views_v as select * from broken_views_gone;
        create view broken_views_over as select * from broken_views_v; drop table broken_views_gone;
        create table broken_views_kept (i int); insert into broken_views_kept values (1);
        create table broken_views_part (i int) engine=MyISAM; create table broken_views_merge (i int) engine=MERGE
            union=(broken_views_part); drop table broken_views_part""",
        without={"schema": "what can no longer be read is not dumped, and told"},
        told="left-out: the view broken_views_v of corpus",
    ),
    Row(
        "triggers",
        """create table triggers_t (i int); create table triggers_log (i int, w varchar(9)); insert into triggers_t values (1);
        create trigger triggers_b before insert on triggers_t for each row set new.i = new.i + 1;
        create trigger triggers_a2 after insert on triggers_t for each row insert into triggers_log values (new.i, 'two');
        create trigger triggers_a1 after insert on triggers_t for each row precedes triggers_a2
            insert into triggers_log values (new.i, 'one')""",
    ),
    Row(
        "routines",
        """delimiter //
create procedure routines_p(in a int, out b varchar(9), inout c int) comment 'it''s' modifies sql data sql security invoker
begin declare x int default 1; declare exit handler for sqlexception begin end; select 'a;b' into b; set c = x; end//
create function routines_f(s varchar(9) character set latin1) returns varchar(9) character set latin1 no sql
return concat(s, ';;')//
create aggregate function routines_agg(x int) returns int begin declare n int default 0;
declare continue handler for not found return n; loop fetch group next row; set n = n + x; end loop; end//
set sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'//
create procedure "routines_ansi"() select "routines_ansi" || 'x' from (select 1 as "routines_ansi") t//
set sql_mode = 'NO_BACKSLASH_ESCAPES'//
create procedure routines_back() select 'a\\\\', '//DELIMITER ;;'//
set sql_mode = 'ORACLE'//
create package routines_pack as procedure p; function f return int; end//
create package body routines_pack as x int := 1; procedure p as begin x := x + 1; end; function f return int as begin return x; end; end//
create procedure routines_ora(a in out int) as begin a := 1; exception when others then null; end//
set sql_mode = default//
delimiter ;""",
    ),
    Row(
        "events",
        """create event events_e on schedule every 1 day starts '2031-01-01 03:00:00' ends '2037-01-01 00:00:00' on completion
            preserve disable comment 'it''s' do set @x = 1; create event events_once on schedule at '2037-01-01 00:00:00' do
            set @x = 'a;b'""",
    ),
    Row(
        "accounts",
        """create user accounts_a@'%' identified by 'x' require ssl with max_user_connections 5 password expire never;
        create user accounts_b@localhost identified via unix_socket or mysql_native_password account lock;
        create role accounts_r; grant accounts_r to accounts_a@'%' with admin option; set default role accounts_r for accounts_a@'%';
        create table accounts_t (i int, x int); insert into accounts_t values (1, 1); create procedure accounts_p() select 1;
        grant select (i), insert on corpus.accounts_t to accounts_a@'%' with grant option;
        grant execute on procedure corpus.accounts_p to accounts_r; grant select on `corpus`.* to accounts_r;
        grant process, replication client on *.* to accounts_b@localhost; grant proxy on accounts_a@'%' to accounts_b@localhost""",
    ),
    Row(
        "servers",
        """create server servers_s foreign data wrapper mysql options (host 'nowhere.example', database 'd''', user 'u',
            password 'p"', port 3307, owner 'o')""",
    ),
    Row(
        "to_public",
        """create table to_public_t (i int, x int); grant select on corpus.to_public_t to public;
        grant insert (x) on corpus.to_public_t to public; create database to_public_d; grant select on to_public_d.* to public""",
        since="10.11",
    ),
    Row(
        "stale_grants",
        """create table stale_grants_gone (i int, x int); create table stale_grants_kept (i int, x int);
        create user stale_grants_u@'%'; grant select on corpus.stale_grants_gone to stale_grants_u@'%';
        grant select (i, x), insert on corpus.stale_grants_kept to stale_grants_u@'%';
        drop table stale_grants_gone; alter table stale_grants_kept drop x; insert into stale_grants_kept values (1)""",
        without={"schema": "what is granted on what is no longer there cannot be granted again, and is told"},
        told="left-out: the grant of SELECT on corpus.stale_grants_",
    ),
    Row(
        "definers",
        """create database definers; use definers; create user definers_u@'%' identified by 'pw'; grant all on definers.* to
            definers_u@'%'; create table t (i int primary key); insert into t values (1), (2);
        create definer=definers_u@'%' view a_v as select * from t; create definer=definers_u@'%' view b_v as
            select count(*) n from a_v; create user definers_gone@'%'; grant all on definers.* to definers_gone@'%';
        create definer=definers_gone@'%' view lost as select * from t; create definer=definers_gone@'%' procedure p() select 1;
        create definer=definers_u@'%' trigger tr before insert on t for each row set new.i = new.i;
        create definer=definers_u@'%' event e on schedule every 1 day disable do set @x = 1; drop user definers_gone@'%'""",
        own=True,
    ),
    Row(
        "across",
        """create database across_a; create database across_b; create table across_a.t (i int); insert into across_a.t values (1);
        create view across_b.v4 as select * from across_a.t; create view across_a.v3 as select * from across_b.v4;
        create view across_b.v2 as select * from across_a.v3; create view across_a.v1 as select * from across_b.v2;
        create function across_b.f() returns int return 3; create view across_a.vf as select across_b.f() as n;
        create table across_b.kid (i int primary key); create table across_a.parent (i int primary key);
        insert into across_a.parent values (1); insert into across_b.kid values (1);
        alter table across_b.kid add foreign key (i) references across_a.parent (i)""",
        own=True,
        databases=("across_a", "across_b"),
        without={BY_HAND: "views that look into another database need the lines once more"},
    ),
    Row(
        "character_sets",
        """create database character_sets character set latin1 collate latin1_german2_ci comment 'it''s'; use character_sets;
        create table t (x varchar(9)); insert into t values ('ñ'); create procedure p(a varchar(9)) select a, 'ñ';
        create database `character_sets odd ``x` character set utf16; create table `character_sets odd ``x`.t (x varchar(9));
        insert into `character_sets odd ``x`.t values ('😀')""",
        own=True,
        databases=("character_sets", "character_sets odd `x"),
    ),
    Row("empty", "create database empty_one", own=True, databases=("empty_one",)),
)
