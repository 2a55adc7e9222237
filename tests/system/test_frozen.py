"""A box that is frozen keeps its links: how long clients of the others wait for it, and that what they were told was kept is."""
import os
import signal
import threading
import time

import pytest

from lab import MQTT_PORT, inside, until
from lib.boxes import boxes
from lib.mqtt import Client

pytestmark = [pytest.mark.xdist_group("frozen"), pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")]

ASKED = 5  # one after the other; many more would fill the kernel of the frozen box, and what that does not take is waited for as ever
LONGEST_S = 0.8  # 0.2 s on an idle machine; 3 s before anybody looked for who is late


@pytest.fixture
def lab():
    with boxes() as lab:
        lab.form()
        until(lambda: lab.leader().command("setting", "set", "mqtt.anonymous", "on")[0] == 0, "clients may come")
        yield lab


def client(box):
    with inside(box.namespace):
        client = Client(MQTT_PORT)
    client.connect(clean=True)
    return client


class Asking(threading.Thread):
    """Asks the same some times, each time when the last was answered."""

    def __init__(self, ask):
        super().__init__(daemon=True)
        self.ask, self.waits = ask, []

    def run(self):
        for count in range(ASKED):
            begun = time.monotonic()
            self.ask(count)
            self.waits.append(time.monotonic() - begun)


def askings(box):
    publisher, subscriber = client(box), client(box)
    topic = f"live/{box.name}"
    return {"publish": Asking(lambda count: publisher.publish(topic, b"%d" % count, qos=1)),
            "subscribe": Asking(lambda count: subscriber.subscribe((f"some/{count}", 1))),
            "connect": Asking(lambda count: client(box).close())}


def test_who_is_at_another_box_waits_a_moment_and_loses_nothing(lab):
    leader = lab.leader()
    frozen, other = lab.others(leader)
    subscriber = client(frozen)
    subscriber.subscribe(("live/#", 1))
    asked = {box.name: askings(box) for box in (leader, other)}
    every = [asking for each in asked.values() for asking in each.values()]
    frozen.send("daemon", signal.SIGSTOP)
    for asking in every:
        asking.start()
    for asking in every:
        asking.join()
    frozen.send("daemon", signal.SIGCONT)
    for name, each in asked.items():
        longest = {what: round(max(asking.waits), 3) for what, asking in each.items()}
        print(f"longest wait at {'the leader' if name == leader.name else 'the other'}, s: {longest}")
        assert max(longest.values()) < LONGEST_S, longest
    came = {name: [] for name in asked}
    for _ in range(ASKED * len(asked)):
        found = subscriber.expect_publish()
        came[found.topic.split("/")[1]].append(int(found.payload))
    assert came == {name: list(range(ASKED)) for name in asked}


def test_what_was_acknowledged_is_there_though_the_publishers_box_dies(lab):
    """Its kernel has it, and the box that publishes need not live any more; but for a link that was given up meanwhile, which is another fault."""
    assert lab.leader().command("setting", "set", "cluster.election_timeout_ms", "1500")[0] == 0  # four of them until it is
    frozen, other = lab.others(lab.leader())
    subscriber, publisher = client(frozen), client(other)
    subscriber.subscribe(("live/#", 1))
    frozen.send("daemon", signal.SIGSTOP)
    for count in range(10):
        publisher.publish("live/a", b"%d" % count, qos=1)
    other.send("daemon", signal.SIGKILL)
    frozen.send("daemon", signal.SIGCONT)
    assert [int(subscriber.expect_publish().payload) for _ in range(10)] == list(range(10))
