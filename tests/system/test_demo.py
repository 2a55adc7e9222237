"""`./do demo` as somebody sees it, and what it leaves behind: nothing."""
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import termios

import pytest

from lib.node import program
from lib.wait import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")
LAB = pathlib.Path(__file__).resolve().parent.parent / "lab"
STORY = re.compile(r"\033\[(\d+)m\d\d:(\d\d:\d\d)  ([^\033]+)")
RED, GREEN, CYAN = 31, 32, 36


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


class Terminal:
    """One that a program may have; what it shows is read whenever somebody waits for it."""

    def __init__(self):
        self.own, self.programs = os.openpty()
        self.before = termios.tcgetattr(self.programs)
        self.shown = ""

    def read(self):
        while select.select([self.own], [], [], 0)[0]:
            self.shown += os.read(self.own, 1 << 16).decode(errors="replace")
        return self.shown

    def press(self, key):
        os.write(self.own, key.encode())

    def told(self, text, colour):
        """How often: each line of the story is drawn many times, with its time."""
        return len({(when, line) for hue, when, line in STORY.findall(self.read()) if re.search(text, line) and int(hue) == colour})

    def wait(self, text, colour, times=1):
        until(lambda: self.told(text, colour) == times, f"'{text}' is told {times} times:\n{self.shown[-3000:]}", 60)

    def outlast(self, process):
        until(lambda: self.read() and process.poll() is not None, "it ends", 60)
        self.read()

    def is_as_before(self):
        return termios.tcgetattr(self.programs) == self.before and self.shown.rfind("\033[?25h") > self.shown.rfind("\033[?25l") >= 0

    def close(self):
        os.close(self.own)
        os.close(self.programs)


def test_keys_kill_cut_and_heal_before_ones_eyes():
    terminal = Terminal()
    demo = subprocess.Popen([sys.executable, LAB / "demo.py", program()], stdin=terminal.programs, stdout=terminal.programs,
                            stderr=terminal.programs)
    try:
        until(lambda: re.search(r"received [1-9]", terminal.read()), "messages come", 60)
        assert not terminal.is_as_before()
        for times, key, done in ((1, "k", "was killed"), (2, "c", "lost its cable")):
            terminal.press(key)
            terminal.wait(done, RED)
            terminal.wait("answers: nobody did for .* two boxes at once for 0 ms", GREEN, times)
            terminal.press("h")
            terminal.wait("all three are there$", GREEN, times)
        terminal.press("q")
        terminal.outlast(demo)
    finally:
        demo.terminate()
        terminal.outlast(demo)
        shown = terminal.shown
        is_as_before = terminal.is_as_before()
        terminal.close()
    assert demo.returncode == 0, shown[-3000:]
    assert is_as_before
    for colour in (GREEN, RED, CYAN):
        assert f"\033[{colour}m" in shown
    assert re.search(r"acknowledged (\d+), received \1, lost 0, twice or out of order 0", shown), shown[-3000:]
    assert "Traceback" not in shown
    assert_nothing_is_left(demo.pid)


def test_an_interrupt_in_the_middle_leaves_and_says_nothing():
    """While a box is dead and threads look at what is removed."""
    terminal = Terminal()
    demo = subprocess.Popen([sys.executable, LAB / "demo.py", program()], stdin=terminal.programs, stdout=terminal.programs,
                            stderr=terminal.programs)
    try:
        until(lambda: re.search(r"received [1-9]", terminal.read()), "messages come", 60)
        terminal.press("k")
        terminal.wait("was killed", RED)
    finally:
        demo.send_signal(signal.SIGINT)
        terminal.outlast(demo)
        shown, is_as_before = terminal.shown, terminal.is_as_before()
        terminal.close()
    assert demo.returncode == 1
    assert is_as_before and "Traceback" not in shown, shown[-3000:]
    assert_nothing_is_left(demo.pid)
