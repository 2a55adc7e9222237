"""Every limit of the settings: what happens at it is what the setting's own text says."""
import json
import re
import socket
import time

import pytest

from lib import packet
from lib.mqtt import Client
from lib.packet import DISCONNECT, PUBACK
from lib.programs import client_of, microcloud
from lib.wait import until

QUOTA = 0x97
KEPT = {"clean": False, "properties": [("session_expiry", 3600)]}


@pytest.fixture(autouse=True)
def defaults(shared_node):
    """Each test leaves the settings of the file's node as they were."""
    yield
    for one in shared_node.request("GET", "/v1/settings")[1]:
        if one["value"] != one["default"]:
            shared_node.put_setting(one["key"], one["default"])


def keeper(node, name, *filters, qos=1):
    """A persistent session that is away."""
    with Client(node) as client:
        client.connect(name, **KEPT)
        client.subscribe(*filters, qos=qos)
        client.disconnect()
    until(lambda: not client_of(node, name)["connected"], "it is away")


def purge(node, *names):
    for name in names:
        node.request("DELETE", f"/v1/clients/{name}?purge=1")


# ---- the settings themselves ----

def test_every_limit_is_refused_beyond_its_range(node):
    for one in node.request("GET", "/v1/settings")[1]:
        wrong = {"integer": [one.get("least", 0) - 1, one.get("most", 0) + 1, "x", "", "1.5"], "boolean": ["2", ""],
                 "choice": ["", "neither"], "text": ["x" * 70000]}[one["kind"]]
        for value in wrong:
            status, answer = node.request("PUT", f"/v1/settings/{one['key']}", {"value": str(value)})
            assert status == 400, (one["key"], value)
            assert one["key"] in answer["error"]["message"] or one["key"] == "mqtt.bridges"
        assert node.request("GET", f"/v1/settings/{one['key']}")[1]["value"] == one["value"]


def test_every_limit_takes_its_ends(own_node):
    for one in own_node.request("GET", "/v1/settings")[1]:
        if one["kind"] == "integer" and one["key"] != "state.bytes_max":
            for value in (one["least"], one["most"], one["default"]):
                own_node.put_setting(one["key"], value)
    own_node.restart()
    with own_node.client() as client:
        client.connect()


def test_every_integer_says_what_happens_at_it(node):
    for one in node.request("GET", "/v1/settings")[1]:
        assert len(one["meaning"]) > 10, one
        if one["kind"] == "integer" and one["key"] != "mqtt.sys_interval_s":
            assert one["at_limit"], one["key"]


# ---- packets ----

def test_max_packet_bytes(node):
    node.set(max_packet_bytes=1000)
    with node.client() as client:
        assert client.connect().property("maximum_packet") == 1000
        client.publish("t", b"x" * (1000 - 3 - 3 - 2 - 1), 1)  # fixed header, topic, id, properties
        client.send_publish("t", b"x" * (1000 - 3 - 3 - 2 - 1 + 1), 1)
        client.expect_disconnect(0x95)
    with node.client(4) as client:
        client.connect()
        client.send_publish("t", b"x" * 2000, 1)
        client.expect_closed()


def test_a_connect_larger_than_a_packet_may_be(node):
    node.set(max_packet_bytes=128)
    with node.client() as client:
        client.send(packet.connect("x", username="u" * 200))
        assert all(one.reason == 0x95 for one in client.expect_closed())


def test_client_id_bytes_max(node):
    node.set(client_id_bytes_max=30)
    for version, refused in ((5, 0x85), (4, 2)):
        with node.client(version) as client:
            client.connect("x" * 30)
        with node.client(version) as client:
            assert client.start("x" * 31).reason == refused


def test_topic_levels_max(node):
    node.set(topic_levels_max=5)
    with node.client() as client:
        client.connect()
        assert client.publish("1/2/3/4/5", "", 1).reason < 0x80
        assert client.subscribe("1/2/3/4/#", "1/2/3/4/5/#", "$share/g/1/2/3/4/5").reasons == [0, 0x8f, 0]
        assert client.publish("1/2/3/4/5/6", "", 1).reason == 0x90
    with node.client(4) as client:
        client.connect()
        assert client.subscribe("1/2/3/4/5/6").reasons == [0x80]


