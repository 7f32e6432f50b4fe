#!/usr/bin/env python3
"""kcat (Debian), the command-line client over librdkafka. It cannot create or delete topics by itself: they come into being with
the first message, and are listed. Arguments: BROKER first|second. See run_client.py."""
import json
import re
import shutil
import subprocess
import sys
import tempfile

from scenario import CODECS, COUNT, key, run, value
from server import until

if not shutil.which('kcat'):
    sys.exit(77)


def kcat(broker, *arguments, text=None):
    done = subprocess.run(['kcat', '-b', broker, '-m', '10', *arguments], input=text, capture_output=True, timeout=60)
    assert done.returncode == 0, f'kcat {" ".join(arguments)}: {done.stderr.decode()}'
    return done.stdout.decode()


def send(broker, topic, tag, numbers, *arguments):
    text = b''.join(key(i) + b'|' + value(tag, i) + b'\n' for i in numbers)
    kcat(broker, '-P', '-t', topic, '-K', '|', '-H', 'tag=' + tag, *arguments, text=text)


def read(broker, topic, *arguments):
    """Messages as kcat's JSON objects, to the end of the topic."""
    return [json.loads(line) for line in kcat(broker, '-C', '-t', topic, '-e', '-q', '-J', *arguments).splitlines()]


def check_messages(found, tag, count):
    assert len(found) == count, f'{tag}: {len(found)} instead of {count}'
    for i, message in enumerate(found):
        assert message['offset'] == i and message['key'] == key(i).decode() and message['payload'] == value(tag, i).decode()
        assert message['headers'] == ['tag', tag]


def codecs(broker):
    """each codec comes back byte for byte, with key and header"""
    for codec in CODECS:
        send(broker, 'kcat-' + codec, codec, range(COUNT), '-z', codec)
        check_messages(read(broker, 'kcat-' + codec, '-o', 'beginning'), codec, COUNT)


def codecs_again(broker):
    """each codec is still there after the restart"""
    for codec in CODECS:
        check_messages(read(broker, 'kcat-' + codec, '-o', 'beginning'), codec, COUNT)


def listing(broker):
    """the list shows broker, topics and partitions"""
    about = json.loads(kcat(broker, '-L', '-J'))
    assert [b['name'] for b in about['brokers']] == [broker]
    topics = {t['topic']: t['partitions'] for t in about['topics']}
    assert all('kcat-' + codec in topics for codec in CODECS)
    assert all(p['leader'] == about['brokers'][0]['id'] for p in topics['kcat-none'])


def ranges(broker):
    """offsets from the end, by number and by time"""
    last = read(broker, 'kcat-none', '-o', '-5')
    assert [m['offset'] for m in last] == list(range(COUNT - 5, COUNT))
    assert [m['offset'] for m in read(broker, 'kcat-none', '-o', '7', '-c', '2')] == [7, 8]
    when = last[0]['ts']
    first = re.search(r'offset (\d+)', kcat(broker, '-Q', '-t', f'kcat-none:0:{when}'))
    assert first and int(first.group(1)) <= COUNT - 5
    assert read(broker, 'kcat-none', '-o', f's@{when}')[-1]['offset'] == COUNT - 1


def group_half(broker):
    """a group reads a part; what it stored stays"""
    send(broker, 'kcat-group', 'group', range(COUNT))
    lines = group_read(broker, COUNT // 2)
    assert lines == [str(i) for i in range(COUNT // 2)], lines[:3]


def group_rest(broker):
    """the committed offset survived the restart: the group goes on there"""
    lines = group_read(broker, COUNT // 2)
    assert lines == [str(i) for i in range(COUNT // 2, COUNT)], lines[:3]


def group_read(broker, count):
    return kcat(broker, '-G', 'kcat-half', '-c', str(count), '-q', '-f', '%o\n', '-X', 'auto.offset.reset=earliest',
                '-X', 'session.timeout.ms=6000', 'kcat-group').splitlines()


class Member:
    """A kcat in a group, with what it says on standard error: its assignments. Round-robin, because the range assignor would give
    the one partition of every topic to the same member."""

    def __init__(self, broker, topics):
        self.out, self.err = tempfile.NamedTemporaryFile('w+'), tempfile.NamedTemporaryFile('w+')
        self.process = subprocess.Popen(['kcat', '-b', broker, '-G', 'kcat-share', '-u', '-f', '%t %p %o\n',
                                         '-X', 'session.timeout.ms=6000', '-X', 'heartbeat.interval.ms=500',
                                         '-X', 'partition.assignment.strategy=roundrobin', '-X', 'auto.offset.reset=earliest',
                                         *topics], stdout=self.out, stderr=self.err, stdin=subprocess.DEVNULL)

    def assigned(self):
        with open(self.err.name, encoding='utf-8') as f:
            last = re.findall(r'rebalanced .*?: (assigned|revoked): (.*)', f.read())
        return re.findall(r'\[\d+\]', last[-1][1]) if last and last[-1][0] == 'assigned' else []

    def lines(self):
        with open(self.out.name, encoding='utf-8') as f:
            return f.read().splitlines()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


def share(broker):
    """two consumers share topics, and one takes over when the other leaves"""
    topics = [f'kcat-share-{i}' for i in range(4)]
    for topic in topics:
        send(broker, topic, 'share', range(1))
    first, second = Member(broker, topics), Member(broker, topics)
    try:
        until(lambda: len(first.assigned()) == 2 and len(second.assigned()) == 2, 'both have two partitions')
        for topic in topics:
            send(broker, topic, 'share', range(1, 50))
        until(lambda: len(set(first.lines() + second.lines())) == 200, 'everything is read')
        second.stop()
        until(lambda: len(first.assigned()) == 4, 'the one that stays has all partitions')
    finally:
        first.stop()
        second.stop()


def idempotent(broker):
    """an idempotent producer stores each message once and in order"""
    send(broker, 'kcat-idempotent', 'idempotent', range(1000), '-X', 'enable.idempotence=true')
    check_messages(read(broker, 'kcat-idempotent', '-o', 'beginning'), 'idempotent', 1000)


run('kcat', {'first': [codecs, listing, ranges, group_half, share, idempotent], 'second': [codecs_again, group_rest]})
