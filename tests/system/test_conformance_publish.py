"""MQTT 5, 3.3 to 3.7, 4.3 to 4.6 and 4.9: messages, their acknowledgements, order and flow."""
import pytest

from lib import packet
from lib.mqtt import Client
from lib.packet import DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL
from lib.wait import until

KEEPS = {"properties": [("session_expiry", 100)]}


def test_each_qos_is_answered_as_it_asks(node, open_client):
    """[MQTT-3.3.4-1] [MQTT-4.3.1-1] [MQTT-2.2.1-2] [MQTT-2.2.1-5] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]"""
    client = open_client(node)
    client.publish("answered/0", "x", 0)
    client.expect_nothing()
    assert client.publish("answered/1", "x", 1, packet_id=4711).packet_id == 4711
    client.send_publish("answered/2", "x", 2, packet_id=65535)
    assert client.expect(PUBREC).packet_id == 65535
    client.send(packet.ack(PUBREL, 65535))
    assert client.expect(PUBCOMP).packet_id == 65535


@pytest.mark.parametrize("options", [{}, KEEPS])
def test_delivery_of_each_qos(node, open_client, options):
    """[MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.2-3] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.3.3-3]
    [MQTT-2.2.1-2] [MQTT-2.2.1-4] [MQTT-4.3.3-4] [MQTT-4.3.3-5]: ids unused while unacknowledged, DUP 0"""
    name = f"each{len(options)}"
    client = open_client(node, client_id=name, **options)
    client.subscribe(f"{name}/#", qos=2)
    sender = open_client(node)
    sender.publish(f"{name}/0", "x", 0)
    found = client.expect(PUBLISH)
    assert (found.qos, found.packet_id, found.dup) == (0, 0, False)
    for qos in (1, 2) * 5:
        sender.publish(f"{name}/{qos}", "x", qos)
    found = [client.expect(PUBLISH) for _ in range(10)]
    assert [one.qos for one in found] == [1, 2] * 5 and not any(one.dup for one in found)
    assert len({one.packet_id for one in found}) == 10 and all(one.packet_id for one in found)
    for one in found:
        client.send(packet.ack(PUBACK if one.qos == 1 else PUBREC, one.packet_id))
    released = [client.expect(PUBREL) for _ in range(5)]
    assert [one.packet_id for one in released] == [one.packet_id for one in found if one.qos == 2]
    sender.publish(f"{name}/1", "new", 1)
    assert client.expect(PUBLISH).packet_id not in {one.packet_id for one in released}
    for one in released:
        client.send(packet.ack(PUBCOMP, one.packet_id))
    client.expect_nothing()


def test_dup_of_the_publisher_is_not_passed_on(node, open_client):
    """[MQTT-3.3.1-3] [MQTT-3.3.1-1]"""
    client = open_client(node)
    client.subscribe("dup/t", qos=2)
    for qos in (1, 2):
        client.publish("dup/t", "x", qos, dup=True)
        assert client.expect_publish("dup/t").dup is False


def test_same_packet_id_is_a_new_message_after_puback(node, open_client):
    """[MQTT-4.3.2-5]: whatever its DUP"""
    client = open_client(node)
    client.subscribe("again/1")
    client.publish("again/1", "one", 1, packet_id=7)
    client.publish("again/1", "two", 1, packet_id=7, dup=True)
    client.expect_payloads("one", "two")


@pytest.mark.parametrize("options", [{}, KEEPS])
def test_qos_2_is_delivered_once(node, open_client, options):
    """[MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12]"""
    name = f"once{len(options)}"
    client = open_client(node, client_id=name, **options)
    client.subscribe(f"{name}/t")
    for payload in ("first", "second"):
        for again in (False, True, True):
            client.send_publish(f"{name}/t", payload, 2, packet_id=9, dup=again)
            assert client.expect(PUBREC).packet_id == 9
        client.send(packet.ack(PUBREL, 9))
        assert client.expect(PUBCOMP).reason == 0
    client.expect_payloads("first", "second")
    client.expect_nothing()
    client.send(packet.ack(PUBREL, 9))
    assert client.expect(PUBCOMP).reason == 0x92


