"""`./do demo` as somebody sees it, and what it leaves behind: nothing."""
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from lib.node import program
from lib.wait import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")
DEMO = pathlib.Path(__file__).resolve().parent.parent / "lab" / "demo.py"


def namespaces(pid):
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return [name for name in names.split() if name.startswith(f"mc{pid}-")]


def start(*words):
    return subprocess.Popen([sys.executable, DEMO, program(), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def test_the_script_shows_a_kill_and_a_cut_and_that_nothing_was_lost():
    demo = start("--script")
    text, _ = demo.communicate(timeout=150)
    assert demo.returncode == 0, text
    assert len(re.findall(r"answers: nobody did for \d+ ms; two boxes at once for 0 ms", text)) == 2, text
    assert "was killed" in text and "lost its cable" in text
    assert re.search(r"acknowledged (\d+), received \1, lost 0, twice or out of order 0", text), text
    assert "Traceback" not in text
    assert namespaces(demo.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(number):
    demo = start("--script")
    until(lambda: len(namespaces(demo.pid)) == 4, "the boxes are there")
    demo.send_signal(number)
    text, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1, text
    assert namespaces(demo.pid) == []
    assert subprocess.run(["pgrep", "-f", f"mc{demo.pid}-"], capture_output=True, check=False).returncode == 1
