#!/usr/bin/env python3
"""Runs one unmodified client against a server: `COMMAND BROKER first`, a restart of the server, `COMMAND BROKER second`.

    run_client.py WEIR NAME PAGE COMMAND...

What the client proves is said by its own lines, `ok name`. In the end the data directory is verified, and what the server
counted is compared with PAGE, docs/reference/kafka.md: every request and version that its table says was tried with NAME
must have been sent. WRITE_TABLE=1 in the environment writes NAME's part of the table instead. Exit code 77: the client is
not installed."""
import os
import re
import subprocess
import sys
import time
import urllib.request

from server import Server

PHASE_SECONDS = 240


def sent(server):
    """{key: versions} of the requests that this run of the server has served."""
    with urllib.request.urlopen(f'http://{server.http}/metrics', timeout=10) as reply:
        text = reply.read().decode()
    found = {}
    for key, version in re.findall(r'weir_kafka_api_requests_total\{key="(\d+)",request="\w+",version="(\d+)"\}', text):
        found.setdefault(int(key), set()).add(int(version))
    return found


def claims(row, name):
    """The cell of a row of the table: "kcat 4, 11; kafkajs 11"."""
    for part in row[4].split(';'):
        client, _, versions = part.strip().partition(' ')
        if client == name:
            return {int(v) for v in versions.split(',')}
    return set()


def compare(page, name, found):
    lines = open(page, encoding='utf-8').read().split('\n')
    missing = []
    for number, line in enumerate(lines):
        row = line.split('|')
        if not re.match(r'\| \d+ \| \w+ \|', line) or len(row) != 7:
            continue
        key, ours = int(row[1]), found.get(int(row[1]), set())
        if os.environ.get('WRITE_TABLE'):
            parts = [p.strip() for p in row[4].split(';') if p.strip() and p.split()[0] != name]
            if ours:
                parts.append(f'{name} ' + ', '.join(map(str, sorted(ours))))
            row[4] = ' ' + '; '.join(sorted(parts)) + ' ' if parts else ' '
            lines[number] = '|'.join(row)
        elif not claims(row, name) <= ours:
            missing.append(f'{row[2].strip()}: the page says {sorted(claims(row, name))}, sent were {sorted(ours)}')
    if os.environ.get('WRITE_TABLE'):
        open(page, 'w', encoding='utf-8').write('\n'.join(lines))
    if missing:
        raise RuntimeError(f'{page} says more of {name} than is true:\n' + '\n'.join(missing))
    print('ok the page says what was sent')


def main(weir, name, page, command):
    found = {}
    # Timestamps of the test's messages, the same in both phases: recent ones, since retention removes records of long ago.
    os.environ['TIMESTAMP_BASE_MS'] = str(int(time.time() - 3600) * 1000)
    with Server(weir) as server:
        for phase in ('first', 'second'):
            server.start()
            code = subprocess.run(command + [server.kafka, phase], stdin=subprocess.DEVNULL, timeout=PHASE_SECONDS).returncode
            if code == 77:
                return 77
            if code != 0:
                raise RuntimeError(f'{phase}: the client ended with {code}')
            for key, versions in sent(server).items():
                found.setdefault(key, set()).update(versions)
            server.stop()
        server.verify()
        print('ok the data directory verifies')
        compare(page, name, found)
    return 0


sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