def test_qos_2_is_delivered_once_over_a_reconnect(node, open_client):
    """[MQTT-4.3.3-10]: the packet id outlives the connection"""
    watcher = open_client(node)
    watcher.subscribe("twice/t")
    client = open_client(node, client_id="twice", **KEEPS)
    client.send_publish("twice/t", "x", 2, packet_id=3)
    client.expect(PUBREC)
    client.close()
    back = open_client(node, client_id="twice", clean=False, **KEEPS)
    back.send_publish("twice/t", "x", 2, packet_id=3, dup=True)
    assert back.expect(PUBREC).reason < 0x80
    back.send(packet.ack(PUBREL, 3))
    assert back.expect(PUBCOMP).reason == 0
    watcher.expect_payloads("x")
    watcher.expect_nothing()


def test_same_packet_id_is_a_new_message_after_a_refusal(node, open_client):
    """[MQTT-4.3.3-9]"""
    client = open_client(node)
    client.subscribe("refusal/t")
    client.send_publish("$SYS/refused", "x", 2, packet_id=5)
    assert client.expect(PUBREC).reason >= 0x80
    client.publish("refusal/t", "new", 2, packet_id=5)
    client.expect_payloads("new")


def test_resumed_session_sends_again(node, open_client):
    """[MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-1] [MQTT-2.2.1-4] [MQTT-4.3.3-6] [MQTT-4.3.2-3] [MQTT-4.3.3-3]
    [MQTT-4.3.3-5]: in order, with the same ids and DUP; PUBREL where PUBREC had come; nothing else is repeated"""
    client = open_client(node, client_id="resume", **KEEPS)
    client.subscribe("resume/#", qos=2)
    sender = open_client(node)
    for number, qos in enumerate((1, 2, 1, 2)):
        sender.publish("resume/t", str(number), qos)
    first = [client.expect(PUBLISH) for _ in range(4)]
    client.expect_nothing()
    client.send(packet.ack(PUBREC, first[1].packet_id))
    client.expect(PUBREL, first[1].packet_id)
    client.send(packet.ack(PUBACK, first[0].packet_id))
    client.barrier()
    client.close()
    back = open_client(node, client_id="resume", clean=False, **KEEPS)
    again = [back.next() for _ in range(3)]
    assert [(one.kind, one.packet_id) for one in again if one.kind == PUBREL] == [(PUBREL, first[1].packet_id)]
    sent = [one for one in again if one.kind == PUBLISH]
    assert [(one.payload, one.packet_id, one.dup) for one in sent] == [
        (b"2", first[2].packet_id, True), (b"3", first[3].packet_id, True)]
    back.expect_nothing()


def test_negative_acknowledgement_ends_a_delivery(node, open_client):
    """[MQTT-4.4.0-2]: neither PUBREL nor the message again"""
    client = open_client(node, client_id="negative", **KEEPS)
    client.subscribe("negative/#", qos=2)
    sender = open_client(node)
    for qos in (1, 2):
        sender.publish("negative/t", str(qos), qos)
    for kind in (PUBACK, PUBREC):
        client.send(packet.ack(kind, client.expect(PUBLISH).packet_id, 0x83))
    client.expect_nothing()
    sender.publish("negative/t", "next", 1)
    client.expect_payloads("next")
    client.disconnect()
    back = open_client(node, client_id="negative", clean=False, **KEEPS)
    sender.publish("negative/t", "last", 1)
    back.expect_payloads("last")


@pytest.mark.parametrize("options", [{}, KEEPS])
def test_acknowledgements_keep_the_order_of_publishes(node, open_client, options):
    """[MQTT-4.6.0-2] [MQTT-4.6.0-3]: those that wait for the log among those that do not"""
    name = f"order{len(options)}"
    durable = open_client(node, client_id=f"{name}-durable", **KEEPS)
    durable.subscribe((f"{name}/durable/#", 2))
    client = open_client(node, client_id=name, **options)
    wanted = {1: [], 2: []}
    packets = b""
    for number in range(60):
        qos = 1 + number % 2
        topic = f"{name}/{'durable' if number % 3 == 0 else 'live'}/x"
        wanted[qos].append(number + 1)
        packets += packet.publish(topic, str(number), qos, number + 1)
    client.send(packets)
    assert [client.expect(PUBACK).packet_id for _ in wanted[1]] == wanted[1]
    assert [client.expect(PUBREC).packet_id for _ in wanted[2]] == wanted[2]


