"""A real mosquitto with a configuration of its own, in a directory of its own."""
import socket
import subprocess

from lib.node import free_ports
from lib.programs import need
from lib.wait import until


class Mosquitto:
    def __init__(self, directory, *lines, tls=None, persistence=True):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port, = free_ports(1)
        self.file = directory / "mosquitto.conf"
        self.log = directory / "mosquitto.log"
        own = [f"listener {self.port} 127.0.0.1", *(tls or [])]
        if persistence:
            own += ["persistence true", f"persistence_location {directory}/", "autosave_interval 1", "autosave_on_changes true"]
        if not any(line.startswith("allow_anonymous") for line in lines):
            own.append("allow_anonymous true")
        self.file.write_text("\n".join([*own, "user root", "log_type all", *lines]) + "\n")
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([need("mosquitto"), "-c", str(self.file)], stdout=log,
                                            stderr=subprocess.STDOUT)
        until(self.is_serving, f"mosquitto serves: {self.output()}")
        return self

    def is_serving(self):
        assert self.process.poll() is None, self.output()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None
