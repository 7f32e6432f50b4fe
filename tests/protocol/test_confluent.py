#!/usr/bin/python3
"""confluent-kafka (Debian), the Python client over librdkafka. Arguments: BROKER first|second. See run_client.py."""
import sys
import threading

try:
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, OFFSET_BEGINNING
    from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
except ImportError:
    sys.exit(77)

from scenario import CODECS, COUNT, PARTITIONS, key, run, timestamp, value
from server import until


def producer(broker, **more):
    return Producer({'bootstrap.servers': broker, **{k.replace('_', '.'): v for k, v in more.items()}})


def consumer(broker, group, **more):
    return Consumer({'bootstrap.servers': broker, 'group.id': group, 'auto.offset.reset': 'earliest', 'enable.auto.commit': False,
                     'session.timeout.ms': 6000, 'heartbeat.interval.ms': 500, 'fetch.wait.max.ms': 50,
                     **{k.replace('_', '.'): v for k, v in more.items()}})


def send(client, topic, tag, count, **more):
    failures = []

    def delivered(error, message):
        if error:
            failures.append(error)
    for i in range(count):
        client.produce(topic, value(tag, i), key(i), timestamp=timestamp(i), headers=[('n', b'%d' % i), ('empty', b'')],
                       on_delivery=delivered, **more)
        client.poll(0)
    assert client.flush(30) == 0, 'not everything was delivered'
    assert not failures, failures[0]


def read(broker, topic, count, partition=0):
    """The first `count` messages of a partition, and proof that there is no more."""
    client = consumer(broker, 'unused', enable_partition_eof=True)
    client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    found = []
    while True:
        message = client.poll(20)
        assert message is not None, f'{topic}: only {len(found)} of {count}'
        if message.error():
            break
        found.append(message)
    client.close()
    assert len(found) == count, f'{topic}: {len(found)} instead of {count}'
    return found


def check_messages(found, tag):
    for i, message in enumerate(found):
        assert message.offset() == i
        assert message.key() == key(i) and message.value() == value(tag, i), (tag, i)
        assert message.timestamp()[1] == timestamp(i), message.timestamp()
        assert message.headers() == [('n', b'%d' % i), ('empty', b'')], message.headers()


def create(broker, topic, partitions):
    client = AdminClient({'bootstrap.servers': broker})
    for future in client.create_topics([NewTopic(topic, partitions, 1)], operation_timeout=10).values():
        future.result(20)
    return client


def admin(broker):
    """admin creates, describes, lists and deletes topics"""
    client = create(broker, 'cf-admin', 3)
    create(broker, 'cf-gone', 1)
    topics = client.list_topics(timeout=10).topics
    assert len(topics['cf-admin'].partitions) == 3 and 'cf-gone' in topics
    try:
        create(broker, 'cf-admin', 3)
        raise AssertionError('created twice')
    except Exception as error:
        assert 'TOPIC_ALREADY_EXISTS' in str(error), error
    for future in client.delete_topics(['cf-gone'], operation_timeout=10).values():
        future.result(20)
    until(lambda: 'cf-gone' not in client.list_topics(timeout=10).topics, 'the topic is gone')


def alter(broker):
    """admin changes configurations and adds partitions"""
    client = create(broker, 'cf-alter', 1)

    def about():
        return client.describe_configs([ConfigResource('topic', 'cf-alter')])

    def configs():
        return next(iter(about().values())).result(20)

    def change(**more):
        for future in client.alter_configs([ConfigResource('topic', 'cf-alter', {k.replace('_', '.'): v for k, v in more.items()})]).values():
            future.result(20)
    assert configs()['retention.ms'].is_default
    change(retention_ms='86400000', segment_bytes='1048576')
    found = configs()
    assert found['retention.ms'].value == '86400000' and not found['retention.ms'].is_default, found['retention.ms']
    assert found['segment.bytes'].value == '1048576'
    assert {'cleanup.policy', 'compression.type', 'max.message.bytes', 'min.insync.replicas', 'segment.ms'} <= set(found)
    change(retention_ms='5000000')  # the whole set is replaced
    assert configs()['segment.bytes'].is_default
    for wrong in ({'retention_ms': 'soon'}, {'retention_sm': '1'}, {'compression_type': 'gzip'}):
        try:
            change(**wrong)
            raise AssertionError(f'{wrong} was taken')
        except Exception as error:
            assert 'INVALID_CONFIG' in str(error), error
    for future in client.create_partitions([NewPartitions('cf-alter', 3)], operation_timeout=10).values():
        future.result(20)
    until(lambda: len(client.list_topics(timeout=10).topics['cf-alter'].partitions) == 3, 'three partitions')
    send(producer(broker), 'cf-alter', 'alter', COUNT, partition=2)
    check_messages(read(broker, 'cf-alter', COUNT, 2), 'alter')
    try:
        for future in client.create_partitions([NewPartitions('cf-alter', 2)], operation_timeout=10).values():
            future.result(20)
        raise AssertionError('fewer partitions')
    except Exception as error:
        assert 'INVALID_PARTITIONS' in str(error), error


