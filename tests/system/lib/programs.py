"""Programs of others, and the command line: run to their end, or in the background with their lines waited for."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.parse

import pytest

from lib.node import program
from lib.wait import until

RUN_S = 60


def need(name):
    """Skips the test where the program is not installed."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


class Result:
    def __init__(self, argv, process):
        self.argv = argv
        self.status = process.returncode
        self.bytes = process.stdout
        self.out = process.stdout.decode(errors="replace")
        self.err = process.stderr.decode(errors="replace")

    def __str__(self):
        return f"{' '.join(map(str, self.argv))}: status {self.status}\n{self.out}\n{self.err}"

    def ok(self):
        assert self.status == 0, str(self)
        return self


def run(*argv, stdin=b"", timeout=RUN_S, env=None):
    """To its end; the status is the caller's to check."""
    argv = [str(word) for word in argv]
    stdin = stdin.encode() if isinstance(stdin, str) else stdin
    process = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                             env={**os.environ, **(env or {})}, check=False)
    return Result(argv, process)


def microcloud(node, *words, **options):
    """`microcloud WORDS` that finds its node by the environment."""
    env = {"MICROCLOUD_HOST": f"unix:{node.data / 'api.sock'}"} if node else {}
    return run(program(), *words, env={**env, **options.pop("env", {})}, **options)


class Background:
    """A program that runs until it ends or is ended; with `with` it is gone afterwards."""

    def __init__(self, *argv, env=None):
        self.argv = [str(word) for word in argv]
        self.file = tempfile.NamedTemporaryFile(prefix="mc-out-")
        self.errors = tempfile.NamedTemporaryFile(prefix="mc-err-")
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=self.file, stderr=self.errors,
                                        env={**os.environ, **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.file.close()
        self.errors.close()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
            self.process.stdin = None

    def signal(self, number):
        self.process.send_signal(number)

    def out(self):
        return pathlib.Path(self.file.name).read_text(errors="replace")

    def err(self):
        return pathlib.Path(self.errors.name).read_text(errors="replace")

    def lines(self):
        """Whole lines only."""
        text = self.out()
        return text[:text.rfind("\n") + 1].splitlines()

    def say(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def expect(self, *lines, seconds=30):
        """Waits until all these lines have come, in whatever order, others between them or not."""
        def have():
            found = self.lines()
            if all(found.count(line) >= lines.count(line) for line in lines):
                return True
            assert self.process.poll() is None, f"ended without {lines}: {self}"
            return False
        until(have, f"{lines} from {self}", seconds)

    def expect_part(self, part, seconds=30):
        """Waits for this text in what it prints, on either stream."""
        until(lambda: part in self.out() or part in self.err(), f"'{part}' from {self}", seconds)

    def wait(self, seconds=RUN_S):
        """Its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s: {self}") from None

    def __str__(self):
        return f"{' '.join(self.argv)}: status {self.process.poll()}\n{self.out()}\n{self.err()}"


def client_of(node, client_id):
    """What the node says of a client; None when it knows none."""
    status, answer = node.request("GET", f"/v1/clients/{urllib.parse.quote(client_id, safe='')}")
    return answer if status == 200 else None


def wait_subscribed(node, client_id, count=1):
    def is_subscribed():
        found = client_of(node, client_id)
        return found and found["connected"] and found["subscriptions"] >= count
    until(is_subscribed, f"{client_id} has subscribed")


def wait_gone(node, client_id):
    until(lambda: not (client_of(node, client_id) or {}).get("connected"), f"{client_id} is gone")


def wait_drained(node, client_id):
    """All that was queued for it has been acknowledged, and the acknowledgements are in the log."""
    until(lambda: (client_of(node, client_id) or {}).get("queued") == 0, f"nothing waits for {client_id}")
