#!/usr/bin/env python3
"""Runs the code blocks of a documentation page against a server of its own.

    run_docs.py WEIR PAGE.md

Blocks marked ```sh run in order in one bash session, in an empty directory, with `weir` in the PATH. A block marked ```output right after
one must be found in what it printed: each of its lines, in order (blank lines and runs of blanks count as one blank). Blocks of any other
kind are prose. A page whose first line of a block is `weir dev` gets a running server; pages say 127.0.0.1:9092 and 127.0.0.1:8080, and
the runner puts the ports that the system gave in their place, so that pages run side by side."""
import os
import re
import subprocess
import sys
import tempfile


def blocks(text):
    """(kind, content, line) of each fenced block."""
    found, kind, start, lines = [], None, 0, []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"^```(\w*)\s*$", line)
        if fence and kind is None:
            kind, start, lines = fence.group(1), number, []
        elif fence:
            found.append((kind, "\n".join(lines), start))
            kind = None
        elif kind is not None:
            lines.append(line)
    return found


def squeeze(text):
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]


def contains_in_order(got, want):
    """The first line of `want` that is missing, or None."""
    at, lines = 0, squeeze(got)
    for line in squeeze(want):
        while at < len(lines) and line not in lines[at]:
            at += 1
        if at == len(lines):
            return line
        at += 1
    return None


class Server:
    def __init__(self, weir, directory):
        self.process = subprocess.Popen(
            [weir, "serve", "--data", os.path.join(directory, "weir-data"), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            raise SystemExit("the server did not start: " + line + self.process.stderr.read())
        self.address = dict(word.split("=", 1) for word in line.split()[1:])

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return -9


def run_block(shell, content):
    """Output and exit code of one block in the long-lived shell."""
    mark = "end-of-block-7f3a"
    shell.stdin.write(content + "\nprintf '\\n%s %s\\n' " + mark + " $?\n")
    shell.stdin.flush()
    out = []
    for line in shell.stdout:
        if line.startswith(mark):
            return "".join(out), int(line.split()[1])
        out.append(line)
    return "".join(out), -1


def main():
    weir, page = os.path.abspath(sys.argv[1]), sys.argv[2]
    with open(page, encoding="utf-8") as f:
        found = blocks(f.read())
    runnable = [b for b in found if b[0] == "sh"]
    if not runnable:
        raise SystemExit(page + ": no ```sh block to run")
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        server = None
        address = {"kafka": "127.0.0.1:9092", "http": "127.0.0.1:8080"}
        if any(re.match(r"^weir (dev|serve)\b", b[1]) for b in runnable):
            server = Server(weir, directory)
            address = server.address
        environment = dict(os.environ, PATH=os.path.dirname(weir) + ":" + os.environ["PATH"], HOME=directory,
                           WEIR_SERVER="http://" + address["http"], LC_ALL="C.UTF-8")
        shell = subprocess.Popen(["bash"], cwd=directory, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
        output = ""
        for kind, content, line in found:
            if kind == "sh":
                if re.match(r"^weir (dev|serve)\b", content):
                    continue
                content = content.replace("127.0.0.1:9092", address["kafka"]).replace("localhost:9092", address["kafka"])
                content = content.replace("127.0.0.1:8080", address["http"]).replace("localhost:8080", address["http"])
                # The command line's own default.
                content = re.sub(r"\bweir (topic \w+|group \w+|produce|consume)\b(?!.*(--broker|-b |--data|-d ))",
                                 lambda m: m.group(0) + " --broker " + address["kafka"], content)
                output, code = run_block(shell, content)
                if code != 0:
                    failures += 1
                    print("%s:%d: the block ended with %d:\n%s\n--- output\n%s" % (page, line, code, content, output))
            elif kind == "output":
                missing = contains_in_order(output, content)
                if missing is not None:
                    failures += 1
                    print("%s:%d: this line was not printed: %s\n--- output\n%s" % (page, line, missing, output))
        shell.stdin.close()
        shell.wait(timeout=30)
        if server is not None and server.stop() != 0:
            failures += 1
            print(page + ": the server did not stop cleanly")
    print("%s: %d blocks, %d failures" % (os.path.basename(page), len(runnable), failures))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
