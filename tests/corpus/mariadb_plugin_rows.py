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
        "outward",
        """create table outward_csv (i int not null, x char(9) not null) engine=CONNECT table_type=CSV file_name='outward.csv'
            header=1; insert into outward_csv values (1, 'a')""",
        without={"rows": "their rows are elsewhere"},
        told="left-out: the rows of corpus.outward_",
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
