#!/usr/bin/env python3
"""How long a server takes from its start to its ready line after kill -9, with many partitions and much data.

    bench/start_time.py [--build DIR] [--partitions 1000] [--gib 1] [--runs 3]

The data is written with --durability os by bench/load and the server killed while it still writes. Needs so much room on the disk. The
goal: 1,000 partitions with 10 GiB ready in 5 seconds."""
import argparse
import os
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'protocol'))
from server import Server  # noqa: E402

GOAL_SECONDS = 5


def load(tools, server, partitions, records):
    return subprocess.run([tools.load, 'produce', 'host=' + server.kafka.split(':')[0], 'port=' + server.kafka.split(':')[1],
                           f'partitions={partitions}', 'connections=16', 'inflight=5', 'batch=1000', 'bytes=1024', f'records={records}'],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', default='build')
    parser.add_argument('--partitions', type=int, default=1000)
    parser.add_argument('--gib', type=float, default=1)
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--durability', default='sync')
    tools = parser.parse_args()
    tools.weir = os.path.abspath(os.path.join(tools.build, 'weir'))
    tools.load = os.path.join(tools.build, 'bench', 'load')
    worst = 0
    with Server(tools.weir, arguments=['--durability', tools.durability]) as server:
        server.start()
        subprocess.run([tools.weir, 'topic', 'create', 'bench', '--partitions', str(tools.partitions), '--broker', server.kafka],
                       check=True, stdout=subprocess.DEVNULL)
        begin = time.monotonic()
        load(tools, server, tools.partitions, int(tools.gib * (1 << 20)))
        print(f'written in {time.monotonic() - begin:.1f} s', flush=True)
        for _ in range(tools.runs):
            busy = threading.Thread(target=load, args=(tools, server, tools.partitions, 10_000_000))
            busy.start()
            time.sleep(1)  # so that there is something under way
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            busy.join()
            size = int(subprocess.run(['du', '-s', '--block-size=1', server.data], capture_output=True, check=True, text=True).stdout.split()[0])
            server.start()
            worst = max(worst, server.ready_seconds)
            print(f'{tools.partitions} partitions, {size / (1 << 30):.2f} GiB: ready in {server.ready_seconds:.2f} s', flush=True)
        server.stop()
    return 0 if worst <= GOAL_SECONDS else 1


sys.exit(main())
