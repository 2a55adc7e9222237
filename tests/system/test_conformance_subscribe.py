"""MQTT 5, 3.8 to 3.11, 3.3.1 and 4.7 to 4.8: subscriptions, shared ones, retained messages."""
import pytest

from lib import packet
from lib.packet import PUBACK, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, options

KEEPS = {"properties": [("session_expiry", 100)]}


@pytest.mark.parametrize("keeps", [{}, KEEPS])
def test_suback_answers_each_filter_in_order(node, open_client, keeps):
    """[MQTT-2.2.1-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]
    [MQTT-3.9.3-2]: one answer, granted and refused ones mixed"""
    client = open_client(node, client_id=f"suback{len(keeps)}", **keeps)
    client.send(packet.subscribe(4242, [("ok/0", 0), ("bad/#/x", 1), ("ok/2", 2), ("ok/1", 1), ("a+", 0)]))
    answer = client.expect(SUBACK)
    assert answer.packet_id == 4242 and answer.reasons == [0, 0x8f, 2, 1, 0x8f]
    sender = open_client(node)
    for qos in (0, 1, 2):
        sender.publish(f"ok/{qos}", "x", 2)
        assert client.expect_publish(f"ok/{qos}").qos == qos
    client.expect_nothing()


def test_suback_of_3_1_1_says_0x80(node, open_client):
    client = open_client(node, 4)
    assert client.subscribe(("ok", 2), ("bad/#/x", 1)).reasons == [2, 0x80]


@pytest.mark.parametrize("keeps", [{}, KEEPS])
def test_unsuback_answers_each_filter_in_order(node, open_client, keeps):
    """[MQTT-2.2.1-6] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2] [MQTT-3.10.4-1]"""
    client = open_client(node, client_id=f"unsuback{len(keeps)}", **keeps)
    client.subscribe("un/a", "un/b", "un/c", "un/+")
    client.send(packet.unsubscribe(777, ["un/a", "un/none", "un/+", "un/A"]))
    answer = client.expect(UNSUBACK)
    assert answer.packet_id == 777 and answer.reasons == [0, 0x11, 0, 0x11]
    sender = open_client(node)
    for topic in ("un/a", "un/b", "un/c", "un/d"):
        sender.publish(topic, topic, 1)
    client.expect_payloads("un/b", "un/c")
    client.expect_nothing()


def test_unsuback_of_3_1_1_has_no_reasons(node, open_client):
    client = open_client(node, 4)
    client.subscribe("x")
    assert client.unsubscribe("x", "y").reasons == []


@pytest.mark.parametrize("keeps", [{}, KEEPS])
def test_unsubscribe_adds_nothing_and_completes_what_began(node, open_client, keeps):
    """[MQTT-3.10.4-2] [MQTT-3.10.4-3]"""
    name = f"begun{len(keeps)}"
    client = open_client(node, client_id=name, **keeps)
    client.subscribe(f"{name}/#", qos=2)
    sender = open_client(node)
    sender.publish(f"{name}/1", "one", 1)
    sender.publish(f"{name}/2", "two", 2)
    found = [client.expect(PUBLISH), client.expect(PUBLISH)]
    client.unsubscribe(f"{name}/#")
    sender.publish(f"{name}/1", "late", 1)
    client.expect_nothing()
    client.send(packet.ack(PUBACK, found[0].packet_id) + packet.ack(PUBREC, found[1].packet_id))
    assert client.expect(PUBREL).packet_id == found[1].packet_id
    client.send(packet.ack(packet.PUBCOMP, found[1].packet_id))
    client.expect_nothing()


@pytest.mark.parametrize("keeps", [{}, KEEPS])
def test_delivery_at_the_lower_qos(node, open_client, keeps):
    """[MQTT-3.8.4-8] [MQTT-3.3.4-2]"""
    name = f"lower{len(keeps)}"
    client = open_client(node, client_id=name, **keeps)
    client.subscribe(*[(f"{name}/{granted}", granted) for granted in (0, 1, 2)])
    sender = open_client(node)
    for granted in (0, 1, 2):
        for qos in (0, 1, 2):
            sender.publish(f"{name}/{granted}", "x", qos)
            assert client.expect_publish().qos == min(qos, granted)


