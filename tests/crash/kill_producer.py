#!/usr/bin/python3
"""kill -9 at random moments under an idempotent producer.

    kill_producer.py WEIR [ROUNDS [SEED]]        (or CRASH_ROUNDS, CRASH_SEED)

Proves: no acknowledged record is lost, none is there twice, order is kept, each record is at the offset that was acknowledged,
a reader that follows meanwhile never sees anything that changes later, and the server is ready within a second after each kill.
Method: librdkafka (confluent-kafka) sends numbered records to four partitions and never gives up; the server is killed, sometimes
already while it recovers, and started again on the same port. In the end everything is read back."""
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'protocol'))
try:
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, OFFSET_BEGINNING
except ImportError:
    sys.exit(77)
from server import Server  # noqa: E402

TOPIC, PARTITIONS = 'crash', 4
READY_SECONDS_MAX = float(os.environ.get('CRASH_READY_SECONDS', '1.0'))


class Load(threading.Thread):
    """Sends until it is told to stop; knows what was acknowledged, and where."""

    def __init__(self, broker, seed):
        super().__init__()
        self.rng = random.Random(seed)
        self.client = Producer({
            'bootstrap.servers': broker, 'enable.idempotence': True, 'linger.ms': self.rng.choice([0, 1, 5]),
            'batch.num.messages': self.rng.choice([10, 100, 1000]), 'message.timeout.ms': 300000, 'retry.backoff.ms': 10,
            'reconnect.backoff.ms': 10, 'reconnect.backoff.max.ms': 100, 'queue.buffering.max.messages': 4000,
            'socket.timeout.ms': 5000, 'log_level': 0})
        self.sent = [0] * PARTITIONS
        self.acked = [{} for _ in range(PARTITIONS)]  # number -> offset
        self.errors = []
        self.stopping = threading.Event()

    def delivered(self, error, message):
        number = int(message.value().split(b' ')[0])
        if error:
            self.errors.append(f'{message.partition()}/{number}: {error}')
        else:
            self.acked[message.partition()][number] = message.offset()

    def run(self):
        while not self.stopping.is_set() and not self.errors:
            partition = self.rng.randrange(PARTITIONS)
            value = b'%d ' % self.sent[partition] + b'x' * self.rng.randrange(200)
            try:
                self.client.produce(TOPIC, value, partition=partition, on_delivery=self.delivered)
                self.sent[partition] += 1
            except BufferError:
                self.client.poll(0.01)
            except KafkaException as error:
                self.errors.append(str(error))
            self.client.poll(0)
            if self.rng.random() < 0.01:
                time.sleep(self.rng.random() * 0.005)
        if not self.errors and self.client.flush(60) != 0:
            self.errors.append('not everything was delivered within a minute')


class Reader(threading.Thread):
    """Follows one partition and keeps what it saw first at each offset: what was visible once must never change."""

    def __init__(self, broker, partition):
        super().__init__()
        self.client = consumer(broker)
        self.client.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING)])
        self.seen, self.stopping = {}, threading.Event()

    def run(self):
        while not self.stopping.is_set():
            message = self.client.poll(0.1)
            if message is not None and not message.error():
                self.seen.setdefault(message.offset(), number(message))
        self.client.close()


def consumer(broker):
    return Consumer({'bootstrap.servers': broker, 'group.id': 'unused', 'enable.auto.commit': False, 'enable.partition.eof': True,
                     'reconnect.backoff.ms': 10, 'reconnect.backoff.max.ms': 100, 'log_level': 0})


def number(message):
    return int(message.value().split(b' ')[0])


def read_back(broker, partition):
    client = consumer(broker)
    client.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING)])
    found = []
    while True:
        message = client.poll(30)
        assert message is not None, f'partition {partition}: nothing more after {len(found)} records'
        if message.error():
            break
        found.append((message.offset(), number(message)))
    client.close()
    return found


def kill_while_starting(server, rng):
    """Starts a process and kills it before it can say that it is ready, as often as not."""
    process = subprocess.Popen(server.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=server.log)
    time.sleep(rng.random() * 0.02)
    process.kill()
    process.wait()


def rounds_of_kills(server, rounds, rng, load):
    slowest = 0.0
    for _ in range(rounds):
        time.sleep(rng.random() * 0.15)  # the random moment; nothing is awaited here
        assert server.kill(), 'the server ended by itself:\n' + server.diagnostics()
        while rng.random() < 0.2:
            kill_while_starting(server, rng)
        server.start()
        slowest = max(slowest, server.ready_seconds)
        assert not load.errors, load.errors[0]
    return slowest


def check(load, found, partition, seen):
    numbers = [n for _, n in found]
    assert numbers == list(range(load.sent[partition])), \
        f'partition {partition}: {len(numbers)} stored, {load.sent[partition]} sent, first difference at ' \
        f'{next((i for i, n in enumerate(numbers) if n != i), len(numbers))}'
    by_offset = dict(found)
    assert [o for o, _ in found] == list(range(len(found))), f'partition {partition}: offsets have gaps'
    for n, offset in load.acked[partition].items():
        assert by_offset.get(offset, n) == n, f'partition {partition}: {n} was acknowledged at {offset}'
    for offset, n in seen.items():
        assert by_offset.get(offset) == n, f'partition {partition}: a reader saw {n} at {offset}, now {by_offset.get(offset)}'


def main(weir, rounds, seed):
    print(f'seed {seed}, {rounds} rounds', flush=True)
    rng = random.Random(seed)
    with Server(weir) as server:
        server.start()
        port = server.kafka_listen = server.kafka  # the next processes take the same one: the client knows no other
        subprocess.run([server.weir, 'topic', 'create', TOPIC, '--partitions', str(PARTITIONS), '--broker', port], check=True,
                       stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        load, reader = Load(port, rng.random()), Reader(port, 0)
        load.start()
        reader.start()
        try:
            slowest = rounds_of_kills(server, rounds, rng, load)
        finally:
            load.stopping.set()
            load.join()
            reader.stopping.set()
            reader.join()
        assert not load.errors, load.errors[0]
        total = sum(load.sent)
        for partition in range(PARTITIONS):
            check(load, read_back(port, partition), partition, reader.seen if partition == 0 else {})
        server.stop()
        server.verify()
    print(f'ok {rounds} kills, {total} records acknowledged: none lost, none twice, in order')
    print(f'ok ready again after at most {slowest * 1000:.0f} ms' if slowest <= READY_SECONDS_MAX else
          f'not ok ready again only after {slowest * 1000:.0f} ms')
    return slowest > READY_SECONDS_MAX


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], int((sys.argv[2:3] or [os.environ.get('CRASH_ROUNDS', '25')])[0]),
                  int((sys.argv[3:4] or [os.environ.get('CRASH_SEED', str(random.SystemRandom().randrange(1 << 32)))])[0])))
