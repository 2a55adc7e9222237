"""What no client should send: it is refused by name, its sender is closed, and nobody else is harmed."""
import os
import socket
import threading

import pytest

from lib import packet
from lib.mqtt import Client, Closed
from lib.packet import CONNACK, DISCONNECT, Will
from lib.wait import until


@pytest.fixture
def bystander(node, open_client):
    """Somebody else, who must not notice."""
    client = open_client(node)
    client.subscribe("bystander/t", qos=1)
    yield client
    client.publish("bystander/t", "still well", 1)
    client.expect_payloads("still well")


SURROGATE = b"a\xed\xa0\x80b"
OVERLONG = [b"\xc0\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xc1\xbf"]
NOT_UTF_8 = [SURROGATE, *OVERLONG, b"\xff", b"a\xc3", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80"]

# Name -> bytes after a good CONNECT of MQTT 5; the server says 0x81 or 0x82 (or what stands behind).
MALFORMED = {
    "reserved type": b"\x00\x00",
    "CONNACK from a client": b"\x20\x03\x00\x00\x00",
    "SUBACK from a client": b"\x90\x04\x00\x01\x00\x00",
    "PINGRESP from a client": b"\xd0\x00",
    "remaining length of five bytes": b"\x30\x80\x80\x80\x80\x01",
    "PINGREQ with a body": b"\xc0\x01\x00",
    "PINGREQ with flags": b"\xc1\x00",
    "PUBLISH of QoS 3": b"\x36" + packet.publish("t", "x", 1, 1)[1:],
    "PUBLISH of QoS 0 with DUP": b"\x38" + packet.publish("t", "x")[1:],
    "PUBLISH with packet id 0": packet.publish("t", "x", 1, 0),
    "PUBLISH without topic and alias": packet.publish("", "x"),
    "PUBLISH with + in its topic": (packet.publish("a/+", "x"), 0x90),
    "PUBLISH with # in its topic": (packet.publish("#", "x"), 0x90),
    "PUBLISH whose topic is longer than it": b"\x30\x03\x00\xff\x61",
    "PUBLISH whose properties are longer than it": b"\x30\x05\x00\x01t\x7fx",
    "PUBLISH without properties length": b"\x30\x03\x00\x01t",
    "PUBLISH with an unknown property": packet.publish("t", properties=b"\x7e\x00"),
    "PUBLISH with a property of CONNECT": packet.publish("t", properties=[("receive_maximum", 3)]),
    "PUBLISH with a property twice": packet.publish("t", properties=[("content_type", "a"), ("content_type", "b")]),
    "PUBLISH with half a property": packet.publish("t", properties=b"\x02\x00\x00"),
    "PUBLISH with payload format 2": packet.publish("t", properties=[("payload_format", 2)]),
    "PUBLISH with topic alias 0": (packet.publish("t", properties=[("topic_alias", 0)]), 0x94),
    "PUBLISH with wildcards in its response topic": packet.publish("t", properties=[("response_topic", "a/#")]),
    "PUBLISH with a subscription identifier": packet.publish("t", properties=[("subscription_id", 5)]),
    "PUBACK with flags": packet.ack(packet.PUBACK, 1, flags=2),
    "PUBACK without packet id": b"\x40\x00",
    "PUBACK with packet id 0": packet.ack(packet.PUBACK, 0),
    "PUBACK with an unknown reason": packet.ack(packet.PUBACK, 1, 0x7f),
    "PUBREL with flags 0": packet.ack(packet.PUBREL, 1, flags=0),
    "PUBREC with a property of PUBLISH": packet.ack(packet.PUBREC, 1, 0, [("topic_alias", 1)]),
    "SUBSCRIBE with flags 0": packet.subscribe(1, [("t", 0)], flags=0),
    "SUBSCRIBE with packet id 0": packet.subscribe(0, [("t", 0)]),
    "SUBSCRIBE without filters": packet.subscribe(1, []),
    "SUBSCRIBE without options": b"\x82\x06\x00\x01\x00\x00\x01t",
    "SUBSCRIBE of QoS 3": packet.subscribe(1, [("t", 3)]),
    "SUBSCRIBE with retain handling 3": packet.subscribe(1, [("t", 0x30)]),
    "SUBSCRIBE with reserved options": packet.subscribe(1, [("t", 0x80)]),
    "SUBSCRIBE with subscription identifier 0": packet.subscribe(1, [("t", 0)], [("subscription_id", 0)]),
    "SUBSCRIBE with two subscription identifiers": packet.subscribe(
        1, [("t", 0)], [("subscription_id", 1), ("subscription_id", 2)]),
    "UNSUBSCRIBE with flags 0": packet.unsubscribe(1, ["t"], flags=0),
    "UNSUBSCRIBE without filters": packet.unsubscribe(1, []),
    "UNSUBSCRIBE with packet id 0": packet.unsubscribe(0, ["t"]),
    "DISCONNECT with flags": packet.disconnect(0, flags=1),
    "DISCONNECT with an unknown reason": packet.disconnect(0x05),
    "DISCONNECT with half a property": packet.disconnect(0, b"\x11\x00"),
    "AUTH with flags": packet.auth(0x19, flags=1),
    "AUTH without method": packet.auth(0x19),
    "property length of five bytes": b"\x30\x09\x00\x01t\x80\x80\x80\x80\x01x",
    "property length with a byte too many": b"\x30\x06\x00\x01t\x80\x00x",
}
for index, wrong in enumerate([b"a\0b", *NOT_UTF_8]):
    MALFORMED[f"PUBLISH to topic {index} that is no UTF-8"] = packet.publish(wrong, "x")
    MALFORMED[f"SUBSCRIBE to filter {index} that is no UTF-8"] = packet.subscribe(1, [(wrong, 0)])
    MALFORMED[f"UNSUBSCRIBE from filter {index} that is no UTF-8"] = packet.unsubscribe(1, [wrong])
    MALFORMED[f"user property {index} that is no UTF-8"] = packet.publish("t", properties=[("user", (wrong, "x"))])
    MALFORMED[f"content type {index} that is no UTF-8"] = packet.publish("t", properties=[("content_type", wrong)])


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_packets_are_told_and_closed(node, open_client, bystander, name):
    """[MQTT-4.13.1-1] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.5-1] [MQTT-2.1.3-1]"""
    client = open_client(node)
    case = MALFORMED[name]
    data, reasons = (case[0], {case[1], 0x81, 0x82}) if isinstance(case, tuple) else (case, {0x81, 0x82})
    client.send(data)
    assert client.expect_disconnect().reason in reasons


MALFORMED_3 = {
    "PUBLISH of QoS 3": b"\x36\x05\x00\x01t\x00\x01", "empty topic": b"\x30\x02\x00\x00",
    "SUBSCRIBE with options of MQTT 5": packet.subscribe(1, [("t", 4)], version=4),
    "SUBSCRIBE without filters": packet.subscribe(1, [], version=4), "AUTH": b"\xf0\x00",
    "PUBACK with a reason": packet.ack(packet.PUBACK, 1, 0), "NUL": packet.publish("a\0", "x", version=4),
    "DISCONNECT with a body": b"\xe0\x01\x00", "second CONNECT": packet.connect("x", 4)}


@pytest.mark.parametrize("name", MALFORMED_3)
@pytest.mark.parametrize("version", [3, 4])
def test_malformed_packets_of_3_1_1_are_closed(node, open_client, bystander, name, version):
    """Without a word: there is no DISCONNECT from the server."""
    client = open_client(node, version, client_id=f"bad{version}")
    client.send(MALFORMED_3[name])
    assert client.expect_closed() == []


BAD_CONNECTS = {
    "reserved flag": packet.connect("x", flags=0x03),
    "will QoS without will": packet.connect("x", flags=0x0a), "will retain without will": packet.connect("x", flags=0x22),
    "will QoS 3": packet.connect("x", flags=0x1e, will=Will("t")),
    "user name that is not there": packet.connect("x", flags=0x82),
    "password that is not there": packet.connect("x", flags=0x42),
    "user name without its flag": packet.connect("x", flags=0x02, username="u"),
    "receive maximum 0": packet.connect("x", properties=[("receive_maximum", 0)]),
    "maximum packet size 0": packet.connect("x", properties=[("maximum_packet", 0)]),
    "session expiry twice": packet.connect("x", properties=[("session_expiry", 1), ("session_expiry", 1)]),
    "request problem information 2": packet.connect("x", properties=[("request_problem", 2)]),
    "authentication data without method": packet.connect("x", properties=[("auth_data", b"x")]),
    "property of PUBLISH": packet.connect("x", properties=[("topic_alias", 1)]),
    "client id that is no UTF-8": packet.connect(SURROGATE), "client id with NUL": packet.connect("a\0b"),
    "user name that is no UTF-8": packet.connect("x", username=b"\xc0\x80"),
    "will topic with wildcards": packet.connect("x", will=Will("a/#")),
    "will topic that is no UTF-8": packet.connect("x", will=Will(SURROGATE)),
    "will topic that is empty": packet.connect("x", will=Will("")),
    "will with a wrong payload format": packet.connect("x", will=Will("t", b"\xff", properties=[("payload_format", 1)])),
    "no client id": b"\x10\x0b\x00\x04MQTT\x05\x02\x00\x00\x00", "cut short": b"\x10\x02\x00\x04", "empty": b"\x10\x00",
}


@pytest.mark.parametrize("name", BAD_CONNECTS)
def test_bad_connects_are_refused(node, bystander, name):
    """[MQTT-3.1.4-1]: nothing but a CONNACK with a reason, then the end"""
    client = Client(node)
    client.send(BAD_CONNECTS[name])
    came = client.expect_closed()
    assert len(came) <= 1 and all(one.kind == CONNACK and one.reason >= 0x80 for one in came)


def test_random_bytes(node, bystander):
    """Hundreds of connections of noise, with and without a CONNECT before."""
    for number in range(300):
        client = Client(node)
        client.send((packet.connect("noise") if number % 2 else b"") + os.urandom(1 + number))
        client.socket.shutdown(socket.SHUT_WR)
        try:
            while client.socket.recv(4096):
                pass
        except OSError:
            pass
        client.close()


def test_other_protocols(node, bystander):
    for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"SSH-2.0-x\r\n",
                 b"\x05\x01\x00"):
        client = Client(node)
        client.send(text)
        client.socket.shutdown(socket.SHUT_WR)
        try:
            assert client.expect_closed() == []
        except (ConnectionResetError, Closed):
            pass