@pytest.mark.parametrize("keeps", [{}, KEEPS])
def test_same_filter_replaces_the_subscription(node, open_client, keeps):
    """[MQTT-3.8.4-3] [MQTT-3.8.4-4]: no message is lost or doubled while it is replaced; retained ones come again"""
    name = f"replaced{len(keeps)}"
    client = open_client(node, client_id=name, **keeps)
    sender = open_client(node)
    sender.publish(f"{name}/kept", "kept", 1, retain=True)
    client.subscribe((f"{name}/#", 1))
    client.expect_publish(payload="kept")
    for number in range(20):
        client.send(packet.subscribe(100 + number, [(f"{name}/#", options(1 + number % 2, handling=2))]))
        sender.send_publish(f"{name}/t", str(number), 1)
    client.expect_payloads(*map(str, range(20)))
    for number in range(20):
        client.expect(SUBACK, 100 + number)
    client.subscribe((f"{name}/#", 0))
    assert client.expect_publish(payload="kept").qos == 0
    sender.publish(f"{name}/t", "once", 1)
    assert client.expect_publish(payload="once").qos == 0
    client.expect_nothing()
    sender.publish(f"{name}/kept", "", 1, retain=True)


@pytest.mark.parametrize("keeps", [{}, KEEPS])
def test_retain_handling(node, open_client, keeps):
    """[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]: at each subscribe, at a new one, never"""
    name = f"handling{len(keeps)}"
    client = open_client(node, client_id=name, **keeps)
    open_client(node).publish(f"{name}/t", "kept", 1, retain=True)
    client.subscribe((f"{name}/t", options(1, handling=2)))
    client.expect_nothing()
    client.subscribe((f"{name}/t", options(1, handling=1)))
    client.expect_nothing()
    client.unsubscribe(f"{name}/t")
    client.subscribe((f"{name}/t", options(1, handling=1)))
    assert client.expect_publish(payload="kept").retain
    for _ in range(2):
        client.subscribe((f"{name}/t", options(1, handling=0)))
        assert client.expect_publish(payload="kept").retain
    client.expect_nothing()
    open_client(node).publish(f"{name}/t", "", 1, retain=True)


@pytest.mark.parametrize("keeps", [{}, KEEPS])
def test_retained_messages_are_kept_replaced_and_removed(node, open_client, keeps):
    """[MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-8]"""
    name = f"retained{len(keeps)}"
    sender = open_client(node, client_id=name, **keeps)

    def kept():
        probe = open_client(node)
        probe.subscribe(f"{name}/#", qos=2)
        probe.barrier()
        found = [(one.payload.decode(), one.qos) for one in probe.waiting]
        probe.close()
        return found
    for qos in (0, 1, 2):
        sender.publish(f"{name}/t", "one", qos, retain=True)
        sender.publish(f"{name}/t", f"two{qos}", 1, retain=True)
        sender.publish(f"{name}/t", "passing", qos)
        assert kept() == [(f"two{qos}", 1)]
    watcher = open_client(node)
    watcher.subscribe((f"{name}/#", options(1, handling=2)))
    sender.publish(f"{name}/t", "", 1, retain=True)
    watcher.expect_publish(payload="")
    assert kept() == []


def test_retain_as_published(node, open_client):
    """[MQTT-3.3.1-12] [MQTT-3.3.1-13]"""
    for keeps in ({}, KEEPS):
        name = f"published{len(keeps)}"
        plain = open_client(node, client_id=f"{name}-plain", **keeps)
        plain.subscribe((f"{name}/#", options(1)))
        kept = open_client(node, client_id=f"{name}-kept", **keeps)
        kept.subscribe((f"{name}/#", options(1, as_published=True)))
        sender = open_client(node)
        for qos in (0, 1):
            for retain in (False, True):
                sender.publish(f"{name}/t", "x", qos, retain=retain)
                assert plain.expect_publish().retain is False
                assert kept.expect_publish().retain is retain
        sender.publish(f"{name}/t", "", 1, retain=True)


