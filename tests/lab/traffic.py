"""Clients that account for every acknowledgement, and go on at another box when theirs is gone.

What they publish is counted up for each topic, so that what came says what is missing, came twice, or out of order.
"""
import pathlib
import random
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))

from lab import MQTT_PORT, inside  # noqa: E402
from lib import packet  # noqa: E402
from lib.mqtt import Client, Closed  # noqa: E402
from lib.packet import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK  # noqa: E402

WINDOW = 8
ANSWER_S = 3  # a box that says nothing for so long is left for another
EXPIRY_S = 1800  # of sessions and messages: a clock that jumps by an hour must not end them
EXPIRES = [("message_expiry", EXPIRY_S)]
RETAIN_EVERY = 10
GONE = (OSError, Closed, AssertionError)


class Traveller(threading.Thread):
    """A client with a persistent session, at any box."""

    def __init__(self, lab, client_id, targets, seed):
        super().__init__(daemon=True)
        self.lab, self.client_id, self.targets = lab, client_id, targets
        self.random = random.Random(seed)
        self.is_stopped = False
        self.was_connected = False
        self.client = None
        self.faults = []  # what must never happen
        self.connections = 0

    def address(self):
        return self.random.choice(self.targets), MQTT_PORT

    def socket(self):
        with inside(self.lab.lan):
            return socket.socket()

    def note(self, what):
        """For whoever wants to know how it went."""

    def connect(self):
        link = self.socket()
        link.settimeout(ANSWER_S)
        address = self.address()
        try:
            link.connect(address)
            client = Client(link, 5)
            link.settimeout(ANSWER_S)
            answer = client.start(self.client_id, clean=False, properties=[("session_expiry", EXPIRY_S)], keep_alive=10)
        except GONE + (TimeoutError,) as error:
            self.note(f"{address[0]}: {str(error) or type(error).__name__}")
            link.close()
            return None
        if answer.reason != 0:
            self.note(f"{address[0]}: refused 0x{answer.reason:02x}")
            link.close()
            return None
        self.note(f"{address[0]}: connected")
        if self.was_connected and not answer.session_present:
            self.faults.append(f"{self.client_id}: its session is gone")
        self.was_connected = True
        self.connections += 1
        return client

    def run(self):
        while not self.is_stopped:
            client = self.connect()
            if client is None:
                time.sleep(0.02)  # not a condition: how eager a client is
                continue
            try:
                self.resume(client)
                while not self.is_stopped:
                    self.step(client)
            except GONE + (TimeoutError,) as error:
                self.note(f"left: {str(error) or type(error).__name__}")
            finally:
                client.close()

    def take(self, client, seconds):
        """The next packet, or None when none has come."""
        try:
            return client.next(seconds)
        except TimeoutError:
            return None


class Publisher(Traveller):
    """Publishes at QoS 1 and 2 on topics of its own, now and then retained; repeats what was not acknowledged."""

    def __init__(self, lab, number, targets, rate_per_s, seed):
        super().__init__(lab, f"publisher-{number}", targets, seed)
        self.number, self.pause_s = number, 1 / rate_per_s
        self.next_number = {1: 1, 2: 1}
        self.in_flight = {}  # packet id -> [topic, payload, qos, retain, is released]; in the order of sending
        self.acknowledged = {1: set(), 2: set()}
        self.retained = 0  # the last that was acknowledged
        self.refused = 0
        self.last_id = 0
        self.due, self.heard = 0.0, 0.0
        self.is_closing = False
        self.longest_s, self.answered = 0.0, None
        self.story, self.longest_story = [], []  # (seconds since the last acknowledgement, what happened)

    def note(self, what):
        if self.answered:
            self.story.append((time.monotonic() - self.answered, what))

    def resume(self, client):
        self.heard = time.monotonic()
        for packet_id, (topic, payload, qos, retain, is_released) in self.in_flight.items():
            if is_released:
                client.send(packet.ack(PUBREL, packet_id))
            else:
                client.send_publish(topic, payload, qos, packet_id=packet_id, dup=True, retain=retain, properties=EXPIRES)

    def message(self, qos, number, retain):
        """(topic, payload); number_of() reads the number again."""
        return f"retained/{self.number}" if retain else f"count/{self.number}/{qos}", str(number)

    @staticmethod
    def number_of(payload):
        return int(payload)

    def sent(self):
        """Those that are counted, so without the retained ones."""
        one, two = self.next_number[1] - 1, self.next_number[2] - 1
        return one - one // RETAIN_EVERY + two

    def publish_next(self, client):
        qos = self.random.choice((1, 2))
        number = self.next_number[qos]
        retain = qos == 1 and number % RETAIN_EVERY == 0
        self.next_number[qos] += 1
        self.last_id = self.last_id % 65535 + 1
        topic, payload = self.message(qos, number, retain)
        self.in_flight[self.last_id] = [topic, payload, qos, retain, False]
        client.send_publish(topic, payload, qos, packet_id=self.last_id, retain=retain, properties=EXPIRES)

    def step(self, client):
        now = time.monotonic()
        if now >= self.due and len(self.in_flight) < WINDOW and not self.is_closing:
            self.due = max(self.due + self.pause_s, now - self.pause_s)
            if not self.in_flight:
                self.heard = now
            self.publish_next(client)
        found = self.take(client, max(0.001, min(self.due - now, 0.05) if not self.is_closing else 0.05))
        if found is not None:
            self.heard = time.monotonic()
            self.on_answer(client, found)
        elif self.in_flight and time.monotonic() - self.heard > ANSWER_S:
            raise Closed("it does not answer")

    def on_answer(self, client, found):
        flight = self.in_flight.get(found.packet_id)
        if flight is None:
            return
        if found.kind in (PUBACK, PUBREC) and found.reason >= 0x80:
            self.refused += 1
            del self.in_flight[found.packet_id]
        elif found.kind in (PUBACK, PUBREC):
            self.on_acknowledged(flight)
            if found.kind == PUBREC:
                flight[4] = True
                client.send(packet.ack(PUBREL, found.packet_id))
            else:
                del self.in_flight[found.packet_id]
        elif found.kind == PUBCOMP:
            del self.in_flight[found.packet_id]

    def on_acknowledged(self, flight):
        topic, payload, qos, retain, _ = flight
        now = time.monotonic()
        if self.answered and now - self.answered > self.longest_s:
            self.longest_s, self.longest_story = now - self.answered, self.story
        self.answered, self.story = now, []
        if retain:
            self.retained = max(self.retained, self.number_of(payload))
        else:
            self.acknowledged[qos].add(self.number_of(payload))


