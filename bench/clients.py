"""Parts of bench/run: an unmodified client library as the load, and other systems beside Weir.

Each other system runs twice: as it comes, and at the durability that is nearest to Weir's own, where it has one. What each promises
then is written in the row. All of them get the same messages, the same number of connections and up to 1,000 unconfirmed messages on
each; librdkafka batches by itself. CPU seconds are of the server process alone."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'protocol'))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'limits'))
from kafka_bytes import api_versions, connect  # noqa: E402
from server import Server  # noqa: E402

TICKS = os.sysconf('SC_CLK_TCK')


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid, what='VmRSS'):
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return int(re.search(what + r':\s+(\d+)', f.read()).group(1)) / 1024


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def rdkafka(tools, kind, broker, **settings):
    done = subprocess.run([tools.rdkafka, kind, 'broker=' + broker, 'topic=bench'] + [f'{k}={v}' for k, v in settings.items()],
                          capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def create_topic(tools, server, partitions):
    subprocess.run([tools.weir, 'topic', 'create', 'bench', '--partitions', str(partitions), '--broker', server.kafka], check=True,
                   stdout=subprocess.DEVNULL)


class Null:
    """bench/minimal_broker that throws everything away: what the client can do at most."""

    def __init__(self, tools):
        self.process = subprocess.Popen([tools.minimal, 'null'], stdout=subprocess.PIPE, text=True)
        self.kafka = self.process.stdout.readline().split('kafka=')[1].strip()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def per_million(cpu, records):
    return cpu / (records / 1e6)


def produce_and_consume(tools, server, size, producers, acks, records):
    pid = server.process.pid
    before = cpu_seconds(pid)
    sent = rdkafka(tools, 'produce', server.kafka, producers=producers, bytes=size, records=records, acks=acks)
    middle = cpu_seconds(pid)
    read = rdkafka(tools, 'consume', server.kafka, partitions=producers, records=sent['records'])
    after = cpu_seconds(pid)
    n = sent['records']
    return n / sent['seconds'], per_million(middle - before, n), n / read['seconds'], per_million(after - middle, n)


def librdkafka(tools, row):
    if not os.path.exists(tools.rdkafka):
        return
    for size, records, label in ((100, 2_000_000, '100 B'), (1024, 400_000, '1 KiB')):
        records //= 10 if tools.quick else 1
        for producers in (1, 16):
            null = Null(tools)
            ceiling = rdkafka(tools, 'produce', null.kafka, producers=producers, bytes=size, records=records)
            null.close()
            top = ceiling['records'] / ceiling['seconds']
            who = f'librdkafka, {label}, {producers} producer{"s"[:producers > 1]}'
            row(f'{who}: against a broker that throws away', f'{top / 1e6:.2f} M/s', '', None)
            for mode, acks in (('os', 'all'), ('sync', 'all'), ('sync', '1')):
                if acks == '1' and producers > 1:
                    continue
                with Server(tools.weir, arguments=['--durability', mode]) as server:
                    server.start()
                    create_topic(tools, server, producers)
                    rate, cpu, read_rate, read_cpu = produce_and_consume(tools, server, size, producers, acks, records)
                    server.stop()
                row(f'  {mode}, acks={acks}: produced, of that ceiling; CPU s per million', f'{rate / 1e6:.2f} M/s, {rate / top:.0%}; {cpu:.3f}',
                    '', None)
                row('    consumed; CPU s per million', f'{read_rate / 1e6:.2f} M/s; {read_cpu:.3f}', '', None)


def latency(tools, row):
    if not os.path.exists(tools.rdkafka):
        return
    for mode in ('os', 'sync'):
        with Server(tools.weir, arguments=['--durability', mode]) as server:
            server.start()
            for rate in (1000, 10000):
                subprocess.run([tools.weir, 'topic', 'delete', 'bench', '--broker', server.kafka], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
                create_topic(tools, server, 1)
                r = rdkafka(tools, 'latency', server.kafka, rate=rate, seconds=2 if tools.quick else 5)
                row(f'end to end at {rate:,} records/s, {mode}: p50, p99', f'{r["p50_us"]:.0f}, {r["p99_us"]:.0f} us',
                    'Kafka 4.0, os: 190, 1250 us' if (mode, rate) == ('os', 1000) else '',
                    r['p50_us'] <= 190 and r['p99_us'] <= 1250 if (mode, rate) == ('os', 1000) else None)
            server.stop()


def connections(tools, row):
    count = 1000
    with Server(tools.weir) as server:
        server.start()
        before = rss_mib(server.process.pid, 'RssAnon')
        conns = []
        for _ in range(count):
            s = connect(server.kafka)
            api_versions(s)
            conns.append(s)
        used = rss_mib(server.process.pid, 'RssAnon') - before
        for s in conns:
            s.close()
        server.stop()
    row(f'memory of {count:,} idle Kafka connections', f'{used:.1f} MiB', '<= 5 MiB', used <= 5)


# ---- other systems ----
class Other:
    """A server of somebody else, in a directory of its own, on a port that the system chose."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix='weir-bench-')
        self.port = free_port()
        self.process = None

    def start(self, command, **more):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        cwd=self.directory, **more)
        self.pid = self.process.pid
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f'{command[0]} does not start') from None
                time.sleep(0.05)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def two_steps(program, pid, **settings):
    """Programs that publish, wait, and read: rates and CPU seconds per million of both."""
    process = subprocess.Popen([program] + [f'{k}={v}' for k, v in settings.items()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    before = cpu_seconds(pid)
    said = process.stdout.readline()
    middle = cpu_seconds(pid)
    out, _ = process.communicate('go\n')
    if process.returncode != 0 or said.strip() != 'published':
        raise RuntimeError(f'{program} failed')
    after = cpu_seconds(pid)
    r = json.loads(out)
    n = r['records']
    return n / r['seconds'], per_million(middle - before, n), n / r['fetch_seconds'], per_million(after - middle, n)


def show(row, who, connections_, label, result):
    rate, cpu, read_rate, read_cpu = result
    text = f'{rate / 1e3:.0f} k/s; {cpu:.2f}'
    if read_rate is not None:
        text += f' / {read_rate / 1e3:.0f} k/s; {read_cpu:.2f}'
    row(f'{who}, {label}, {connections_} producer{"s"[:connections_ > 1]}: in; CPU s per million / out; CPU', text, '', None)


SIZES = ((100, '100 B'), (1024, '1 KiB'))


def rabbitmq(tools, row):
    program = '/usr/lib/rabbitmq/bin/rabbitmq-server'
    if not os.path.exists(program) or not os.path.exists(tools.amqp):
        print('RabbitMQ is not installed')
        return
    other = Other()
    epmd = str(free_port())
    environment = dict(os.environ, HOME=other.directory, RABBITMQ_NODE_PORT=str(other.port), RABBITMQ_DIST_PORT=str(free_port()),
                       RABBITMQ_MNESIA_BASE=other.directory, RABBITMQ_LOG_BASE=other.directory, RABBITMQ_NODENAME='bench@localhost',
                       RABBITMQ_ENABLED_PLUGINS_FILE=os.path.join(other.directory, 'plugins'), ERL_EPMD_PORT=epmd,
                       RABBITMQ_PID_FILE=os.path.join(other.directory, 'pid'))
    with open(os.path.join(other.directory, 'plugins'), 'w', encoding='ascii') as f:
        f.write('[].\n')
    try:
        other.start([program], env=environment)
        with open(os.path.join(other.directory, 'pid'), encoding='ascii') as f:
            other.pid = int(f.read())
        for size, label in SIZES:
            for n in (1, 16):
                records = 20_000 if tools.quick else 150_000
                show(row, 'RabbitMQ 3.10, confirmed: fsync before the confirm', n, label,
                     two_steps(tools.amqp, other.pid, port=other.port, connections=n, bytes=size, records=records))
        row('  memory after that', f'{rss_mib(other.pid):.0f} MiB', '', None)
    finally:
        other.close()
        subprocess.run(['epmd', '-port', epmd, '-kill'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def nats(tools, row):
    program = shutil.which('nats-server')
    if program is None:
        print('NATS is not installed')
        return
    for size, label in SIZES:
        for n in (1, 16):
            other = Other()
            try:
                other.start([program, '-a', '127.0.0.1', '-p', str(other.port), '-js', '-sd', other.directory])
                show(row, 'NATS JetStream, acknowledged: fsync every 2 minutes', n, label,
                     two_steps(tools.nats, other.pid, port=other.port, connections=n, bytes=size, records=50_000 if tools.quick else 400_000))
            finally:
                other.close()


def redis(tools, row):
    program = shutil.which('redis-server')
    if program is None or shutil.which('redis-benchmark') is None:
        print('Redis is not installed')
        return
    for mode in ('always', 'everysec'):
        for size, label in SIZES:
            for n in (1, 16):
                records = 50_000 if tools.quick else 300_000
                other = Other()
                try:
                    other.start([program, '--port', str(other.port), '--bind', '127.0.0.1', '--dir', other.directory, '--appendonly', 'yes',
                                 '--appendfsync', mode, '--save', ''])
                    before, begin = cpu_seconds(other.pid), time.monotonic()
                    subprocess.run(['redis-benchmark', '-p', str(other.port), '-n', str(records), '-c', str(n), '-P', '1000', '-q', 'XADD',
                                    'bench', '*', 'v', 'x' * size], check=True, stdout=subprocess.DEVNULL)
                    rate = records / (time.monotonic() - begin)
                    show(row, f'Redis Streams, appendfsync {mode}', n, label,
                         (rate, per_million(cpu_seconds(other.pid) - before, records), None, None))
                finally:
                    other.close()
