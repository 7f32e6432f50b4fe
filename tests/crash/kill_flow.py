#!/usr/bin/env python3
"""kill -9 at random moments while a flow computes: its committed output is the same as without any kill.

    kill_flow.py WEIR [ROUNDS [SEED]]            (or CRASH_ROUNDS, CRASH_SEED)

Proves: exactly once for flows. Each window of a tumbling aggregate and each row of a filter is in the output topic once, with the
value that is computed here in Python from the same events, however often the server dies.
Method: `weir produce` feeds events in event-time order in portions; between the portions the server is killed. An event far in the
future at the end pushes the watermark past all windows."""
import collections
import json
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'protocol'))
from server import Server, until  # noqa: E402

START_MS, STEP_MS, WINDOW_MS = 1_700_000_000_000, 137, 10_000
PORTION = 400

DEFINITIONS = """
CREATE STREAM readings (sensor STRING, n BIGINT, v BIGINT, ts BIGINT,
    at AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR at AS at - INTERVAL '1' SECOND)
  WITH ('topic' = 'readings', 'format' = 'json', 'scan.watermark.idle-timeout' = '1 h');
CREATE STREAM sums WITH ('topic' = 'sums', 'format' = 'json') AS
  SELECT sensor, window_start, window_end, COUNT(*) AS n, SUM(v) AS total, MIN(v) AS low, MAX(v) AS high
  FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(at), INTERVAL '10' SECOND))
  GROUP BY sensor, window_start, window_end EMIT FINAL;
CREATE STREAM peaks WITH ('topic' = 'peaks', 'format' = 'json') AS
  SELECT sensor, n, v FROM readings WHERE v > 900;
"""


def events(count, rng):
    return [{'sensor': 's%d' % rng.randrange(5), 'n': i, 'v': rng.randrange(1000), 'ts': START_MS + i * STEP_MS}
            for i in range(count)]


def expected(rows):
    sums, peaks = collections.defaultdict(list), []
    for row in rows:
        sums[row['sensor'], row['ts'] // WINDOW_MS * WINDOW_MS].append(row['v'])
        if row['v'] > 900:
            peaks.append((row['sensor'], row['n'], row['v']))
    return sorted((sensor, window, len(v), sum(v), min(v), max(v)) for (sensor, window), v in sums.items()), sorted(peaks)


def produce(server, rows):
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    subprocess.run([server.weir, 'produce', 'readings', '--broker', server.kafka], input=text, text=True, check=True,
                   stdout=subprocess.DEVNULL, timeout=60)


def consume(server, topic):
    done = subprocess.run([server.weir, 'consume', topic, '-o', 'start', '-e', '--broker', server.kafka],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []


def epoch_ms(text):
    """"2015-07-15 00:00:10.000" with or without the Z of an instant, as UTC."""
    import calendar
    seconds, _, fraction = text.rstrip('Z').replace('T', ' ').partition('.')
    return calendar.timegm(time.strptime(seconds, '%Y-%m-%d %H:%M:%S')) * 1000 + int((fraction + '000')[:3])


def results(server):
    sums = sorted((r['sensor'], epoch_ms(r['window_start']), r['n'], r['total'], r['low'], r['high']) for r in consume(server, 'sums'))
    peaks = sorted((r['sensor'], r['n'], r['v']) for r in consume(server, 'peaks'))
    return sums, peaks


def main(weir, rounds, seed):
    print(f'seed {seed}, {rounds} rounds', flush=True)
    rng = random.Random(seed)
    rows = events(rounds * PORTION, rng)
    sums, peaks = expected(rows)
    with Server(weir) as server:
        server.start()
        server.sql(DEFINITIONS)
        for at in range(0, len(rows), PORTION):
            produce(server, rows[at:at + PORTION])
            time.sleep(rng.random() * 0.06)  # the random moment within the flow's work
            assert server.kill(), 'the server ended by itself:\n' + server.diagnostics()
            server.start()
        # Far beyond the last window, in a sensor of its own; its own window stays open.
        produce(server, [{'sensor': 'end', 'n': -1, 'v': 0, 'ts': rows[-1]['ts'] + 3_600_000}])
        try:
            until(lambda: len(results(server)[0]) >= len(sums) and len(results(server)[1]) >= len(peaks), 'all results', 60)
        except AssertionError:
            pass  # the comparison below says more
        got_sums, got_peaks = results(server)
        assert got_sums == sums, f'{len(got_sums)} windows instead of {len(sums)}; first that differ: ' \
            f'{sorted(set(got_sums) ^ set(sums))[:4]}, doubled: {[x for x, n in collections.Counter(got_sums).items() if n > 1][:4]}'
        assert got_peaks == peaks, f'{len(got_peaks)} rows instead of {len(peaks)}'
        server.stop()
        server.verify()
    print(f'ok {rounds} kills, {len(rows)} events: {len(sums)} windows and {len(peaks)} rows, each exactly once')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], int((sys.argv[2:3] or [os.environ.get('CRASH_ROUNDS', '25')])[0]),
                  int((sys.argv[3:4] or [os.environ.get('CRASH_SEED', str(random.SystemRandom().randrange(1 << 32)))])[0])))
