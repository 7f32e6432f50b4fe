"""What the house checks share: finding files, blanking comments, reporting, and the self-test with a planted violation."""
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def files(top, *suffixes, under=''):
    """Paths relative to top of the tracked files, and of new ones that are not ignored; of all files outside of git."""
    try:
        out = subprocess.run(['git', '-C', top, 'ls-files', '-z', '-co', '--exclude-standard', '--', under or '.'],
                             capture_output=True, check=True).stdout.decode()
        names = [name for name in out.split('\0') if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for directory, _, found in os.walk(os.path.join(top, under)):
            names += [os.path.relpath(os.path.join(directory, name), top) for name in found]
    return sorted(name for name in set(names)
                  if (not suffixes or name.endswith(suffixes)) and os.path.isfile(os.path.join(top, name)))


def read(top, name):
    with open(os.path.join(top, name), encoding='utf-8', errors='replace') as f:
        return f.read()


_NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_only(text):
    """The text with comments and the insides of strings blanked; lines stay where they are."""
    def blank(match):
        found = match.group(0)
        kept = re.sub(r'[^\n]', ' ', found)
        return found[0] + kept[1:-1] + found[-1] if found[0] in '"\'' else kept
    return _NOISE.sub(blank, text)


def main(name, check, plant):
    """Runs check(top) -> list of complaints over the project; with --self-test over a small tree that plant(write) fills, where
    each planted file must be complained about, and an empty one must not."""
    if sys.argv[1:] != ['--self-test']:
        complaints = check(TOP)
        for complaint in complaints:
            print(complaint)
        print(f'{name}: {len(complaints)} complaint(s)')
        return 1 if complaints else 0

    with tempfile.TemporaryDirectory() as top:
        def write(path, text):
            os.makedirs(os.path.dirname(os.path.join(top, path)) or top, exist_ok=True)
            with open(os.path.join(top, path), 'w', encoding='utf-8') as f:
                f.write(text)
        expected, clean = plant(write)
        complaints = check(top)
        bad = [path for path in expected if not any(c.startswith(path) for c in complaints)]
        wrong = [c for c in complaints if any(c.startswith(path) for path in clean)]
        for path in bad:
            print(f'{name}: the planted violation in {path} was not found')
        for complaint in wrong:
            print(f'{name}: complains about a clean file: {complaint}')
        print(f'{name}: {len(expected)} planted, {len(expected) - len(bad)} found')
        return 1 if bad or wrong else 0
