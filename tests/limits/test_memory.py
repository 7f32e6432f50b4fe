#!/usr/bin/python3
"""The server's memory stays bounded, whatever its clients do, and a client that stops does not stop others.

    test_memory.py WEIR

RssAnon of /proc is what the server itself allocated: pages of the log that it sends from are the kernel's cache, shared, and given
back under pressure. Bounds have room for an allocator's habits, and are far below what one buffer a connection would take."""
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'protocol'))
from kafka_bytes import answer, api_versions, connect, create_topic, fetch, metadata, read_exactly, text  # noqa: E402
from server import Server, until  # noqa: E402

IDLE, STOPPED = 10000, 100
# Under a sanitizer the allocator keeps what was freed, and shadow memory counts, too: only the behaviour is tested then.
IS_PLAIN = os.environ.get('WEIR_TEST_SANITIZED') is None


def anonymous_mib(server):
    with open(f'/proc/{server.process.pid}/status', encoding='ascii') as f:
        return int(re.search(r'RssAnon:\s+(\d+)', f.read()).group(1)) / 1024


def is_sanitized(weir):
    done = subprocess.run(['nm', weir], capture_output=True, text=True)
    return '__asan_init' in done.stdout or '__tsan_init' in done.stdout


def below(server, limit, what):
    used = anonymous_mib(server)
    print(f'{what}: {used:.1f} MiB')
    assert not IS_PLAIN or used <= limit, f'{what}: {used:.1f} MiB, more than {limit}'
    return used


def fill(server, topic, mib):
    """Batches of about 1 MiB through the command line."""
    line = 'x' * 1023 + '\n'
    done = subprocess.run([server.weir, 'produce', topic, '--broker', server.kafka], input=line * (1024 * mib), text=True,
                          stdout=subprocess.DEVNULL)
    assert done.returncode == 0


def idle_connections(server, count):
    """Each has said something once, so that it had a buffer; then it is silent."""
    before = anonymous_mib(server)
    conns = []
    for _ in range(count):
        s = connect(server.kafka)
        api_versions(s)
        conns.append(s)
    used = below(server, 60, f'{count} idle connections') - before
    print(f'  {used * 1024 / count:.1f} KiB each')
    assert not IS_PLAIN or used <= 50 * count / 10000 + 4
    for s in conns:
        s.close()


def stopped_consumers(server):
    """Each asked for 55 MiB and reads nothing. Nothing of that is the server's memory, and the others do not notice."""
    create_topic(connect(server.kafka), 'big')
    fill(server, 'big', 60)
    stopped = []
    for _ in range(STOPPED):
        s = connect(server.kafka, receive_buffer=4096)
        s.sendall(fetch('big'))
        stopped.append(s)
    conns = [connect(server.kafka) for _ in range(900)]
    for s in conns:
        api_versions(s)
    create_topic(conns[0], 'small')
    fill(server, 'small', 1)
    times = []
    for s in conns:
        begin = time.monotonic()
        s.sendall(fetch('small', max_bytes=1000))
        assert len(answer(s)) > 1000
        times.append(time.monotonic() - begin)
    times.sort()
    print(f'others meanwhile: p50 {times[450] * 1e6:.0f} us, p99 {times[891] * 1e6:.0f} us')
    assert times[450] < 0.1
    below(server, 60, f'{STOPPED} consumers that stopped in an answer of 55 MiB, 900 others')
    # One of them goes on: it gets all of it.
    size = struct.unpack('>i', read_exactly(stopped[0], 4))[0]
    assert 50 << 20 < size <= 56 << 20, size
    read_exactly(stopped[0], size)
    for s in stopped + conns:
        s.close()


def half_requests(server):
    """Four times the budget in requests that are never finished. Who sends whole ones is served meanwhile."""
    head = struct.pack('>i', 90 << 20) + struct.pack('>hhi', 0, 3, 1) + text('half')
    rude = []
    for _ in range(16):
        s = connect(server.kafka)
        s.setblocking(False)
        rude.append([s, head, 64 << 20])
    block = bytes(1 << 20)
    quiet = 0
    while quiet < 50:  # until nobody's bytes are taken any more
        moved = 0
        for one in rude:
            try:
                n = one[0].send(one[1] if one[1] else block[:min(one[2], 1 << 20)])
            except BlockingIOError:
                continue
            except ConnectionError:
                one[2] = 0
                continue
            if one[1]:
                one[1] = one[1][n:]
            else:
                one[2] -= n
            moved += n
        quiet = 0 if moved else quiet + 1
        if not moved:
            time.sleep(0.01)
    below(server, 128 + 100 + 60, '16 half requests of 90 MiB')
    s = connect(server.kafka)
    begin = time.monotonic()
    s.sendall(metadata('small'))
    answer(s)
    print(f'a small request meanwhile: {(time.monotonic() - begin) * 1000:.1f} ms')
    for one in rude:
        one[0].close()
    until(lambda: not IS_PLAIN or anonymous_mib(server) < 100, 'memory of half requests is given back')


def unread_answers(server):
    """Large answers that nobody reads: together bounded, and the greediest goes first."""
    create_topic(connect(server.kafka), 'wide', 1000)
    rude = []
    for _ in range(30):
        s = connect(server.kafka, receive_buffer=4096)
        try:
            for _ in range(30):
                for _ in range(8):
                    s.sendall(metadata('wide') * 4)
        except (ConnectionError, socket.timeout):
            pass
        rude.append(s)
    below(server, 128 + 100, '30 connections that ask and do not read')
    s = connect(server.kafka)
    s.sendall(metadata('small'))
    answer(s)
    for s in rude:
        s.close()


def main():
    global IS_PLAIN
    IS_PLAIN = not is_sanitized(sys.argv[1])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Server(sys.argv[1], arguments=['--durability', 'os']) as server:
        server.start()
        idle_connections(server, min(IDLE - 1, int(hard * 0.8)) if IS_PLAIN else 500)
        stopped_consumers(server)
        half_requests(server)
        unread_answers(server)
        server.stop()


main()
