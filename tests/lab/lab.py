"""Boxes of a home on this machine: a network namespace for each node, one for the LAN between them.

Names carry the process id; everything is removed at the end, also after an interrupt (atexit). A thread enters a
namespace for as long as it takes to make a socket: the socket stays there, so one process speaks in all of them.
"""
import atexit
import contextlib
import ctypes
import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

NET = "10.77.0"
NET6 = "fd77:"
VIP = f"{NET}.100"
VIP6 = f"{NET6}:100"
LAN_HOST = 254
MQTT_PORT = 1883
CLONE_NEWNET = 0x40000000
WAIT_S = 30
HERE = pathlib.Path(__file__).resolve().parent

libc = ctypes.CDLL(None, use_errno=True)
numbers = itertools.count(1)


class LabError(Exception):
    pass


def until(condition, what, seconds=WAIT_S, pause=0.02):
    """Its value as soon as it is true."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"not within {seconds} s: {what}")
        time.sleep(pause)


def end_on_signals():
    """INT, TERM and HUP (the terminal was closed) end this program in order: a lab that was begun removes itself, and another signal does not stop that."""
    ending = {signal.SIGINT, signal.SIGTERM}  # INT also where it was ignored, as in the background of a shell
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # by nohup
        ending.add(signal.SIGHUP)

    def end(number, frame):
        for each in ending:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(1)
    for each in ending:
        signal.signal(each, end)


def ip(*words, check=True):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, timeout=20)
    if check and done.returncode != 0:
        raise LabError(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def inside(namespace):
    """This thread, in that namespace."""
    with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise LabError(f"setns {namespace}: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            libc.setns(own.fileno(), CLONE_NEWNET)


@dataclass
class Usage:
    """Of all processes of a box: since they began, and of memory as it is."""
    cpu_s: float = 0.0
    wakes: int = 0
    written_bytes: int = 0
    resident_kb: int = 0

    def since(self, other):
        return Usage(self.cpu_s - other.cpu_s, self.wakes - other.wakes, self.written_bytes - other.written_bytes, self.resident_kb)


def line_of(path, name):
    return int(path.read_text().split(f"{name}:")[1].split()[0])


def usage_of(pid):
    # The scheduler's own count in ns: that of /proc/PID/stat is sampled, and wrong for who sleeps nearly always.
    process = pathlib.Path(f"/proc/{pid}")
    threads = list((process / "task").iterdir())
    return Usage(sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9,
                 sum(line_of(thread / "status", "voluntary_ctxt_switches") for thread in threads),
                 line_of(process / "io", "write_bytes"), line_of(process / "status", "VmRSS"))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def clock_environment(library, file):
    """With the calendar clock of clock_step.c, also for a program with ASan, which wants to be the first library."""
    options = os.environ.get("ASAN_OPTIONS", "")
    return {"LD_PRELOAD": str(library), "LAB_CLOCK": str(file), "ASAN_OPTIONS": f"{options}:verify_asan_link_order=0".strip(":")}


def is_stopped(pid):
    """Whom nobody stopped must not be told to go on: LeakSanitizer, at the end of a process, stops it for itself and would wait for ever."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Box:
    """One node: the process that was started (the keeper, when there is one) and the daemon."""

    def __init__(self, lab, number, options):
        self.lab, self.number, self.options = lab, number, list(options)
        self.name = f"n{number}"
        self.namespace = f"{lab.prefix}-{self.name}"
        self.address = f"{NET}.{number}"
        self.data = lab.directory / self.name
        self.log = lab.directory / f"{self.name}.log"
        self.clock = lab.directory / f"{self.name}.clock"
        self.process = None
        self.is_member = False

    def start(self, token=None):
        join = ["--join", token] if token else []
        command = ["ip", "netns", "exec", self.namespace, self.lab.program, "run", "--data", str(self.data), "--name", self.name,
                   "--address", self.address, "--mqtts-port", "0", "--https-port", "0",
                   *([] if self.lab.is_discoverable else ["--no-discovery"]), *join, *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.environment())
        return self

    def environment(self):
        if not self.lab.clocks:
            return None
        if not self.clock.exists():
            self.step_clock(0)
        return {**os.environ, **clock_environment(self.lab.clocks, self.clock)}

    def step_clock(self, seconds):
        """Its calendar clock, from now on, before what it should be."""
        with self.clock.open("r+b" if self.clock.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("=q", seconds))  # one write: nobody sees half of it

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    @property
    def keeper_pid(self):
        return self.process.pid

    @property
    def daemon_pid(self):
        """The keeper's only child; the process itself when there is no keeper; 0 while it is being started again."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            words = children.read().split()
        has_keeper = not {"--no-keeper", "--witness"} & set(self.options)
        return int(words[0]) if words else 0 if has_keeper else pid

    def pids(self, which):
        return {"daemon": [self.daemon_pid], "keeper": [self.keeper_pid], "both": [self.keeper_pid, self.daemon_pid]}[which]

    def usage(self):
        total = Usage()
        for pid in {pid for pid in self.pids("both") if pid}:
            each = usage_of(pid)
            total = Usage(total.cpu_s + each.cpu_s, total.wakes + each.wakes, total.written_bytes + each.written_bytes,
                          total.resident_kb + each.resident_kb)
        return total

    def send(self, which, number):
        for pid in filter(None, self.pids(which)):
            with contextlib.suppress(ProcessLookupError):
                if number != signal.SIGCONT or is_stopped(pid):
                    os.kill(pid, number)

    def kill(self, which="both"):
        self.send(which, signal.SIGKILL)
        if which != "daemon":
            self.process.wait(WAIT_S)
            self.process = None

    def stop(self):
        if self.is_alive():
            self.send("both", signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.send("both", signal.SIGKILL)
                raise LabError(f"{self.name} does not stop:\n{self.output()[-3000:]}") from None
            if status != 0:
                raise LabError(f"{self.name} ended with {status}:\n{self.output()[-3000:]}")
        self.process = None

    def call(self, method, path, body=None, timeout=5):
        """Status and answer; (0, None) when it does not answer."""
        connection = UnixConnection(self.data / "api.sock", timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def nodes(self):
        status, answer = self.call("GET", "/v1/nodes", timeout=1)
        return answer if status == 200 else []

    def command(self, *words):
        done = subprocess.run([self.lab.program, *words, "--data", str(self.data)], capture_output=True, text=True, timeout=WAIT_S)
        return done.returncode, done.stdout, done.stderr

    def holds(self, address=VIP):
        return address in ip("-o", "-n", self.namespace, "addr")

    # Cuts last until heal().
    def drop(self, *rules):
        """Rules of nftables: "input ip saddr 1.2.3.4" and the like."""
        chains = "".join(f"add chain inet lab {hook} {{ type filter hook {hook} priority 0; }}\n" for hook in ("input", "output"))
        text = "add table inet lab\n" + chains + "".join(f"add rule inet lab {rule} drop\n" for rule in rules)
        done = subprocess.run(["ip", "netns", "exec", self.namespace, "nft", "-f", "-"],
                              input=text, capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            raise LabError(f"nft: {done.stderr}")

    def cut_off(self, direction="both"):
        """From all other nodes, not from the LAN's host: in, out, or both."""
        others = ", ".join(box.address for box in self.lab.boxes if box is not self)
        rules = {"in": [f"input ip saddr {{ {others} }}"], "out": [f"output ip daddr {{ {others} }}"]}
        self.drop(*(rules["in"] + rules["out"] if direction == "both" else rules[direction]))

    def unplug(self):
        ip("-n", self.lab.lan, "link", "set", f"p{self.number}", "down")

    def heal(self):
        subprocess.run(["ip", "netns", "exec", self.namespace, "nft", "delete", "table", "inet", "lab"], capture_output=True, timeout=20)
        ip("-n", self.lab.lan, "link", "set", f"p{self.number}", "up")

    def suspend(self):
        """Off the LAN, all frozen, until resume(). Its kernel goes on, as a suspended one does not: what that has meanwhile does not count."""
        self.unplug()
        self.send("both", signal.SIGSTOP)

    def resume(self):
        """Its processes run before its network is there."""
        self.send("both", signal.SIGCONT)
        self.heal()


