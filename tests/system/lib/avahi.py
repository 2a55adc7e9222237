"""A real Avahi in the namespace of a box, with a configuration and a /run of its own: its pid file has a fixed name there."""
import socket
import struct
import subprocess

from lab import inside
from lib.programs import need
from lib.wait import until

GROUP = "224.0.0.251"
PORT = 5353
ANSWER_S = 0.5
CONFIGURATION = """[server]
host-name={name}
enable-dbus=no
allow-interfaces=eth0
[publish]
publish-hinfo=no
publish-workstation=no
"""


class Avahi:
    """With `with` it runs and is known on the LAN as NAME.local; afterwards it is gone."""

    def __init__(self, box, name):
        self.box, self.name = box, name
        self.program = need("avahi-daemon")
        self.file = box.lab.directory / f"{name}.conf"
        self.log = box.lab.directory / f"{name}.log"
        self.file.write_text(CONFIGURATION.format(name=name))

    def __enter__(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.box.namespace, "sh", "-c", 'mount -t tmpfs run /run && exec "$@"', "sh", self.program,
                 "--no-drop-root", "--no-chroot", "--no-rlimits", "--file", self.file],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def is_told(self, asker, to):
        """Whether it answers another box that asks once for its host name, all at GROUP or it alone at its address."""
        assert self.process.poll() is None, self.log.read_text()
        labels = b"".join(struct.pack("B", len(label)) + label.encode() for label in (self.name, "local"))
        with inside(asker.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.settimeout(ANSWER_S)
            link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(asker.address))
            link.sendto(struct.pack("!6H", 7, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1), (to, PORT))
            try:
                answer, whence = link.recvfrom(9000)
            except TimeoutError:
                return False
        return whence == (self.box.address, PORT) and answer[:2] == b"\0\7" and socket.inet_aton(self.box.address) in answer

    def wait_told(self, asker, to=GROUP):
        until(lambda: self.is_told(asker, to), f"Avahi answers at {to}")