# ---- sizes ----

def test_topic_of_65535_bytes(node, open_client, bystander):
    """As long as MQTT lets it be: taken, live and retained."""
    topic = "x" * 65535
    client = open_client(node)
    client.subscribe(topic)
    for qos in (0, 1, 2):
        client.publish(topic, "y", qos, retain=True)
        assert client.expect_publish(topic, "y")
    client.publish(topic, "", 1, retain=True)


@pytest.mark.parametrize("levels", [129, 200, 32768])
def test_topics_of_many_levels(node, open_client, bystander, levels):
    """mqtt.topic_levels_max is 128."""
    text = "/" * (levels - 1)
    client = open_client(node)
    assert client.subscribe(text, "ok/#", "+/" * (levels - 1) + "#").reasons == [0x8f, 0, 0x8f]
    assert client.subscribe("/" * 127).reasons == [0]
    client.publish("/" * 127, "deep", 1)
    client.expect_payloads("deep")
    assert client.publish(text, "x", 1).reason == 0x90
    client.expect_nothing()


def test_will_larger_than_allowed(node, bystander):
    """mqtt.will_bytes_max is 65,536."""
    client = Client(node)
    assert client.start("large-will", will=Will("t", b"x" * 65535, properties=[("user", ("a", "b" * 5000))])).reason == 0x97
    client.expect_closed()
    old = Client(node, 4)
    assert old.start("large-will", will=Will("t" * 2000, b"x" * 65000)).reason != 0
    old.expect_closed()
    with Client(node) as fits:
        fits.connect("large-will", will=Will("t", b"x" * 60000))


