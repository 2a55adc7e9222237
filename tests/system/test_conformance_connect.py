"""MQTT 5, 3.1, 3.2, 3.14, 4.1 and what differs in 3.1.1 and 3.1: how a client comes and goes."""
import time

import pytest

from lib import packet
from lib.mqtt import Client, Closed
from lib.packet import CONNACK, DISCONNECT, PINGRESP, Will
from lib.wait import until

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_first_packet_must_be_connect(node):
    """[MQTT-3.1.0-1] [MQTT-3.14.0-1]: closed, and no DISCONNECT before a CONNACK"""
    for first in (packet.pingreq(), packet.publish("t", "x"), packet.subscribe(1, [("t", 0)]), packet.disconnect(),
                  packet.auth(0x18, [("auth_method", "SCRAM-SHA-256")])):
        client = Client(node)
        client.send(first + packet.connect("late"))
        assert [one for one in client.expect_closed() if one.kind == DISCONNECT or one.reason == 0] == []


def test_second_connect_is_a_protocol_error(node, open_client):
    """[MQTT-3.1.0-2] [MQTT-3.2.0-2] [MQTT-4.13.1-1] [MQTT-4.13.2-1]: no second CONNACK either"""
    client = open_client(node)
    client.send(packet.connect("again"))
    assert client.expect_disconnect(0x82)


def test_refused_connect_processes_nothing_after_it(node, open_client):
    """[MQTT-3.1.4-1] [MQTT-3.1.4-6] [MQTT-3.2.2-7] [MQTT-3.14.0-1] [MQTT-3.2.2-6]"""
    watcher = open_client(node)
    watcher.subscribe("refused/#")
    client = Client(node)
    client.send(packet.connect("bad", flags=0x03) + packet.publish("refused/x", "no"))
    came = client.expect_closed()
    assert all(one.kind == CONNACK and one.reason >= 0x80 and not one.session_present for one in came)
    assert len(came) <= 1
    watcher.expect_nothing()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_accepted_connect_gets_connack_first(node, version):
    """[MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.2.2-1] [MQTT-4.2.0-1]"""
    with Client(node, version) as client:
        client.send(packet.connect(f"first{version}", version) + packet.pingreq() +
                    packet.subscribe(1, [("t", 0)], version=version))
        assert [client.read().kind for _ in range(3)] == [CONNACK, PINGRESP, packet.SUBACK]
        client.expect_nothing()


def test_pingreq_is_answered(node, open_client):
    """[MQTT-3.12.4-1]"""
    client = open_client(node)
    client.send(packet.pingreq() * 3)
    for _ in range(3):
        client.expect(PINGRESP)


def test_other_protocol_names_and_versions_are_refused(node):
    """[MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT-3.2.2-8]"""
    for name, level in (("MQTTX", 5), ("mqtt", 4), ("MQTT", 6), ("MQTT", 3), ("MQIsdp", 4), ("", 5)):
        # Where the name is unknown, so is what follows: the answer then is the oldest one that every client reads.
        client = Client(node, 5 if level > 5 else 4)
        client.send(packet.connect("x", 5 if level == 5 else client.version, name=name, level=level))
        assert all(one.kind == CONNACK and one.reason in (0x84, 1) for one in client.expect_closed()), (name, level)


def test_version_3_1_is_let_in(node, open_client):
    """MQIsdp: a session, and no session present in its CONNACK."""
    client = open_client(node, 3, client_id="three-live")
    client.subscribe("three/one", qos=2)
    client.publish("three/one", "x", 2)
    assert client.expect_publish("three/one", "x").qos == 2
    client.disconnect()
    first = open_client(node, 3, client_id="three", clean=False)
    first.disconnect()
    assert open_client(node, 3, connect=False).connect("three", clean=False).session_present is False
    assert Client(node, 3).start("three", clean=True).reason == 0


def test_client_id_identifies_the_session(node, open_client):
    """[MQTT-3.1.3-2] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-3.1.2-5]"""
    one = open_client(node, client_id="ident-a", properties=[("session_expiry", 100)])
    one.subscribe("ident/a", qos=1)
    one.disconnect()
    other = open_client(node, connect=False)
    assert other.connect("ident-b", clean=False, properties=[("session_expiry", 100)]).session_present is False
    other.publish("ident/a", "kept", 1)
    back = open_client(node, connect=False)
    assert back.connect("ident-a", clean=False, properties=[("session_expiry", 100)]).session_present is True
    back.expect_publish("ident/a", "kept")
    other.expect_nothing()


def test_client_ids_of_23_letters_and_digits(node):
    """[MQTT-3.1.3-5]"""
    for client_id in [ALPHABET[at:at + 23] for at in range(0, 62, 20)] + ["a"]:
        with Client(node) as client:
            assert client.connect(client_id).reason == 0


