"""Engines and plugins of MariaDB that Debian has, a row of the corpus each; names as in `mariadb_rows`."""

from tests.corpus.rows import BY_HAND, Row

ROWS = (
    Row(
        "archive",
        """create database archive; use archive; create table t (i int auto_increment primary key, t mediumtext) engine=ARCHIVE;
        insert into t (t) values ('a'), (repeat('x', 100000))""",
        own=True,
        without={BY_HAND: "the engine takes no number below its AUTO_INCREMENT, so take that out of the CREATE TABLE"},
        told="not-in-snapshot:",
    ),
    Row("blackhole", "create table blackhole_t (i int) engine=BLACKHOLE; insert into blackhole_t values (1)"),
    Row(
        "rocks",
        """create table rocks_t (id int auto_increment primary key, v varchar(20) collate utf8mb4_bin, key (v) comment 'cf_rocks')
            engine=RocksDB; insert into rocks_t (v) values ('a'), (null)""",
    ),
    Row(
        "mroonga",
        """create table mroonga_t (id int primary key, t text, fulltext key (t) comment 'tokenizer "TokenBigram"') engine=Mroonga;
        insert into mroonga_t values (1, '漢字 words')""",
    ),
    Row(
        "outward",
        """create table outward_csv (i int not null, x char(9) not null) engine=CONNECT table_type=CSV file_name='outward.csv'
            header=1; insert into outward_csv values (1, 'a'); create server outward_s foreign data wrapper mysql options
            (host '127.0.0.1', database 'd', user 'u', password 'p', port 9);
        create table outward_spider (i int primary key) engine=Spider comment='wrapper "mysql", srv "outward_s", table "t"'""",
        without={"rows": "their rows are elsewhere"},
        told="left-out: the rows of corpus.outward_",
    ),
    Row(
        "graphs",
        """create table graphs_b (o bigint unsigned not null, d bigint unsigned not null, primary key (o, d), key (d));
        insert into graphs_b values (1, 2), (2, 3); create table graphs_g (latch varchar(32) null, origid bigint unsigned null,
            destid bigint unsigned null, weight double null, seq bigint unsigned null, linkid bigint unsigned null,
            key (latch, origid, destid) using hash, key (latch, destid, origid) using hash)
            engine=OQGRAPH data_table='graphs_b' origid='o' destid='d'""",
    ),
    Row(
        "providers",
        "".join(
            f"""set global innodb_compression_algorithm = '{name}'; create table providers_{name} (t mediumtext) page_compressed=1;
        insert into providers_{name} values (repeat('x', 100000)); flush tables providers_{name} for export; unlock tables;
        """
            for name in ("lz4", "lzo", "lzma", "bzip2", "snappy")
        ),
    ),
    Row(
        "checked_passwords",
        """install soname 'simple_password_check'; create user checked_passwords_u@'%' identified by 'Aa1!Bb2?long';
        grant select on corpus.* to checked_passwords_u@'%'""",
    ),
)