def test_user_properties_max(node):
    node.set(user_properties_max=3)
    with node.client() as client:
        client.connect()
        assert client.publish("t", "", 1, properties=[("user", ("a", "b"))] * 3).reason < 0x80
        assert client.publish("t", "", 1, properties=[("user", ("a", "b"))] * 4).reason == QUOTA


def test_topic_alias_max(node):
    node.set(topic_alias_max=3)
    with node.client() as client:
        assert client.connect().property("topic_alias_maximum") == 3
        client.publish("t", "", 1, properties=[("topic_alias", 3)])
        client.send_publish("t", "", 1, properties=[("topic_alias", 4)])
        client.expect_disconnect(0x94)
    node.set(topic_alias_max=0)
    with node.client() as client:
        assert client.connect().property("topic_alias_maximum", 0) == 0


# ---- connections ----

def test_connections_max(own_node):
    own_node.set(connections_max=3)
    clients = [own_node.client() for _ in range(3)]
    for client in clients:
        client.connect()
    for version, refused in ((5, 0x89), (4, 3)):
        with own_node.client(version) as client:
            assert client.start().reason == refused
    clients.pop().close()

    def comes_in():
        with own_node.client() as client:
            return client.start().reason == 0
    until(comes_in, "there is room again")
    for client in clients:
        client.barrier()
        client.close()


def open_silently(port, links, wait=False):
    """Connects and says nothing; with `wait` returns what comes, b"" for the end in whatever way."""
    try:
        links.append(socket.create_connection(("127.0.0.1", port), 10))
        return links[-1].recv(1) if wait else None
    except ConnectionResetError:
        return b""


def test_connections_beyond_all_count_are_closed_at_once(own_node):
    own_node.set(connections_max=1)
    with own_node.client() as first:
        first.connect()
        links = []
        for _ in range(150):
            open_silently(own_node.port, links)
        for _ in range(50):
            assert open_silently(own_node.port, links, wait=True) == b""
        for link in links:
            link.close()
        first.barrier()


def test_connections_per_address_max(own_node):
    own_node.set(connections_per_address_max=2, proxy_protocol="true", anonymous="on")
    own_node.restart()

    def from_address(source, version=5):
        client = own_node.client(version)
        client.send(packet.proxy_header(source))
        return client, client.start().reason
    one, two = from_address("192.0.2.1"), from_address("192.0.2.1")
    assert (one[1], two[1]) == (0, 0)
    assert from_address("192.0.2.1")[1] == QUOTA
    assert from_address("192.0.2.1", 4)[1] == 3
    assert from_address("192.0.2.2")[1] == 0
    one[0].close()
    until(lambda: from_address("192.0.2.1")[1] == 0, "there is room again")


def test_this_machine_is_not_limited_per_address(node):
    node.set(connections_per_address_max=1)
    with node.client() as one, node.client() as two:
        one.connect()
        two.connect()


def test_connect_timeout_s(node):
    node.set(connect_timeout_s=1)
    began = time.monotonic()
    with node.client() as silent, node.client() as slow:
        slow.send(packet.connect("x")[:7])
        assert silent.expect_closed() == [] and slow.expect_closed() == []
    assert 0.9 < time.monotonic() - began < 10


def test_keep_alive_s_max(node):
    node.set(keep_alive_s_max=1)
    for asked in (0, 100):
        with node.client() as client:
            assert client.connect(keep_alive=asked).property("server_keep_alive") == 1
            client.expect_disconnect(0x8d)  # silent for one and a half
    with node.client() as client:
        assert client.connect(keep_alive=1).property("server_keep_alive") is None


# ---- flow ----

def test_receive_maximum(node):
    node.set(receive_maximum=2)
    keeper(node, "held", "held/#")
    with node.client() as client:
        assert client.connect().property("receive_maximum") == 2
        for packet_id in (1, 2, 3):  # QoS 2 stays unanswered until PUBREL
            client.send_publish("t", "", 2, packet_id=packet_id)
        client.expect_disconnect(0x93)
    purge(node, "held")