@pytest.mark.parametrize("options", [{}, KEEPS])
def test_pubrels_keep_the_order_of_pubrecs(node, open_client, options):
    """[MQTT-4.6.0-4]"""
    name = f"pubrel{len(options)}"
    client = open_client(node, client_id=name, **options)
    client.subscribe(f"{name}/t", qos=2)
    sender = open_client(node)
    for number in range(10):
        sender.publish(f"{name}/t", str(number), 2)
    order = [client.expect(PUBLISH).packet_id for _ in range(10)]
    order = order[::2] + order[1::2]
    client.send(b"".join(packet.ack(PUBREC, one) for one in order))
    assert [client.expect(PUBREL).packet_id for _ in order] == order


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, KEEPS])
def test_messages_come_in_the_order_of_their_publisher(node, open_client, qos, options):
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-4.5.0-1]: to every subscriber, connected or not"""
    name = f"ordered{qos}{len(options)}"
    clients = [open_client(node, client_id=f"{name}-{number}", **options) for number in range(2)]
    for client in clients:
        client.subscribe(f"{name}/+", qos=qos)
    if options and qos:
        clients[1].close()
    sender = open_client(node)
    for number in range(50):
        sender.send_publish(f"{name}/{number % 3}", str(number), qos)
    for _ in range(50 if qos else 0):
        found = sender.expect(PUBACK if qos == 1 else PUBREC)
        if qos == 2:
            sender.send(packet.ack(PUBREL, found.packet_id))
    if options and qos:
        clients[1] = open_client(node, client_id=f"{name}-1", clean=False, **options)
    for client in clients:
        client.expect_payloads(*map(str, range(50)))


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("options", [[], [("session_expiry", 100)]])
def test_receive_maximum_of_the_client(node, open_client, qos, options):
    """[MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]

    With the quota used up only QoS 1 and 2 wait: pings, QoS 0 and acknowledgements go on."""
    name = f"quota{qos}{len(options)}"
    client = open_client(node, client_id=name, properties=[("receive_maximum", 3), *options])
    client.subscribe(f"{name}/t", qos=2)
    sender = open_client(node)
    for number in range(8):
        sender.publish(f"{name}/t", str(number), qos)
    open_ids = [client.expect(PUBLISH).packet_id for _ in range(3)]
    client.expect_nothing()
    client.subscribe(f"{name}/zero")
    assert client.publish(f"{name}/other", "x", 1).reason in (0, 0x10)
    assert client.unsubscribe(f"{name}/zero").reasons == [0]
    client.expect_nothing()
    for number in range(3, 8):
        done = open_ids.pop(0)
        if qos == 1:
            client.send(packet.ack(PUBACK, done))
        else:
            client.send(packet.ack(PUBREC, done))
            client.expect(PUBREL, done)
            client.barrier()
            assert client.waiting == []
            client.send(packet.ack(PUBCOMP, done))
        found = client.expect(PUBLISH)
        assert found.payload == str(number).encode()
        open_ids.append(found.packet_id)
        client.expect_nothing()


def test_receive_maximum_of_the_server(own_node, open_client):
    """[MQTT-3.3.4-7]: told in CONNACK, and 0x93 above it"""
    own_node.set(receive_maximum=5)
    client = open_client(own_node)
    assert client.connack.property("receive_maximum") == 5
    for number in range(1, 6):
        client.send_publish("many/t", "x", 2, packet_id=number)
        client.expect(PUBREC)
    client.send_publish("many/t", "x", 2, packet_id=6)
    assert client.expect_disconnect(0x93)


def test_packets_above_the_maximum_of_the_server(node, open_client):
    """[MQTT-3.2.2-15]: told in CONNACK, and 0x95 above it, before the packet has come as a whole"""
    client = open_client(node)
    most = client.connack.property("maximum_packet")
    head = packet.publish("large/t", b"x" * most)[:50]
    client.send(head)
    assert client.expect_disconnect(0x95)
    fits = open_client(node)
    fits.publish("large/t", b"x" * (most - 100), 1)


def test_topic_aliases_of_the_client(node, open_client):
    """[MQTT-3.3.2-12] [MQTT-3.3.2-7] [MQTT-3.2.2-17] [MQTT-3.3.2-9]

    All from 1 to the maximum are taken; they may be set anew; they end with the connection; none above."""
    watcher = open_client(node)
    watcher.subscribe("alias/#")
    client = open_client(node, client_id="alias", **KEEPS)
    most = client.connack.property("topic_alias_maximum")
    for alias in range(1, most + 1):
        client.publish(f"alias/{alias}", "set", properties=[("topic_alias", alias)])
    for alias in (1, most):
        client.publish("", "used", properties=[("topic_alias", alias)])
    client.publish("alias/new", "moved", properties=[("topic_alias", 1)])
    client.publish("", "used", properties=[("topic_alias", 1)])
    found = [watcher.expect_publish() for _ in range(most + 4)]
    assert [one.topic for one in found[most:]] == ["alias/1", f"alias/{most}", "alias/new", "alias/new"]
    assert all(one.property("topic_alias") is None for one in found)
    client.close()
    back = open_client(node, client_id="alias", clean=False, **KEEPS)
    back.send_publish("", "gone", properties=[("topic_alias", 1)])
    assert back.expect_disconnect(0x82)
    for alias in (0, most + 1):
        wrong = open_client(node)
        wrong.send_publish("alias/x", "x", properties=[("topic_alias", alias)])
        assert wrong.expect_disconnect(0x94)


def test_topic_aliases_are_not_taken_where_none_are_offered(own_node, open_client):
    """[MQTT-3.2.2-18]"""
    own_node.set(topic_alias_max=0)
    client = open_client(own_node)
    assert client.connack.property("topic_alias_maximum", 0) == 0
    client.send_publish("t", "x", properties=[("topic_alias", 1)])
    assert client.expect_disconnect(0x94)


@pytest.mark.parametrize("most", [None, 0, 2])
def test_topic_aliases_to_the_client(node, open_client, most):
    """[MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11] [MQTT-3.3.2-7]: the topic comes with the first use of an alias"""
    client = open_client(node, properties=[] if most is None else [("topic_alias_maximum", most)])
    client.subscribe(f"to{most}/#", qos=1)
    sender = open_client(node)
    topics = {}
    for number in range(12):
        sender.publish(f"to{most}/{number % 4}", str(number), number % 2)
        found = client.expect_publish(payload=str(number))
        alias = found.property("topic_alias")
        assert alias is None or 1 <= alias <= (most or 0)
        if alias and found.topic:
            topics[alias] = found.topic
        assert (found.topic or topics[alias]) == f"to{most}/{number % 4}"
    assert len(topics) <= (most or 0)


def test_client_sends_no_subscription_identifier(node, open_client):
    """[MQTT-3.3.4-6]"""
    client = open_client(node)
    client.send_publish("t", "x", properties=[("subscription_id", 1)])
    assert client.expect_disconnect().reason in (0x81, 0x82)


def test_properties_are_passed_on(node, open_client):
    """[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]

    As they were and in their order: live, from a queue, and from a retained message."""
    properties = [("payload_format", 1), ("user", ("b", "1")), ("content_type", "text/plain"), ("user", ("a", "2")),
                  ("response_topic", "back/here"), ("correlation_data", b"\0\xff\1"), ("user", ("b", "1"))]
    queued = open_client(node, client_id="props-queued", **KEEPS)
    queued.subscribe("props/t", qos=1)
    queued.close()
    live = open_client(node)
    live.subscribe("props/t")
    open_client(node).publish("props/t", "é", 1, retain=True, properties=properties)
    queued = open_client(node, client_id="props-queued", clean=False, **KEEPS)
    late = open_client(node)
    late.subscribe("props/t")
    for client in (live, queued, late):
        found = client.expect_publish("props/t", "é")
        assert sorted(found.properties, key=repr) == sorted(properties, key=repr)
        assert found.all("user") == [("b", "1"), ("a", "2"), ("b", "1")]
    open_client(node).publish("props/t", "", 1, retain=True)


def test_payload_format_is_checked(node, open_client):
    """0x99 for what is said to be UTF-8 and is none; the client stays (3.3.2.3.2)."""
    client = open_client(node)
    for qos in (1, 2):
        assert client.publish("format/t", b"\xff\xfe", qos, properties=[("payload_format", 1)]).reason == 0x99
    assert client.publish("format/t", b"\xff\xfe", 1, properties=[("payload_format", 0)]).reason in (0, 0x10)


def test_message_expiry_counts_down(node, open_client):
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6]: what expired in the queue is not sent, what did not says what is left"""
    client = open_client(node, client_id="expiry", **KEEPS)
    client.subscribe("expiry/t", qos=1)
    client.close()
    sender = open_client(node)
    sender.publish("expiry/t", "short", 1, properties=[("message_expiry", 1)])
    sender.publish("expiry/t", "long", 1, properties=[("message_expiry", 100)])
    sender.publish("expiry/t", "ever", 1)
    sender.publish("expiry/kept", "long", 1, retain=True, properties=[("message_expiry", 100)])

    def is_less():
        with Client(node) as probe:
            probe.connect()
            probe.subscribe("expiry/kept")
            return probe.expect_publish().property("message_expiry") <= 98
    until(is_less, "two seconds of the message expiry pass")
    back = open_client(node, client_id="expiry", clean=False, **KEEPS)
    assert 90 <= back.expect_publish(payload="long").property("message_expiry") <= 98
    assert back.expect_publish(payload="ever").property("message_expiry") is None