def test_user_properties_beyond_their_limit(node, open_client, bystander):
    """mqtt.user_properties_max is 64."""
    client = open_client(node)
    properties = [("user", ("a", str(number))) for number in range(64)]
    assert client.publish("t", "x", 1, properties=properties).reason in (0, 0x10)
    client.send_publish("t", "x", 1, properties=properties * 20)
    answer = client.next()
    assert answer.reason == 0x97


def test_many_filters_in_one_packet(node, open_client, bystander):
    client = open_client(node)
    filters = [f"many/{number}" for number in range(9000)]
    assert client.subscribe(*filters).reasons == [0] * 9000
    assert client.unsubscribe(*filters).reasons == [0] * 9000


# ---- time ----

def test_silent_and_half_open_connections_end(own_node):
    """mqtt.connect_timeout_s: for the whole CONNECT, however it trickles in."""
    own_node.set(connect_timeout_s=1)
    good = Client(own_node)
    good.connect("good")
    silent, half, trickling = (Client(own_node) for _ in range(3))
    half.send(packet.connect("half")[:-1])
    stop = threading.Event()
    long = packet.connect("x" * 500)

    def trickle_long():
        for at in range(len(long)):
            if stop.wait(0.1):
                return
            trickling.send(long[at:at + 1])
    thread = threading.Thread(target=trickle_long, daemon=True)
    thread.start()
    try:
        for client in (silent, half, trickling):
            assert all(one.kind == CONNACK and one.reason >= 0x80 for one in client.expect_closed(10))
    finally:
        stop.set()
        thread.join()
    good.barrier()
    good.close()