def test_in_flight_max(node):
    node.set(in_flight_max=3)
    with node.client() as reader, node.client() as writer:
        reader.connect("reader")
        reader.subscribe("t", qos=1)
        writer.connect()
        for i in range(6):
            writer.publish("t", str(i), 1)
        reader.barrier()
        assert [one.payload for one in reader.waiting] == [b"0", b"1", b"2"]
        reader.send(packet.ack(PUBACK, reader.waiting.pop(0).packet_id))
        until(lambda: not reader.barrier() or len(reader.waiting) == 3, "one more comes")
        assert [one.payload for one in reader.waiting] == [b"1", b"2", b"3"]


def queued(node, name):
    found = client_of(node, name)
    return found["queued"], found["dropped"]


def drain(node, name):
    with node.client() as client:
        client.connect(name, **KEPT)
        client.publish("end/of/queue", "", 0)
        got = []
        while True:
            client.barrier()
            if not client.waiting:
                break
            while client.waiting:
                got.append(client.expect_publish().payload.decode())
    purge(node, name)
    return got


def test_queue_messages_max_drops_the_oldest(node):
    node.set(queue_messages_max=5)
    keeper(node, "away", "q/#")
    with node.client() as client:
        client.connect()
        assert [client.publish("q/x", str(i), 1).reason for i in range(8)] == [0] * 8
    assert queued(node, "away")[0] == 5
    assert drain(node, "away") == ["3", "4", "5", "6", "7"]


def test_queue_messages_max_refuses(node):
    node.set(queue_messages_max=5, queue_full="refuse")
    keeper(node, "away", "q/#")
    with node.client() as client:
        client.connect()
        assert [client.publish("q/x", str(i), 1).reason for i in range(8)] == [0] * 5 + [QUOTA] * 3
        assert client.publish("q/x", "8", 2).reason == QUOTA
    assert drain(node, "away") == ["0", "1", "2", "3", "4"]


def test_queue_bytes_max(node):
    node.set(queue_bytes_max=10000)
    keeper(node, "away", "q/#")
    with node.client() as client:
        client.connect()
        for i in range(20):
            client.publish("q/x", f"{i:02}" + "x" * 998, 1)
    found = client_of(node, "away")
    assert 5 <= found["queued"] <= 10 and found["queued_bytes"] <= 10000
    assert [one[:2] for one in drain(node, "away")] == [f"{i:02}" for i in range(20 - found["queued"], 20)]


def fill_up(node, reader, writer, qos, count, payload=b"x" * 50_000):
    """The reader does not read: its kernel's buffers fill, then its queue."""
    for _ in range(count):
        writer.send_publish("live", payload, qos)


def stuck_reader(node):
    reader = Client(node, receive_buffer=4096)
    reader.connect("stuck")
    reader.subscribe("live", qos=1)
    return reader


@pytest.mark.parametrize("limits", [{"live_queue_messages_max": 10}, {"live_queue_bytes_max": 65536 * 8}])
def test_live_queues_drop_qos_0(node, limits):
    node.set(**limits)
    with stuck_reader(node) as reader, node.client() as writer:
        writer.connect()
        fill_up(node, reader, writer, 0, 300)
        writer.barrier()
        until(lambda: client_of(node, "stuck")["dropped"] > 0, "some are dropped")
        dropped = client_of(node, "stuck")["dropped"]
        got = 0
        while got < 300 - dropped:
            reader.expect_publish("live")
            got += 1
        reader.expect_nothing()


@pytest.mark.parametrize("limits", [{"live_queue_messages_max": 10}, {"live_queue_bytes_max": 65536 * 8}])
def test_live_queues_hold_the_publishers_of_qos_1(node, limits):
    """Nothing is lost: the publisher waits until the subscriber reads again."""
    node.set(slow_subscriber_ms=60000, **limits)
    with stuck_reader(node) as reader, node.client() as writer:
        writer.connect()
        writer.socket.settimeout(1)
        sent, payload = 0, b"x" * 50_000
        held = packet.publish("live", payload, 1, 1)
        try:
            while sent < 2000:
                part = packet.publish("live", payload, 1, sent + 1)
                while part:
                    part = part[writer.socket.send(part):]
                sent += 1
        except socket.timeout:
            held = part
        assert sent < 2000, "it was never held"
        assert client_of(node, "stuck")["dropped"] == 0
        for _ in range(sent):
            reader.expect_publish("live")
        writer.socket.settimeout(15)
        writer.send(held)
        reader.expect_publish("live")
        for _ in range(sent + 1):
            writer.expect(PUBACK)


