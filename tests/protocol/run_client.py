#!/usr/bin/env python3
"""Runs one unmodified client against a server: `COMMAND BROKER first`, a restart of the server, `COMMAND BROKER second`.

    run_client.py WEIR COMMAND...

What the client proves is said by its own lines, `ok name`. In the end the data directory is verified. Exit code 77: the
client is not installed."""
import os
import subprocess
import sys
import time

from server import Server

PHASE_SECONDS = 240


def main(weir, command):
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
            server.stop()
        server.verify()
        print('ok the data directory verifies')
    return 0


sys.exit(main(sys.argv[1], sys.argv[2:]))