def altered_again(broker):
    """changes of configuration and partitions survived the restart"""
    client = AdminClient({'bootstrap.servers': broker})
    found = next(iter(client.describe_configs([ConfigResource('topic', 'cf-alter')]).values())).result(20)
    assert found['retention.ms'].value == '5000000'
    assert len(client.list_topics(timeout=10).topics['cf-alter'].partitions) == 3
    check_messages(read(broker, 'cf-alter', COUNT, 2), 'alter')


def codecs(broker):
    """each codec comes back byte for byte, with key, headers and timestamp"""
    for codec in CODECS:
        send(producer(broker, compression_codec=codec, linger_ms=20), 'cf-' + codec, codec, COUNT)
        check_messages(read(broker, 'cf-' + codec, COUNT), codec)


def codecs_again(broker):
    """each codec is still there after the restart"""
    for codec in CODECS:
        check_messages(read(broker, 'cf-' + codec, COUNT), codec)


def group_half(broker):
    """a group reads a part and commits"""
    create(broker, 'cf-group', 1)
    send(producer(broker), 'cf-group', 'group', COUNT)
    client = consumer(broker, 'cf-half')
    client.subscribe(['cf-group'])
    for i in range(COUNT // 2):
        message = client.poll(20)
        assert message is not None and not message.error() and message.offset() == i
    client.commit(offsets=[TopicPartition('cf-group', 0, COUNT // 2)], asynchronous=False)
    client.close()


def group_rest(broker):
    """the committed offset survived the restart: the group goes on there"""
    client = consumer(broker, 'cf-half')
    assert client.committed([TopicPartition('cf-group', 0)], timeout=20)[0].offset == COUNT // 2
    client.subscribe(['cf-group'])
    for i in range(COUNT // 2, COUNT):
        message = client.poll(20)
        assert message is not None and not message.error() and message.offset() == i
    client.close()


class Member(threading.Thread):
    """One consumer of a group, reading until it is told to stop."""

    def __init__(self, broker, group, topic):
        super().__init__()
        self.client, self.topic = consumer(broker, group, enable_auto_commit=True), topic
        self.assigned, self.seen, self.stopping = set(), [], threading.Event()
        self.start()

    def run(self):
        def assigned(client, partitions):
            self.assigned = {p.partition for p in partitions}

        def revoked(client, partitions):
            self.assigned = set()
        self.client.subscribe([self.topic], on_assign=assigned, on_revoke=revoked)
        while not self.stopping.is_set():
            message = self.client.poll(0.1)
            if message is not None and not message.error():
                self.seen.append((message.partition(), message.offset()))
        self.client.close()

    def stop(self):
        self.stopping.set()
        self.join()


def share(broker):
    """two consumers share a topic, and one takes over when the other leaves"""
    create(broker, 'cf-shared', PARTITIONS)
    client = producer(broker)
    first, second = Member(broker, 'cf-share', 'cf-shared'), Member(broker, 'cf-share', 'cf-shared')
    try:
        until(lambda: len(first.assigned) == 2 and len(second.assigned) == 2, 'both have two partitions')
        assert first.assigned | second.assigned == set(range(PARTITIONS))
        for partition in range(PARTITIONS):
            send(client, 'cf-shared', 'shared', 50, partition=partition)
        until(lambda: len(set(first.seen + second.seen)) == 50 * PARTITIONS, 'everything is read')
        assert first.seen and second.seen
        second.stop()
        until(lambda: len(first.assigned) == PARTITIONS, 'the one that stays has all partitions')
    finally:
        first.stop()
        second.stop()


def idempotent(broker):
    """an idempotent producer stores each message once and in order"""
    send(producer(broker, enable_idempotence=True, linger_ms=1), 'cf-idempotent', 'idempotent', 1000)
    check_messages(read(broker, 'cf-idempotent', 1000), 'idempotent')


def idempotent_again(broker):
    """another idempotent producer goes on after the restart"""
    send(producer(broker, enable_idempotence=True, linger_ms=1), 'cf-idempotent', 'more', 500)
    found = read(broker, 'cf-idempotent', 1500)
    check_messages(found[:1000], 'idempotent')
    assert [m.value() for m in found[1000:]] == [value('more', i) for i in range(500)]


def transactional(broker, name, **more):
    client = producer(broker, transactional_id=name, **more)
    client.init_transactions(20)
    return client


def values(broker, topic, isolation):
    """Everything of partition 0 that a reader of that isolation level sees."""
    client = consumer(broker, 'unused', enable_partition_eof=True, isolation_level=isolation)
    client.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found = []
    while True:
        message = client.poll(20)
        assert message is not None, f'{topic}: only {len(found)}'
        if message.error():
            break
        found.append(message.value().decode())
    client.close()
    return found


def transactions(broker):
    """transactions are committed, aborted and kept from readers of committed records until then"""
    create(broker, 'cf-txn', 1)
    client = transactional(broker, 'cf-tx')
    want, all_of_it = [], []
    for round in range(6):
        client.begin_transaction()
        for i in range(20):
            client.produce('cf-txn', f'{round}-{i}', partition=0)
            all_of_it.append(f'{round}-{i}')
            if round % 2 == 0:
                want.append(f'{round}-{i}')
        assert client.flush(20) == 0
        if round == 2:
            assert values(broker, 'cf-txn', 'read_committed') == want[:20]
            assert values(broker, 'cf-txn', 'read_uncommitted') == all_of_it
        if round % 2 == 0:
            client.commit_transaction(20)
        else:
            client.abort_transaction(20)
    assert values(broker, 'cf-txn', 'read_committed') == want
    assert values(broker, 'cf-txn', 'read_uncommitted') == all_of_it


def transactions_again(broker):
    """what was committed and what was aborted is so after the restart, and the transactional id goes on"""
    want = [f'{round}-{i}' for round in (0, 2, 4) for i in range(20)]
    assert values(broker, 'cf-txn', 'read_committed') == want
    client = transactional(broker, 'cf-tx')
    client.begin_transaction()
    client.produce('cf-txn', 'after', partition=0)
    client.commit_transaction(20)
    assert values(broker, 'cf-txn', 'read_committed') == want + ['after']


def fencing(broker):
    """a second producer with the same transactional id fences the first, and aborts what it had begun"""
    create(broker, 'cf-fence', 1)
    first = transactional(broker, 'cf-fenced')
    first.begin_transaction()
    first.produce('cf-fence', 'void', partition=0)
    assert first.flush(20) == 0
    second = transactional(broker, 'cf-fenced')
    try:
        first.produce('cf-fence', 'void too', partition=0)
        first.commit_transaction(20)
        raise AssertionError('a fenced producer committed')
    except KafkaException as error:
        assert error.args[0].fatal(), error
    second.begin_transaction()
    second.produce('cf-fence', 'good', partition=0)
    second.commit_transaction(20)
    assert values(broker, 'cf-fence', 'read_committed') == ['good']


def timeout(broker):
    """a transaction that nobody ends is aborted when its time is up"""
    create(broker, 'cf-slow', 1)
    client = transactional(broker, 'cf-slow', transaction_timeout_ms=1500, message_timeout_ms=1400)
    client.begin_transaction()
    client.produce('cf-slow', 'void', partition=0)
    assert client.flush(20) == 0
    reader = consumer(broker, 'unused', isolation_level='read_committed')

    def is_over():
        return reader.get_watermark_offsets(TopicPartition('cf-slow', 0), timeout=20)[1] == 2
    until(is_over, 'the last stable offset moves behind the abort marker')
    reader.close()
    assert values(broker, 'cf-slow', 'read_committed') == []


def transform(broker):
    """offsets of a group travel in the transaction: each input has exactly one committed output"""
    create(broker, 'cf-in', 1)
    create(broker, 'cf-out', 1)
    send(producer(broker), 'cf-in', 'in', COUNT)
    reader = consumer(broker, 'cf-transform', isolation_level='read_committed')
    client = transactional(broker, 'cf-transform')
    reader.subscribe(['cf-in'])
    done = round = 0
    while done < COUNT:
        messages = reader.consume(20, 20)
        assert messages and all(not m.error() for m in messages)
        client.begin_transaction()
        for message in messages:
            client.produce('cf-out', b'%d' % message.offset(), partition=0)
        client.send_offsets_to_transaction([TopicPartition('cf-in', 0, messages[-1].offset() + 1)],
                                           reader.consumer_group_metadata(), 20)
        round += 1
        if round % 3 == 0:
            client.abort_transaction(20)
            reader.seek(TopicPartition('cf-in', 0, messages[0].offset()))
            continue
        client.commit_transaction(20)
        done = messages[-1].offset() + 1
        assert reader.committed([TopicPartition('cf-in', 0)], timeout=20)[0].offset == done
    reader.close()
    assert values(broker, 'cf-out', 'read_committed') == [str(i) for i in range(COUNT)]


def transform_again(broker):
    """the offsets that were committed in transactions survived the restart"""
    reader = consumer(broker, 'cf-transform')
    assert reader.committed([TopicPartition('cf-in', 0)], timeout=20)[0].offset == COUNT
    reader.close()


def by_time(broker):
    """offsets are found by time"""
    client = consumer(broker, 'unused')
    for i in (0, 1, COUNT // 2, COUNT - 1):
        found = client.offsets_for_times([TopicPartition('cf-none', 0, timestamp(i) - 1)], timeout=20)[0]
        assert found.offset == i, (found, i)
    low, high = client.get_watermark_offsets(TopicPartition('cf-none', 0), timeout=20)
    assert (low, high) == (0, COUNT)
    client.close()


run('confluent-kafka', {
    'first': [admin, alter, codecs, by_time, group_half, share, idempotent, transactions, fencing, timeout, transform],
    'second': [altered_again, codecs_again, by_time, group_rest, idempotent_again, transactions_again, transform_again],
})
