#!/usr/bin/env python3
"""Runs one unmodified client against a server: `COMMAND BROKER first`, a restart of the server, `COMMAND BROKER second`.

    run_client.py WEIR COMMAND...

What the client proves is said by its own lines, `ok name`. In the end the data directory is verified. Exit code 77: the
client is not installed."""
import subprocess
import sys

from server import Server

PHASE_SECONDS = 240


def main(weir, command):
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
