"""A node that is killed at any instant comes back with everything that it had acknowledged.

Clients keep an account: what they sent, what was acknowledged, what they received. The node is killed with SIGKILL while
they work, at a random moment; the seed is printed with a failure. After each start they resume and send again what has no
acknowledgement, as MQTT asks. In the end: each acknowledged QoS 1 message came at least once, each QoS 2 message exactly
once, in order; each acknowledged retained message, subscription and setting is there, or a later one of its name is.
"""
import random
import threading
import time

import pytest

from lib import packet
from lib.mqtt import Client, Closed
from lib.packet import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK
from lib.wait import until

KILLS = 32
KEEPS = {"clean": False, "properties": [("session_expiry", 3600)]}
BREAKS = (Closed, TimeoutError, OSError)


class Life:
    """One client over all lives of the node: run() works until the connection breaks, again and again."""

    def __init__(self, node, client_id, must_end):
        self.node, self.client_id, self.must_end = node, client_id, must_end
        self.error = None
        self.thread = threading.Thread(target=self.live, daemon=True)

    def live(self):
        try:
            while not self.is_done():
                try:
                    client = Client(self.node)
                except OSError:
                    time.sleep(0.01)  # the node is down; the loop is the wait
                    continue
                with client:
                    try:
                        present = client.start(self.client_id, **KEEPS).session_present
                        self.resume(client, present)
                        while not self.is_done():
                            self.step(client)
                    except BREAKS:
                        pass
        except BaseException as error:  # told by the main thread
            self.error = error

    def is_done(self):
        return self.must_end.is_set()


class Publisher(Life):
    """Up to 20 messages under way, each number sent until it is acknowledged; is done when none is open any more."""
    WINDOW = 20

    def __init__(self, node, client_id, qos, topic, must_end):
        super().__init__(node, client_id, must_end)
        self.qos, self.topic = qos, topic
        self.next = 0
        self.open = {}  # packet id -> (number, has PUBREC), in the order sent
        self.acknowledged = []
        self.last_id = 0

    def is_done(self):
        return self.must_end.is_set() and not self.open

    def send(self, client, packet_id, dup):
        number, is_received = self.open[packet_id]
        if is_received:
            client.socket.sendall(packet.ack(PUBREL, packet_id))
        else:
            client.socket.sendall(packet.publish(self.topic, str(number), self.qos, packet_id, dup=dup))

    def resume(self, client, present):
        assert present or not self.acknowledged, f"{self.client_id}: the session is gone"
        for packet_id in list(self.open):
            self.send(client, packet_id, True)

    def step(self, client):
        while len(self.open) < self.WINDOW and not self.must_end.is_set():
            self.last_id = self.last_id % 60000 + 1
            self.open[self.last_id] = (self.next, False)
            self.next += 1
            self.send(client, self.last_id, False)
        if not self.open:
            return
        found = client.next()
        assert found.reason < 0x80 or found.kind == PUBCOMP, f"{self.client_id}: {found}"
        number, _ = self.open[found.packet_id]
        if found.kind == PUBREC:
            self.open[found.packet_id] = (number, True)
            client.socket.sendall(packet.ack(PUBREL, found.packet_id))
        else:
            assert found.kind == (PUBACK if self.qos == 1 else PUBCOMP), str(found)
            self.acknowledged.append(number)
            del self.open[found.packet_id]


class Subscriber(Life):
    """Takes what comes and acknowledges it; QoS 2 by method B: a packet id that is known already is no new message."""

    def __init__(self, node, client_id, filters, must_end):
        super().__init__(node, client_id, must_end)
        self.filters = filters
        self.received = {}  # topic -> payloads
        self.open = set()  # QoS 2 packet ids until PUBREL
        self.is_subscribed = False

    def resume(self, client, present):
        assert present or not self.is_subscribed, f"{self.client_id}: the session is gone"
        if not self.is_subscribed:
            client.subscribe(*self.filters)
            self.is_subscribed = True

    def step(self, client):
        try:
            found = client.next(0.2)
        except TimeoutError:
            return
        if found.kind == PUBLISH:
            is_new = found.qos < 2 or found.packet_id not in self.open
            if is_new:
                self.received.setdefault(found.topic, []).append(int(found.payload))
            if found.qos == 2:
                self.open.add(found.packet_id)
            client.socket.sendall(packet.ack(PUBACK if found.qos == 1 else PUBREC, found.packet_id))
        elif found.kind == PUBREL:
            self.open.discard(found.packet_id)
            client.socket.sendall(packet.ack(PUBCOMP, found.packet_id))


