"""MQTT 5, 4.12 and 6: SCRAM-SHA-256 in AUTH packets, re-authentication, MQTT over WebSocket."""
import base64
import hashlib
import hmac
import os
import socket

import pytest

from lib import packet
from lib.mqtt import Client
from lib.packet import AUTH, CONNACK

METHOD = "SCRAM-SHA-256"


@pytest.fixture(autouse=True)
def user(node):
    node.add_user("scram", "pencil case")
    node.add_user("other", "paper")


class Scram:
    """The client's side (RFC 5802, RFC 7677)."""

    def __init__(self, username, password):
        self.password, self.nonce = password.encode(), base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n={username},r={self.nonce}"
        self.first = f"n,,{self.bare}".encode()

    def final(self, server_first):
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        bare = f"c=biws,r={fields['r']}"
        signed = ",".join((self.bare, server_first.decode(), bare)).encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        self.server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return f"{bare},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final):
        assert server_final == b"v=" + base64.b64encode(self.server)


def begin(node, scram, client_id=""):
    client = Client(node)
    client.send(packet.connect(client_id, properties=[("auth_method", METHOD), ("auth_data", scram.first)]))
    return client, client.expect(AUTH)


def enter(node, username="scram", password="pencil case"):
    scram = Scram(username, password)
    client, asked = begin(node, scram)
    client.send(packet.auth(0x18, [("auth_method", METHOD), ("auth_data", scram.final(asked.property("auth_data")))]))
    answer = client.expect(CONNACK)
    return client, scram, asked, answer


def test_scram_lets_in(node):
    """[MQTT-4.12.0-2] [MQTT-4.12.0-5]: AUTH 0x18 and CONNACK name the method; the server proves itself too"""
    client, scram, asked, answer = enter(node)
    assert asked.reason == 0x18 and asked.property("auth_method") == METHOD
    assert answer.reason == 0 and answer.property("auth_method") == METHOD
    scram.verify(answer.property("auth_data"))
    client.barrier()
    client.close()


def test_wrong_password_ends_the_connection(node):
    """[MQTT-4.12.0-4]"""
    client, _, _, answer = enter(node, password="pencil")
    assert answer.reason in (0x86, 0x87)
    assert client.expect_closed() == []


def test_unknown_method_ends_the_connection(node):
    """[MQTT-4.12.0-1]"""
    client = Client(node)
    client.send(packet.connect("x", properties=[("auth_method", "GS2-KRB5")]))
    assert client.expect(CONNACK).reason == 0x8c
    assert client.expect_closed() == []


def test_only_auth_and_disconnect_before_connack(node):
    """[MQTT-3.1.2-30]"""
    for early in (packet.pingreq(), packet.publish("t", "x"), packet.subscribe(1, [("t", 0)])):
        client, _ = begin(node, Scram("scram", "pencil case"))
        client.send(early)
        assert all(one.kind == CONNACK and one.reason >= 0x80 for one in client.expect_closed())


def test_no_auth_without_a_method(node):
    """[MQTT-4.12.0-6] [MQTT-4.12.0-7]: neither from the server nor taken from the client"""
    client = Client(node)
    assert client.connect().property("auth_method") is None
    assert not client.waiting
    client.send(packet.auth(0x19, [("auth_method", METHOD), ("auth_data", Scram("scram", "pencil case").first)]))
    assert client.expect_disconnect(0x82)
    with Client(node) as plain:
        assert plain.connect(username="scram", password="pencil case").property("auth_method") is None


def test_re_authentication(node):
    """[MQTT-4.12.1-1] [MQTT-4.12.0-5]: messages go on meanwhile"""
    client, *_ = enter(node)
    client.subscribe("reauth/t")
    scram = Scram("scram", "pencil case")
    client.send(packet.auth(0x19, [("auth_method", METHOD), ("auth_data", scram.first)]))
    asked = client.expect(AUTH)
    client.publish("reauth/t", "still", 1)
    client.expect_payloads("still")
    client.send(packet.auth(0x18, [("auth_method", METHOD), ("auth_data", scram.final(asked.property("auth_data")))]))
    done = client.expect(AUTH)
    assert (asked.reason, done.reason) == (0x18, 0)
    assert asked.property("auth_method") == done.property("auth_method") == METHOD
    scram.verify(done.property("auth_data"))
    client.barrier()
    client.close()


