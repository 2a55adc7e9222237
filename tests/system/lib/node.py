"""One node of the program under test: started, stopped, killed and started again in its own directory."""
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import urllib.parse

from lib.mqtt import Client
from lib.wait import until

START_S = 30
STOP_S = 20


def program():
    path = os.environ.get("MICROCLOUD")
    if not path:
        path = pathlib.Path(__file__).resolve().parents[3] / "build" / "microcloud"
    return str(path)


def next_program():
    """That of the next version (tests/next), built when it is not there."""
    path = os.environ.get("MICROCLOUD_NEXT")
    if not path:
        make = pathlib.Path(__file__).resolve().parents[2] / "next" / "make"
        path = subprocess.run([make], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return path


def free_ports(count):
    """Ports below those that the kernel gives to outgoing connections."""
    found, held = [], []
    while len(found) < count:
        port = random.SystemRandom().randrange(12000, 31000)
        probe = socket.socket()
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.close()
            continue
        held.append(probe)
        found.append(port)
    for probe in held:
        probe.close()
    return found


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Node:
    """start() returns when the node serves; stop() asserts a clean end (a leak found by a sanitizer is none)."""

    def __init__(self, directory, *options, bind="127.0.0.1"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        # Not under the data directory, and short: the path of a Unix socket has 107 bytes at most.
        self.data = self.directory / "data"
        self.options = list(options)
        self.bind = bind  # None: every address
        self.log = self.directory / "log"
        self.port, self.http_port = free_ports(2)
        self.process = None

    def command(self):
        return [program(), "run", "--data", str(self.data), "--name", "one",
                *(["--bind", self.bind] if self.bind else []), "--mqtt-port", str(self.port),
                "--mqtts-port", "0", "--http-port", str(self.http_port), "--https-port", "0", "--peer-port", "0",
                *self.options]

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self):
        assert self.process is None, "it runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL)
        until(self.is_serving, f"the node serves; its output:\n{self.output()}", START_S)
        return self

    def is_serving(self):
        status = self.process.poll()
        assert status is None, f"the node ended with {status} at its start:\n{self.output()}"
        try:
            socket.create_connection((self.bind or "127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "not in time"
        self.process = None
        assert status == 0, f"the node ended with {status}:\n{self.output()[-8000:]}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def end(self):
        """For fixtures: it must still run, and end cleanly."""
        if self.process is None:
            return
        assert self.process.poll() is None, \
            f"the node ended by itself with {self.process.returncode}:\n{self.output()[-8000:]}"
        self.stop()

    # ---- what it says ----

    def request(self, method, path, body=None):
        """(status, parsed answer) over the Unix socket, which is trusted."""
        link = UnixConnection(self.data / "api.sock")
        try:
            text = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if body is not None else {}
            link.request(method, path, text, headers)
            answer = link.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        finally:
            link.close()

    def set(self, **settings):
        """set(max_packet_bytes=1000): those below mqtt."""
        for name, value in settings.items():
            self.put_setting("mqtt." + name, value)

    def put_setting(self, key, value):
        status, answer = self.request("PUT", f"/v1/settings/{key}", {"value": str(value)})
        assert status in (200, 204), f"{key}: {status} {answer}"

    def default(self, *names):
        for name in names:
            _, answer = self.request("GET", f"/v1/settings/mqtt.{name}")
            self.put_setting("mqtt." + name, answer["default"])

    def add_user(self, name, password, role="device"):
        status, answer = self.request("PUT", f"/v1/users/{urllib.parse.quote(name)}",
                                      {"password": password, "role": role})
        assert status in (200, 201, 204), f"{status} {answer}"

    def add_rule(self, **rule):
        status, answer = self.request("POST", "/v1/acl", rule)
        assert status in (200, 201, 204), f"{status} {answer}"
        return answer

    def counter(self, topic):
        """The value of a topic below $SYS/broker/ now."""
        with Client(self) as client:
            client.connect()
            client.subscribe(f"$SYS/broker/{topic}")
            return float(client.expect_publish().payload)

    def memory_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0

    # ---- clients ----

    def client(self, version=5):
        return Client(self, version)
