#!/usr/bin/env python3
"""The table of docs/reference/kafka.md against src/door/kafka/messages.txt, from which ApiVersions is answered: the same requests,
names and versions, by rising key. Which client sent what is checked by tests/protocol/run_client.py.

    check_kafka_table.py PAGE MESSAGES"""
import re
import sys

REFUSED_BELOW = {0: 3}  # Produce 0-2 is advertised and closed on arrival, see the page


def main(page, messages):
    served = {}
    for key, name, low, high in re.findall(r'^### (\d+) (\w+) v(\d+)-(\d+)', open(messages, encoding='utf-8').read(), re.M):
        served[int(key)] = (name, max(int(low), REFUSED_BELOW.get(int(key), 0)), int(high))
    told, wrong = {}, []
    for line in open(page, encoding='utf-8'):
        row = re.match(r'\| (\d+) \| (\w+) \| (\d+)(?:-(\d+))? \|', line)
        if row:
            told[int(row[1])] = (row[2], int(row[3]), int(row[4] or row[3]))
            for client, versions in re.findall(r'([a-z_]+) ((?:\d+, )*\d+)(?=;| \|)', line.split('|')[4] + '|'):
                if any(not int(row[3]) <= int(v) <= int(row[4] or row[3]) for v in versions.split(',')):
                    wrong.append(f'{row[2]}: {client} {versions} lies outside of what is served')
    wrong += [f'{key}: served is {served.get(key)}, the page says {told.get(key)}'
              for key in sorted(served.keys() | told.keys()) if served.get(key) != told.get(key)]
    if list(told) != sorted(told):
        wrong.append('the rows are not sorted by key')
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong or not told else 0


sys.exit(main(sys.argv[1], sys.argv[2]))