def test_empty_client_id_gets_a_unique_one(node, open_client):
    """[MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]: told, and usable to resume the session"""
    clients = [open_client(node, connect=False) for _ in range(4)]
    names = [client.connect("", properties=[("session_expiry", 60)]).property("assigned_client_id") for client in clients]
    assert all(names) and len(set(names)) == len(names)
    clients[0].disconnect()
    again = open_client(node, connect=False)
    assert again.connect(names[0], clean=False).session_present is True
    assert again.connack.property("assigned_client_id") is None


def test_refused_client_id(node):
    """[MQTT-3.1.3-8]: 0x85 and 2"""
    client = Client(node)
    assert client.start("x" * 2000).reason == 0x85
    client.expect_closed()
    old = Client(node, 4)
    assert old.start("", clean=False).reason == 2
    old.expect_closed()
    assert Client(node, 4).start("", clean=True).reason == 0


def test_failed_login_ends_the_connection(own_node):
    """[MQTT-3.1.4-2] [MQTT-3.2.2-7]"""
    own_node.set(anonymous="off")
    client = Client(own_node)
    assert client.start("x").reason == 0x87
    client.expect_closed()
    own_node.add_user("dora", "right horse")
    wrong = Client(own_node)
    assert wrong.start("x", username="dora", password="wrong").reason in (0x86, 0x87)
    wrong.expect_closed()
    old = Client(own_node, 4)
    assert old.start("x", username="dora", password="wrong").reason in (4, 5)
    old.expect_closed()
    assert Client(own_node).start("x", username="dora", password="right horse").reason == 0


def test_clean_start_discards_the_session(node, open_client):
    """[MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2] [MQTT-3.1.2-6]"""
    keeps = {"properties": [("session_expiry", 100)]}
    first = open_client(node, client_id="clean", **keeps)
    first.subscribe("clean/t", qos=1)
    first.disconnect()
    second = open_client(node, connect=False)
    assert second.connect("clean", clean=True, **keeps).session_present is False
    second.publish("clean/t", "x", 1)
    second.expect_nothing()
    second.disconnect()
    third = open_client(node, connect=False)
    assert third.connect("clean", clean=False, **keeps).session_present is True


@pytest.mark.parametrize("version", [4, 5])
def test_takeover_closes_the_old_connection(node, open_client, version):
    """[MQTT-3.1.4-3] [MQTT-3.14.4-1] [MQTT-3.14.4-2]"""
    old = open_client(node, version, client_id=f"over{version}")
    new = open_client(node, version, client_id=f"over{version}")
    if version == 5:
        assert old.expect_disconnect(0x8e).property("session_expiry") is None
    else:
        assert old.expect_closed() == []
    new.barrier()


def test_session_ends_with_the_connection_or_after_its_expiry(node, open_client):
    """[MQTT-4.1.0-1] [MQTT-4.1.0-2]: never while it is connected"""
    live = open_client(node, client_id="expire-0")
    live.subscribe("expire/0")
    live.disconnect()
    assert open_client(node, connect=False).connect("expire-0", clean=False).session_present is False
    keeps = {"clean": False, "properties": [("session_expiry", 1)]}
    short = open_client(node, client_id="expire-1", **keeps)
    short.subscribe("expire/1", qos=1)
    start = time.monotonic()
    until(lambda: time.monotonic() - start > 1.3, "more than the expiry, connected")
    short.publish("expire/1", "still here", 1)
    short.expect_publish("expire/1", "still here")
    short.disconnect()

    def is_gone():
        with Client(node) as client:
            return node.request("GET", "/v1/clients/expire-1")[0] == 404
    until(is_gone, "the session expires")
    assert open_client(node, connect=False).connect("expire-1", **keeps).session_present is False


def test_session_expiry_is_changed_at_disconnect(node, open_client):
    """Shortened and lengthened, but not raised from 0 (3.14.2.2.2)."""
    client = open_client(node, client_id="change", properties=[("session_expiry", 100)])
    client.disconnect(0, [("session_expiry", 0)])
    assert open_client(node, connect=False).connect("change", clean=False).session_present is False
    raised = open_client(node)
    raised.send(packet.disconnect(0, [("session_expiry", 5)]))
    assert raised.expect_disconnect(0x82)


def test_version_3_1_1_session_outlives_its_connection(node, open_client):
    """Clean session 0 is kept; session present says so (3.1.1, 3.2.2-2)."""
    client = open_client(node, 4, client_id="old", clean=False)
    client.subscribe("old/t", qos=1)
    client.disconnect()
    open_client(node).publish("old/t", "kept", 1)
    back = open_client(node, 4, connect=False)
    assert back.connect("old", clean=False).session_present is True
    back.expect_publish("old/t", "kept")