@pytest.mark.parametrize("options", [[], [("session_expiry", 100)]])
def test_exchange_is_completed_after_expiry(node, open_client, options):
    """[MQTT-4.3.3-7] [MQTT-4.3.3-13]: a message that was sent does not expire any more"""
    name = f"completed{len(options)}"
    client = open_client(node, client_id=name, properties=options)
    client.subscribe(f"{name}/t", qos=2)
    sender = open_client(node)
    sender.publish(f"{name}/t", "x", 2, properties=[("message_expiry", 1)])
    sender.publish(f"{name}/kept", "y", 1, retain=True, properties=[("message_expiry", 1)])
    found = client.expect(PUBLISH)

    def is_expired():
        with Client(node) as probe:
            probe.connect()
            probe.subscribe(f"{name}/kept")
            probe.barrier()
            return not probe.waiting
    until(is_expired, "more than the expiry passes")
    if options:
        client.close()
        client = open_client(node, client_id=name, clean=False, properties=options)
        again = client.expect(PUBLISH)
        assert again.packet_id == found.packet_id and again.dup
    client.send(packet.ack(PUBREC, found.packet_id))
    assert client.expect(PUBREL).packet_id == found.packet_id
    client.send(packet.ack(PUBCOMP, found.packet_id))
    client.expect_nothing()


