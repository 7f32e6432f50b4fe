#!/usr/bin/python3
"""SIGTERM under load.

    stop_under_load.py WEIR [ROUNDS [SEED]]        (or CRASH_ROUNDS, CRASH_SEED)

Proves: the server ends within five seconds with exit code 0, whatever its clients are doing: producers in the middle of a batch,
readers in a long poll, a consumer that has stopped in the middle of a large answer, half a request, SQL over HTTP that goes on for
ever. The next start is a clean one (nothing is cut or repaired), and an idempotent producer that goes on leaves no gap and no
duplicate. Method: as kill_producer.py, with a signal that asks."""
import os
import random
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'limits'))
from kill_producer import PARTITIONS, TOPIC, Load, Reader, check, read_back  # noqa: E402
from kafka_bytes import connect, fetch, frame  # noqa: E402
from server import Server  # noqa: E402

STOP_SECONDS_MAX = 5.0


def rude_clients(server):
    """They stay open over the stop: one does not read what it asked for, one does not finish what it began, one waits for SQL."""
    stopped = connect(server.kafka, receive_buffer=4096)
    stopped.sendall(fetch('large'))
    half = connect(server.kafka)
    half.sendall(frame(0, 3, b'')[:9])
    sql = connect(server.http)
    body = 'SELECT * FROM numbers EMIT CHANGES'.encode()
    sql.sendall(b'POST /v1/sql HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s' %
                (server.http.encode(), len(body), body))
    return [stopped, half, sql]


def stop_in_time(server):
    begin = time.monotonic()
    server.stop()  # fails unless the exit code is 0
    return time.monotonic() - begin


def is_clean(server):
    said = server.diagnostics(100000)
    found = re.search(r'level=(warn|error) room=(log|broker).*', said)
    assert found is None, f'the next start was not clean: {found.group(0)}'


def rounds_of_stops(server, rounds, rng, load):
    slowest = 0.0
    for _ in range(rounds):
        rude = rude_clients(server)
        time.sleep(rng.random() * 0.15)  # the random moment; nothing is awaited here
        slowest = max(slowest, stop_in_time(server))
        for s in rude:
            s.close()
        server.start()
        assert not load.errors, load.errors[0]
    is_clean(server)
    return slowest


def main(weir, rounds, seed):
    print(f'seed {seed}, {rounds} rounds', flush=True)
    rng = random.Random(seed)
    with Server(weir) as server:
        server.start()
        port = server.kafka_listen = server.kafka
        subprocess.run([server.weir, 'topic', 'create', TOPIC, '--partitions', str(PARTITIONS), '--broker', port], check=True,
                       stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        subprocess.run([server.weir, 'produce', 'large', '--broker', port], input='y' * 1000 + '\n', text=True, check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([server.weir, 'produce', 'large', '--broker', port], input=('x' * 1000 + '\n') * 20000, text=True, check=True,
                       stdout=subprocess.DEVNULL)
        server.sql("CREATE STREAM numbers (n BIGINT) WITH ('topic' = 'numbers', 'format' = 'json')")
        load, reader = Load(port, rng.random()), Reader(port, 0)
        load.start()
        reader.start()
        try:
            slowest = rounds_of_stops(server, rounds, rng, load)
        finally:
            load.stopping.set()
            load.join()
            reader.stopping.set()
            reader.join()
        assert not load.errors, load.errors[0]
        for partition in range(PARTITIONS):
            check(load, read_back(port, partition), partition, reader.seen if partition == 0 else {})
        server.stop()
        server.verify()
    print(f'ok {rounds} stops, {sum(load.sent)} records: none lost, none twice, in order')
    print(f'{"ok" if slowest <= STOP_SECONDS_MAX else "not ok"} stopped within {slowest:.2f} s')
    return slowest > STOP_SECONDS_MAX


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], int((sys.argv[2:3] or [os.environ.get('CRASH_ROUNDS', '4')])[0]),
                  int((sys.argv[3:4] or [os.environ.get('CRASH_SEED', str(random.SystemRandom().randrange(1 << 32)))])[0])))
