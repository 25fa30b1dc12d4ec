# Every kind of what InfluxDB 1 keeps (docs.influxdata.com/influxdb/v1, line protocol, InfluxQL): the database `row_NAME` for each row.
# `points` takes lines into a database, `ask` asks.

# row types
points types <<'END'
m,a=1 float=1.5,int=7i,text="a \"b\" \\ c",yes=t,no=F 1700000000000000001
m,a=1 float=-1e-300,int=-9223372036854775808i,text="" 1700000000000000002
END

# row times
points times <<'END'
m v=1 -1000000000000000000
m v=2 0
m v=3 4102444800123456789
END

# row tags
points tags <<'END'
m,host=a,zone=x v=1 1
m,host=b v=2 1
m,host=a\ b\,c\=d v=3 1
m v=4 1
m,ñ=😀 v=5 1
END

# row measurements
points measurements <<'END'
a\ b\,c v=1 1
"quoted" v=2 1
ñ v=3 1
END

# row many
for n in $(seq 3000); do echo "cpu,host=h$((n % 100)) v=$n $n"; done | points many

# row policies
ask 'CREATE RETENTION POLICY short ON row_policies DURATION 52w REPLICATION 1 SHARD DURATION 1d DEFAULT'
ask 'CREATE RETENTION POLICY "for ever" ON row_policies DURATION INF REPLICATION 1'
ask 'INSERT INTO "for ever" m v=1 1' -database row_policies
echo "m v=2 $(date +%s)000000000" | points policies

# row queries
ask 'CREATE CONTINUOUS QUERY "c,q" ON row_queries RESAMPLE EVERY 1h FOR 2h BEGIN SELECT mean("v") INTO "m 2" FROM "m" GROUP BY time(1h), * END'
ask 'CREATE CONTINUOUS QUERY plain ON row_queries BEGIN SELECT max(v) INTO m3 FROM m GROUP BY time(1h) END'

# row nothing
ask 'CREATE RETENTION POLICY week ON row_nothing DURATION 7d REPLICATION 1'
