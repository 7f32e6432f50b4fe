#!/usr/bin/env python3
"""Makes docs/reference/cli.md from the program's own help, so that the page cannot say anything else.

    gen_cli_md.py WEIR [--check] PAGE      writes PAGE; with --check compares and fails on a difference"""
import os
import re
import subprocess
import sys

HEAD = """# Command line

<!-- Made by tests/cli/gen_cli_md.py from `weir help`; a test compares. Change the texts in src/app/commands.c. -->

One program does everything: `weir COMMAND [options]`. Options may stand anywhere after the command; `--name value`, `--name=value`
and, where there is a letter, `-nVALUE` mean the same; `--` ends them. Options of the server, `--broker` and `--server` can also be set
in the environment and in an INI file: see [configuration](configuration.md).

`--json` works on every command: results are one JSON object a line on standard output, errors
`{"error":{"code":...,"message":...,"hint":...}}` on standard error.

## Exit codes
| code | meaning |
|---|---|
| 0 | done |
| 1 | it was tried and did not work |
| 2 | wrong flags, arguments, configuration or input |
| 3 | no server there, or the data directory is in use |
| 4 | `verify` found damage, or stored data is corrupt |

Interrupting a command that waits for more (Ctrl-C, SIGTERM) ends it with 0.

## Commands
"""


def run(weir, *args):
    env = {k: v for k, v in os.environ.items() if not k.startswith('WEIR_')}
    return subprocess.run([weir, *args], stdout=subprocess.PIPE, check=True, text=True, env=env).stdout


def page(weir):
    names = re.findall(r'^  ([a-z]+(?: [a-z]+)?)  +\S', run(weir, '--help').split('\nCommands:\n')[1], re.M)
    parts = [HEAD]
    for name in names:
        text = run(weir, 'help', *name.split())
        title, rest = text.split('\n', 1)
        # What is the same everywhere is said once, above.
        rest = re.sub(r'\nOptions of every command:\n(  .*\n)+', '', rest)
        parts.append(f'### weir {name}\n{title.split(": ", 1)[1]}.\n```text\n{rest.strip()}\n```\n\n')
    return ''.join(parts).rstrip('\n') + '\n'


def main(weir, *args):
    check, path = args[0] == '--check', args[-1]
    text = page(weir)
    if not check:
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        return 0
    with open(path, encoding='utf-8') as f:
        if f.read() == text:
            return 0
    print(f'{path} is not what the program says: run tests/cli/gen_cli_md.py WEIR {path}', file=sys.stderr)
    return 1


sys.exit(main(*sys.argv[1:]))