class Retainer(Life):
    """Replaces retained messages of 16 topics in turn; keeps for each the last acknowledged and the last sent number."""

    def __init__(self, node, must_end):
        super().__init__(node, "retainer", must_end)
        self.number = 0
        self.acknowledged, self.sent = {}, {}

    def resume(self, client, present):
        client.last_id = 0

    def step(self, client):
        self.number += 1
        topic = f"kept/{self.number % 16}"
        self.sent[topic] = self.number
        answer = client.publish(topic, str(self.number), 1, retain=True)
        assert answer.reason < 0x80, str(answer)
        self.acknowledged[topic] = self.number


class Switcher(Life):
    """Subscribes and unsubscribes 8 filters in turn; knows what was acknowledged, and what is uncertain."""

    def __init__(self, node, must_end):
        super().__init__(node, "switcher", must_end)
        self.number = 0
        self.state = {}  # filter -> True, False, or None while uncertain
        self.expected_session = False

    def resume(self, client, present):
        assert present or not self.expected_session, "switcher: the session is gone"
        self.expected_session = True

    def step(self, client):
        self.number += 1
        text = f"switch/{self.number % 8}"
        wanted = not self.state.get(text)
        self.state[text] = None
        packet_id = client.new_id()
        if wanted:
            client.socket.sendall(packet.subscribe(packet_id, [(text, 1)]))
            assert client.expect(SUBACK, packet_id).reasons == [1]
        else:
            client.socket.sendall(packet.unsubscribe(packet_id, [text]))
            assert client.expect(UNSUBACK, packet_id).reasons[0] in (0, 0x11)
        self.state[text] = wanted


class Setter:
    """Sets a setting again and again over the API; a failed request leaves two values possible."""

    def __init__(self, node, must_end):
        self.node, self.must_end, self.error = node, must_end, None
        self.possible = {5000}
        self.thread = threading.Thread(target=self.live, daemon=True)

    def live(self):
        value = 5000
        while not self.must_end.is_set():
            value += 1
            try:
                self.possible.add(value)
                status, answer = self.node.request("PUT", "/v1/settings/mqtt.slow_subscriber_ms", {"value": str(value)})
                if status in (200, 204):
                    self.possible = {value}
                elif status < 500:
                    self.error = f"setting refused: {answer}"
                    return
            except Exception:  # the node was killed under the request
                time.sleep(0.005)


def check_messages(publisher, subscribers):
    for subscriber in subscribers:
        came = subscriber.received.get(publisher.topic, [])
        if publisher.qos == 2:
            assert came == list(range(publisher.next)), first_difference(came)
        else:
            assert set(came) >= set(publisher.acknowledged), sorted(set(publisher.acknowledged) - set(came))[:5]
            firsts = list(dict.fromkeys(came))
            assert firsts == sorted(firsts), "the first copies are out of order"


def first_difference(came):
    for index, number in enumerate(came):
        if number != index:
            return f"at {index}: {came[max(0, index - 2):index + 3]}"
    return f"only {len(came)} came"


def has_all(publishers, subscribers):
    return all(publisher.acknowledged and publisher.acknowledged[-1] in subscriber.received.get(publisher.topic, [])
               and (publisher.qos == 1 or len(subscriber.received[publisher.topic]) >= publisher.next)
               and set(publisher.acknowledged) <= set(subscriber.received[publisher.topic])
               for publisher in publishers for subscriber in subscribers)


