"""A box whose calendar clock jumps by an hour: the others' counts. Nothing ends early, nothing stays for too long."""
import os

import pytest

from holders import Holders, overlap
from lab import MQTT_PORT, VIP, inside, until
from lib.boxes import boxes
from lib.mqtt import Client

pytestmark = [pytest.mark.xdist_group("clocks"), pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")]

HOUR_S = 3600
SHORT_S, LONG_S = 2, 1800
LATE_S = 8  # a session that ends with its time may do so some seconds late, not minutes


@pytest.fixture(scope="module")
def lab():
    with boxes(has_clocks=True) as lab:
        lab.form()
        until(lambda: lab.leader().command("setting", "set", "mqtt.anonymous", "on")[0] == 0, "clients may come")
        lab.set_vip()
        yield lab


@pytest.fixture
def stepped(lab):
    """step(box, seconds) returns when the box has seen that the others differ."""
    lab.settle()

    def step(box, seconds):
        said = box.output().count("the clock of this machine differs")
        box.step_clock(seconds)
        until(lambda: box.output().count("the clock of this machine differs") > said, f"{box.name} sees that its clock is off")
    yield step
    for box in lab.boxes:
        box.step_clock(0)
    until(lambda: all("agree" in doctor(box) for box in lab.boxes), "the clocks agree again")


def doctor(box):
    rows = box.call("GET", "/v1/doctor")[1] or []
    return next((row["found"] for row in rows if row["check"] == "clocks of the nodes"), "")


def client(lab, box, name="", **options):
    with inside(box.namespace):
        client = Client(MQTT_PORT)
    client.connect(name, **options)
    return client


def sessions(box):
    return [row["id"] for row in box.call("GET", "/v1/clients")[1] or []]


@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S])
@pytest.mark.parametrize("who", ["leader", "follower"])
def test_what_has_half_an_hour_left_stays(lab, stepped, who, seconds):
    leader = lab.leader()
    box = leader if who == "leader" else lab.others(leader)[0]
    other = lab.others(box)[0]
    name, topic = f"kept-{who}-{seconds}", f"kept/{who}/{seconds}"
    expiry = [("message_expiry", LONG_S)]
    with client(lab, other, name, clean=False, properties=[("session_expiry", LONG_S)]) as subscriber:
        subscriber.subscribe(topic, qos=1)
    with client(lab, box) as publisher:
        publisher.publish(topic, "before", 1, retain=True, properties=expiry)
        stepped(box, seconds)
        publisher.publish(topic, "after", 1, retain=True, properties=expiry)
        publisher.publish(topic, "last", 1, properties=expiry)
    for each in lab.boxes:
        until(lambda each=each: f"{box.name} is {HOUR_S} s {'ahead' if seconds > 0 else 'behind'}" in doctor(each), f"{each.name} names it")
    with client(lab, box, name, clean=False, properties=[("session_expiry", LONG_S)]) as subscriber:
        assert subscriber.connack.session_present
        for payload in ("before", "after", "last"):
            found = subscriber.expect_publish(payload=payload)
            assert LONG_S - 120 < found.property("message_expiry") <= LONG_S, found
    for each in lab.boxes:
        with client(lab, each) as reader:
            reader.subscribe(topic, qos=1)
            assert reader.expect_publish(payload="after").retain
    with client(lab, box, name) as subscriber:
        pass


@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S])
def test_what_ends_ends_in_time_also_after_a_failover(lab, stepped, seconds):
    leader = lab.leader()
    stepped(leader, seconds)
    for dies in (False, True):
        name = f"short-{seconds}-{dies}"
        with client(lab, lab.others(leader)[0], name, clean=False, properties=[("session_expiry", SHORT_S)]):
            pass
        if dies:
            leader.kill("daemon")
            until(lambda: lab.leader() is not leader, "another leads")
        box = lab.others(leader)[0]
        until(lambda: name not in sessions(box), "the session ends with its time", SHORT_S + LATE_S)
    lab.settle()


@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S])
def test_the_virtual_ip_stays_where_it_is(lab, stepped, seconds):
    box = until(lab.holder, "somebody holds it")
    watch = Holders(lab, VIP)
    try:
        stepped(box, seconds)  # seen with the next pings: several leases later
        assert lab.holder() is box
        box.kill("daemon")
        until(lambda: lab.holder() not in (None, box), "another takes it when its holder dies")
        lab.settle()
    finally:
        spans = watch.stop()
    assert overlap(spans) == 0, spans
    assert len(spans[box.name]) == 1, spans


def test_a_box_that_starts_with_a_wrong_clock_ends_nothing(lab, stepped):
    box = lab.others(lab.leader())[0]
    other = lab.others(box)[0]
    with client(lab, other, "sleeper", clean=False, properties=[("session_expiry", LONG_S)]):
        pass
    box.stop()
    box.step_clock(HOUR_S)
    box.start()
    until(lambda: box.call("GET", "/healthz")[0] == 200, "it serves")
    lab.settle()
    with client(lab, box) as publisher:
        publisher.publish("some/where", "x", 1, retain=True)
    with client(lab, other, "sleeper", clean=False, properties=[("session_expiry", LONG_S)]) as sleeper:
        assert sleeper.connack.session_present
