"""What every Python client of the tests shares: the messages that are sent, and the reporting."""
import os
import sys
import traceback

CODECS = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
COUNT = 200
PARTITIONS = 4


def key(i):
    return b'key-%d' % i


def value(tag, i):
    return (f'{tag} {i} ' + 'the same words again and ' * (i % 20)).encode()


def timestamp(i):
    return int(os.environ['TIMESTAMP_BASE_MS']) + i * 1000


def report(name):
    print('ok ' + name, flush=True)


def run(client, phases):
    """phases: {'first': [function, ...], ...}; each function proves what its docstring says."""
    broker, phase = sys.argv[1:3]
    for function in phases[phase]:
        try:
            function(broker)
        except Exception:  # whatever the client throws: the test failed
            traceback.print_exc()
            print(f'not ok {client}: {function.__doc__}', flush=True)
            sys.exit(1)
        report(f'{client}: {function.__doc__}')