@pytest.mark.parametrize("keeps", [{}, KEEPS])
def test_no_local(node, open_client, keeps):
    """[MQTT-3.8.3-3]"""
    name = f"local{len(keeps)}"
    client = open_client(node, client_id=name, **keeps)
    client.subscribe((f"{name}/t", options(1, no_local=True)))
    for qos in (0, 1, 2):
        client.publish(f"{name}/t", "own", qos)
    open_client(node).publish(f"{name}/t", "other", 1)
    client.expect_payloads("other")
    client.expect_nothing()


def test_no_local_on_a_shared_subscription(node, open_client):
    """[MQTT-3.8.3-4]"""
    client = open_client(node)
    client.send(packet.subscribe(1, [("$share/g/t", options(1, no_local=True))]))
    assert client.expect_disconnect(0x82)


@pytest.mark.parametrize("keeps", [[], [("session_expiry", 100)]])
def test_subscription_identifiers(node, open_client, keeps):
    """[MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]

    Each copy names the subscriptions that it is for; together all that match are named, no other."""
    name = f"ids{len(keeps)}"
    client = open_client(node, client_id=name, properties=keeps)
    for number, text in ((1, f"{name}/#"), (2, f"{name}/a"), (268435455, f"{name}/+"), (4, f"{name}/b")):
        client.subscribe((text, 1), properties=[("subscription_id", number)])
    client.subscribe((f"{name}/a/#", 2))
    open_client(node).publish(f"{name}/a", "x", 2)
    client.barrier()
    copies = client.waiting
    client.waiting = []
    named = [number for one in copies for number in one.all("subscription_id")]
    assert sorted(named) == [1, 2, 268435455]
    assert len(copies) == 1 or all(len(one.all("subscription_id")) <= 1 for one in copies)


def test_subscription_identifier_zero_is_refused(node, open_client):
    client = open_client(node)
    client.send(packet.subscribe(1, [("t", 0)], [("subscription_id", 0)]))
    assert client.expect_disconnect(0x82)


def test_topic_names_match_filters(node, open_client):
    """[MQTT-3.3.2-3] [MQTT-4.7.1-1] [MQTT-4.7.2-1] [MQTT-4.7.3-4]"""
    cases = {
        "m/#": {"m", "m/a", "m/a/b", "m/", "m//b"}, "m/+": {"m/a", "m/"}, "m/+/b": {"m/a/b", "m//b"}, "+/a": {"m/a", "/a", "M/a"},
        "M/a": {"M/a"}, "m/A": set(), "/+": {"/a"}, "+": {"m"}, "m/a": {"m/a"}, "m//b": {"m//b"}}
    topics = {"m", "m/a", "m/a/b", "m/", "m//b", "/a", "M/a", "n/b/c"}
    clients = {text: open_client(node) for text in cases}
    for text, client in clients.items():
        client.subscribe(text)
    sender = open_client(node)
    for topic in sorted(topics):
        sender.publish(topic, topic, 1)
    for text, expected in cases.items():
        clients[text].barrier()
        found = {one.topic for one in clients[text].waiting}
        assert found & topics == expected, text


def test_wildcards_never_match_system_topics(node, open_client):
    """[MQTT-4.7.2-1]"""
    client = open_client(node)
    client.subscribe("#", "+/broker/#", properties=())
    client.barrier()
    assert not [one.topic for one in client.waiting if one.topic.startswith("$")]
    client.waiting = []
    client.subscribe("$SYS/broker/version")
    assert client.expect(PUBLISH).topic == "$SYS/broker/version"


# ---- shared subscriptions ----

