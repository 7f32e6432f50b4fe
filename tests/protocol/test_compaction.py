#!/usr/bin/env python3
"""Compaction as unmodified clients see it: confluent-kafka, kcat, kafka-python, kafkajs, whichever are there.

A compacted topic of small segments gets rounds of the same keys in every codec, tombstones, transactions of which some are
aborted, from an idempotent producer that lives through it all, a kill of the server in the middle included. Then each client reads
it from the start: the newest of each key, nothing aborted, offsets as they were given out. Arguments: WEIR."""
import json
import re
import shutil
import subprocess
import sys
import urllib.request

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, OFFSET_BEGINNING
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
except ImportError:
    sys.exit(77)

from scenario import CODECS
from server import Server, until

TOPIC = 'prices'
KEYS = 50
HERE = __file__.rsplit('/', 1)[0]


class Model:
    """The newest committed value of each key and where it lies."""

    def __init__(self):
        self.value, self.offset, self.given = {}, {}, set()

    def note(self, message, is_committed=True):
        assert message.offset() not in self.given, f'offset {message.offset()} was given out twice'
        self.given.add(message.offset())
        if is_committed:
            self.value[message.key()] = message.value()
            self.offset[message.key()] = message.offset()


def admin(broker):
    return AdminClient({'bootstrap.servers': broker})


def create(broker, **config):
    config = {'cleanup.policy': 'compact', 'segment.bytes': '4096', 'min.cleanable.dirty.ratio': '0.01', **config}
    client = admin(broker)
    client.create_topics([NewTopic(TOPIC, 1, 1, config={k.replace('_', '.'): v for k, v in config.items()})])[TOPIC].result(20)
    found = client.describe_configs([ConfigResource('topic', TOPIC)])
    entries = list(found.values())[0].result(20)
    for name, want in config.items():
        entry = entries[name.replace('_', '.')]
        assert (entry.value, entry.source) == (want, 1), (name, entry.value, entry.source)


def metric(server, name):
    with urllib.request.urlopen(f'http://{server.http}/metrics', timeout=20) as reply:
        return float(re.search(r'^' + name + r' (\S+)$', reply.read().decode(), re.M).group(1))


def send_round(producer, model, number, is_committed=True, tombstones=False):
    """Each key once; waits for all of them."""
    done = []
    for i in range(KEYS):
        value = None if tombstones and i % 5 == 0 else b'%d of round %d ' % (i, number) + b'and so on ' * (i % 9)
        producer.produce(TOPIC, value, b'k%d' % i, on_delivery=lambda error, message: done.append((error, message)))
        producer.poll(0)
    left = producer.flush(60)
    assert left == 0 and len(done) == KEYS, f'{left} are left, {len(done)} were answered'
    for error, message in done:
        assert error is None, error
        model.note(message, is_committed)


def wait_until_clean(server):
    """No dirty bytes are left, in two looks with nothing going on between."""
    until(lambda: metric(server, 'weir_compaction_dirty_bytes') == 0 and metric(server, 'weir_compaction_running') == 0, 'all is clean', 60)


def fill(server, model):
    """The scenario; the server is killed and restarted in the middle."""
    steady = Producer({'bootstrap.servers': server.kafka, 'enable.idempotence': True, 'log_level': 2, 'linger.ms': 2, 'message.timeout.ms': 60000})
    for number in range(6):
        send_round(steady, model, number)
    for codec in CODECS:
        other = Producer({'bootstrap.servers': server.kafka, 'compression.type': codec, 'log_level': 2, 'linger.ms': 5})
        for number in range(4):
            send_round(other, model, number)
    wait_until_clean(server)
    assert metric(server, 'weir_compactions_total') > 0 and metric(server, 'weir_compaction_records_removed_total') > KEYS
    send_round(steady, model, 100)  # its old batches are gone; its sequence is not
    for number in range(6):
        transactional = Producer({'bootstrap.servers': server.kafka, 'transactional.id': f'x{number % 2}', 'log_level': 2})
        transactional.init_transactions(30)
        transactional.begin_transaction()
        is_committed = number % 2 == 0
        send_round(transactional, model, 200 + number, is_committed)
        if is_committed:
            transactional.commit_transaction(30)
        else:
            transactional.abort_transaction(30)
    send_round(steady, model, 300, tombstones=True)
    server.kafka_listen = server.kafka
    server.kill()
    server.start()
    for number in range(400, 406):
        send_round(steady, model, number, tombstones=number == 405)
    wait_until_clean(server)


def check(found, model, who):
    """found: (offset, key, value), in order. Read by a reader of committed records."""
    offsets = [offset for offset, _, _ in found]
    assert offsets == sorted(set(offsets)), f'{who}: offsets do not rise'
    wild = [record for record in found if record[0] not in model.given]
    assert not wild, f'{who}: offsets that nobody was given: {wild}'
    newest = {}
    for offset, key, value in found:
        newest[key] = (offset, value)
    want = {key: (model.offset[key], model.value[key]) for key in model.value}
    assert newest == want, f'{who}: {len(newest)} keys, first difference: ' \
        f'{next((k, newest.get(k), want[k]) for k in want if newest.get(k) != want[k])}'
    assert len(found) < 5 * KEYS, f'{who}: {len(found)} records, so nothing was compacted'