def test_re_authentication_with_another_method(node):
    """[MQTT-4.12.1-1]"""
    client, *_ = enter(node)
    client.send(packet.auth(0x19, [("auth_method", "OTHER")]))
    assert client.expect_disconnect()


def test_failed_re_authentication_ends_the_connection(node):
    """[MQTT-4.12.1-2]: a wrong password, and the right one of somebody else"""
    for username, password in (("scram", "wrong"), ("other", "paper")):
        client, *_ = enter(node)
        scram = Scram(username, password)
        client.send(packet.auth(0x19, [("auth_method", METHOD), ("auth_data", scram.first)]))
        data = scram.final(client.expect(AUTH).property("auth_data"))
        client.send(packet.auth(0x18, [("auth_method", METHOD), ("auth_data", data)]))
        assert client.expect_disconnect(0x87)


def test_auth_packets_are_right_and_small(node):
    """[MQTT-3.15.2-1] [MQTT-3.15.2-2] [MQTT-3.15.2-3]: no reason string, no user properties"""
    client, _, asked, answer = enter(node)
    client.close()
    assert [name for name, _ in asked.properties] == ["auth_method", "auth_data"]
    assert answer.property("reason_string") is None


# ---- WebSocket: the frames as MQTT asks; their other rules are tested with HTTP ----

class WebSocket:
    def __init__(self, node, protocol="mqtt"):
        self.socket = socket.create_connection(("127.0.0.1", node.http_port), 15)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                             f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n").encode())
        self.input = b""
        self.head = b""
        while b"\r\n\r\n" not in self.head:
            part = self.socket.recv(1)
            assert part, f"closed: {self.head!r}"
            self.head += part

    def send(self, data, opcode=2, last=True):
        mask = os.urandom(4)
        body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        assert len(data) < 126
        self.socket.sendall(bytes([opcode | (0x80 if last else 0), 0x80 | len(data)]) + mask + body)

    def take(self, count):
        while len(self.input) < count:
            part = self.socket.recv(4096)
            if not part:
                raise EOFError
            self.input += part
        out, self.input = self.input[:count], self.input[count:]
        return out

    def receive(self):
        first, length = self.take(2)
        if length == 126:
            length = int.from_bytes(self.take(2), "big")
        return first & 15, self.take(length)

    def receive_bytes(self, count):
        data = b""
        while len(data) < count:
            opcode, body = self.receive()
            assert opcode in (0, 2), f"opcode {opcode}: {body!r}"
            data += body
        return data


def test_websocket_selects_mqtt(node):
    """[MQTT-6.0.0-4]"""
    link = WebSocket(node, "other, mqtt")
    assert b" 101 " in link.head.split(b"\r\n")[0]
    assert b"sec-websocket-protocol: mqtt\r\n" in link.head.lower()


def test_packets_need_not_fit_frames(node):
    """[MQTT-6.0.0-2]: several in one, one in several, byte by byte"""
    link = WebSocket(node)
    data = packet.connect("frames", 4)
    for at in range(len(data)):
        link.send(data[at:at + 1])
    assert link.receive_bytes(4) == bytes([0x20, 2, 0, 0])
    link.send(packet.pingreq() + packet.pingreq() + packet.pingreq()[:1])
    link.send(packet.pingreq()[1:] + packet.pingreq())
    assert link.receive_bytes(8) == bytes([0xd0, 0]) * 4
    link.send(packet.pingreq()[:1], last=False)
    link.send(packet.pingreq()[1:], opcode=0)
    assert link.receive_bytes(2) == bytes([0xd0, 0])


def test_text_frames_end_the_connection(node):
    """[MQTT-6.0.0-1]"""
    link = WebSocket(node)
    link.send(packet.connect("text", 4), opcode=1)
    try:
        while True:
            opcode, _ = link.receive()
            assert opcode == 8
    except (EOFError, ConnectionResetError):
        pass
