# Every type, encoding and setting of a key in the manual of Redis (redis.io/docs/latest/develop/data-types).
# $R is the client; a key belongs to the row that its name begins with.

# row string
$R SET string:text 'hello "world"'; $R SET string:number 42; $R SET string:empty ''
head -c 3000000 /dev/urandom | $R -x SET string:large; printf 'a\0b\r\n' | $R -x SET string:binary

# row bitmap
$R SETBIT bitmap:far 100000 1; $R BITFIELD bitmap:field SET u8 3 200

# row hyperloglog
$R PFADD hyperloglog:sparse a b c; seq 5000 | xargs $R PFADD hyperloglog:dense

# row list
$R RPUSH list:small a b ''; seq 9000 | xargs $R RPUSH list:long; head -c 20000 /dev/zero | tr '\0' x | $R -x RPUSH list:wide

# row set
$R SADD set:numbers 1 2 9000000000; $R SADD set:words a b c; seq -f 'member %g' 2000 | sed 's/.*/"&"/' | xargs $R SADD set:large

# row zset
$R ZADD zset:small 1 a -inf b +inf c 0.1 d; seq 2000 | sed 's/.*/& m&/' | xargs $R ZADD zset:large

# row hash
$R HSET hash:small a 1 b ''; seq 2000 | sed 's/.*/f& v&/' | xargs $R HSET hash:large

# row hash_expiry since 7.4
$R HSET hash_expiry:a stays 1 goes 2; $R HEXPIRE hash_expiry:a 86400 FIELDS 1 goes

# row geo
$R GEOADD geo:a 13.361389 38.115556 Palermo 15.087269 37.502669 Catania

# row stream since 5.0
for n in $(seq 300); do echo "XADD stream:a $n-1 field value$n other $n"; done | $R --pipe >/dev/null
$R XDEL stream:a 7-1 300-1; $R XTRIM stream:a MAXLEN 250
$R XGROUP CREATE stream:a workers 100-0; $R XREADGROUP GROUP workers one COUNT 5 STREAMS stream:a '>'; $R XACK stream:a workers 101-1
$R XGROUP CREATECONSUMER stream:a workers idle; $R XGROUP CREATE stream:empty late '$' MKSTREAM; $R XSETID stream:a 400-0

# row expiry
$R SET expiry:far x PX 86400000000; $R SET expiry:at x; $R PEXPIREAT expiry:at 4102444800123; $R RPUSH expiry:list a; $R EXPIRE expiry:list 100000

# row names
$R SET 'names:with "quotes" and $x `y`' 1; printf 'names:\0\n\377' | $R -x EVAL 'redis.call("SET", ARGV[1], "binary")' 0; $R SET 'names:ñ😀' 1

# row databases
for n in 1 9 15; do $R -n $n SET databases:a $n; done

# row functions since 7.0
$R FUNCTION LOAD "#!lua name=shop
redis.register_function('twice', function(keys, args) return 2 * args[1] end)"
$R FUNCTION LOAD "#!lua name=other
redis.register_function{function_name='look', callback=function() return 'x' end, flags={'no-writes'}}"
