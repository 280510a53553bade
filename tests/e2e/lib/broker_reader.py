"""Prints what is published on the exchange live_events, one JSON object per line."""
import json
import time

import pika

# The edge may still be about to declare the exchange: this side makes it as a consumer of the original would.
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1"))
channel = connection.channel()
channel.exchange_declare("live_events", exchange_type="topic", durable=True)
queue = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(queue, "live_events", routing_key="#")
print("bound")


def show(_channel, method, properties, body):
    print(json.dumps({
        "topic": method.routing_key,
        "body": json.loads(body),
        "persistent": properties.delivery_mode == 2,
        "type": properties.content_type,
        "at": time.time(),
    }))


channel.basic_consume(queue, show, auto_ack=True)
channel.start_consuming()
