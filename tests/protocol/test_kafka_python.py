#!/usr/bin/python3
"""kafka-python (Debian), a client in pure Python. It has no idempotent producer. Arguments: BROKER first|second. See run_client.py."""
import logging
import sys
import threading

try:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
    from kafka.errors import InvalidPartitionsError, TopicAlreadyExistsError
    from kafka.structs import OffsetAndMetadata
except ImportError:
    sys.exit(77)

from scenario import COUNT, PARTITIONS, key, run, timestamp, value
from server import until

# Zstd needs Fetch v10 (KIP-110) and this client knows v4 at most: any broker refuses to send it such batches.
CODECS = ['none', 'gzip', 'snappy', 'lz4']

logging.getLogger('kafka').setLevel(logging.CRITICAL)


def consumer(broker, group=None, **more):
    return KafkaConsumer(bootstrap_servers=broker, group_id=group, auto_offset_reset='earliest', enable_auto_commit=False,
                         session_timeout_ms=6000, heartbeat_interval_ms=500, **more)


def send(broker, topic, tag, count, partition=None, **more):
    client = KafkaProducer(bootstrap_servers=broker, acks='all', linger_ms=20, **more)
    futures = [client.send(topic, value(tag, i), key(i), [('n', b'%d' % i)], partition, timestamp(i)) for i in range(count)]
    client.flush(30)
    for i, future in enumerate(futures):
        future.get(30)
    client.close()


def read(broker, topic, count):
    client = consumer(broker)
    place = TopicPartition(topic, 0)
    client.assign([place])
    client.seek_to_beginning(place)
    assert client.end_offsets([place])[place] == count
    found = []
    while len(found) < count:
        batch = client.poll(20000).get(place)
        assert batch, f'{topic}: only {len(found)} of {count}'
        found += batch
    client.close()
    return found


def check_messages(found, tag):
    for i, message in enumerate(found):
        assert message.offset == i and message.key == key(i) and message.value == value(tag, i), (tag, i)
        assert message.timestamp == timestamp(i) and message.headers == [('n', b'%d' % i)]


def create(broker, topic, partitions):
    client = KafkaAdminClient(bootstrap_servers=broker)
    client.create_topics([NewTopic(topic, partitions, 1)], timeout_ms=10000)
    return client


def admin(broker):
    """admin creates, describes, lists and deletes topics"""
    client = create(broker, 'kp-admin', 3)
    create(broker, 'kp-gone', 1).close()
    assert {'kp-admin', 'kp-gone'} <= set(client.list_topics())
    assert len(client.describe_topics(['kp-admin'])[0]['partitions']) == 3
    try:
        client.create_topics([NewTopic('kp-admin', 3, 1)])
        raise AssertionError('created twice')
    except TopicAlreadyExistsError:
        pass
    client.delete_topics(['kp-gone'], timeout_ms=10000)
    until(lambda: 'kp-gone' not in client.list_topics(), 'the topic is gone')
    client.close()


def configs(client, topic):
    found = client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {config[0]: config[1] for config in found[0].resources[0][4]}


def alter(broker):
    """admin describes configurations and adds partitions"""
    # Its alter_configs reads the answer with the layout of the request (from version 1 on) and fails with any broker that has it.
    client = create(broker, 'kp-alter', 1)
    assert configs(client, 'kp-alter')['retention.ms'] == '604800000'
    client.create_partitions({'kp-alter': NewPartitions(3)}, timeout_ms=10000)
    assert len(client.describe_topics(['kp-alter'])[0]['partitions']) == 3
    send(broker, 'kp-alter', 'alter', COUNT, 2)
    try:
        client.create_partitions({'kp-alter': NewPartitions(2)}, timeout_ms=10000)
        raise AssertionError('fewer partitions')
    except InvalidPartitionsError:
        pass
    client.close()


def codecs(broker):
    """each codec comes back byte for byte, with key, headers and timestamp"""
    for codec in CODECS:
        send(broker, 'kp-' + codec, codec, COUNT, compression_type=None if codec == 'none' else codec)
        check_messages(read(broker, 'kp-' + codec, COUNT), codec)


def codecs_again(broker):
    """each codec is still there after the restart"""
    for codec in CODECS:
        check_messages(read(broker, 'kp-' + codec, COUNT), codec)


def group_half(broker):
    """a group reads a part and commits"""
    create(broker, 'kp-group', 1).close()
    send(broker, 'kp-group', 'group', COUNT)
    client = consumer(broker, 'kp-half', max_poll_records=10)
    client.subscribe(['kp-group'])
    seen = 0
    while seen < COUNT // 2:
        for batch in client.poll(1000).values():
            for message in batch:
                assert message.offset == seen
                seen += 1
    client.commit({TopicPartition('kp-group', 0): OffsetAndMetadata(seen, 'half')})
    client.close(autocommit=False)


def group_rest(broker):
    """the committed offset survived the restart: the group goes on there"""
    client = consumer(broker, 'kp-half')
    at = client.committed(TopicPartition('kp-group', 0))
    assert at == COUNT // 2, at
    client.subscribe(['kp-group'])
    while at < COUNT:
        for batch in client.poll(1000).values():
            for message in batch:
                assert message.offset == at
                at += 1
    client.close(autocommit=False)


class Member(threading.Thread):
    """One consumer of a group, reading until it is told to stop."""

    def __init__(self, broker, group, topic):
        super().__init__()
        self.client = consumer(broker, group)
        self.client.subscribe([topic])
        self.assigned, self.seen, self.stopping = set(), [], threading.Event()
        self.start()

    def run(self):
        while not self.stopping.is_set():
            for batch in self.client.poll(100).values():
                self.seen += [(m.partition, m.offset) for m in batch]
            self.assigned = {p.partition for p in self.client.assignment()}
        self.client.close(autocommit=False)

    def stop(self):
        self.stopping.set()
        self.join()


def share(broker):
    """two consumers share a topic, and one takes over when the other leaves"""
    create(broker, 'kp-shared', PARTITIONS).close()
    first, second = Member(broker, 'kp-share', 'kp-shared'), Member(broker, 'kp-share', 'kp-shared')
    try:
        until(lambda: len(first.assigned) == 2 and len(second.assigned) == 2, 'both have two partitions')
        assert first.assigned | second.assigned == set(range(PARTITIONS))
        for partition in range(PARTITIONS):
            send(broker, 'kp-shared', 'shared', 50, partition)
        until(lambda: len(set(first.seen + second.seen)) == 50 * PARTITIONS, 'everything is read')
        assert first.seen and second.seen
        second.stop()
        until(lambda: len(first.assigned) == PARTITIONS, 'the one that stays has all partitions')
    finally:
        first.stop()
        second.stop()


def by_time(broker):
    """offsets are found by time"""
    client, place = consumer(broker), TopicPartition('kp-none', 0)
    for i in (0, 1, COUNT // 2, COUNT - 1):
        found = client.offsets_for_times({place: timestamp(i) - 1})[place]
        assert (found.offset, found.timestamp) == (i, timestamp(i)), (found, i)
    assert client.offsets_for_times({place: timestamp(COUNT)})[place] is None
    client.close()


run('kafka-python', {
    'first': [admin, alter, codecs, by_time, group_half, share],
    'second': [codecs_again, by_time, group_rest],
})