def with_confluent(broker):
    client = Consumer({'bootstrap.servers': broker, 'group.id': 'c', 'enable.partition.eof': True, 'isolation.level': 'read_committed',
                       'fetch.message.max.bytes': 3000})
    client.assign([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
    found = []
    while True:
        message = client.poll(30)
        assert message is not None, 'the end does not come'
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            break
        found.append((message.offset(), message.key(), message.value()))
    client.close()
    return found


def with_kcat(broker):
    done = subprocess.run(['kcat', '-b', broker, '-m', '10', '-C', '-t', TOPIC, '-e', '-q', '-J', '-X', 'isolation.level=read_committed'],
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    rows = [json.loads(line) for line in done.stdout.decode().splitlines()]
    return [(row['offset'], row['key'].encode(), None if row['payload'] is None else row['payload'].encode()) for row in rows]


def with_kafka_python(broker, model):
    from kafka import KafkaConsumer
    from kafka import TopicPartition as Partition
    client = KafkaConsumer(bootstrap_servers=broker, max_partition_fetch_bytes=3000,
                           consumer_timeout_ms=30000)
    client.assign([Partition(TOPIC, 0)])
    client.seek_to_beginning()
    found, last = [], max(model.offset.values())
    while not found or found[-1][0] < last:
        message = next(client)
        if len(message.key) > 1 and message.key[0] == 0:
            continue  # version 2.0 gives out control records as well
        found.append((message.offset, message.key, message.value))
    client.close()
    return found


def with_kafkajs(broker, model):
    done = subprocess.run(['node', HERE + '/read_kafkajs.js', broker, TOPIC, str(max(model.offset.values()))], capture_output=True,
                          timeout=120)
    if done.returncode == 77:
        return None
    assert done.returncode == 0, done.stderr.decode()
    rows = [json.loads(line) for line in done.stdout.decode().splitlines()]
    return [(int(row['offset']), row['key'].encode(), None if row['value'] is None else row['value'].encode()) for row in rows]


def check_refusals(broker):
    """A record without a key is refused, one with an empty key is not."""
    errors = []
    producer = Producer({'bootstrap.servers': broker})
    producer.produce(TOPIC, b'v', None, on_delivery=lambda error, message: errors.append(error))
    producer.flush(20)
    assert len(errors) == 1 and errors[0] is not None and errors[0].code() == 87, errors  # INVALID_RECORD


def check_from_anywhere(broker, found):
    """A consumer that begins at any offset, given out or gone, sees the rest."""
    for start in [0, 1, found[0][0] + 1, found[len(found) // 2][0], found[-1][0]]:
        client = Consumer({'bootstrap.servers': broker, 'group.id': 'a', 'enable.partition.eof': True, 'isolation.level': 'read_committed'})
        client.assign([TopicPartition(TOPIC, 0, start)])
        rest = []
        while True:
            message = client.poll(30)
            assert message is not None, f'from {start}: the end does not come'
            if message.error():
                break
            rest.append(message.offset())
        client.close()
        assert rest == [offset for offset, _, _ in found if offset >= start], f'from {start}'


def main(weir):
    model = Model()
    with Server(weir) as server:
        server.start()
        create(server.kafka, delete_retention_ms='3600000', segment_ms='600000', max_compaction_lag_ms='700000', flush_ms='1000')
        fill(server, model)
        print('ok an idempotent producer goes on after its batches were cleaned and the server was killed')
        found = with_confluent(server.kafka)
        check(found, model, 'confluent-kafka')
        print('ok confluent-kafka sees the newest of each key, tombstones too, and nothing aborted')
        check_from_anywhere(server.kafka, found)
        print('ok from any offset the rest is the same')
        if shutil.which('kcat'):
            check(with_kcat(server.kafka), model, 'kcat')
            print('ok kcat sees the same')
        try:
            check(with_kafka_python(server.kafka, model), model, 'kafka-python')
            print('ok kafka-python sees the same')
        except ImportError:
            pass
        if shutil.which('node'):
            rows = with_kafkajs(server.kafka, model)
            if rows is not None:
                check(rows, model, 'kafkajs')
                print('ok kafkajs sees the same')
        check_refusals(server.kafka)
        print('ok a record without a key is refused')
        server.stop()
        server.verify()
        print('ok the data directory verifies')
        server.start()
        check(with_confluent(server.kafka), model, 'confluent-kafka after a restart')
        client = admin(server.kafka)
        altered = client.alter_configs([ConfigResource('topic', TOPIC, set_config={
            'cleanup.policy': 'compact', 'segment.bytes': '4096', 'min.cleanable.dirty.ratio': '0.01', 'delete.retention.ms': '0',
            'max.compaction.lag.ms': '1000'})])
        list(altered.values())[0].result(20)
        producer = Producer({'bootstrap.servers': server.kafka, 'enable.idempotence': True})
        send_round(producer, model, 500, tombstones=True)
        until(lambda: all(value is not None for _, _, value in with_confluent(server.kafka)), 'tombstones go', 60)
        left = with_confluent(server.kafka)
        assert sorted(key for _, key, _ in left) == sorted(key for key, value in model.value.items() if value is not None), left
        print('ok tombstones go after delete.retention.ms')
        server.stop()
        server.verify()


if __name__ == '__main__':
    try:
        main(sys.argv[1])
    except KafkaException as error:
        sys.exit(f'not ok {error}')
