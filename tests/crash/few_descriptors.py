#!/usr/bin/env python3
"""A server with 64 descriptors and more clients than that: who is connected is served, a topic can still be made (it needs files), who
is not waits without costing the server its CPU, and comes in when others leave.

    few_descriptors.py WEIR"""
import os
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'protocol'))
from server import Server  # noqa: E402

LIMIT = 64
CROWD = 200
TICKS = os.sysconf('SC_CLK_TCK')


def connect(address):
    host, port = address.rsplit(':', 1)
    s = socket.create_connection((host, int(port)), timeout=20)
    s.settimeout(20)
    return s


def ask(s, correlation, key, version, body):
    """One request and the bytes of its answer."""
    head = struct.pack('>hhih', key, version, correlation, 1) + b'f'
    s.sendall(struct.pack('>i', len(head) + len(body)) + head + body)
    answer = b''
    while len(answer) < 4 or len(answer) < 4 + struct.unpack('>i', answer[:4])[0]:
        piece = s.recv(65536)
        if not piece:
            raise RuntimeError('the server closed the connection')
        answer += piece
    if struct.unpack('>i', answer[4:8])[0] != correlation:
        raise RuntimeError('an answer to another request')
    return answer[8:]


def api_versions(s, correlation):
    if struct.unpack('>h', ask(s, correlation, 18, 0, b'')[:2])[0] != 0:
        raise RuntimeError('ApiVersions failed')


def create_topic(s, correlation, name):
    body = struct.pack('>ih', 1, len(name)) + name + struct.pack('>ihii', 1, 1, 0, 0) + struct.pack('>i', 5000)
    answer = ask(s, correlation, 19, 0, body)
    if struct.unpack('>h', answer[-2:])[0] != 0:
        raise RuntimeError(f'CreateTopics: {answer!r}')


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main():
    with Server(sys.argv[1]) as server:
        command = server.command
        server.command = lambda: ['/usr/bin/prlimit', f'--nofile={LIMIT}:{LIMIT}', '--'] + command()
        server.start()
        first = connect(server.kafka)
        api_versions(first, 1)
        crowd = [connect(server.kafka) for _ in range(CROWD)]  # the kernel's backlog takes those that are not accepted
        create_topic(first, 2, b'made-in-a-crowd')
        spent, begin = cpu_seconds(server.process.pid), time.monotonic()
        for i in range(50):
            api_versions(first, 10 + i)
            time.sleep(0.02)
        share = (cpu_seconds(server.process.pid) - spent) / (time.monotonic() - begin)
        if share > 0.05:
            raise RuntimeError(f'{share:.0%} of a CPU while clients wait outside')
        for s in crowd[:-1]:
            s.close()
        api_versions(crowd[-1], 1)  # it was the last in the row
        crowd[-1].close()
        first.close()
        subprocess.run([sys.argv[1], 'produce', 'made-in-a-crowd', '--broker', server.kafka], input='a\n', text=True, check=True,
                       stdout=subprocess.DEVNULL, timeout=20)
        server.stop()
    print(f'{CROWD} clients, {LIMIT} descriptors: {share:.1%} of a CPU')


main()