@pytest.mark.timeout(170)
def test_node_killed_under_load_keeps_what_it_acknowledged(own_node):
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    must_end, all_end = threading.Event(), threading.Event()
    publishers = [Publisher(own_node, f"publisher-{qos}-{number}", qos, f"load/{qos}/{number}", must_end)
                  for qos in (1, 2) for number in range(2)]
    subscribers = [Subscriber(own_node, f"subscriber-{number}", [("load/#", 2)], all_end) for number in range(2)]
    others = [Retainer(own_node, must_end), Switcher(own_node, must_end), Setter(own_node, must_end)]
    for subscriber in subscribers:
        subscriber.thread.start()
    until(lambda: all(one.is_subscribed for one in subscribers), "the subscribers stand")
    everybody = publishers + others
    for one in everybody:
        one.thread.start()

    def work():
        return sum(len(one.acknowledged) for one in publishers)
    for _ in range(KILLS):
        enough = work() + chance.randrange(1, 150)
        until(lambda enough=enough: work() >= enough or any(one.error for one in everybody + subscribers),
              "messages are acknowledged", 30)
        own_node.kill()
        own_node.start()
        assert not [one.error for one in everybody + subscribers if one.error]
    must_end.set()
    for one in everybody:
        one.thread.join(30)
        assert one.error is None and not one.thread.is_alive(), f"{one}: {one.error}"
    try:
        until(lambda: has_all(publishers, subscribers), "everything arrives", 30)
    finally:
        all_end.set()
        for one in subscribers:
            one.thread.join(30)
        for publisher in publishers:
            check_messages(publisher, subscribers)
    assert not [one.error for one in subscribers if one.error]
    check_retained(own_node, others[0])
    check_subscriptions(own_node, others[1])
    _, answer = own_node.request("GET", "/v1/settings/mqtt.slow_subscriber_ms")
    assert int(answer["value"]) in others[2].possible and int(answer["value"]) > 5000


def check_retained(node, retainer):
    with Client(node) as probe:
        probe.connect()
        probe.subscribe("kept/#")
        probe.barrier()
        kept = {one.topic: int(one.payload) for one in probe.waiting if one.kind == PUBLISH}
    for topic, number in retainer.acknowledged.items():
        assert number <= kept.get(topic, -1) <= retainer.sent[topic], topic


def check_subscriptions(node, switcher):
    with Client(node) as back, Client(node) as sender:
        assert back.connect("switcher", **KEEPS).session_present
        sender.connect()
        for text in switcher.state:
            sender.publish(text, text, 1)
        sender.publish("switch/end", "x", 1)
        back.subscribe("switch/end2", qos=1)
        sender.publish("switch/end2", "end", 1)
        came = set()
        while True:
            found = back.expect_publish()
            if found.payload == b"end":
                break
            came.add(found.topic)
    for text, state in switcher.state.items():
        assert state is None or (text in came) == state, f"{text}: subscribed {state}, came {text in came}"


def test_node_stopped_cleanly_keeps_sessions_and_retained(own_node, open_client):
    """SIGTERM under load: as SIGKILL, and faster."""
    client = open_client(own_node, client_id="kept", **KEEPS)
    client.subscribe("kept/t", qos=2)
    client.close()
    sender = open_client(own_node)
    for number in range(100):
        sender.publish("kept/t", str(number), 1 + number % 2, retain=number == 99)
    start = time.monotonic()
    own_node.stop()
    assert time.monotonic() - start < 5
    own_node.start()
    back = open_client(own_node, client_id="kept", **KEEPS)
    assert back.connack.session_present
    back.expect_payloads(*map(str, range(100)))
    fresh = open_client(own_node)
    fresh.subscribe("kept/#")
    fresh.expect_payloads("99")


def test_will_of_a_client_is_published_after_a_kill(own_node, open_client):
    """The connection ended with the node: its will comes at the next start, to whoever has a session."""
    watcher = open_client(own_node, client_id="watcher", **KEEPS)
    watcher.subscribe("will/t", qos=1)
    watcher.barrier()
    watcher.publish("other", "x", 1)
    open_client(own_node, client_id="mortal", will=packet.Will("will/t", "gone", 1), **KEEPS)
    own_node.kill()
    own_node.start()
    back = open_client(own_node, client_id="watcher", **KEEPS)
    back.expect_publish("will/t", "gone")
