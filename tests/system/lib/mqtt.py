"""A client at the level of packets: it sends what it is told, right or wrong, and decodes strictly what comes.

It acknowledges nothing by itself but where a method says so.
"""
import socket
import time

from lib import packet
from lib.packet import (AUTH, CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK,
                        UNSUBACK)

TIMEOUT_S = 15


class Closed(Exception):
    """The server ended the connection."""


class Client:
    def __init__(self, node, version=5, receive_buffer=None):
        """node: a Node, a port, or a socket that is connected already (TLS, IPv6, Unix)."""
        self.version = version
        self.socket = node if isinstance(node, socket.socket) else self.reach(node, receive_buffer)
        self.socket.settimeout(TIMEOUT_S)
        self.input = bytearray()
        self.waiting = []  # packets that came while another kind was waited for
        self.last_id = 0
        self.client_id = ""
        self.connack = None

    @staticmethod
    def reach(node, receive_buffer):
        link = socket.socket()
        if receive_buffer:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        link.settimeout(TIMEOUT_S)
        link.connect(("127.0.0.1", node if isinstance(node, int) else node.port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Breaks off, as a network that fails does."""
        self.socket.close()

    # ---- bytes ----

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what came before the end is still to be read

    def fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came in time")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        finally:
            self.socket.settimeout(TIMEOUT_S)
        if not data:
            raise Closed("the server closed the connection")
        self.input += data

    def read(self, timeout=TIMEOUT_S):
        """The next packet as it comes from the wire."""
        deadline = time.monotonic() + timeout
        while True:
            taken = self.take_packet()
            if taken:
                return taken
            self.fill(deadline)

    def take_packet(self):
        length, at = 0, 1
        while True:
            if at >= len(self.input):
                return None
            byte = self.input[at]
            length |= (byte & 0x7f) << 7 * (at - 1)
            at += 1
            if not byte & 0x80:
                break
        if len(self.input) < at + length:
            return None
        assert bytes(self.input[1:at]) == packet.varint(length), "not the shortest remaining length"
        first, body = self.input[0], bytes(self.input[at:at + length])
        del self.input[:at + length]
        return packet.decode(first, body, at + length, self.version)

    # ---- packets ----

    def next(self, timeout=TIMEOUT_S):
        return self.waiting.pop(0) if self.waiting else self.read(timeout)

    def expect(self, kind, packet_id=None, timeout=TIMEOUT_S):
        """The first packet of this kind; others stay for later."""
        for index, found in enumerate(self.waiting):
            if found.kind == kind and packet_id in (None, found.packet_id):
                return self.waiting.pop(index)
        deadline = time.monotonic() + timeout
        while True:
            try:
                found = self.read(deadline - time.monotonic())
            except (Closed, TimeoutError) as error:
                raise type(error)(f"{error}, waiting for {packet.NAMES[kind]}; "
                                  f"came: {', '.join(map(str, self.waiting))}") from None
            if found.kind == kind and packet_id in (None, found.packet_id):
                return found
            self.waiting.append(found)

    def expect_closed(self, timeout=TIMEOUT_S):
        """The packets that still came before the end of the connection."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.waiting.append(self.read(deadline - time.monotonic()))
        except Closed:
            assert not self.input, f"half a packet before the end: {bytes(self.input)!r}"
            came, self.waiting = self.waiting, []
            return came

    def expect_disconnect(self, reason=None):
        """The server says DISCONNECT, then nothing more, and closes [3.14.4]."""
        came = self.expect_closed()
        assert came and came[-1].kind == DISCONNECT, f"no DISCONNECT at the end, but {list(map(str, came))}"
        assert reason is None or came[-1].reason == reason, f"{came[-1]}, not 0x{reason:02x}"
        return came[-1]

    def expect_nothing(self):
        """Whatever the server had to send on account of what was sent before has come: PINGREQ is a barrier."""
        self.barrier()
        assert not self.waiting, f"came unasked: {list(map(str, self.waiting))}"

    def barrier(self):
        self.send(packet.pingreq())
        return self.expect(PINGRESP)

    # ---- what clients do ----

    def new_id(self):
        self.last_id = self.last_id % 65535 + 1
        return self.last_id

    def start(self, client_id="", **options):
        """Sends CONNECT and waits for CONNACK, whatever it says."""
        self.client_id = client_id
        self.send(packet.connect(client_id, self.version, **options))
        self.connack = self.expect(CONNACK)
        return self.connack

    def connect(self, client_id="", **options):
        answer = self.start(client_id, **options)
        assert answer.reason == 0, f"refused: {answer}"
        self.client_id = answer.property("assigned_client_id", client_id)
        return answer

    def disconnect(self, reason=None, properties=None):
        self.send(packet.disconnect(reason, properties))
        self.expect_closed()
        self.close()

    def subscribe(self, *filters, properties=(), **options):
        """filters: text, or (text, options byte). Returns the SUBACK."""
        pairs = [one if isinstance(one, tuple) else (one, packet.options(**options)) for one in filters]
        packet_id = self.new_id()
        self.send(packet.subscribe(packet_id, pairs, properties, self.version))
        return self.expect(SUBACK, packet_id)

    def unsubscribe(self, *filters):
        packet_id = self.new_id()
        self.send(packet.unsubscribe(packet_id, filters, (), self.version))
        return self.expect(UNSUBACK, packet_id)

    def send_publish(self, topic, payload=b"", qos=0, **options):
        """Sends only; returns the packet id."""
        packet_id = options.pop("packet_id", None) or (self.new_id() if qos else 0)
        self.send(packet.publish(topic, payload, qos, packet_id, version=self.version, **options))
        return packet_id

    def publish(self, topic, payload=b"", qos=0, **options):
        """The whole exchange; returns the PUBACK or PUBREC. QoS 0 waits until the server has read it."""
        packet_id = self.send_publish(topic, payload, qos, **options)
        if qos == 0:
            return self.barrier()
        answer = self.expect(PUBACK if qos == 1 else PUBREC, packet_id)
        if qos == 2 and answer.reason < 0x80:
            self.send(packet.ack(PUBREL, packet_id))
            self.expect(PUBCOMP, packet_id)
        return answer

    def expect_publish(self, topic=None, payload=None, acknowledge=True):
        """The next PUBLISH, with the whole exchange unless told otherwise."""
        found = self.expect(PUBLISH)
        assert topic is None or found.topic == topic, f"{found}, not on {topic}"
        assert payload is None or found.payload == packet.raw(payload), f"{found}, not {payload!r}"
        if acknowledge and found.qos == 1:
            self.send(packet.ack(PUBACK, found.packet_id))
        elif acknowledge and found.qos == 2:
            self.send(packet.ack(PUBREC, found.packet_id))
            self.expect(PUBREL, found.packet_id)
            self.send(packet.ack(PUBCOMP, found.packet_id))
        return found

    def expect_payloads(self, *payloads):
        for payload in payloads:
            self.expect_publish(payload=payload)

    def expect_auth(self):
        return self.expect(AUTH)