class Lab:
    def __init__(self, count, program, options=(), disk_mb=0, is_discoverable=False, line=None, has_clocks=False):
        """`line`: (ms, bit/s) of the line from each box to the others' meeting point; None = a cable.
        `has_clocks`: each box's calendar clock may be set.
        """
        self.program, self.disk_mb, self.line = str(program), disk_mb, line
        self.relays = []
        self.prefix = f"mc{os.getpid()}-{next(numbers)}"
        self.lan = f"{self.prefix}-lan"
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="mc-lab-"))
        self.directory.chmod(0o711)  # the daemons are not root
        self.clocks = self.make_clocks() if has_clocks else None
        self.is_discoverable = is_discoverable
        self.boxes = []
        self.guests = []  # namespaces on the LAN in which no node of ours runs
        self.lock = threading.Lock()
        atexit.register(self.down)
        ip("netns", "add", self.lan)
        ip("-n", self.lan, "link", "add", "br0", "type", "bridge")
        ip("-n", self.lan, "link", "set", "br0", "up")
        ip("-n", self.lan, "addr", "add", f"{NET}.{LAN_HOST}/24", "dev", "br0")
        ip("-n", self.lan, "addr", "add", f"{NET6}:{LAN_HOST}/64", "dev", "br0", "nodad")
        for _ in range(count):
            self.add(options)

    def make_clocks(self):
        library = self.directory / "clock_step.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "clock_step.c", "-ldl"], check=True, timeout=60)
        self.directory.chmod(0o755)  # a daemon with a user of its own reads it, too
        return library

    def add(self, options=()):
        box = Box(self, len(self.boxes) + len(self.guests) + 1, options)
        self.boxes.append(box)
        ip("netns", "add", box.namespace)
        self.connect(box)
        ip("-n", self.lan, "link", "set", f"p{box.number}", "master", "br0", "up")
        ip("-n", box.namespace, "link", "set", "lo", "up")
        ip("-n", box.namespace, "addr", "add", f"{box.address}/24", "dev", "eth0")
        ip("-n", box.namespace, "addr", "add", f"{NET6}:{box.number}/64", "dev", "eth0", "nodad")
        ip("-n", box.namespace, "link", "set", "eth0", "up")
        if self.disk_mb:
            box.data.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.disk_mb}m,mode=0700", "lab", box.data], check=True, timeout=20)
        return box

    def connect(self, box):
        """From its eth0 to the port of the LAN's bridge: a cable, or a relay that is slow."""
        port = f"p{box.number}"
        if not self.line:
            ip("link", "add", "eth0", "netns", box.namespace, "type", "veth", "peer", "name", port, "netns", self.lan)
            return
        ends = [box.namespace, "eth0", self.lan, port]
        for namespace, device in (ends[:2], ends[2:]):
            ip("-n", namespace, "tuntap", "add", "dev", device, "mode", "tap")
        relay = subprocess.Popen([sys.executable, HERE / "relay.py", *ends, *map(str, self.line)], stdout=subprocess.PIPE, text=True)
        self.relays.append(relay)
        if relay.stdout.readline() != "ready\n":
            raise LabError(f"{box.name}: no line")

    def form(self):
        """Starts all of them; they are one cluster and vote."""
        for box in self.boxes:
            if not box.is_member:
                self.join(box)
        self.settle()
        return self

    def join(self, box):
        founder = next((other for other in self.boxes if other.is_member), None)
        box.start(self.token(founder) if founder else None)
        box.is_member = True
        until(lambda: box.call("GET", "/healthz")[0] == 200, f"{box.name} serves; its log:\n{box.output()[-3000:]}")

    @staticmethod
    def token(box):
        def ask():
            status, answer = box.call("POST", "/v1/tokens", {})
            return answer["token"] if status == 200 else None
        return until(ask, "a token")

    def running(self):
        return [box for box in self.boxes if box.is_alive()]

    def is_settled(self):
        voters = {1: 1, 2: 1}.get(len(self.running()), 3)  # two cannot outvote each other
        leaders = set()
        for box in self.running():
            nodes = box.nodes()
            if len([node for node in nodes if node["state"] == "online"]) != len(self.running()):
                return False
            if len([node for node in nodes if node["role"] == "voter"]) < voters:
                return False
            leaders.add(next((node["name"] for node in nodes if node["leader"]), None))
        return len(leaders) == 1 and None not in leaders

    def settle(self):
        until(self.is_settled, "all see each other, vote and have one leader", 60)

    def by_name(self, name):
        return next(box for box in self.boxes if box.name == name)

    def leader(self):
        def ask():
            for box in self.running():
                for node in box.nodes():
                    if node["leader"] and node["state"] == "online":
                        return self.by_name(node["name"])
            return None
        return until(ask, "a leader")

    def set_vip(self, *addresses):
        for address in addresses or (f"{VIP}/24",):
            until(lambda a=address: self.leader().call("PUT", "/v1/vips", {"address": a, "interface": "eth0"})[0] == 200, f"{address} is set")
            until(lambda a=address: self.holder(a.split("/")[0]), f"somebody holds {address}")

    def holder(self, address=VIP):
        """From the kernels, not from what the nodes say."""
        return next((box for box in self.boxes if box.holds(address)), None)

    def others(self, box):
        return [other for other in self.running() if other is not box]

    def down(self):
        with self.lock:
            for box in self.boxes + self.guests:
                if box.is_alive():
                    box.send("both", signal.SIGKILL)
                    box.process.wait(WAIT_S)
                ip("netns", "del", box.namespace, check=False)
                if self.disk_mb:
                    subprocess.run(["umount", "-l", box.data], capture_output=True, timeout=20)
            for relay in self.relays:
                relay.kill()
                relay.wait(WAIT_S)
                relay.stdout.close()
            ip("netns", "del", self.lan, check=False)
            self.boxes, self.guests, self.relays = [], [], []
            shutil.rmtree(self.directory, ignore_errors=True)
            atexit.unregister(self.down)
