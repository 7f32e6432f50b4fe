#!/usr/bin/env python3
"""A thousand partitions with a record each, kill -9, and ready again in 5 seconds with all of them. With 10 GiB: bench/start_time.py.

    kill_many_partitions.py WEIR"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'protocol'))
from server import Server  # noqa: E402

PARTITIONS = 1000
RECORDS = 20_000
READY_SECONDS = 5


def run(weir, *arguments, **more):
    return subprocess.run([weir, *arguments], check=True, text=True, stdout=subprocess.PIPE, timeout=60, **more).stdout


def main():
    weir = os.path.abspath(sys.argv[1])
    with Server(weir) as server:
        server.start()
        run(weir, 'topic', 'create', 'many', '--partitions', str(PARTITIONS), '--broker', server.kafka)
        text = ''.join(f'key-{i}\tvalue-{i}\n' for i in range(RECORDS))
        run(weir, 'produce', 'many', '--key-delimiter', '\t', '--broker', server.kafka, input=text)
        for _ in range(3):
            server.kill()
            server.start()
            print(f'{PARTITIONS} partitions: ready in {server.ready_seconds:.2f} s')
            if server.ready_seconds > READY_SECONDS:
                raise RuntimeError(f'the goal is {READY_SECONDS} s')
        lines = run(weir, 'consume', 'many', '--offset', 'start', '--exit', '--broker', server.kafka).splitlines()
        if len(set(lines)) != RECORDS:
            raise RuntimeError(f'{len(set(lines))} of {RECORDS} records')
        server.stop()
        run(weir, 'verify', '--data', server.data)
        with open(os.path.join(server.data, 'topics', next(d for d in os.listdir(os.path.join(server.data, 'topics'))
                                                            if d.startswith('_weir_meta-')), '0', '0' * 20 + '.log'), 'r+b') as f:
            f.seek(100)
            byte = f.read(1)
            f.seek(100)
            f.write(bytes([byte[0] ^ 4]))
        refused = subprocess.run([weir, 'serve', '--data', server.data, '--kafka', '127.0.0.1:0', '--http', 'off'], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
        if refused.returncode != 4 or 'weir repair' not in refused.stderr:
            raise RuntimeError(f'a damaged _weir_meta: {refused.returncode} {refused.stderr}')
        run(weir, 'repair', '--data', server.data)
        server.start()
        if f'"partitions":{PARTITIONS}' not in run(weir, 'topic', 'list', '--json', '--broker', server.kafka).replace(' ', ''):
            raise RuntimeError('the topic is not there after the repair')
        server.stop()


main()