def test_acknowledgements_fit_the_smallest_packet(node):
    """[MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2]
    [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]: good or bad, they carry nothing that
    makes them too large"""
    with Client(node) as client:
        client.connect(properties=[("maximum_packet", 30)])
        answers = [client.publish("fit/t", "x", 1), client.publish("$SYS/no", "x", 1), client.publish("$SYS/no", "x", 2),
                   client.publish("fit/t", "x", 2), client.subscribe("fit/#"), client.subscribe("a/#/b"),
                   client.unsubscribe("none")]
        client.subscribe("fit/#", qos=2)
        client.publish("fit/t", "x", 2)
        found = client.expect(PUBLISH)
        client.send(packet.ack(PUBREC, found.packet_id) + packet.ack(PUBREC, 999) + packet.ack(PUBREL, 998))
        answers += [client.expect(PUBREL, found.packet_id), client.expect(PUBREL, 999), client.expect(PUBCOMP, 998)]
        assert answers[-2].reason == 0x92 and answers[-1].reason == 0x92
        assert all(one.size <= 10 for one in answers)


def test_no_publish_is_answered_by_closing(node, open_client):
    """Where a topic is not allowed, MQTT 5 is told and 3.1.1 acknowledged."""
    for version in (3, 4):
        client = open_client(node, version, client_id=f"no-close{version}")
        client.publish("$SYS/no", "x", 1)
        client.publish("$SYS/no", "x", 2)
        client.barrier()
    five = open_client(node)
    assert five.publish("$SYS/no", "x", 1).reason == 0x87
    five.expect_nothing()
    assert DISCONNECT not in [one.kind for one in five.waiting]
