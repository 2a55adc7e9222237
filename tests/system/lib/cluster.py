"""Several nodes of one cluster on this machine, each at ports of its own."""
import shutil
import signal
import subprocess
import tempfile

from lib.node import Node, free_ports, program
from lib.wait import until


class Member(Node):
    """A node that has a port for others. The first one founds, the others bring a token."""

    def __init__(self, directory, name, *options):
        super().__init__(directory)
        self.name = name
        self.peer_port = free_ports(1)[0]
        self.more = list(options)
        self.token = None
        self.program = program()
        self.has_clients = "--witness" not in options

    def command(self):
        join = ["--join", self.token] if self.token else []
        return [self.program, "run", "--data", str(self.data), "--name", self.name, "--address", "127.0.0.1",
                "--mqtt-port", str(self.port), "--mqtts-port", "0", "--http-port", str(self.http_port),
                "--https-port", "0", "--peer-port", str(self.peer_port), "--no-discovery", "--no-keeper",
                *join, *self.more]

    def is_serving(self):
        """A witness serves no clients: there is its socket alone."""
        if self.has_clients:
            return super().is_serving()
        assert self.is_alive(), f"the node ended at its start:\n{self.output()}"
        try:
            return self.request("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def run_to_its_end(self):
        """The output of a node that does not go on."""
        done = subprocess.run(self.command(), capture_output=True, text=True, timeout=40, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def nodes(self):
        """What it says of all nodes; nothing when it does not answer."""
        try:
            status, answer = self.request("GET", "/v1/nodes")
        except OSError:
            return []
        return answer if status == 200 else []

    def leader(self):
        return next((node["name"] for node in self.nodes() if node["leader"]), None)


class Cluster:
    def __init__(self, count):
        self.directory = tempfile.mkdtemp(prefix="mc-")
        self.members = []
        for _ in range(count):
            self.grow()
        self.settle()

    def grow(self, *options):
        """Another node: started, and in the cluster."""
        name = f"n{len(self.members) + 1}"
        member = Member(f"{self.directory}/{name}", name, *options)
        if self.members:
            member.token = self.make_token()
        self.members.append(member.start())
        return member

    def make_token(self, **body):
        def ask():
            status, answer = self.running()[0].request("POST", "/v1/tokens", body)
            return answer["token"] if status == 200 else None
        return until(ask, "a token")

    def running(self):
        return [member for member in self.members if member.is_alive()]

    def is_settled(self):
        running = self.running()
        voters = 1 if len(running) == 2 else min(len(running), 3)  # two cannot outvote each other
        for member in running:
            nodes = member.nodes()
            online = [node for node in nodes if node["state"] == "online"]
            if len(online) != len(running) or not member.leader():
                return False
            if len([node for node in nodes if node["role"] == "voter"]) < voters:
                return False
        return len({member.leader() for member in running}) == 1

    def settle(self):
        until(self.is_settled, "all see each other, vote, and have one leader", 40)
        return self

    def leader(self):
        name = until(lambda: next(filter(None, (member.leader() for member in self.running())), None), "a leader")
        return next(member for member in self.members if member.name == name)

    def others(self, member):
        return [other for other in self.running() if other is not member]

    def end(self):
        running = self.running()
        for member in running:
            member.process.send_signal(signal.SIGTERM)
        for member in running:
            try:
                status = member.process.wait(20)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
                status = "not in time"
            member.process = None
            assert status == 0, f"{member.name} ended with {status}:\n{member.output()[-8000:]}"
        shutil.rmtree(self.directory, ignore_errors=True)
