"""One of three boxes is cut off from the two others; its own clients stay with it: what goes on there, what is refused, and what it says."""
import contextlib
import itertools
import os
import socket
import time

import pytest

from lab import MQTT_PORT, UnixConnection, inside, until
from lib.boxes import boxes
from lib.mqtt import Client
from lib.packet import PUBACK, PUBLISH

pytestmark = [pytest.mark.xdist_group("cut off"), pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")]

WAIT_S = 1.5  # cluster.write_wait_ms: how long a change waits for the majority
LATE_S = 5  # a busy machine
QUOTA_EXCEEDED, SERVER_BUSY = 0x97, 0x89
DURABLE = {"qos": 1, "retain": True}
SENTENCE = "This node is cut off from the others: what it says may be old."
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def lab():
    with boxes() as lab:
        lab.form()
        settings = {"mqtt.anonymous": "on", "mqtt.sys_interval_s": "1", "cluster.write_wait_ms": str(int(WAIT_S * 1000))}
        for key, value in settings.items():
            assert lab.leader().command("setting", "set", key, value)[0] == 0
            until(lambda key=key, value=value: all(value in box.command("setting", "get", key)[1] for box in lab.boxes), f"{key} everywhere")
        yield lab


@pytest.fixture(params=["leader", "follower"])
def box(request, lab):
    """The one that is to be cut off."""
    leader = lab.leader()
    yield leader if request.param == "leader" else lab.others(leader)[0]
    for each in lab.boxes:
        each.heal()
    lab.settle()


@pytest.fixture
def come():
    """come(box, name) connects clients from the LAN's own host, which no cut concerns."""
    with contextlib.ExitStack() as clients:
        def connect(box, name, version=5, is_kept=False):
            with inside(box.lab.lan):
                link = socket.create_connection((box.address, MQTT_PORT), 10)
            client = clients.enter_context(Client(link, version))
            client.connect(name, clean=not is_kept, properties=[("session_expiry", 3600)] if is_kept else ())
            return client
        yield connect


def read(box, path):
    """Its answer, and whether the head of it says that it may be old."""
    connection = UnixConnection(box.data / "api.sock", 5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("X-Microcloud-Stale")


def told(client):
    """The last of each topic of $SYS/cluster that has come."""
    client.barrier()
    return {found.topic.removeprefix("$SYS/cluster/"): found.payload.decode() for found in client.waiting if found.kind == PUBLISH}


def test_what_is_durable_is_refused_within_the_limit_and_live_messages_go_on(box, come):
    """From the first moment: nobody there knows yet that the box is cut off."""
    job, name = (f"{word}-{next(numbers)}" for word in ("job", "kept"))
    live, kept = come(box, "live"), come(box, name, is_kept=True)
    live.subscribe(("live", 1))
    kept.subscribe((job, 1))
    durable, retaining, older, lively = (come(box, name, version) for name, version in (("a", 5), ("b", 5), ("c", 4), ("d", 4)))
    assert durable.publish(job, b"before", qos=1).reason == 0
    kept.expect_publish(job, b"before")

    box.cut_off()
    since = time.monotonic()
    kept_id = durable.send_publish(job, b"cut", qos=1)
    retained_id = retaining.send_publish("state", b"cut", **DURABLE)
    older.send_publish(job, b"cut, too", qos=1)
    for number in range(10):
        assert lively.publish("live", b"%d" % number, qos=number % 2).reason == 0
        live.expect_publish("live", b"%d" % number)
    assert time.monotonic() - since < WAIT_S, "it waited for the durable ones"

    for client, packet_id in ((durable, kept_id), (retaining, retained_id)):
        assert client.expect(PUBACK, packet_id).reason == QUOTA_EXCEEDED
        assert WAIT_S * 0.9 < time.monotonic() - since < WAIT_S + LATE_S
    for client in (older, kept, live):
        client.expect_nothing()  # 3.1.1 has no words for it: no acknowledgement, and what is live goes on


def test_it_says_so_and_catches_up_by_itself(lab, box, come):
    job, state, name = (f"{word}-{next(numbers)}" for word in ("job", "state", "kept"))
    kept, watcher = come(box, name, is_kept=True), come(box, "watcher")
    kept.subscribe((job, 1))
    watcher.subscribe(("$SYS/cluster/#", 0))
    assert told(watcher)["quorum"] == "yes" and read(box, "/v1/nodes") == (200, None)
    others = lab.others(box)
    said = {other.name: len(other.output()) for other in others}
    box.cut_off()

    until(lambda: read(box, "/v1/nodes") == (200, "true"), "what is read is marked")
    status = box.call("GET", "/v1/status")[1]
    assert (status["stale"], status["quorum"], status["leader"]) == (True, False, None), status
    assert SENTENCE in box.command("status")[1]
    assert read(box, "/healthz")[0] == 503
    until(lambda: (told(watcher)["quorum"], told(watcher)["leader"]) == ("no", "none"), "whoever has subscribed is told")
    until(lambda: "gone, or cannot be reached from here" in told(watcher)["safety"], "and why")
    assert box.call("GET", "/v1/status")[1]["safety"] == told(watcher)["safety"]
    code, answer = box.call("PUT", "/v1/settings/mqtt.anonymous", {"value": "on"}, timeout=WAIT_S + LATE_S)
    assert (code, answer["error"]["code"]) == (503, "no_quorum")

    until(lambda: all(other.call("GET", "/healthz")[0] == 200 for other in others), "the others go on")
    publisher = come(others[0], "far")
    assert publisher.publish(job, b"meanwhile", qos=1).reason == 0
    assert publisher.publish(state, b"meanwhile", **DURABLE).reason < 0x80
    until(lambda: any("a node is down" in other.output()[said[other.name]:] for other in others), "the others do without it")
    kept.expect_nothing()
    assert box.call("GET", f"/v1/topics/{state}")[0] == 404

    box.heal()
    until(lambda: box.call("GET", f"/v1/topics/{state}")[0] == 200, "what was retained is there")
    until(lambda: read(box, "/v1/nodes") == (200, None) and read(box, "/healthz")[0] == 200, "nothing is marked")
    kept.expect_disconnect(SERVER_BUSY)
    kept = come(box, name, is_kept=True)
    assert kept.connack.session_present
    kept.expect_publish(job, b"meanwhile")
    lab.settle()
    status = box.call("GET", "/v1/status")[1]
    assert status["quorum"] and status["leader"] and not status.get("stale"), status
    assert SENTENCE not in box.command("status")[1] and "Any one node may fail" in status["safety"]
    until(lambda: (told(watcher)["quorum"], told(watcher)["leader"]) == ("yes", status["leader"]), "whoever has subscribed is told")
    assert come(box, "again").publish(job, b"healed", qos=1).reason == 0
    kept.expect_publish(job, b"healed")
