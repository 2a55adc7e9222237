"""The setting mqtt.bridges against a real mosquitto: what goes where under which name, and what outages cost (nothing)."""
import json
import pathlib
import shutil
import tempfile

import pytest

from lib import packet
from lib.certificates import Authority
from lib.mosquitto import Mosquitto
from lib.mqtt import Client
from lib.programs import client_of, need, run
from lib.wait import until


@pytest.fixture
def directory():
    path = pathlib.Path(tempfile.mkdtemp(prefix="mc-bridge-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def foreign(directory):
    """mosquitto, without a password."""
    broker = Mosquitto(directory / "mosquitto").start()
    yield broker
    broker.stop()


@pytest.fixture
def bridge(own_node):
    """bridge(foreign, topics, ...) sets one bridge and waits until it runs."""
    def make(foreign, *topics, wait=True, **more):
        configure(own_node, {"name": "cloud", "host": "127.0.0.1", "port": foreign.port, "topics": list(topics), **more})
        if wait:
            until(lambda: is_running(own_node), f"the bridge runs; {own_node.output()}\n{foreign.output()}")
        return own_node
    return make


def configure(node, *bridges):
    node.put_setting("mqtt.bridges", json.dumps(bridges))


def state(node, name="cloud"):
    _, answer = node.request("GET", "/v1/bridges")
    return next((one for one in answer if one["name"] == name), None)


def is_running(node, name="cloud"):
    """Both brokers have taken all of its subscriptions."""
    found = state(node, name)
    return found and found["connected"]


class Ends:
    """A client at each broker, both subscribed to everything."""

    def __init__(self, node, foreign, qos=2, **login):
        self.here, self.there = Client(node), Client(foreign.port)
        self.here.connect("here")
        self.there.connect("there", **login)
        for client in (self.here, self.there):
            client.subscribe(("#", packet.options(qos, no_local=True, as_published=True)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.here.close()
        self.there.close()


# ---- directions, prefixes, quality of service ----

@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_out_goes_out_and_nothing_comes_in(bridge, foreign, protocol):
    node = bridge(foreign, {"pattern": "up/#", "direction": "out", "qos": 2}, protocol=protocol)
    with Ends(node, foreign) as ends:
        for qos in (0, 1, 2):
            ends.here.publish("up/a", f"qos {qos}", qos)
            got = ends.there.expect_publish("up/a", f"qos {qos}")
            assert got.qos == qos
        ends.here.publish("other", "stays")
        ends.there.publish("up/b", "stays too", 1)
        ends.here.publish("up/a", "last", 1)
        ends.there.expect_publish("up/a", "last")
        ends.there.expect_nothing()
        ends.here.expect_nothing()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_in_comes_in_and_nothing_goes_out(bridge, foreign, protocol):
    node = bridge(foreign, {"pattern": "down/#", "direction": "in", "qos": 2}, protocol=protocol)
    with Ends(node, foreign) as ends:
        for qos in (0, 1, 2):
            ends.there.publish("down/a", f"qos {qos}", qos)
            got = ends.here.expect_publish("down/a", f"qos {qos}")
            assert got.qos == qos
        ends.here.publish("down/b", "stays", 1)
        ends.there.expect_nothing()
        ends.here.expect_nothing()


def test_both_directions_without_a_loop(bridge, foreign):
    node = bridge(foreign, {"pattern": "shared/#", "direction": "both", "qos": 1})
    with Ends(node, foreign) as ends:
        for i in range(20):
            ends.here.publish("shared/a", f"h{i}", 1)
            ends.there.publish("shared/b", f"t{i}", 1)
        for i in range(20):
            ends.there.expect_publish("shared/a", f"h{i}")
            ends.here.expect_publish("shared/b", f"t{i}")
        # What goes round would be here by now: a message each way, behind everything else, and back again.
        ends.here.publish("shared/end", "1", 1)
        ends.there.expect_publish("shared/end", "1")
        ends.there.publish("shared/end", "2", 1)
        ends.here.expect_publish("shared/end", "2")
        ends.here.expect_nothing()
        ends.there.expect_nothing()
        assert (state(node)["sent"], state(node)["received"]) == (21, 21)


def test_prefixes(bridge, foreign):
    node = bridge(foreign,
                  {"pattern": "out/+", "direction": "out", "local_prefix": "house/", "remote_prefix": "site/7/", "qos": 1},
                  {"pattern": "in/#", "direction": "in", "local_prefix": "cloud/", "remote_prefix": "global/", "qos": 1},
                  {"pattern": "cmd", "direction": "both", "local_prefix": "l/", "remote_prefix": "r/", "qos": 1})
    with Ends(node, foreign) as ends:
        ends.here.publish("house/out/x", "1", 1)
        ends.there.expect_publish("site/7/out/x", "1")
        ends.here.publish("l/cmd", "2", 1)
        ends.there.expect_publish("r/cmd", "2")
        ends.there.publish("r/cmd", "3", 1)
        ends.here.expect_publish("l/cmd", "3")


def test_the_qos_of_the_bridge_is_the_most(bridge, foreign):
    node = bridge(foreign, {"pattern": "#", "direction": "out", "qos": 1})
    with Ends(node, foreign) as ends:
        ends.here.publish("a", "x", 2)
        assert ends.there.expect_publish("a", "x").qos == 1


def test_retained_and_properties_go_along(bridge, foreign, own_node):
    with Client(own_node) as client:
        client.connect()
        client.publish("kept/before", "old", 1, retain=True)
    node = bridge(foreign, {"pattern": "kept/#", "direction": "out", "qos": 1})
    with Ends(node, foreign) as ends:
        properties = [("content_type", "text/plain"), ("response_topic", "r"), ("correlation_data", b"\0\1"),
                      ("user", ("a", "1")), ("user", ("a", "2"))]
        ends.here.publish("kept/now", "new", 1, retain=True, properties=properties)
        until(lambda: retained(foreign, "kept/now") and retained(foreign, "kept/before"), "both are retained there")
        got = retained(foreign, "kept/now")
        assert got.payload == b"new"
        assert sorted(got.properties) == sorted(properties)
        assert retained(foreign, "kept/before").payload == b"old"


def retained(foreign, topic):
    with Client(foreign.port) as client:
        client.connect()
        client.subscribe(topic)
        client.barrier()
        return client.waiting[0] if client.waiting else None


# ---- outages ----

def wait_down(node):
    until(lambda: not state(node)["connected"], "the bridge is down")


@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_lost_while_the_other_broker_is_away(bridge, foreign, qos):
    node = bridge(foreign, {"pattern": "log/#", "direction": "out", "qos": qos})
    subscribe_for_ever(foreign, "log/#")
    with Client(node) as here:
        here.connect("writer")
        with Client(foreign.port) as watcher:
            watcher.connect()
            watcher.subscribe("log/#")
            here.publish("log/a", "0", qos)
            assert watcher.expect_publish().payload == b"0", "the first has gone all its way"
        foreign.stop()
        wait_down(node)
        assert state(node)["error"]
        for i in range(1, 301):
            here.publish("log/a", str(i), qos)
        foreign.start()
        assert collect(foreign, "300") == [str(i) for i in range(301)]
    until(lambda: state(node)["connected"] and state(node)["error"] is None, "the bridge runs again")


def subscribe_for_ever(foreign, filter_):
    """A persistent subscriber at the other broker: what goes out while nobody looks is kept for it."""
    with Client(foreign.port) as there:
        there.connect("collector", clean=False, properties=[("session_expiry", 600)])
        there.subscribe((filter_, packet.options(2)))
        there.disconnect()


def collect(foreign, last):
    """What was kept, up to the payload `last`."""
    with Client(foreign.port) as there:
        assert there.connect("collector", clean=False, properties=[("session_expiry", 600)]).session_present
        got = []
        while not got or got[-1] != last:
            got.append(there.expect_publish().payload.decode())
        return got


@pytest.mark.parametrize("qos", [1, 2])
def test_a_burst_larger_than_what_the_other_broker_takes_at_once(bridge, directory, qos):
    """mosquitto says how many it takes unacknowledged; the rest waits."""
    foreign = Mosquitto(directory / "narrow", "max_inflight_messages 3").start()
    try:
        node = bridge(foreign, {"pattern": "burst/#", "direction": "out", "qos": qos})
        with Ends(node, foreign) as ends:
            for i in range(500):
                ends.here.send_publish("burst/x", str(i), 1)
            ends.there.expect_payloads(*map(str, range(500)))
    finally:
        foreign.stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
def test_what_waits_at_the_other_broker_comes_in_after_an_outage(bridge, foreign, protocol, qos):
    """The node is down; the session at the other broker is kept, and all of its queue comes in, through a narrow door."""
    node = bridge(foreign, {"pattern": "orders/#", "direction": "in", "qos": qos}, protocol=protocol)
    node.set(receive_maximum=2)
    with Client(node) as keeper:
        keeper.connect("keeper", clean=False, properties=[("session_expiry", 3600)])
        keeper.subscribe(("orders/#", packet.options(2)))
    node.stop()
    with Client(foreign.port) as there:
        there.connect("shop")
        for i in range(90):
            there.publish("orders/x", str(i), qos)
    node.start()
    with Client(node) as keeper:
        keeper.connect("keeper", clean=False, properties=[("session_expiry", 3600)])
        got = []
        while not got or got[-1] != "89":
            got.append(keeper.expect_publish().payload.decode())
        assert got == [str(i) for i in range(90)]


def test_a_node_that_is_killed_loses_nothing_that_is_to_go_out(bridge, foreign):
    node = bridge(foreign, {"pattern": "bill/#", "direction": "out", "qos": 1})
    subscribe_for_ever(foreign, "bill/#")
    foreign.stop()
    wait_down(node)
    with Client(node) as here:
        here.connect("writer")
        for i in range(100):
            here.publish("bill/x", str(i), 1)
    node.kill()
    foreign.start()
    node.start()
    assert collect(foreign, "99") == [str(i) for i in range(100)]


def test_a_message_that_is_too_large_there_does_not_stop_the_others(bridge, directory):
    foreign = Mosquitto(directory / "small", "max_packet_size 2000").start()
    try:
        node = bridge(foreign, {"pattern": "#", "direction": "out", "qos": 1})
        with Ends(node, foreign) as ends:
            ends.here.publish("a", "x" * 5000, 1)
            ends.here.publish("a", "small", 1)
            ends.there.expect_publish("a", "small")
            assert state(node)["connected"]
    finally:
        foreign.stop()


def test_the_state_of_the_bridge_is_a_topic(bridge, foreign):
    node = bridge(foreign, {"pattern": "#", "direction": "out"}, client_id="me")
    topic = "$SYS/broker/connection/me/state"
    with Client(node) as watcher:
        watcher.connect()
        watcher.subscribe(topic)
        watcher.expect_publish(topic, "1")
        foreign.stop()
        watcher.expect_publish(topic, "0")
        foreign.start()
        watcher.expect_publish(topic, "1")


# ---- who it is, and how it is kept secret ----

def test_user_and_password(bridge, directory):
    secrets = directory / "passwords"
    run(need("mosquitto_passwd"), "-b", "-c", secrets, "house", "open sesame").ok()
    foreign = Mosquitto(directory / "guarded", "allow_anonymous false", f"password_file {secrets}").start()
    try:
        topic = {"pattern": "#", "direction": "out", "qos": 1}
        node = bridge(foreign, topic, username="house", password="wrong", wait=False)
        error = until(lambda: state(node)["error"], "it is refused")
        assert "authorized" in error.lower() or "password" in error.lower()
        with Client(node) as client:
            client.connect()
            client.publish("waiting", "since then", 1)
        bridge(foreign, topic, username="house", password="open sesame")
        with Client(foreign.port) as there:
            there.connect("t", username="house", password="open sesame")
            there.subscribe("#")
            with Client(node) as here:
                here.connect()
                here.publish("a", "b", 1)
            there.expect_publish("a", "b")
        assert "sesame" not in node.output()
    finally:
        foreign.stop()


def test_tls_with_its_own_authority(bridge, directory):
    authority, stranger = Authority(directory / "ca"), Authority(directory / "stranger")
    certificate, key = authority.issue("localhost")
    foreign = Mosquitto(directory / "tls", tls=[f"cafile {authority.certificate}", f"certfile {certificate}",
                                                f"keyfile {key}"])
    foreign.is_serving = lambda: foreign.process.poll() is None and "running" in foreign.output()
    foreign.start()
    try:
        topic = {"pattern": "#", "direction": "out", "qos": 1}
        node = bridge(foreign, topic, tls=True, ca_file=str(stranger.certificate), wait=False)
        error = until(lambda: state(node)["error"], "it is not trusted")
        assert "certificate" in error
        bridge(foreign, topic, tls=True, ca_file=str(authority.certificate))
        with Client(node) as here:
            here.connect()
            here.publish("secret", "kept", 1, retain=True)
        got = run(need("mosquitto_sub"), "-h", "127.0.0.1", "-p", foreign.port, "--cafile", authority.certificate, "-t",
                  "secret", "-C", 1, "-W", 20).ok()
        assert got.out == "kept\n"
    finally:
        foreign.stop()


def test_a_client_certificate(bridge, directory):
    authority = Authority(directory / "ca")
    certificate, key = authority.issue("localhost")
    foreign = Mosquitto(directory / "tls", "require_certificate true", "use_identity_as_username true",
                        tls=[f"cafile {authority.certificate}", f"certfile {certificate}", f"keyfile {key}"])
    foreign.is_serving = lambda: foreign.process.poll() is None and "running" in foreign.output()
    foreign.start()
    try:
        own_certificate, own_key = authority.issue("house")
        bridge(foreign, {"pattern": "#", "direction": "out"}, tls=True, ca_file=str(authority.certificate),
               certificate_file=str(own_certificate), key_file=str(own_key))
        assert "u'house'" in foreign.output()
    finally:
        foreign.stop()


# ---- configuration ----

GOOD = {"name": "a", "host": "h", "topics": [{"pattern": "#"}]}


@pytest.mark.parametrize("value,words", [
    ("not json", ["JSON"]),
    ('{"name": "a"}', ["list"]),
    ([{**GOOD, "name": "a b"}], ["a b", "name"]),
    ([{**GOOD, "host": ""}], ["bridge 'a'", "host"]),
    ([{**GOOD, "port": 70000}], ["bridge 'a'", "port", "65535"]),
    ([{**GOOD, "topics": []}], ["topics"]),
    ([{**GOOD, "topics": [{"pattern": "#"}, {"pattern": "x", "direction": "up"}]}],
     ["bridge 'a'", "topics[1]", "direction", "in, out or both", "up"]),
    ([{**GOOD, "topics": [{"pattern": "a/#/b"}]}], ["topics[0]", "pattern"]),
    ([{**GOOD, "topics": [{"pattern": "a", "qos": 3}]}], ["qos", "0, 1 or 2"]),
    ([{**GOOD, "topics": [{"pattern": "a", "colour": 3}]}], ["colour"]),
    ([{**GOOD, "prot": "5"}], ["bridge 'a'", "prot"]),
    ([{**GOOD, "protocol": "3.1.1", "topics": [{"pattern": "a", "direction": "both"}]}], ["both", "protocol 5"]),
    ([{**GOOD, "protocol": "4"}], ["protocol", "3.1.1"]),
    ([{**GOOD, "tls": "yes"}], ["tls", "true or false"]),
    ([GOOD, GOOD], ["bridge 'a'", "another"]),
    ([{**GOOD, "name": f"n{i}"} for i in range(17)], ["16"]),
])
def test_what_is_wrong_is_refused_and_the_old_setting_stays(node, value, words):
    before = node.request("GET", "/v1/settings/mqtt.bridges")[1]["value"]
    text = value if isinstance(value, str) else json.dumps(value)
    status, answer = node.request("PUT", "/v1/settings/mqtt.bridges", {"value": text})
    assert status == 400 and answer["error"]["code"] == "setting_invalid"
    for word in words:
        assert word in answer["error"]["message"], answer
    assert node.request("GET", "/v1/settings/mqtt.bridges")[1]["value"] == before


def test_a_certificate_file_that_is_not_there_leaves_the_running_bridges(bridge, foreign):
    node = bridge(foreign, {"pattern": "up/#", "direction": "out", "qos": 1})
    wrong = {"name": "cloud", "host": "127.0.0.1", "port": foreign.port, "tls": True, "ca_file": "/nowhere/ca.crt",
             "topics": [{"pattern": "#"}]}
    status, answer = node.request("PUT", "/v1/settings/mqtt.bridges", {"value": json.dumps([wrong])})
    assert status == 400 and "/nowhere/ca.crt" in answer["error"]["message"], answer
    assert state(node)["connected"]


def test_an_unchanged_bridge_goes_on_when_another_is_added(bridge, foreign):
    topic = {"pattern": "up/#", "direction": "out", "qos": 1}
    node = bridge(foreign, topic)
    since = client_of(node, "bridge-cloud")["connected_unix_ms"]
    one = {"name": "cloud", "host": "127.0.0.1", "port": foreign.port, "topics": [topic]}
    two = {**one, "name": "second", "topics": [{"pattern": "b/#", "direction": "out"}], "client_id": "second"}
    configure(node, one, two)
    until(lambda: is_running(node, "second"), "the second runs")
    assert client_of(node, "bridge-cloud")["connected_unix_ms"] == since
    configure(node, two)
    until(lambda: client_of(node, "bridge-cloud") is None, "the session of the first is gone")
    assert is_running(node, "second")


def test_topics_that_are_taken_away_are_not_queued_any_more(bridge, foreign):
    bridge(foreign, {"pattern": "a/#", "direction": "out", "qos": 1}, {"pattern": "b/#", "direction": "out", "qos": 1})
    node = bridge(foreign, {"pattern": "b/#", "direction": "out", "qos": 1})
    until(lambda: [one["filter"] for one in client_of(node, "bridge-cloud")["filters"]] == ["b/#"], "only b/# is left")


def test_no_bridges_by_an_empty_list(bridge, foreign):
    node = bridge(foreign, {"pattern": "#", "direction": "out"})
    node.put_setting("mqtt.bridges", "[]")
    until(lambda: state(node) is None and client_of(node, "bridge-cloud") is None, "it is gone")