class Subscriber(Traveller):
    """Takes everything, exactly once at QoS 2."""

    filter = "count/#"

    @staticmethod
    def read(found):
        """(publisher, qos, number)"""
        _, publisher, qos = found.topic.split("/")
        return int(publisher), int(qos), int(found.payload)

    def __init__(self, lab, number, targets, seed):
        super().__init__(lab, f"subscriber-{number}", targets, seed)
        self.received = {}  # (publisher, qos) -> numbers in order of arrival
        self.taken = set()  # packet ids of QoS 2 between PUBREC and PUBREL
        self.is_subscribed = threading.Event()
        self.pinged = 0.0

    def resume(self, client):
        self.pinged = time.monotonic()
        if not self.is_subscribed.is_set():
            client.subscribe(self.filter, qos=2)
            self.is_subscribed.set()

    def step(self, client):
        found = self.take(client, 0.5)
        if found is None:
            if time.monotonic() - self.pinged > 1:
                client.send(packet.pingreq())
                self.pinged = time.monotonic()
                if client.next(ANSWER_S).kind == PUBLISH:
                    raise Closed("a packet came before the answer")  # it will come again
            return
        if found.kind == PUBLISH:
            self.on_publish(client, found)
        elif found.kind == PUBREL:
            self.taken.discard(found.packet_id)
            client.send(packet.ack(PUBCOMP, found.packet_id))

    def on_publish(self, client, found):
        publisher, qos, number = self.read(found)
        if found.qos == 2 and found.packet_id in self.taken:
            client.send(packet.ack(PUBREC, found.packet_id))
            return
        self.received.setdefault((publisher, qos), []).append(number)
        if found.qos == 2:
            self.taken.add(found.packet_id)
        client.send(packet.ack(PUBREC if found.qos == 2 else PUBACK, found.packet_id))

    def missing(self, publishers):
        """How many acknowledged ones have not come."""
        return sum(map(len, self.lacks(publishers).values()))

    def lacks(self, publishers):
        """(publisher, qos) -> the numbers."""
        return {(publisher.number, qos): publisher.acknowledged[qos] - set(self.received.get((publisher.number, qos), ()))
                for publisher in publishers for qos in (1, 2)}

    def explain(self, publishers):
        return ", ".join(f"publisher {number} QoS {qos}: {len(lacks)} of {min(lacks)} to {max(lacks)}"
                         for (number, qos), lacks in self.lacks(publishers).items() if lacks)

    def judge(self, publishers):
        """Twice at QoS 2, and first arrivals out of order; what is missing is asked separately."""
        faults = []
        for (publisher, qos), numbers in self.received.items():
            if qos == 2 and len(numbers) != len(set(numbers)):
                faults.append(f"{self.client_id}: {len(numbers) - len(set(numbers))} of publisher {publisher} came twice at QoS 2")
            first = list(dict.fromkeys(numbers))
            if first != sorted(first):
                at = next(i for i in range(1, len(first)) if first[i] < first[i - 1])
                faults.append(f"{self.client_id}: publisher {publisher}, QoS {qos}: {first[at - 1]} came before {first[at]}")
        return faults


class Chooser(Traveller):
    """Subscribes and unsubscribes; knows of each filter what was last acknowledged."""

    FILTERS, PAUSE_S = 40, 0.05

    def __init__(self, lab, number, targets, seed):
        super().__init__(lab, f"chooser-{number}", targets, seed)
        self.number = number
        self.is_subscribed = {}  # filter -> bool; None = asked and not answered
        self.changes = 0
        self.is_closing = False

    def resume(self, client):
        pass

    def step(self, client):
        if self.is_closing:
            client.barrier()
            time.sleep(self.PAUSE_S)
            return
        name = f"choice/{self.number}/{self.random.randrange(self.FILTERS)}/+"
        wanted = not self.is_subscribed.get(name)
        self.is_subscribed[name] = None
        packet_id = client.new_id()
        client.send(packet.subscribe(packet_id, [(name, packet.options(qos=1))]) if wanted else packet.unsubscribe(packet_id, [name]))
        answer = client.expect(SUBACK if wanted else UNSUBACK, packet_id, ANSWER_S)
        if max(answer.reasons) < 0x80:
            self.is_subscribed[name] = wanted
            self.changes += 1
        time.sleep(self.PAUSE_S)  # not a condition: how busy it is

    def judge(self, box):
        """What differs from what was acknowledged, at this box."""
        status, answer = box.call("GET", f"/v1/clients/{self.client_id}")
        if status != 200:
            return [f"{box.name}: {self.client_id} is not known: {status}"]
        there = {row["filter"] for row in answer["filters"]}
        return [f"{box.name}: {self.client_id}: {name}: {wanted} was acknowledged, {name in there} is true"
                for name, wanted in self.is_subscribed.items() if wanted is not None and wanted != (name in there)]
