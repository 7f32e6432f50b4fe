"""A weir server for a test: started on ports that the system chooses, in a directory of its own, stopped at the end.

Used by every test that needs the program as a whole: clients, crashes, the demo. Only the standard library."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

READY_SECONDS = 20  # sanitizers are slow; the crash tests measure the real figure


class Server:
    """One data directory, and at most one process on it."""

    def __init__(self, weir, data=None, arguments=()):
        self.weir = os.path.abspath(weir)
        self.own = data is None
        self.data = data or tempfile.mkdtemp(prefix='weir-test-')
        self.arguments = list(arguments)
        self.kafka_listen = '127.0.0.1:0'
        self.process = None
        self.log = tempfile.NamedTemporaryFile(prefix='weir-test-', suffix='.log')
        self.ready_seconds = 0.0

    def command(self):
        return [self.weir, 'serve', '--data', self.data, '--kafka', self.kafka_listen, '--amqp', 'off',
                '--http', '127.0.0.1:0', '--registry', 'off', '--kurrent', 'off'] + self.arguments

    def start(self):
        begin = time.monotonic()
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        watchdog = threading.Timer(READY_SECONDS, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        self.ready_seconds = time.monotonic() - begin
        if not line.startswith('ready '):
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f'the server is not ready but said {line!r}\n{self.diagnostics()}')
        where = dict(re.findall(r'(\w+)=(\S+)', line))
        self.kafka, self.http = where['kafka'], where['http']
        return self

    def stop(self):
        """A clean stop: SIGTERM, exit code 0."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f'the server did not stop on SIGTERM\n{self.diagnostics()}') from None
        finally:
            self.process.stdout.close()
        process, self.process = self.process, None
        if code != 0:
            raise RuntimeError(f'the server ended with {code}\n{self.diagnostics()}')
        return process

    def kill(self):
        """kill -9. True: the server was alive until then."""
        alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = None
        return alive

    def diagnostics(self, lines=60):
        with open(self.log.name, encoding='utf-8', errors='replace') as f:
            return ''.join(f.readlines()[-lines:])

    def close(self):
        if self.process is not None:
            self.kill()
        self.log.close()
        if self.own:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            sys.stderr.write('--- the server said ---\n' + self.diagnostics())
        self.close()

    # ---- the command line, as a user has it ----

    def sql(self, text, timeout=60, check=True):
        """Rows of `weir sql` on this server, one JSON text each."""
        done = subprocess.run([self.weir, 'sql', '--server', 'http://' + self.http, '-e', text, '--json'], capture_output=True,
                              text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise RuntimeError(f'weir sql: exit code {done.returncode}: {done.stderr}{done.stdout}')
        return done.stdout.splitlines()

    def verify(self):
        done = subprocess.run([self.weir, 'verify', '--data', self.data], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError(f'weir verify: exit code {done.returncode}: {done.stdout}{done.stderr}')


def until(condition, what, seconds=30.0):
    """Asks again until the condition holds; fails loudly when it does not."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f'not within {seconds:.0f} s: {what}')
        time.sleep(0.02)
