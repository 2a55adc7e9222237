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
LAB = pathlib.Path(__file__).resolve().parent.parent / "lab"


def namespaces(pid):
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return [name for name in names.split() if name.startswith(f"mc{pid}-")]


def assert_nothing_is_left(pid):
    assert namespaces(pid) == []
    assert subprocess.run(["pgrep", "-f", f"mc{pid}-"], capture_output=True, check=False).returncode == 1


def test_the_script_shows_a_kill_and_a_cut_and_that_nothing_was_lost():
    demo = subprocess.Popen([sys.executable, LAB / "demo.py", program(), "--script"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    text, _ = demo.communicate(timeout=150)
    assert demo.returncode == 0, text
    assert len(re.findall(r"answers: nobody did for \d+ ms; two boxes at once for 0 ms", text)) == 2, text
    assert "was killed" in text and "lost its cable" in text
    assert re.search(r"acknowledged (\d+), received \1, lost 0, twice or out of order 0", text), text
    assert "Traceback" not in text
    assert_nothing_is_left(demo.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("script", ["demo.py", "torture.py"])
def test_an_interrupt_leaves_nothing_behind(script, number, tmp_path):
    lab = subprocess.Popen(["env", "--default-signal=HUP", sys.executable, LAB / script, program()], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    until(lambda: len(namespaces(lab.pid)) == 4, "the boxes are there")
    lab.send_signal(number)
    text, _ = lab.communicate(timeout=60)
    assert lab.returncode == 1, text
    assert_nothing_is_left(lab.pid)
    assert list(tmp_path.iterdir()) == []
