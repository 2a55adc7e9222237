"""The commands of docs/operations.md, run on boxes of a cluster on this machine.

A comment before a fence says where it is run: `<!-- test: box=attic page=two -->`; `says` before `box=` makes it what that box must say,
`prints=` what the last command must print. What stands in a page is put in place in one way:

    /var/lib/microcloud, /etc/microcloud, /media/usb    directories of the box, of the box, of all
    192.168.N.M                                         127.0.N.M
    TOKEN                                               the last token that was printed on any box
    systemctl VERB microcloud, microcloud run …         the box's process, started and stopped by the test
    sudo, microcloud, chown                             before others in PATH; root is who runs the tests
"""
import os
import pathlib
import re
import subprocess

from lib.cluster import Member
from lib.node import program
from lib.wait import until

PAGES = pathlib.Path(__file__).resolve().parents[3] / "docs" / "operations.md"
FENCE = re.compile(r"<!-- test: (says )?box=(\w+) page=(\w+)(?: prints=(\S+))? -->\n```\w*\n(.*?)```\n", re.DOTALL)


def fences(page):
    """(box, is_said, prints, lines) of each fence of a page, in order."""
    found = [(box, bool(says), prints, text.splitlines()) for says, box, name, prints, text in FENCE.findall(PAGES.read_text()) if name == page]
    assert found, f"no fence of page {page} in {PAGES.name}"
    return found


class Box(Member):
    """A member whose options stand in a configuration file, as on a box with a package."""

    def __init__(self, home, name, address):
        super().__init__(home.directory / name, name)
        self.home, self.said, self.environment = home, "", {}
        self.config = self.directory / "etc" / "microcloud.yml"
        self.config.parent.mkdir()
        self.config.write_text(f"name: {name}\naddress: {address}\n")

    def command(self, *more):
        return ["env", *(f"{key}={value}" for key, value in self.environment.items()),
                program(), "run", "--data", str(self.data), "--config", str(self.config), "--mqtt-port", str(self.port), "--mqtts-port", "0",
                "--http-port", str(self.http_port), "--https-port", "0", "--peer-port", str(self.peer_port), "--no-discovery", "--no-keeper",
                *more]

    def launch(self, *more):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(*more), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    # ---- a line of a page ----

    def systemctl(self, verb):
        if verb in ("stop", "restart") and self.is_alive():
            self.process.terminate()  # perhaps so early that nobody handles it
            assert self.process.wait(20) in (0, -15), self.output()[-3000:]
        if verb in ("start", "restart"):
            self.process = None
            self.launch()

    def run_until_it_serves(self, *more):
        self.launch(*more)
        self.wait_serving()
        self.stop()

    def wait_serving(self):
        until(self.is_serving, f"{self.name} serves", 30)
        until(lambda: self.request("GET", "/healthz")[0] == 200, f"{self.name} answers")

    def do(self, line):
        line = re.sub(r"\s+#.*", "", line)
        if found := re.fullmatch(r"sudo systemctl (\w+) microcloud", line):
            self.systemctl(found[1])
        elif found := re.fullmatch(r"sudo microcloud run(.*)", line):
            self.run_until_it_serves(*found[1].split())
        elif line:
            self.shell(line)

    def shell(self, line):
        for here, there in (("/var/lib/microcloud", str(self.data)), ("/etc/microcloud", str(self.config.parent)),
                            ("/media/usb", str(self.home.directory)), ("TOKEN", self.home.token)):
            line = line.replace(here, there)
        line = re.sub(r"192(\\?)\.168(\\?)\.", r"127\1.0\2.", line)
        if self.is_alive():
            until(self.is_serving, f"{self.name} serves", 30)  # as `systemctl start` does
        environment = dict(os.environ, PATH=f"{self.home.tools}:{os.environ['PATH']}", MICROCLOUD_HOST=f"unix:{self.data}/api.sock")
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, f"{self.name}: {line}: {done.stdout}{done.stderr}"
        self.said = done.stdout
        if found := re.search(r"^mc1\.\S+$", done.stdout, re.MULTILINE):
            self.home.token = found[0]

    def hears(self, line):
        """What a box says stands in its log, or `microcloud status` prints it."""
        def has_said():
            if line in self.output():
                return True
            done = subprocess.run([program(), "status", "--data", str(self.data)], capture_output=True, text=True, timeout=20)
            return line in done.stdout
        try:
            until(has_said, f"{self.name} says {line!r}", 40)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log:\n{self.output()[-6000:]}") from error


class Home:
    """Boxes by name; those not named yet are bare machines."""

    def __init__(self, directory, names):
        self.directory, self.token = pathlib.Path(directory), ""
        self.tools = self.directory / "tools"
        self.tools.mkdir()
        for name, text in (("sudo", 'exec "$@"'), ("chown", "exit 0"), ("microcloud", f'exec {program()} "$@"')):
            tool = self.tools / name
            tool.write_text(f"#!/bin/sh\n{text}\n")
            tool.chmod(0o755)
        self.boxes = {}
        for number, name in enumerate(names):
            box = self.bare(name, number + 11)
            box.start() if number == 0 else self.join(box, self.boxes[names[0]])
        self.settle()

    def bare(self, name, number):
        self.boxes[name] = Box(self, name, f"127.0.1.{number}")
        return self.boxes[name]

    def replace(self, name, number):
        """A new machine of that name, where a package was installed: it has founded a cluster of its own."""
        box = self.boxes[name]
        if box.is_alive():
            box.kill()
        box.data.rename(box.directory / "stolen")
        return box

    def join(self, box, helper):
        """By the page about joining."""
        helper.shell("sudo microcloud token")
        box.data.mkdir(exist_ok=True)
        subprocess.run(["rm", "-rf", f"{box.data}.old"], check=True)
        for _, _, _, lines in fences("join"):
            for line in lines:
                box.do(line)
        box.wait_serving()

    def run(self, page, only=None):
        for name, is_said, prints, lines in fences(page):
            if only and name not in only:
                continue
            for box in self.boxes.values() if name == "all" else [self.boxes[name]]:
                for line in lines:
                    box.hears(line) if is_said else box.do(line)
                if prints:
                    until(lambda b=box, last=lines[-1]: b.shell(last) or b.said.strip() == prints, f"it prints {prints}")

    def running(self):
        return [box for box in self.boxes.values() if box.is_alive()]

    def is_settled(self):
        running = self.running()
        for box in running:
            nodes = box.nodes()
            if sorted(node["name"] for node in nodes) != sorted(box.name for box in running) or not box.leader() or \
                    any(node["state"] != "online" for node in nodes):
                return False
        voters = len([node for node in running[0].nodes() if node["role"] == "voter"])
        return voters == (1 if len(running) == 2 else len(running))

    def settle(self):
        until(self.is_settled, "all that run are the cluster", 60)

    def end(self):
        for box in self.running():
            box.process.kill()
            box.process.wait()