def test_keep_alive_is_enforced(node):
    """[MQTT-3.1.2-22] [MQTT-3.2.2-22]: closed after one and a half of it, with the will; not before"""
    with Client(node) as watcher, Client(node) as client:
        watcher.connect()
        watcher.subscribe("alive/will")
        connack = client.connect("alive", keep_alive=2, will=Will("alive/will", "silent"))
        assert connack.property("server_keep_alive") is None
        start = time.monotonic()
        came = client.expect_closed(10)
        took = time.monotonic() - start
        assert 2.9 <= took <= 6 and all(one.kind == DISCONNECT and one.reason == 0x8d for one in came)
        watcher.expect_publish("alive/will", "silent")


def test_server_keep_alive_is_told(own_node, open_client):
    """[MQTT-3.2.2-22]: only where it differs"""
    own_node.set(keep_alive_s_max=30)
    assert open_client(own_node, connect=False).connect("a", keep_alive=60).property("server_keep_alive") == 30
    assert open_client(own_node, connect=False).connect("b", keep_alive=0).property("server_keep_alive") == 30
    assert open_client(own_node, connect=False).connect("c", keep_alive=10).property("server_keep_alive") is None


def test_response_information_only_on_request(own_node, open_client):
    """[MQTT-3.1.2-28]"""
    own_node.set(response_information="answers/")
    for properties, expected in (([], None), ([("request_response", 0)], None), ([("request_response", 1)], "answers/")):
        client = open_client(own_node, connect=False)
        assert client.connect("", properties=properties).property("response_information") == expected


def test_no_problem_information_where_it_is_not_wanted(node, open_client):
    """[MQTT-3.1.2-29]"""
    client = open_client(node, properties=[("request_problem", 0)])
    answers = [client.publish("$SYS/x", "no", 1), client.subscribe("bad/#/filter"), client.unsubscribe("none")]
    assert answers[0].reason >= 0x80 and answers[1].reasons[0] >= 0x80
    assert all(one.property("reason_string") is None and not one.all("user") for one in answers)


def test_maximum_packet_size_of_the_client(node, open_client):
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]: a message too large is dropped, the next one comes; nothing larger is sent"""
    for keeps in ([], [("session_expiry", 60)]):
        client = open_client(node, client_id=f"small{len(keeps)}", properties=[("maximum_packet", 100), *keeps])
        for qos in (0, 1, 2):
            client.subscribe((f"small/{qos}", qos))
            sender = open_client(node)
            sender.publish(f"small/{qos}", "x" * 200, qos)
            sender.publish(f"small/{qos}", "fits", qos)
            found = client.expect_publish(f"small/{qos}", "fits")
            assert found.size <= 100
        client.expect_nothing()


def test_reason_strings_are_left_out_when_too_large(node):
    """[MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.14.2-3] [MQTT-3.14.2-4]

    Every refusal and DISCONNECT fits in the smallest packet, with its reason string where there is room."""
    small = [("maximum_packet", 20)]
    refused = Client(node).start("x" * 2000, properties=small)
    assert refused.reason == 0x85 and refused.size <= 20
    assert Client(node).start("x" * 2000).property("reason_string")
    for properties, fits in ((small, False), ([], True)):
        client = Client(node)
        client.start("", properties=properties) if fits else client.send(packet.connect("tiny", properties=properties))
        if not fits:
            client.expect(CONNACK)
        client.send(packet.connect("again"))
        last = client.expect_disconnect(0x82)
        assert (last.property("reason_string") is not None) == fits
        assert fits or last.size <= 20


def test_connack_fits_the_maximum_packet_size(node):
    """[MQTT-3.1.2-24] [MQTT-3.2.2-19]"""
    client = Client(node)
    client.send(packet.connect("fits", properties=[("maximum_packet", 20)]))
    assert client.expect(CONNACK).size <= 20
    client.close()


def test_server_disconnect_names_no_session_expiry(node, open_client):
    """[MQTT-3.14.2-2]: the decoder of these tests refuses it"""
    client = open_client(node, properties=[("session_expiry", 77)])
    client.send(bytes([0xf0 | 1, 0]))
    assert client.expect_disconnect(0x81).property("session_expiry") is None


def test_nothing_is_sent_after_disconnect(node, open_client):
    """[MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1]: neither answers nor messages, and both sides close"""
    client = open_client(node)
    client.subscribe("after/#")
    client.send(packet.disconnect() + packet.pingreq() + packet.publish("after/x", "y"))
    assert client.expect_closed() == []
    broken = open_client(node)
    broken.subscribe("after/#")
    broken.send(b"\xf1\x00" + packet.pingreq() + packet.publish("after/x", "y"))
    assert [one.kind for one in broken.expect_closed()] == [DISCONNECT]


def test_connection_ends_after_a_refusal(node):
    """[MQTT-3.2.2-7] [MQTT-4.13.2-1]"""
    client = Client(node)
    assert client.start("x" * 3000).reason == 0x85
    with pytest.raises(Closed):
        client.next()
