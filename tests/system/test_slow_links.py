"""Boxes as between roofs: 200 ms from one to the other and back, 1 Mbit/s each. The cluster forms, and with the timeout that `doctor`
proposes nobody takes a slow leader for a dead one."""
import os
import re
import threading
import time

import pytest

from lab import MQTT_PORT, inside, until
from lib.boxes import boxes
from lib.mqtt import Client

pytestmark = [pytest.mark.xdist_group("slow_links"), pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")]

LINE = (50, 1_000_000)  # ms and bit/s of each box's line; two lines lie between two boxes
STEADY_S = 60
QOS_0_BYTES, QOS_0_PER_S = 400, 40  # some 160 kbit/s, an eighth of a line
PROPOSAL = re.compile(r"microcloud setting set (cluster\.election_timeout_ms) (\d+)")


@pytest.fixture(scope="module")
def lab():
    with boxes(line=LINE) as lab:
        begun = time.monotonic()
        lab.form()
        print(f"three boxes are together after {time.monotonic() - begun:.1f} s")
        until(lambda: lab.leader().command("setting", "set", "mqtt.anonymous", "on")[0] == 0, "clients may come")
        yield lab


@pytest.fixture(scope="module")
def proposed(lab):
    """The timeout that was set as doctor said, by the command that it printed."""
    lab.settle()
    asked = [PROPOSAL.search(until(lambda box=box: proposes(box), f"{box.name} proposes a timeout")) for box in lab.boxes]
    longest = max(asked, key=lambda found: int(found[2]))
    assert 2000 <= int(longest[2]) <= 10000, longest[0]
    assert lab.leader().command("setting", "set", *longest.groups())[0] == 0
    until(lambda: not any(proposes(box) for box in lab.boxes), "doctor is content")
    print(f"doctor proposed {longest[2]} ms")
    return int(longest[2]) / 1000


def proposes(box):
    code, out, _ = box.command("doctor")
    assert code == (1 if "BAD" in out else 0)
    return out if PROPOSAL.search(out) else None


def client(box, name="", **options):
    """A device in that house."""
    with inside(box.namespace):
        client = Client(MQTT_PORT)
    client.connect(name, **options)
    return client


def leaders(lab):
    """Who leads, as each box has told it in its log: (id, term)."""
    return [re.findall(r"info leader node=(\S+) term=(\d+)", box.output())[-1] for box in lab.boxes]


class Chatter(threading.Thread):
    """Live messages from one box to another, until it is stopped."""

    def __init__(self, publisher, subscriber, topic):
        super().__init__(daemon=True)
        self.publisher, self.subscriber, self.topic = publisher, subscriber, topic
        self.sent, self.is_stopped = 0, threading.Event()
        subscriber.subscribe(topic, qos=0)

    def run(self):
        while not self.is_stopped.wait(1 / QOS_0_PER_S):
            self.publisher.send_publish(self.topic, b"x" * QOS_0_BYTES)
            self.sent += 1

    def finish(self):
        """How many have come."""
        self.is_stopped.set()
        self.join()
        for _ in range(self.sent):
            self.subscriber.expect_publish(self.topic)
        return self.sent


def test_no_box_is_taken_for_dead_while_messages_cross(lab, proposed):
    leader = lab.leader()
    first, second = lab.others(leader)
    before = leaders(lab)
    ways = [(leader, first), (first, second), (second, leader)]
    chatters = [Chatter(client(a), client(b), f"live/{a.name}/{b.name}") for a, b in ways]
    for chatter in chatters:
        # The other house must have heard of the filter.
        until(lambda chatter=chatter: crosses(chatter), "live messages cross")
        chatter.start()
    waits, number = [], 0
    end = time.monotonic() + STEADY_S
    with client(first) as publisher, client(second, "kept", clean=False, properties=[("session_expiry", 600)]) as subscriber:
        subscriber.subscribe("durable", qos=1)
        while time.monotonic() < end:
            begun = time.monotonic()
            assert publisher.publish("durable", str(number), 1).reason == 0
            waits.append(time.monotonic() - begun)
            subscriber.expect_publish("durable", str(number))
            number += 1
        came = [chatter.finish() for chatter in chatters]
    assert leaders(lab) == before, (before, leaders(lab))
    assert min(came) > STEADY_S * QOS_0_PER_S / 2, came
    print(f"{number} durable publishes, acknowledged after {min(waits):.2f} to {max(waits):.2f} s; live messages that crossed: {came}")
    assert max(waits) < proposed * 2


def crosses(chatter):
    chatter.publisher.send_publish(chatter.topic, b"first")
    try:
        return chatter.subscriber.expect_publish(chatter.topic)
    except TimeoutError:
        return None


def test_a_further_box_joins(lab, proposed):
    before = leaders(lab)
    begun = time.monotonic()
    box = lab.add()
    lab.join(box)
    lab.settle()
    print(f"it serves and all see it after {time.monotonic() - begun:.1f} s")
    assert leaders(lab)[:3] == before
    with client(box) as publisher:
        assert publisher.publish("durable", "from the new one", 1, retain=True).reason == 0


@pytest.mark.parametrize("way", ["killed", "silent"])
def test_a_dead_leader_is_still_replaced(lab, proposed, way):
    lab.settle()
    leader = lab.leader()
    other = lab.others(leader)[0]
    with client(other) as publisher:
        begun = time.monotonic()
        if way == "killed":
            leader.kill("both")
        else:
            leader.unplug()
        until(lambda: publisher.publish("durable", way, 1, retain=True).reason == 0, "changes are taken again", 60)
        lasted = time.monotonic() - begun
    print(f"{way}: changes were taken again after {lasted:.1f} s, the timeout being {proposed:.1f} s")
    leader.heal()
    if way == "killed":
        leader.start()
    until(lambda: leader.call("GET", "/healthz")[0] == 200, "it is back", 60)
    lab.settle()