def test_slow_subscriber_ms(node):
    node.set(live_queue_messages_max=10, slow_subscriber_ms=100)
    with stuck_reader(node) as reader, node.client() as writer:
        writer.connect()
        for _ in range(200):
            writer.publish("live", b"x" * 50_000, 1)  # ends: the slow one goes
        until(lambda: client_of(node, "stuck") is None, "the slow subscriber is gone")
        came = reader.expect_closed()
        assert not came or came[-1].kind != DISCONNECT or came[-1].reason == QUOTA


# ---- what is kept ----

def test_retained_messages_max(node):
    before = node.request("GET", "/v1/topics")[1]
    node.set(retained_messages_max=len(before) + 2)
    with node.client() as client:
        client.connect()
        assert [client.publish(f"r/{i}", "x", 1, retain=True).reason for i in range(3)][2] == QUOTA
        assert client.publish("r/0", "another value", 1, retain=True).reason < 0x80
        assert client.publish("r/0", "", 1, retain=True).reason < 0x80
        assert client.publish("r/2", "x", 1, retain=True).reason < 0x80
        for i in range(3):
            client.publish(f"r/{i}", "", 1, retain=True)


def test_retained_payload_bytes_max(node):
    node.set(retained_payload_bytes_max=100)
    with node.client() as client:
        client.connect()
        assert client.publish("r/x", "x" * 100, 1, retain=True).reason < 0x80
        assert client.publish("r/x", "x" * 101, 1, retain=True).reason == QUOTA
        assert client.publish("r/x", "x" * 101, 1).reason < 0x80, "not retained"
        client.publish("r/x", "", 1, retain=True)


def test_retained_bytes_max(node):
    node.set(retained_bytes_max=20000)
    with node.client() as client:
        client.connect()
        reasons = [client.publish(f"r/{i}", "x" * 1000, 1, retain=True).reason for i in range(30)]
        kept = reasons.index(QUOTA)
        assert 5 < kept < 20 and set(reasons[kept:]) == {QUOTA}
        for i in range(kept):
            client.publish(f"r/{i}", "", 1, retain=True)
        assert client.publish("r/x", "x" * 1000, 1, retain=True).reason < 0x80
        client.publish("r/x", "", 1, retain=True)


def test_a_refused_retained_message_of_mqtt_3_1_1_is_acknowledged(node):
    node.set(retained_payload_bytes_max=10)
    with node.client(4) as client:
        client.connect()
        client.publish("r/y", "x" * 100, 1, retain=True)
        client.publish("r/y", "x" * 100, 2, retain=True)
        client.subscribe("r/y")
        client.expect_nothing()


def test_sessions_max(own_node):
    own_node.set(sessions_max=2)
    keeper(own_node, "one", "t")
    keeper(own_node, "two", "t")
    with own_node.client() as client:
        assert client.start("three", **KEPT).reason == QUOTA
    with own_node.client(4) as client:
        assert client.start("three", clean=False).reason == 3
    with own_node.client() as client:
        client.connect("four")  # its session ends with the connection
    with own_node.client() as client:
        assert client.connect("one", **KEPT).session_present
    purge(own_node, "one")
    with own_node.client() as client:
        client.connect("three", **KEPT)


def test_session_expiry_s_max(node):
    node.set(session_expiry_s_max=1)
    with node.client() as client:
        assert client.connect("brief", **KEPT).property("session_expiry") == 1
        client.subscribe("t")
    with node.client(4) as client:
        client.connect("brief-4", clean=False)
    for name in ("brief", "brief-4"):
        until(lambda name=name: client_of(node, name) is None, f"{name} is gone")


