# Two databases, one with an odd name, a role, an extension; then the local socket needs a password too.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
create role auditor login password 'an auditor''s own';
create table account (id serial primary key, owner text not null, amount numeric(12, 2), seal bytea, note jsonb);
insert into account (owner, amount, seal, note)
    select 'Ñandú ' || n || E'\n\t\\', n * 1.25, decode(md5(n::text), 'hex'), jsonb_build_object('n', n)
    from generate_series(1, 8000) n;
create view rich as select owner from account where amount > 5000;
create function doubled(n int) returns int language sql as 'select n * 2';
create extension hstore;
create table tagged as select n as id, hstore('of', n::text) as tags from generate_series(1, 50) n;
select lo_from_bytea(4711, 'a large object');
grant select on account to auditor;
create database "odd ""name"" = {1} \ ñ";
SQL
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" 'dbname='\''odd "name" = {1} \\ ñ'\''' <<'SQL'
create table "Table with space" (id int primary key, "select" text);
insert into "Table with space" select n, repeat('x', n) from generate_series(1, 100) n;
SQL
sed -i '1i local all all scram-sha-256' "$PGDATA/pg_hba.conf"