@pytest.mark.parametrize("keeps", [{}, KEEPS])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_shared_subscription_serves_one_member(node, open_client, qos, keeps):
    """[MQTT-4.8.2-1] [MQTT-4.8.2-3]: each message goes to one of the members, at the QoS granted to it"""
    name = f"share{qos}{len(keeps)}"
    members = [open_client(node, client_id=f"{name}-{number}", **keeps) for number in range(3)]
    for granted, member in enumerate(members):
        member.subscribe((f"$share/group/{name}/#", granted))
    plain = open_client(node)
    plain.subscribe((f"{name}/#", 0))
    sender = open_client(node)
    for number in range(30):
        sender.publish(f"{name}/t", str(number), qos)
    plain.expect_payloads(*map(str, range(30)))
    came = []
    for granted, member in enumerate(members):
        member.barrier()
        own, member.waiting = [one for one in member.waiting if one.kind == PUBLISH], []
        assert own and all(one.qos == min(qos, granted) for one in own)
        came += [int(one.payload) for one in own]
    assert sorted(came) == list(range(30))


def test_shared_names_are_checked(node, open_client):
    """[MQTT-4.8.2-1] [MQTT-4.8.2-2]"""
    client = open_client(node)
    for wrong in ("$share//t", "$share/g", "$share/g/", "$share/g+/t", "$share/g#/t", "$share/", "$share"):
        answer = client.subscribe(wrong)
        assert answer.reasons == [0x8f] or wrong == "$share", wrong


def test_shared_subscriptions_get_no_retained_messages(node, open_client):
    sender = open_client(node)
    sender.publish("share-kept/t", "x", 1, retain=True)
    client = open_client(node)
    client.subscribe("$share/g/share-kept/#")
    client.expect_nothing()
    sender.publish("share-kept/t", "", 1, retain=True)


def test_shared_qos_2_is_completed_to_the_same_member(node, open_client):
    """[MQTT-4.8.2-4]"""
    members = [open_client(node, client_id=f"complete-{number}", **KEEPS) for number in range(2)]
    for member in members:
        member.subscribe(("$share/g/complete/t", 2))
    open_client(node).publish("complete/t", "x", 2)
    for member in members:
        member.barrier()
    chosen = next(number for number in range(2) if members[number].waiting)
    found = members[chosen].expect(PUBLISH)
    members[chosen].close()
    back = open_client(node, client_id=f"complete-{chosen}", clean=False, **KEEPS)
    again = back.expect(PUBLISH)
    assert (again.packet_id, again.payload, again.dup) == (found.packet_id, b"x", True)
    back.send(packet.ack(PUBREC, again.packet_id))
    back.expect(PUBREL, again.packet_id)
    back.send(packet.ack(packet.PUBCOMP, again.packet_id))
    members[1 - chosen].expect_nothing()


@pytest.mark.parametrize("how", ["ends", "refuses"])
def test_shared_message_goes_to_no_other_member(node, open_client, how):
    """[MQTT-4.8.2-5] [MQTT-4.8.2-6]: neither when the session of the chosen one ends nor when it refuses the message"""
    keeps = {} if how == "ends" else KEEPS
    members = [open_client(node, client_id=f"{how}-{number}", **keeps) for number in range(2)]
    for member in members:
        member.subscribe((f"$share/g/{how}/t", 2))
    open_client(node).publish(f"{how}/t", "x", 2)
    for member in members:
        member.barrier()
    chosen = next(number for number in range(2) if members[number].waiting)
    found = members[chosen].expect(PUBLISH)
    if how == "ends":
        members[chosen].close()
    else:
        members[chosen].send(packet.ack(PUBREC, found.packet_id, 0x83))
        members[chosen].expect_nothing()
    other = members[1 - chosen]
    # Behind this one, which only the other can get, nothing else has come.
    other.subscribe((f"{how}/behind", 1))
    open_client(node).publish(f"{how}/behind", "y", 1)
    other.expect_payloads("y")
    other.expect_nothing()