def test_session_expiry_of_zero_keeps_nobody(node):
    node.set(session_expiry_s_max=0)
    with node.client() as client:
        assert client.connect("never", **KEPT).property("session_expiry") == 0
    until(lambda: client_of(node, "never") is None, "it is gone")


@pytest.mark.parametrize("kept", [False, True])
def test_subscriptions_per_session_max(node, kept):
    node.set(subscriptions_per_session_max=3)
    name = f"greedy-{kept}"
    with node.client() as client:
        client.connect(name, **(KEPT if kept else {}))
        assert client.subscribe("a", "b", "c", "d", qos=1).reasons == [1, 1, 1, QUOTA]
        assert client.subscribe("b", qos=0).reasons == [0], "one it has"
        assert client.subscribe("e").reasons == [QUOTA]
        client.unsubscribe("a")
        assert client.subscribe("e").reasons == [0]
    with node.client(4) as client:
        client.connect(name, clean=True)
        assert client.subscribe("a", "b", "c", "d").reasons == [0, 0, 0, 0x80]
    purge(node, name)


def test_will_bytes_max(node):
    node.set(will_bytes_max=100)
    with node.client() as client:
        client.connect(will=packet.Will("w", "x" * 99))
    for version, refused in ((5, QUOTA), (4, 3)):
        with node.client(version) as client:
            assert client.start(will=packet.Will("w", "x" * 100)).reason == refused
    with node.client() as client:
        assert client.start(will=packet.Will("w", "", properties=[("user", ("k", "v" * 100))])).reason == QUOTA


def test_state_bytes_max(own_node):
    own_node.put_setting("state.bytes_max", 1048576)
    own_node.set(queue_messages_max=65000)
    keeper(own_node, "away", "q/#")
    with own_node.client() as client:
        client.connect("writer")
        reasons = [client.publish("q/x", "x" * 10000, 1).reason for _ in range(150)]
        full = reasons.index(QUOTA)
        assert 50 < full < 110 and set(reasons[full:]) == {QUOTA}
        assert client.publish("r/x", "x" * 10000, 1, retain=True).reason == QUOTA
        assert client.publish("nobody/keeps/it", "x" * 10000, 1).reason < 0x80
        # Little things may still fit; what does not is refused.
        reasons = [client.publish("q/x", "x" * 100, 1).reason for _ in range(200)]
        assert reasons[-1] == QUOTA
    with own_node.client() as client:
        assert client.start("new-" + "x" * 900, **KEPT).reason == QUOTA
    status, answer = own_node.request("POST", "/v1/acl", {"subject": "*", "action": "read", "filter": "x" * 1000})
    assert status >= 400 and "state.bytes_max" in json.dumps(answer), answer
    assert own_node.request("DELETE", "/v1/clients/away?purge=1")[0] == 200
    with own_node.client() as client:
        client.connect("after", **KEPT)
        assert client.publish("r/x", "x" * 10000, 1, retain=True).reason < 0x80
    own_node.restart()


def test_login_delay_ms_max_of_zero_never_waits(own_node):
    own_node.add_user("ann", "right")
    own_node.set(login_delay_ms_max=0)
    for _ in range(10):
        with own_node.client() as client:
            assert client.start(username="ann", password="wrong").reason in (0x86, 0x87)


# ---- others ----

def test_response_information(node):
    node.set(response_information="answers/")
    with node.client() as client:
        assert client.connect(properties=[("request_response", 1)]).property("response_information") == "answers/"
    with node.client() as client:
        assert client.connect().property("response_information") is None


def test_sys_interval_s(node):
    node.set(sys_interval_s=1)
    with node.client() as client:
        client.connect()
        client.subscribe("$SYS/broker/uptime")
        values = [client.expect_publish().payload for _ in range(3)]
        assert len(set(values)) >= 2
    node.set(sys_interval_s=0)


def test_every_setting_is_listed_with_its_text(node):
    listed = microcloud(node, "setting", "get").ok().out
    for one in json.loads(microcloud(node, "setting", "get", "--json").ok().out):
        assert re.search(rf"^{re.escape(one['key'])}\s", listed, re.M)
        assert one["meaning"] in listed
