"""Asks an address all the time: a new connection every few milliseconds, none of which waits for those before it.

A client that connects once, at the wrong moment, loses its SYN and tries again after a second; this one sees to the millisecond from when on
somebody answers. Two kinds: `tcp`, a connection that is taken; `ack`, one by which a durable publish is acknowledged.
"""
import contextlib
import select
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests' / 'system'))

from lab import MQTT_PORT, inside  # noqa: E402
from lib import packet  # noqa: E402

SPACING_S = {'tcp': 0.002, 'ack': 0.005}
FORGOTTEN_S = 1.5  # nobody will answer it any more
TOPICS = 50
# Of MQTT 3.1.1, which has no reason codes: what is refused is not acknowledged.
ACKNOWLEDGED = bytes([packet.CONNACK << 4, 2, 0, 0, packet.PUBACK << 4, 2, 0, 1])


@dataclass
class Attempt:
    kind: str
    begun: float
    socket: socket.socket
    is_sent: bool = False
    received: bytes = b''


@dataclass
class Answers:
    """When each was asked for and came, in the order in which they came."""
    times: dict = field(default_factory=lambda: {kind: [] for kind in SPACING_S})

    def first(self, kind, harmed, taken):
        """The first that can only be of the new holder: asked for after the harm, come after he took the address. None = not yet."""
        return next((came for begun, came in list(self.times[kind]) if begun > harmed and came >= taken), None)

    def longest_gap(self, kind):
        came = [came for _, came in self.times[kind]]
        return max((later - earlier for earlier, later in zip(came, came[1:])), default=0.0)


class Probe(threading.Thread):
    """From start() until stop()."""

    def __init__(self, lab, address, kinds=tuple(SPACING_S), spacing_s=None):
        super().__init__(daemon=True)
        self.namespace, self.address = lab.lan, address
        self.spacing_s = {kind: spacing_s or SPACING_S[kind] for kind in kinds}
        self.answers = Answers()
        self.attempts = {}  # descriptor -> Attempt
        self.poll = select.epoll()
        self.number = 0
        self.is_stopped = False

    def run(self):
        with inside(self.namespace):
            due = dict.fromkeys(self.spacing_s, time.monotonic())
            while not self.is_stopped:
                self.ask(due)
                for descriptor, _ in self.poll.poll(max(0, min(due.values()) - time.monotonic())):
                    self.on_ready(self.attempts[descriptor])
        for attempt in list(self.attempts.values()):
            self.end(attempt)
        self.poll.close()

    def ask(self, due):
        now = time.monotonic()
        for kind, when in due.items():
            if now >= when:
                self.begin(kind, now)
                due[kind] = max(when + self.spacing_s[kind], now)
        oldest = next(iter(self.attempts.values()), None)
        if oldest and now - oldest.begun > FORGOTTEN_S:
            self.end(oldest)

    def begin(self, kind, now):
        link = socket.socket()
        link.setblocking(False)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))  # closed by a reset: no TIME_WAIT is left
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.connect_ex((self.address, MQTT_PORT))
        self.attempts[link.fileno()] = Attempt(kind, now, link)
        self.poll.register(link, select.EPOLLOUT)

    def on_ready(self, attempt):
        try:
            is_over = self.go_on(attempt)
        except BlockingIOError:
            return
        except OSError:
            self.end(attempt)
            return
        if is_over:
            self.answers.times[attempt.kind].append((attempt.begun, time.monotonic()))
            self.end(attempt)

    def go_on(self, attempt):
        """True when it has been answered."""
        error = attempt.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, 'refused')
        if attempt.kind == 'tcp':
            return True
        if not self.is_asked(attempt):
            return False
        some = attempt.socket.recv(64)
        if not some:
            raise OSError('closed')
        attempt.received += some
        return attempt.received.startswith(ACKNOWLEDGED)

    def is_asked(self, attempt):
        """Sends it all when the connection is there; the server's turn is next."""
        if attempt.is_sent:
            return True
        self.number += 1
        attempt.socket.send(packet.connect(f'probe-{self.number}', version=4) +
                            packet.publish(f'bench/{self.number % TOPICS}', str(self.number), 1, 1, retain=True, version=4))
        attempt.is_sent = True
        self.poll.modify(attempt.socket, select.EPOLLIN)
        return False

    def end(self, attempt):
        del self.attempts[attempt.socket.fileno()]
        with contextlib.suppress(OSError):
            self.poll.unregister(attempt.socket)
        attempt.socket.close()

    def stop(self):
        self.is_stopped = True
        self.join()
        return self.answers


def link_to(lab, address, timeout):
    """A connection from the LAN, to the MQTT port."""
    with inside(lab.lan):
        link = socket.socket()
    link.settimeout(timeout)
    try:
        link.connect((address, MQTT_PORT))
    except OSError:
        link.close()
        raise
    return link
