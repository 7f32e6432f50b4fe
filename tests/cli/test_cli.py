#!/usr/bin/env python3
"""Every command of `weir`, run as a user would, against a server of its own on ports that the system picks.

    test_cli.py WEIR [NAME...]      NAME: only the tests whose name holds it

Proves: what each command prints as text and as JSON, that errors say what to do and end with the documented exit code, that flags,
environment and INI file mean the same, and that a server starts, refuses and stops as promised."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

WEIR = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else 'build/weir'
OK, FAILED, USAGE, UNAVAILABLE, DAMAGED = range(5)
WAIT = 15


def clean_environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith('WEIR_')}
    env.update(more)
    return env


def weir(*args, stdin='', env=None, code=OK):
    """Standard output, standard error."""
    done = subprocess.run([WEIR, *args], input=stdin.encode(), capture_output=True, timeout=WAIT, env=env or clean_environment())
    out, err = done.stdout.decode(), done.stderr.decode()
    if done.returncode != code:
        raise AssertionError(f'weir {" ".join(args)}: exit {done.returncode}, expected {code}\n{out}\n{err}')
    return out, err


def lines(text):
    return text.splitlines()


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


class Server:
    def __init__(self, directory, *args, env=None):
        self.process = subprocess.Popen([WEIR, 'serve', '--data', directory, '--kafka', '127.0.0.1:0', '--http', '127.0.0.1:0',
                                         '--group-initial-delay', '0', *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=env or clean_environment())
        self.ready = self.process.stdout.readline().decode()
        if not self.ready.startswith('ready '):
            raise AssertionError(self.ready + self.process.stderr.read().decode())
        address = dict(word.split('=', 1) for word in self.ready.split()[1:])
        self.kafka, self.http = address.get('kafka'), address.get('http')

    def stop(self, signo=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signo)
        code = self.process.wait(timeout=WAIT)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class Base(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='weir-cli-')
        self.addCleanup(shutil.rmtree, self.dir, True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text)
        return self.path(name)


class Running(Base):
    """With a server."""

    def setUp(self):
        super().setUp()
        self.server = Server(self.path('data'))
        self.addCleanup(self.server.stop)
        self.env = clean_environment(WEIR_BROKER=self.server.kafka, WEIR_SERVER='http://' + self.server.http)

    def weir(self, *args, **more):
        return weir(*args, env=self.env, **more)

    def out(self, *args, **more):
        return self.weir(*args, **more)[0]

    def sql(self, text, **more):
        return self.out('sql', '-e', text, **more)


class Help(Base):
    COMMANDS = ['serve', 'dev', 'topic create', 'topic list', 'topic describe', 'topic alter', 'topic trim', 'topic delete', 'produce',
                'consume', 'sql', 'group list', 'group describe', 'group reset', 'verify', 'version']

    def test_overview_names_every_command(self):
        for text in (weir('--help')[0], weir('help')[0], weir('-h')[0]):
            for name in self.COMMANDS:
                self.assertIn('  ' + name, text)
        self.assertIn('Usage:', weir(code=USAGE)[0])

    def test_each_command_has_help_with_examples(self):
        for name in self.COMMANDS:
            text = weir('help', *name.split())[0]
            self.assertTrue(text.startswith(f'weir {name}: '), text)
            self.assertRegex(text, r'\nExamples:\n  \S')
            self.assertIn(f'weir {name}', text.split('\nExamples:\n')[1])
            self.assertEqual(text, weir(*name.split(), '--help')[0])
        self.assertEqual(weir('help', 'topic')[0].count('Examples:'), 6)

    def test_help_is_quick(self):
        spent = []
        for _ in range(5):
            before = time.perf_counter()
            weir('--help')
            spent.append(time.perf_counter() - before)
        self.assertLess(min(spent), 0.1)  # goal: 5 ms on an idle machine; this notices a start that reads or waits

    def test_version(self):
        self.assertRegex(weir('version')[0], r'^weir \d+\.\d+\.\d+\n$')
        self.assertEqual(weir('--version'), weir('version'))
        self.assertRegex(objects(weir('version', '--json')[0])[0]['version'], r'^\d+\.\d+\.\d+$')


class Usage(Base):
    def test_unknown_names_come_with_the_nearest(self):
        self.assertIn('did you mean "topic list"?', weir('topic', 'lsit', code=USAGE)[1])
        self.assertIn('did you mean "serve"?', weir('sevre', code=USAGE)[1])
        self.assertIn('needs a subcommand', weir('topic', code=USAGE)[1])
        self.assertIn('there is no command "xyzzyx"', weir('xyzzyx', code=USAGE)[1])
        self.assertIn('did you mean --partitions?', weir('topic', 'create', 'a', '--partitons', '3', code=USAGE)[1])
        self.assertIn('hint: weir help topic create', weir('topic', 'create', code=USAGE)[1])
        self.assertIn('unexpected argument "b"', weir('topic', 'create', 'a', 'b', code=USAGE)[1])
        self.assertIn('needs a value', weir('topic', 'create', 'a', '--partitions', code=USAGE)[1])
        self.assertIn('takes no value', weir('consume', 'a', '--exit=1', code=USAGE)[1])

    def test_bad_values(self):
        self.assertIn('whole number from 1 to', weir('topic', 'create', 'a', '-p', '0', code=USAGE)[1])
        self.assertIn('is not a range', weir('consume', 'a', '-o', 'yesterday', code=USAGE)[1])
        self.assertIn('is not one of none, gzip', weir('produce', 'a', '-z', 'rar', code=USAGE)[1])
        self.assertIn('NAME=VALUE', weir('produce', 'a', '-H', 'x', code=USAGE)[1])
        self.assertIn('do not go together', weir('sql', '-e', 'x', '-f', 'y', code=USAGE)[1])
        self.assertIn('--durability', weir('serve', '--durability', 'maybe', code=USAGE)[1])
        self.assertIn('HOST:PORT', weir('serve', '--kafka', '9092', code=USAGE)[1])
        self.assertIn('--log-level', weir('serve', '--log-level', 'loud', code=USAGE)[1])
        self.assertIn('--segment-bytes', weir('serve', '--segment-bytes', '5', code=USAGE)[1])
        self.assertIn('not in this version', weir('serve', '--amqp', '127.0.0.1:0', code=FAILED)[1])
        self.assertIn('URL', weir('sql', '-s', 'localhost', '-e', 'SHOW STREAMS', code=USAGE)[1])

    def test_errors_as_json(self):
        error = json.loads(weir('topic', 'create', '--json', code=USAGE)[1])['error']
        self.assertEqual(error['code'], 'usage')
        self.assertEqual(error['hint'], 'weir help topic create')
        error = json.loads(weir('--json', 'nothing', code=USAGE)[1])['error']
        self.assertEqual(error['code'], 'usage')

    def test_no_server(self):
        for args in (['topic', 'list', '-b', '127.0.0.1:1'], ['sql', '-s', 'http://127.0.0.1:1', '-e', 'SHOW STREAMS']):
            err = weir(*args, code=UNAVAILABLE)[1]
            self.assertIn('hint: start one with `weir dev`', err)


class Configuration(Base):
    def test_unknown_key_is_an_error(self):
        ini = self.write('w.ini', 'data = x\nkafak = 127.0.0.1:0\n')
        err = weir('serve', '--config', ini, code=USAGE)[1]
        self.assertIn('line 2: unknown key "kafak"; did you mean "kafka"?', err)
        self.assertIn('sections', weir('serve', '--config', self.write('s.ini', '[server]\ndata = x\n'), code=USAGE)[1])
        self.assertIn('line 1', weir('serve', '--config', self.write('n.ini', 'just words\n'), code=USAGE)[1])
        self.assertIn('cannot be read', weir('serve', '--config', self.path('none.ini'), code=USAGE)[1])

    def test_flag_beats_environment_beats_file(self):
        ini = self.write('w.ini', '; a comment\npartitions = 5\nserver = http://127.0.0.1:1\n')
        cases = [([], {}, 1), (['--config', ini], {}, 5), ([], {'WEIR_CONFIG': ini}, 5),
                 (['--config', ini], {'WEIR_PARTITIONS': '4'}, 4), (['--config', ini, '--partitions', '3'], {'WEIR_PARTITIONS': '4'}, 3)]
        for number, (args, env, partitions) in enumerate(cases):
            server = Server(self.path(f'd{number}'), *args, env=clean_environment(**env))
            try:
                weir('produce', 'auto', '-b', server.kafka, stdin='x\n')
                self.assertEqual(objects(weir('topic', 'list', '-b', server.kafka, '--json')[0])[0]['partitions'], partitions)
            finally:
                self.assertEqual(server.stop(), 0)

    def test_data_directory_from_the_environment(self):
        process = subprocess.Popen([WEIR, 'serve', '--kafka', '127.0.0.1:0', '--http', 'off'], stdout=subprocess.PIPE,
                                   env=clean_environment(WEIR_DATA=self.path('named')))
        self.assertRegex(process.stdout.readline().decode(), r'^ready kafka=127\.0\.0\.1:\d+\n$')
        process.terminate()
        self.assertEqual(process.wait(timeout=WAIT), 0)
        process.stdout.close()
        self.assertTrue(os.path.isdir(self.path('named')))


class Serve(Base):
    def test_ready_line_and_clean_stop(self):
        for signo in (signal.SIGTERM, signal.SIGINT):
            server = Server(self.path('data'))
            self.assertRegex(server.ready, r'^ready kafka=127\.0\.0\.1:\d+ http=127\.0\.0\.1:\d+\n$')
            self.assertEqual(server.stop(signo), 0)

    def test_second_process_is_refused(self):
        server = Server(self.path('data'))
        self.addCleanup(server.stop)
        err = weir('serve', '--data', self.path('data'), '--kafka', '127.0.0.1:0', '--http', 'off', code=UNAVAILABLE)[1]
        self.assertIn('in use', err)
        self.assertIn(str(server.process.pid), err)
        self.assertIn('in use', weir('sql', '--data', self.path('data'), '-e', 'SHOW STREAMS', code=UNAVAILABLE)[1])
        self.assertIn('in use', weir('topic', 'list', '--data', self.path('data'), code=UNAVAILABLE)[1])
        self.assertIn('in use', weir('verify', '--data', self.path('data'), code=UNAVAILABLE)[1])

    def test_port_in_use(self):
        server = Server(self.path('data'))
        self.addCleanup(server.stop)
        err = weir('serve', '--data', self.path('other'), '--kafka', server.kafka, '--http', 'off', code=UNAVAILABLE)[1]
        self.assertIn(server.kafka, err)
        self.assertIn(server.http, weir('serve', '--data', self.path('other'), '--kafka', 'off', '--http', server.http,
                                        code=UNAVAILABLE)[1])

    def test_other_addresses_are_refused(self):
        err = weir('serve', '--data', self.path('data'), '--kafka', '0.0.0.0:0', code=USAGE)[1]
        self.assertIn('loopback', err)
        self.assertIn('--insecure-i-know', err)
        server = Server(self.path('data'), '--kafka', '0.0.0.0:0', '--insecure-i-know')
        self.assertEqual(server.stop(), 0)

    def test_a_file_is_no_directory(self):
        self.assertNotEqual(weir('serve', '--data', self.write('file', 'x'), '--kafka', '127.0.0.1:0', '--http', 'off',
                                 code=FAILED)[1], '')

    def test_dev_prints_its_addresses(self):
        process = subprocess.Popen([WEIR, 'dev', '--data', self.path('data'), '--kafka', '127.0.0.1:0', '--http', '127.0.0.1:0'],
                                   stdout=subprocess.PIPE, env=clean_environment())
        text = ''
        while 'Ctrl-C' not in text:
            line = process.stdout.readline().decode()
            self.assertNotEqual(line, '', text)
            text += line
        process.terminate()
        self.assertEqual(process.wait(timeout=WAIT), 0)
        process.stdout.close()
        self.assertRegex(text, r'weir sql --server http://127\.0\.0\.1:\d+')
        self.assertIn('/metrics', text)
        self.assertIn('doors on', weir('dev', '--http', 'off', code=USAGE)[1])


class Topics(Running):
    def test_life_of_a_topic(self):
        self.assertEqual(self.out('topic', 'create', 'orders', '--partitions', '3', '--set', 'retention.ms=86400000'),
                         'topic orders created\n')
        self.assertIn('exists', self.weir('topic', 'create', 'orders', code=FAILED)[1])
        self.assertIn('orders', self.out('topic', 'list'))
        self.assertEqual(objects(self.out('topic', 'list', '--json')), [{'topic': 'orders', 'partitions': 3, 'internal': False}])
        text = self.out('topic', 'describe', 'orders')
        self.assertRegex(text, r'PARTITION +START +END +RECORDS\n0 +0 +0 +0\n1 ')
        self.assertRegex(text, r'retention\.ms +86400000\n')
        found = objects(self.out('topic', 'describe', 'orders', '--json'))
        self.assertEqual([o['partition'] for o in found if 'partition' in o], [0, 1, 2])
        self.assertIn({'topic': 'orders', 'config': 'retention.ms', 'value': '86400000'}, found)
        self.assertEqual(json.loads(self.out('topic', 'delete', 'orders', '--json')), {'topic': 'orders', 'result': 'deleted'})
        self.weir('topic', 'describe', 'orders', code=FAILED)
        self.weir('topic', 'delete', 'orders', code=FAILED)

    def test_bad_names_and_settings(self):
        self.weir('topic', 'create', 'no/slash', code=USAGE)
        self.weir('topic', 'create', 'ok', '--set', 'retention.ms=soon', code=USAGE)
        self.assertIn('KEY=VALUE', self.weir('topic', 'create', 'ok', '--set', 'x', code=USAGE)[1])

    def configs(self, topic):
        return {o['config']: o['value'] for o in objects(self.out('topic', 'describe', topic, '--json')) if 'config' in o}

    def test_altering(self):
        self.out('topic', 'create', 'a', '--set', 'retention.ms=1000000', '--set', 'segment.bytes=16384')
        self.assertEqual(self.configs('a')['segment.bytes'], '16384')
        self.assertEqual(self.out('topic', 'alter', 'a', '--set', 'retention.ms=2000000', '-s', 'cleanup.policy=compact,delete',
                                  '--delete', 'segment.bytes', '--partitions', '3'), 'topic a altered\n')
        found = self.configs('a')
        self.assertEqual((found['retention.ms'], found['cleanup.policy'], found['segment.bytes']),
                         ('2000000', 'compact,delete', '268435456'))
        self.assertEqual(objects(self.out('topic', 'list', '--json'))[0]['partitions'], 3)
        self.assertEqual(json.loads(self.out('topic', 'alter', 'a', '-D', 'retention.ms', '--json')), {'topic': 'a', 'result': 'altered'})
        self.assertEqual(self.configs('a')['retention.ms'], '604800000')
        self.assertIn('did you mean retention.ms', self.weir('topic', 'alter', 'a', '--set', 'retention.mss=1', code=USAGE)[1])
        self.assertIn('it is always producer', self.weir('topic', 'alter', 'a', '--set', 'compression.type=zstd', code=USAGE)[1])
        self.assertIn('only grow', self.weir('topic', 'alter', 'a', '--partitions', '2', code=USAGE)[1])
        self.assertIn('KEY=VALUE', self.weir('topic', 'alter', 'a', '--set', 'x', code=USAGE)[1])
        self.assertIn('needs --set', self.weir('topic', 'alter', 'a', code=USAGE)[1])
        self.assertIn('none', self.weir('topic', 'alter', 'none', '-p', '3', code=FAILED)[1])

    def test_trimming(self):
        self.out('topic', 'create', 'b', '-p', '2')
        text = ''.join(json.dumps({'value': f'v{i}', 'timestamp': 1767225600000 + i * 60000, 'partition': 0}) + '\n' for i in range(10))
        self.out('produce', 'b', '--input', 'json', stdin=text)

        def start():
            return [o['start_offset'] for o in objects(self.out('topic', 'describe', 'b', '--json')) if 'partition' in o]
        text = self.out('topic', 'trim', 'b', '--before', '3', '--partition', '0')
        self.assertRegex(text, r'b +0 +0 -> 3 +3\n')
        self.assertIn('Nothing was changed', text)
        self.assertEqual(start(), [0, 0])
        self.assertIn('deleted', self.out('topic', 'trim', 'b', '--before', '3', '--partition', '0', '--yes'))
        self.assertEqual(start(), [3, 0])
        self.assertEqual(objects(self.out('topic', 'trim', 'b', '--before', '@2026-01-01T00:05', '--yes', '--json')),
                         [{'topic': 'b', 'partition': 0, 'start_offset': 3, 'before': 5},
                          {'topic': 'b', 'partition': 1, 'start_offset': 0, 'before': 0}])
        self.assertEqual(lines(self.out('consume', 'b', '-e')), [f'v{i}' for i in range(5, 10)])
        self.assertIn('ends at offset 10', self.weir('topic', 'trim', 'b', '--before', '11', '-p', '0', code=FAILED)[1])
        self.out('topic', 'trim', 'b', '--before', 'end', '--yes')
        self.assertEqual(start(), [10, 0])
        self.out('topic', 'alter', 'b', '--set', 'cleanup.policy=compact')
        self.assertIn('INVALID_RECORD', self.weir('produce', 'b', '-p', '0', stdin='no key\n', code=USAGE)[1])
        self.out('produce', 'b', '-p', '0', '-K:', stdin='key:more\n')
        self.assertIn('POLICY_VIOLATION', self.weir('topic', 'trim', 'b', '--before', 'end', '-y', code=FAILED)[1])
        self.assertIn('needs --before', self.weir('topic', 'trim', 'b', code=USAGE)[1])
        self.weir('topic', 'trim', 'b', '--before', 'soon', code=USAGE)

    def test_a_directory_without_server(self):
        data = self.path('own')
        weir('topic', 'create', 'a', '--data', data)
        weir('produce', 'a', '--data', data, stdin='one\ntwo\n')
        self.assertEqual(lines(weir('consume', 'a', '--data', data, '--exit')[0]), ['one', 'two'])
        self.assertIn('no damage', weir('verify', '--data', data)[0])


class ProduceConsume(Running):
    def ten(self, topic='ten'):
        text = ''.join(json.dumps({'key': f'k{i}', 'value': f'v{i}', 'timestamp': 1767225600000 + i * 60000}) + '\n' for i in range(10))
        self.assertEqual(json.loads(self.out('produce', topic, '--input', 'json', '--json', stdin=text)),
                         {'topic': topic, 'records': 10})

    def read(self, topic, *args):
        return lines(self.out('consume', topic, *args))

    def test_ranges(self):
        self.ten()
        v = [f'v{i}' for i in range(10)]
        day = '2026-01-01T00:'
        cases = [('start', v), ('end', []), ('7', v[7:]), ('+2', v[2:]), ('-3', v[7:]), ('-100', v), ('2:5', v[2:5]),
                 ('start:end', v), (':', None), ('0:+1', v[:1]), ('-4:-2', v[6:8]), ('@' + day + '05', v[5:]), ('@2027-01-01', []),
                 (f'@{day}02:{day}04', v[2:4]), ('@1767225660000:1767225780000', v[1:3]), ('@2026-01-01:', v), ('@-10m', [])]
        for text, want in cases:
            if want is None:
                self.weir('consume', 'ten', '-o', text, code=USAGE)
            else:
                self.assertEqual(self.read('ten', '-o', text, '-e'), want, text)
        self.assertEqual(self.read('ten', '-o', '2:5'), v[2:5])  # a range with an end needs no --exit
        self.assertEqual(self.read('ten', '-n', '3'), v[:3])
        self.assertIn('there is no 4', self.weir('consume', 'ten', '-p', '4', '-e', code=FAILED)[1])
        self.weir('consume', 'nothing', '-e', code=FAILED)

    def test_formats(self):
        self.out('produce', 'f', '-K', ':', '-H', 'source=test', '-t', '1767225600000', stdin='key:value\n')
        self.assertEqual(self.out('consume', 'f', '-e', '-f', '%t/%p/%o %T %k=%v %s %h %%\\t|\\n'),
                         'f/0/0 1767225600000 key=value 5 source=test %\t|\n')
        self.assertEqual(objects(self.out('consume', 'f', '-e', '--json')),
                         [{'topic': 'f', 'partition': 0, 'offset': 0, 'timestamp': 1767225600000, 'key': 'key', 'value': 'value',
                           'headers': {'source': 'test'}}])

    def test_copying_a_topic_keeps_it(self):
        self.out('produce', 'a', '-k', 'same', '-H', 'h=1', '-t', '5', stdin='x\ny "quoted" \\ \u00fc\n')
        text = self.out('consume', 'a', '-e', '--json')
        self.out('produce', 'b', '--input', 'json', stdin=text)
        self.assertEqual(self.out('consume', 'b', '-e', '--json'), text.replace('"topic":"a"', '"topic":"b"'))

    def test_keys_nulls_and_partitions(self):
        self.out('topic', 'create', 'p', '-p', '4')
        self.out('produce', 'p', '-K', ':', stdin=''.join(f'k{i}:{i}\n' for i in range(40)))
        self.assertGreater(len(set(self.read('p', '-e', '-f', '%p\\n'))), 1)
        self.out('produce', 'p', '-p', '2', '-Z', '-k', 'gone', stdin='\n')
        last = objects(self.out('consume', 'p', '-p', '2', '-o', '-1', '-e', '--json'))
        self.assertEqual([(o['key'], o['value']) for o in last], [('gone', None)])
        self.assertEqual(self.read('p', '-p', '2', '-o', '-1', '-e', '-f', '%s\\n'), ['-1'])

    def test_each_codec(self):
        for codec in ('none', 'gzip', 'snappy', 'lz4', 'zstd'):
            self.out('produce', 'z-' + codec, '-z', codec, stdin='text\n' * 1000)
            self.assertEqual(self.read('z-' + codec, '-e'), ['text'] * 1000)

    def test_bad_lines_are_refused_with_their_number(self):
        err = self.weir('produce', 'bad', '-K', ':', stdin='a:1\nb\n', code=USAGE)[1]
        self.assertIn('line 2', err)
        self.assertEqual(self.read('bad', '-e'), ['1'])  # what was read before is stored
        self.assertIn('line 1', self.weir('produce', 'bad', '-i', 'json', stdin='[]\n', code=USAGE)[1])

    def test_consume_waits_until_interrupted(self):
        self.weir('consume', 'late', '-o', 'end', code=FAILED)  # the topic does not exist: told at once
        self.out('topic', 'create', 'late')
        process = subprocess.Popen([WEIR, 'consume', 'late', '-o', 'start'], stdout=subprocess.PIPE, env=self.env)
        self.out('produce', 'late', stdin='here\n')
        self.assertEqual(process.stdout.readline(), b'here\n')
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=WAIT), 0)
        process.stdout.close()


class Groups(Running):
    def test_groups_remember_and_reset(self):
        self.out('produce', 't', stdin=''.join(f'{i}\n' for i in range(10)))
        self.assertEqual(lines(self.out('consume', 't', '-g', 'g', '-n', '4')), ['0', '1', '2', '3'])
        self.assertEqual(lines(self.out('consume', 't', '-g', 'g', '-e')), ['4', '5', '6', '7', '8', '9'])
        self.assertEqual(self.out('consume', 't', '-g', 'g', '-e'), '')
        self.assertEqual(objects(self.out('group', 'list', '--json'))[0]['group'], 'g')
        self.assertIn('Empty', self.out('group', 'list'))
        self.assertRegex(self.out('group', 'describe', 'g'), r't +0 +10 +10 +0 +-')
        described = objects(self.out('group', 'describe', 'g', '--json'))
        self.assertEqual((described[1]['offset'], described[1]['lag']), (10, 0))
        self.assertIn('Nothing was changed', self.out('group', 'reset', 'g', '-t', 't', '--to', '7'))
        self.assertEqual(self.out('consume', 't', '-g', 'g', '-e'), '')
        self.assertEqual(objects(self.out('group', 'reset', 'g', '-t', 't', '--to', '7', '--yes', '--json')),
                         [{'topic': 't', 'partition': 0, 'before': 10, 'after': 7}])
        self.assertEqual(lines(self.out('consume', 't', '-g', 'g', '-e')), ['7', '8', '9'])
        for to, first in (('start', 0), ('end', 10), ('@2000-01-01', 0), ('@-0s', 10)):
            self.assertEqual(objects(self.out('group', 'reset', 'g', '-t', 't', '--to', to, '--json'))[0]['after'], first, to)
        self.assertIn('needs --topic', self.weir('group', 'reset', 'g', code=USAGE)[1])
        self.assertIn('--to', self.weir('group', 'reset', 'g', '-t', 't', '--to', 'never', code=USAGE)[1])
        self.weir('group', 'describe', 'nobody', code=FAILED)

    def test_offsets_survive_a_restart(self):
        self.out('produce', 't', stdin='a\nb\n')
        self.assertEqual(self.out('consume', 't', '-g', 'g', '-n', '1'), 'a\n')
        self.assertEqual(self.server.stop(), 0)
        self.server = Server(self.path('data'))
        self.addCleanup(self.server.stop)
        self.env['WEIR_BROKER'] = self.server.kafka
        self.assertEqual(self.out('consume', 't', '-g', 'g', '-e'), 'b\n')


class Sql(Running):
    CREATE = "CREATE STREAM s (id BIGINT, name STRING, price DOUBLE) WITH ('topic' = 's')"

    def setUp(self):
        super().setUp()
        self.out('produce', 's', stdin='{"id":1,"name":"a","price":1.5}\n{"id":2,"name":"b \\"q\\"","price":-2}\n{"id":3}\n')
        self.sql(self.CREATE)

    def test_rows_as_table_and_json(self):
        text = self.sql('SELECT id, name, price FROM s')
        self.assertRegex(lines(text)[0], r'^ *id \| name +\| +price$')
        self.assertRegex(lines(text)[2], r'^ +1 \| a +\| +1\.5$')
        self.assertIn('(3 rows)', text)
        self.assertEqual(objects(self.out('sql', '--json', '-e', 'SELECT * FROM s')),
                         [{'id': 1, 'name': 'a', 'price': 1.5}, {'id': 2, 'name': 'b "q"', 'price': -2},
                          {'id': 3, 'name': None, 'price': None}])

    def test_file_and_standard_input(self):
        script = 'SELECT id FROM s WHERE id = 2; -- first\nSELECT COUNT(*) AS n FROM s;\n'
        want = [{'id': 2}, {'n': 3}]
        self.assertEqual(objects(self.out('sql', '--json', '-f', self.write('q.sql', script))), want)
        self.assertEqual(objects(self.out('sql', '--json', '-f', '-', stdin=script)), want)
        self.assertEqual(objects(self.out('sql', '--json', stdin=script)), want)
        self.assertIn('cannot be read', self.weir('sql', '-f', self.path('none.sql'), code=USAGE)[1])

    def test_errors_point_at_the_place(self):
        out, err = self.weir('sql', '-e', 'SELECT id\nFROM s\nWHERE idd > 1', code=FAILED)
        self.assertEqual(out, '')
        self.assertEqual(lines(err)[0], "error at line 3, column 7: unknown column 'idd'")
        self.assertEqual(lines(err)[1:3], ['WHERE idd > 1', '      ^'])
        self.assertIn("did you mean 'id'", err)
        error = json.loads(self.weir('sql', '--json', '-e', 'SELECT idd FROM s', code=FAILED)[1])['error']
        self.assertEqual((error['line'], error['column'], error['code']), (1, 8, 'invalid'))
        self.assertIn('id', error['hint'])
        self.weir('sql', '-e', 'SELEC', code=FAILED)
        # What ran before the error is shown.
        out, err = self.weir('sql', '--json', '-e', 'SELECT id FROM s WHERE id = 1; SELECT nope FROM s', code=FAILED)
        self.assertEqual(objects(out), [{'id': 1}])
        self.assertIn('nope', err)

    def test_a_directory_without_server(self):
        self.assertEqual(self.server.stop(), 0)
        data = self.path('data')
        self.assertEqual(objects(weir('sql', '--data', data, '--json', '-e', 'SELECT COUNT(*) AS n FROM s')[0]), [{'n': 3}])
        out, err = weir('sql', '--data', data, '-e', 'SELECT x FROM s', code=FAILED)
        self.assertIn('      ^', err)
        error = json.loads(weir('sql', '--data', data, '--json', '-e', 'SELECT x FROM s', code=FAILED)[1])['error']
        self.assertEqual((error['line'], error['column']), (1, 8))
        self.assertIn('s ', weir('sql', '--data', data, '-e', 'SHOW STREAMS')[0])

    def test_changes_stream_until_interrupted(self):
        process = subprocess.Popen([WEIR, 'sql', '--json', '-e', 'SELECT id FROM s EMIT CHANGES'], stdout=subprocess.PIPE, env=self.env)
        self.assertEqual([json.loads(process.stdout.readline()) for _ in range(3)], [{'id': 1}, {'id': 2}, {'id': 3}])
        self.out('produce', 's', stdin='{"id":4}\n')
        self.assertEqual(json.loads(process.stdout.readline()), {'id': 4})
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=WAIT), 0)
        process.stdout.close()

    def test_a_server_that_stops_ends_the_query(self):
        process = subprocess.Popen([WEIR, 'sql', '--json', '-e', 'SELECT id FROM s EMIT CHANGES'], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.env)
        process.stdout.readline()
        self.assertEqual(self.server.stop(), 0)
        self.assertEqual(process.wait(timeout=WAIT), UNAVAILABLE)
        process.stdout.close()
        process.stderr.close()


class Http(Running):
    def get(self, path, data=None, headers=None):
        request = urllib.request.Request('http://' + self.server.http + path, data=data, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=WAIT) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read().decode(), e.headers

    def test_health_and_metrics(self):
        self.assertEqual(self.get('/livez')[:2], (200, 'ok\n'))
        self.assertEqual(self.get('/readyz')[:2], (200, 'ready\n'))
        self.out('produce', 'm', stdin='x\n')
        status, text, headers = self.get('/metrics')
        self.assertEqual(status, 200)
        self.assertIn('version=0.0.4', headers['Content-Type'])
        self.assertIn('weir_topic_partition_end_offset{topic="m",partition="0"} 1\n', text)
        for line in text.splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[^}]*\})? [-+0-9.e]+)$')
        named = [line.split()[2] for line in text.splitlines() if line.startswith('# TYPE')]
        self.assertEqual(len(named), len(set(named)))

    def test_sql(self):
        self.out('produce', 'h', stdin='{"id":1}\n{"id":2}\n')
        status, text, headers = self.get('/v1/sql', b"CREATE STREAM h (id BIGINT); SELECT id FROM h")
        self.assertEqual((status, objects(text)), (200, [{'id': 1}, {'id': 2}]))
        self.assertEqual(headers['Content-Type'], 'application/x-ndjson')
        status, text, _ = self.get('/v1/sql?format=events', b'SELECT id FROM h LIMIT 1')
        self.assertEqual(objects(text), [{'columns': [{'name': 'id', 'type': 'BIGINT'}]}, {'row': {'id': 1}, 'change': 1}])
        status, text, _ = self.get('/v1/sql', b'SELECT nope FROM h')
        error = json.loads(text)['error']
        self.assertEqual((status, error['code'], error['line'], error['column']), (400, 'invalid', 1, 8))
        status, text, _ = self.get('/v1/sql', b'SELECT id FROM h LIMIT 1; SELECT nope FROM h')
        self.assertEqual((status, objects(text)[0]), (200, {'id': 1}))
        self.assertIn('error', objects(text)[1])
        self.assertEqual(self.get('/v1/sql', b'')[0], 400)
        self.assertEqual(self.get('/v1/sql')[0], 405)
        self.assertEqual(self.get('/v1/sql', b'x' * (1 << 20) + b'x')[0], 413)
        self.assertEqual(self.get('/v1/sql', b'SHOW STREAMS', {'Origin': 'http://evil.example'})[0], 403)
        self.assertEqual(self.get('/livez', None, {'Host': 'evil.example'})[0], 421)


class Verify(Base):
    def setUp(self):
        super().setUp()
        self.data = self.path('data')
        weir('produce', 'v', '--data', self.data, stdin=''.join(f'record {i}\n' for i in range(1000)))

    def log(self):
        for root, _, files in os.walk(self.data):
            if os.sep + 'v-' in root:
                for name in files:
                    if name.endswith('.log'):
                        return os.path.join(root, name)
        raise AssertionError('no segment')

    def test_a_sound_directory(self):
        self.assertIn('no damage', weir('verify', '--data', self.data)[0])
        self.assertTrue(objects(weir('verify', '--data', self.data, '--json')[0])[-1]['ok'])

    def test_a_flipped_bit_is_found(self):
        with open(self.log(), 'r+b') as f:
            f.seek(100)
            byte = f.read(1)[0]
            f.seek(100)
            f.write(bytes([byte ^ 4]))
        self.assertIn('DAMAGED  v/0', weir('verify', '--data', self.data, code=DAMAGED)[0])
        found = objects(weir('verify', '--data', self.data, '--json', code=DAMAGED)[0])
        self.assertEqual((found[0]['kind'], found[0]['topic'], found[-1]['ok']), ('damage', 'v', False))

    def test_no_directory(self):
        self.assertIn('not a Weir data directory', weir('verify', '--data', self.path('none'), code=FAILED)[1])


if __name__ == '__main__':
    wanted = sys.argv[2:]
    loader = unittest.TestLoader()
    if wanted:
        loader.testNamePatterns = ['*' + w + '*' for w in wanted]
    result = unittest.TextTestRunner(verbosity=2).run(loader.loadTestsFromModule(sys.modules['__main__']))
    sys.exit(0 if result.wasSuccessful() else 1)
