# Every kind of what etcd keeps (etcd.io/docs/v3.5/learning/data_model, op-guide/authentication).
# A key belongs to the row that its name begins with.

# row keys
etcdctl put keys/text 'hello "world"'; etcdctl put keys/empty ''; printf 'a\0b\r\n\377' | etcdctl put keys/binary
etcdctl put 'keys/with "quotes" $x `y`' 1; etcdctl put keys/ñ😀 1

# row large
head -c 1000000 /dev/urandom | etcdctl put large/one

# row many
for n in $(seq 200); do printf 'put many/%s value%s\n' $n $n; done | split -l 100 --filter='{ echo; cat; echo; echo; } | etcdctl txn'

# row versions
for n in 1 2 3; do etcdctl put versions/a $n; done; etcdctl put versions/gone 1; etcdctl del versions/gone

# row leases
lease=$(etcdctl lease grant 86400 | sed 's/lease \([0-9a-f]*\) .*/\1/'); etcdctl put --lease=$lease leases/a 1

# row users
etcdctl role add reader; etcdctl role grant-permission reader --prefix=true read keys/
etcdctl user add bob:secret; etcdctl user grant-role bob reader; etcdctl user add --no-password carol
