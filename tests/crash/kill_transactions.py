#!/usr/bin/python3
"""kill -9 at random moments of a consume-transform-produce loop in transactions.

    kill_transactions.py WEIR [ROUNDS [SEED]]        (or CRASH_ROUNDS, CRASH_SEED)

Proves: each input has exactly one committed output, in order, whatever was killed when. Method: confluent-kafka reads numbers from
one topic and writes each to another, offsets inside the transaction; now and then it aborts. The server is killed and started again;
the loop starts over with the same transactional id when its client gives up. In the end everything committed is read."""
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'protocol'))
try:
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition, OFFSET_BEGINNING
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError:
    sys.exit(77)
from server import Server  # noqa: E402

FAST = {'reconnect.backoff.ms': 10, 'reconnect.backoff.max.ms': 100, 'log_level': 0}
INPUTS, PER_TXN = 1500, 15
PATIENCE = 60


class Loop(threading.Thread):
    """Runs to the last input; restarts itself as an application would."""

    def __init__(self, broker, seed):
        super().__init__()
        self.broker, self.rng, self.restarts, self.error = broker, random.Random(seed), 0, None

    def run(self):
        end = time.monotonic() + PATIENCE + 60
        while self.error is None:
            try:
                if self.once():
                    return
            except KafkaException:
                self.restarts += 1
            if time.monotonic() > end:
                self.error = 'the loop does not come to its end'

    def once(self):
        producer = Producer({'bootstrap.servers': self.broker, 'transactional.id': 'ctp', 'transaction.timeout.ms': 10000,
                             'retry.backoff.ms': 10, 'socket.timeout.ms': 5000, **FAST})
        reader = Consumer({'bootstrap.servers': self.broker, 'group.id': 'ctp', 'enable.auto.commit': False,
                           'auto.offset.reset': 'earliest', **FAST})
        try:
            producer.init_transactions(PATIENCE)
            at = max(0, reader.committed([TopicPartition('in', 0)], timeout=PATIENCE)[0].offset)
            reader.assign([TopicPartition('in', 0, at)])
            while at < INPUTS:
                messages = [m for m in reader.consume(PER_TXN, 5) if not m.error()]
                if not messages:
                    continue
                assert messages[0].offset() == at
                producer.begin_transaction()
                for message in messages:
                    producer.produce('out', message.value(), partition=0)
                producer.send_offsets_to_transaction([TopicPartition('in', 0, messages[-1].offset() + 1)],
                                                     reader.consumer_group_metadata(), PATIENCE)
                if self.rng.random() < 0.1:
                    producer.abort_transaction(PATIENCE)
                    reader.seek(TopicPartition('in', 0, at))
                    continue
                self.commit(producer)
                at = messages[-1].offset() + 1
            return True
        finally:
            reader.close()

    def commit(self, producer):
        for _ in range(20):
            try:
                producer.commit_transaction(PATIENCE)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
        raise KafkaException('no commit')


def committed(broker):
    client = Consumer({'bootstrap.servers': broker, 'group.id': 'unused', 'enable.auto.commit': False, 'enable.partition.eof': True,
                       'isolation.level': 'read_committed', **FAST})
    client.assign([TopicPartition('out', 0, OFFSET_BEGINNING)])
    found = []
    while True:
        message = client.poll(30)
        assert message is not None, f'nothing more after {len(found)} records'
        if message.error():
            break
        found.append(int(message.value()))
    client.close()
    return found


def main(weir, rounds, seed):
    print(f'seed {seed}, {rounds} rounds', flush=True)
    rng = random.Random(seed)
    with Server(weir) as server:
        server.start()
        port = server.kafka_listen = server.kafka
        admin = AdminClient({'bootstrap.servers': port})  # must live until the answers are there
        for future in admin.create_topics([NewTopic('in', 1, 1), NewTopic('out', 1, 1)]).values():
            future.result(20)
        inputs = Producer({'bootstrap.servers': port, **FAST})
        for i in range(INPUTS):
            inputs.produce('in', b'%d' % i, partition=0)
        assert inputs.flush(30) == 0
        loop = Loop(port, rng.random())
        loop.start()
        kills = 0
        while kills < rounds and loop.is_alive():
            time.sleep(rng.random() * 0.4)  # the random moment; nothing is awaited here
            assert server.kill(), 'the server ended by itself:\n' + server.diagnostics()
            server.start()
            kills += 1
        loop.join()
        assert loop.error is None, loop.error
        found = committed(port)
        assert found == list(range(INPUTS)), f'{len(found)} committed, first difference at ' \
            f'{next((i for i, n in enumerate(found) if n != i), len(found))}'
        server.stop()
        server.verify()
    print(f'ok {kills} kills, {loop.restarts} restarts of the loop, {INPUTS} inputs: exactly one committed output each, in order')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], int((sys.argv[2:3] or [os.environ.get('CRASH_ROUNDS', '12')])[0]),
                  int((sys.argv[3:4] or [os.environ.get('CRASH_SEED', str(random.SystemRandom().randrange(1 << 32)))])[0])))
