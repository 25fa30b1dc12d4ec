# Every kind of definition (rabbitmq.com/docs/definitions, rabbitmqctl(8)); `import` takes definitions as JSON.

# row vhosts
ctl add_vhost shop --description 'all of it' --tags production
ctl add_vhost 'a "b" ñ/c'; ctl set_vhost_limits -p shop '{"max-connections": 99}'

# row default_types since 3.11
ctl add_vhost typed --default-queue-type quorum

# row users
ctl add_user bob 'se"cret'; ctl set_user_tags bob monitoring management; ctl add_user carol x
ctl clear_password carol; ctl set_user_limits bob '{"max-channels": 7}'

# row permissions
ctl add_user dave x; ctl set_permissions -p / dave '^a' '' '.*'; ctl set_topic_permissions -p / dave amq.topic '^x' '.*'

# row queues
import <<'END'
{"queues": [{"vhost": "/", "name": "plain", "durable": true, "auto_delete": false, "arguments": {}},
 {"vhost": "/", "name": "q \"ñ\"", "durable": true, "auto_delete": false,
  "arguments": {"x-message-ttl": 60000, "x-max-length": 5, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "plain"}},
 {"vhost": "/", "name": "quorum", "durable": true, "auto_delete": false, "arguments": {"x-queue-type": "quorum"}},
 {"vhost": "/", "name": "stream", "durable": true, "auto_delete": false, "arguments": {"x-queue-type": "stream"}}]}
END

# row exchanges
import <<'END'
{"exchanges": [{"vhost": "/", "name": "d", "type": "direct", "durable": true, "auto_delete": false, "internal": false, "arguments": {}},
 {"vhost": "/", "name": "f", "type": "fanout", "durable": true, "auto_delete": false, "internal": false, "arguments": {}},
 {"vhost": "/", "name": "t", "type": "topic", "durable": true, "auto_delete": false, "internal": false, "arguments": {"alternate-exchange": "f"}},
 {"vhost": "/", "name": "h", "type": "headers", "durable": true, "auto_delete": false, "internal": false, "arguments": {}}]}
END

# row bindings
import <<'END'
{"bindings": [{"vhost": "/", "source": "t", "destination": "plain", "destination_type": "queue", "routing_key": "a.*.#", "arguments": {}},
 {"vhost": "/", "source": "h", "destination": "plain", "destination_type": "queue", "routing_key": "", "arguments": {"x-match": "all", "n": 7}},
 {"vhost": "/", "source": "t", "destination": "d", "destination_type": "exchange", "routing_key": "x", "arguments": {}}]}
END

# row policies
ctl set_policy -p / ttl '^pl' '{"message-ttl": 60000}' --priority 3 --apply-to queues
ctl set_operator_policy -p / limit '.*' '{"max-length": 100}' --apply-to queues

# row queue_kinds since 3.12
ctl add_vhost kinds; ctl set_policy -p kinds ttl '^pl' '{"message-ttl": 60000}' --apply-to classic_queues

# row parameters
ctl set_global_parameter mine '{"a": [1, "ñ"]}'
