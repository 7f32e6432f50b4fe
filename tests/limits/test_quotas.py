#!/usr/bin/python3
"""Quotas as an unmodified client sees them: librdkafka is told to wait, waits, and what comes through is the rate that was set; when
the rule goes, so does the wait. Also `weir quota`, on a running server and on a directory. Arguments: WEIR."""
import json
import os
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'protocol'))
try:
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    sys.exit(77)
from server import Server  # noqa: E402

RATE = 100_000


def weir(server, *arguments, where=None, code=0):
    done = subprocess.run([server.weir, *arguments, *(where or ['--broker', server.kafka])], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f'weir {arguments}: {done.returncode}: {done.stderr}'
    return done.stdout + done.stderr


def send(server, name, seconds):
    """Bytes a second that were acknowledged, and how often the client was told to wait."""
    waits, acked = [], [0]

    def delivered(error, message):
        assert error is None, error
        acked[0] += len(message.value())
    client = Producer({'bootstrap.servers': server.kafka, 'client.id': name, 'linger.ms': 5, 'batch.size': 20000,
                       'queue.buffering.max.messages': 1000, 'log_level': 0, 'throttle_cb': lambda event: waits.append(event.throttle_time)})
    client.produce('t', b'', partition=0)  # now it knows the topic: until then it may wait for a second
    client.flush(20)
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        try:
            client.produce('t', b'x' * 1000, partition=0, on_delivery=delivered)
            client.poll(0)
        except BufferError:
            client.poll(0.05)
    rate = acked[0] / (time.monotonic() - begin)
    client.purge(in_queue=True, in_flight=False)
    return rate, waits


def read(server, name, seconds):
    client = Consumer({'bootstrap.servers': server.kafka, 'client.id': name, 'group.id': 'unused', 'enable.auto.commit': False})
    client.assign([TopicPartition('t', 0, 0)])
    assert client.poll(20) is not None
    begin, total = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        message = client.poll(0.1)
        if message is not None and not message.error():
            total += len(message.value())
    client.close()
    return total / seconds


def metric(server, line):
    with urllib.request.urlopen(f'http://{server.http}/metrics') as reply:
        return float(next(l for l in reply.read().decode().splitlines() if l.startswith(line)).split()[-1])


def main():
    with Server(sys.argv[1], arguments=['--durability', 'os']) as server:
        server.start()
        free, waits = send(server, 'slow', 1)
        assert free > 20 * RATE and not waits, (free, waits)
        weir(server, 'quota', 'set', '--client-id', 'slow', f'producer_byte_rate={RATE}', 'consumer_byte_rate=100kB')
        rate, waits = send(server, 'slow', 5)
        print(f'{free / 1e6:.1f} MB/s without, {rate / 1e6:.2f} MB/s with a quota of {RATE / 1e6:.1f}, told to wait {len(waits)} times')
        assert 0.5 * RATE < rate < 3.5 * RATE and waits, (rate, waits)  # a fresh window allows ten seconds' worth at once
        other, waits = send(server, 'fast', 1)
        assert other > 20 * RATE and not waits, (other, waits)
        slow, fast = read(server, 'slow', 5), read(server, 'fast', 1)
        print(f'read: {slow / 1e6:.2f} MB/s with, {fast / 1e6:.1f} without')
        assert 0.5 * RATE < slow < 3.5 * RATE and fast > 10 * slow, (slow, fast)
        assert metric(server, 'weir_quota_throttled_total{quota="producer_byte_rate"}') > 0
        assert metric(server, 'weir_quota_throttled_seconds_total{quota="consumer_byte_rate"}') > 0
        weir(server, 'quota', 'remove', '--client-id', 'slow', 'producer_byte_rate')
        rate, waits = send(server, 'slow', 1)
        assert rate > 20 * RATE, rate
        weir(server, 'quota', 'set', '--default-user', '--client-id', 'a b,c', 'request_percentage=12.5')
        weir(server, 'quota', 'set', '--user', 'x', 'request_speed=1', code=2)
        weir(server, 'quota', 'set', '--user', 'x', '--ip', '::1', 'connection_creation_rate=1', code=2)
        weir(server, 'quota', 'set', 'producer_byte_rate=1', code=2)
        server.stop()
        listed = weir(server, 'quota', 'list', '--json', where=['--data', server.data]).splitlines()
        assert [json.loads(line) for line in listed] == [{'client-id': 'slow', 'consumer_byte_rate': 100000},
                                                         {'user': None, 'client-id': 'a b,c', 'request_percentage': 12.5}], listed


main()
