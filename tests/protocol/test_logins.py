#!/usr/bin/env python3
"""Users and rights with unmodified clients: kcat (librdkafka), kafka-python, confluent-kafka, kafkajs, whichever are there. A right
password gets in by each mechanism, a wrong one does not; what no rule allows is refused; and the passwords are nowhere in the data
directory. Arguments: WEIR."""
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

from server import Server

PASSWORD = 'correct-horse-battery-9'
MECHANISMS = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']


def weir(program, *arguments, text=None):
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f'weir {arguments}: {done.stderr}'


def with_kcat(broker):
    def kcat(mechanism, password, *arguments, text=None):
        return subprocess.run(['kcat', '-b', broker, '-m', '10', '-X', 'security.protocol=SASL_PLAINTEXT', '-X', 'sasl.mechanisms=' + mechanism,
                               '-X', 'sasl.username=alice', '-X', 'sasl.password=' + password, *arguments], input=text, capture_output=True,
                              text=True, timeout=60)
    for mechanism in MECHANISMS:
        topic = 'pay-kcat-' + mechanism
        done = kcat(mechanism, PASSWORD, '-P', '-t', topic, text='hello\n')
        assert done.returncode == 0, done.stderr
        assert kcat(mechanism, PASSWORD, '-C', '-e', '-q', '-t', topic).stdout == 'hello\n'
        assert kcat(mechanism, PASSWORD[:-1], '-P', '-t', topic, text='hello\n').returncode != 0
    assert 'authorization failed' in kcat('PLAIN', PASSWORD, '-P', '-t', 'other', text='hello\n').stderr.lower()


def with_kafka_python(broker):
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.errors import KafkaError, TopicAuthorizationFailedError
    login = {'bootstrap_servers': broker, 'security_protocol': 'SASL_PLAINTEXT', 'sasl_plain_username': 'alice'}
    for mechanism in MECHANISMS:
        producer = KafkaProducer(sasl_mechanism=mechanism, sasl_plain_password=PASSWORD, **login)
        producer.send('pay-python-' + mechanism, b'hello').get(20)
        try:
            producer.send('other', b'hello').get(20)
            raise AssertionError('wrote to a topic without a right')
        except TopicAuthorizationFailedError:
            pass
        producer.close()
    consumer = KafkaConsumer('pay-python-PLAIN', sasl_mechanism='SCRAM-SHA-512', sasl_plain_password=PASSWORD, group_id='billing',
                             auto_offset_reset='earliest', consumer_timeout_ms=20000, **login)
    assert next(consumer).value == b'hello'
    consumer.close()
    try:
        KafkaProducer(sasl_mechanism='SCRAM-SHA-256', sasl_plain_password='wrong', **login)
        raise AssertionError('a wrong password got in')
    except KafkaError:
        pass


def with_confluent(broker):
    from confluent_kafka import Consumer, KafkaError, Producer
    for mechanism in MECHANISMS:
        login = {'bootstrap.servers': broker, 'security.protocol': 'SASL_PLAINTEXT', 'sasl.mechanisms': mechanism, 'sasl.username': 'alice',
                 'sasl.password': PASSWORD}
        outcome = []
        producer = Producer({**login, 'enable.idempotence': True})
        producer.produce('pay-confluent-' + mechanism, b'hello', callback=lambda error, message: outcome.append(error))
        assert producer.flush(20) == 0 and outcome == [None], outcome
        consumer = Consumer({**login, 'group.id': 'not-mine'})
        consumer.subscribe(['pay-confluent-' + mechanism])
        message = consumer.poll(20)
        assert message is not None and message.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED, message
        consumer.close()


KAFKAJS = """
const { Kafka, logLevel } = require('kafkajs');
const make = (mechanism, password) => new Kafka({ brokers: [process.argv[1]], logLevel: logLevel.NOTHING, retry: { retries: 0 },
  sasl: { mechanism, username: 'alice', password } });
(async () => {
  for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
    const producer = make(mechanism, process.argv[2]).producer({ retry: { retries: 5 } });
    await producer.connect();
    await producer.send({ topic: 'pay-js-' + mechanism, messages: [{ value: 'hello' }] });
    await producer.disconnect();
    let failed = false;
    try { await make(mechanism, 'wrong').producer({ retry: { retries: 0 } }).connect(); } catch (e) { failed = true; }
    if (!failed) throw new Error('a wrong password got in');
  }
})().catch((e) => { console.error(e); process.exit(1); });
"""


def with_kafkajs(broker):
    done = subprocess.run(['node', '-e', KAFKAJS, broker, PASSWORD], capture_output=True, text=True, timeout=60,
                          cwd=os.path.dirname(os.path.abspath(__file__)))
    assert done.returncode == 0, done.stderr


def has(module):
    return subprocess.run([sys.executable, '-c', 'import ' + module], capture_output=True).returncode == 0


def has_kafkajs():
    return shutil.which('node') and subprocess.run(['node', '-e', "require('kafkajs')"], capture_output=True,
                                                   cwd=os.path.dirname(os.path.abspath(__file__))).returncode == 0


def secret_is_nowhere(directory):
    for where, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(where, name), 'rb') as f:
                assert PASSWORD.encode() not in f.read(), f'the password is in {name}'


def sql_is_refused(http):
    """Nobody logs in there, so it would be a way around the rights."""
    try:
        urllib.request.urlopen('http://' + http + '/v1/sql', data=b'SHOW TABLES', timeout=20)
        raise AssertionError('SQL without a login')
    except urllib.error.HTTPError as error:
        assert error.code == 403


def main(program):
    with Server(program, arguments=['--login', '--plain-without-tls', '--super-users', 'User:admin']) as server:
        data = server.data
        weir(program, 'user', 'add', 'alice', '--data', data, text=PASSWORD + '\n')
        weir(program, 'acl', 'add', '--data', data, '--allow', 'User:alice', '-o', 'read', '-o', 'write', '-o', 'create', '--topic', 'pay',
             '--prefix')
        weir(program, 'acl', 'add', '--data', data, '--allow', 'User:alice', '-o', 'read', '--group', 'billing')
        server.start()
        tried = [(with_kcat, shutil.which('kcat')), (with_kafka_python, has('kafka')), (with_confluent, has('confluent_kafka')),
                 (with_kafkajs, has_kafkajs())]
        for client, is_there in tried:
            if is_there:
                client(server.kafka)
                print(f'{client.__name__}: ok')
        sql_is_refused(server.http)
        server.stop()
        secret_is_nowhere(data)
        server.verify()
    return 0 if any(there for _, there in tried) else 77


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