def test_packet_that_trickles_in(node, open_client, bystander):
    """Byte after byte, each in a segment of its own: it counts as one packet."""
    client = open_client(node)
    client.subscribe("trickle/t")
    for byte in packet.publish("trickle/t", "slow but right", 1, 77):
        client.send(bytes([byte]))
        bystander.barrier()
    client.expect_publish("trickle/t", "slow but right")


def test_keep_alive_counts_whole_packets_only(node):
    """A client that never completes a packet is silent."""
    client = Client(node)
    client.connect(keep_alive=1)
    stop = threading.Event()

    def trickle():
        client.send(b"\x30\x7f")
        while not stop.wait(0.1):
            client.send(b"x")
    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    try:
        came = client.expect_closed(10)
        assert all(one.kind == DISCONNECT for one in came)
    finally:
        stop.set()
        thread.join()


def test_flood_of_connects(node, bystander):
    """Hundreds at once that come, enter or not, and vanish: all is given back."""
    clients = []
    for number in range(400):
        client = Client(node)
        client.send(packet.connect(f"flood-{number % 50}", 4 if number % 2 else 5,
                                   keep_alive=10) if number % 4 else b"\x10")
        clients.append(client)
    bystander.barrier()
    for client in clients:
        client.close()

    def are_gone():
        listing = node.request("GET", "/v1/clients")[1]
        listing = listing if isinstance(listing, list) else listing.get("clients", [])
        return not [one for one in listing if str(one.get("id") or one.get("client_id", "")).startswith("flood-")]
    until(are_gone, "the flood is gone")


def test_repeated_connects_of_one_client_id(node, bystander):
    """Each takes over from the one before; the last one stays."""
    clients = []
    for number in range(100):
        client = Client(node)
        client.send(packet.connect("again-and-again", properties=[("session_expiry", number % 2 * 60)], clean=False))
        clients.append(client)
    last = Client(node)
    last.connect("again-and-again")
    last.barrier()
    for client in clients + [last]:
        client.close()
