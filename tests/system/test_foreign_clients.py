"""Clients that others wrote, as people use them: mosquitto's tools, Paho for Python and C, mqtt.js. Each also talks to the
others, for a broker is what stands between them."""
import json
import os
import pathlib
import socket
import subprocess

import pytest

from lib.programs import Background, client_of, need, run, wait_drained, wait_gone, wait_subscribed
from lib.wait import until

HERE = pathlib.Path(__file__).resolve().parent
MQTT_JS = HERE.parent / "node_modules" / "mqtt"
VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]
numbers = {"count": 0}


@pytest.fixture
def topic():
    """A topic of the test's own, for the node is shared."""
    numbers["count"] += 1
    return f"foreign/{numbers['count']}"


# ---- mosquitto's tools ----

def mosquitto(name, node, *words):
    return [need(f"mosquitto_{name}"), "-h", "127.0.0.1", "-p", node.port, *words]


def publish(node, topic, text, *words):
    return run(*mosquitto("pub", node, "-t", topic, "-m", text, *words)).ok()


def subscriber(node, client_id, *words, count=1):
    """Runs in the background; it has subscribed when this returns."""
    started = Background(*mosquitto("sub", node, "-i", client_id, *words))
    wait_subscribed(node, client_id, count)
    return started


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_exchanges_messages(node, topic, version, qos):
    texts = [f"message {i}" for i in range(20)]
    with subscriber(node, f"s-{version}-{qos}", "-t", f"{topic}/#", "-q", qos, "-V", version, "-F", "%q %t %p",
                    "-C", len(texts)) as sub:
        source = run(*mosquitto("pub", node, "-t", f"{topic}/a", "-q", qos, "-V", version, "-l"), stdin="\n".join(texts))
        source.ok()
        assert sub.wait() == 0, str(sub)
        assert sub.lines() == [f"{qos} {topic}/a {text}" for text in texts]


@pytest.mark.parametrize("sent,wanted", [(0, 2), (1, 0), (2, 1), (1, 2)])
def test_the_lower_qos_counts(node, topic, sent, wanted):
    with subscriber(node, f"lower-{sent}-{wanted}", "-t", topic, "-q", wanted, "-F", "%q", "-C", 1) as sub:
        publish(node, topic, "x", "-q", sent)
        assert sub.wait() == 0
        assert sub.lines() == [str(min(sent, wanted))]


@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_retained(node, topic, version):
    publish(node, topic, "kept", "-r", "-q", 1, "-V", version)
    got = run(*mosquitto("sub", node, "-t", topic, "-V", version, "-C", 1, "-F", "%r %p", "-W", 20)).ok()
    assert got.out == "1 kept\n"
    run(*mosquitto("pub", node, "-t", topic, "-n", "-r", "-V", version)).ok()
    path = f"/v1/topics/{topic.replace('/', '%2F')}"
    until(lambda: node.request("GET", path)[0] == 404, "the retained message is removed")


@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_will(node, topic, version):
    with subscriber(node, f"heir-{version}", "-t", f"{topic}/will", "-q", 1, "-C", 1, "-F", "%q %p") as heir:
        with subscriber(node, f"mortal-{version}", "-t", topic, "-V", version, "--will-topic", f"{topic}/will",
                        "--will-payload", "gone", "--will-qos", 1) as mortal:
            mortal.kill()
        assert heir.wait() == 0
        assert heir.lines() == ["1 gone"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [1, 2])
def test_mosquitto_persistent_session(node, topic, version, qos):
    name = f"keeper-{version}-{qos}"
    words = ["-t", topic, "-q", qos, "-c", "-V", version]
    run(*mosquitto("sub", node, "-i", name, *words, "-E")).ok()
    wait_gone(node, name)
    for i in range(5):
        publish(node, topic, f"while away {i}", "-q", qos)
    until(lambda: client_of(node, name)["queued"] == 5, "five are queued")
    got = run(*mosquitto("sub", node, "-i", name, *words, "-C", 5, "-W", 20)).ok()
    assert got.out.splitlines() == [f"while away {i}" for i in range(5)]
    # A clean start ends it.
    run(*mosquitto("sub", node, "-i", name, "-t", topic, "-E", "-V", version)).ok()
    until(lambda: client_of(node, name) is None, "the session is gone")


def test_mosquitto_session_expiry(node, topic):
    run(*mosquitto("sub", node, "-i", "short", "-t", topic, "-q", 1, "-V", "mqttv5", "-c", "-x", 1, "-E")).ok()
    until(lambda: client_of(node, "short") is None, "the session expired after a second")


def test_mosquitto_shared_subscription(node, topic):
    filter_ = f"$share/team/{topic}"
    with subscriber(node, "worker-1", "-t", filter_, "-q", 1, "-V", "mqttv5") as one, \
            subscriber(node, "worker-2", "-t", filter_, "-q", 1, "-V", "mqttv311") as two:
        texts = [str(i) for i in range(40)]
        run(*mosquitto("pub", node, "-t", topic, "-q", 1, "-l"), stdin="\n".join(texts)).ok()
        until(lambda: len(one.lines()) + len(two.lines()) >= 40, "all messages came to one of both")
        assert sorted(one.lines() + two.lines(), key=int) == texts
        assert one.lines() and two.lines(), "one of them got everything"


def test_mosquitto_properties(node, topic):
    with subscriber(node, "reader", "-t", topic, "-q", 1, "-V", "mqttv5", "-C", 1, "-F",
                    "%P|%C|%D|%R|%F|%E|%p") as sub:
        publish(node, topic, "{}", "-V", "mqttv5", "-q", 1, "-D", "publish", "user-property", "room", "kitchen", "-D",
                "publish", "user-property", "unit", "°C", "-D", "publish", "content-type", "application/json", "-D",
                "publish", "correlation-data", "17", "-D", "publish", "response-topic", "answers/here", "-D", "publish",
                "payload-format-indicator", "1", "-D", "publish", "message-expiry-interval", "300")
        assert sub.wait() == 0
        user, content, correlation, response, form, expiry, payload = sub.lines()[0].split("|")
        assert (content, correlation, response, form, payload) == ("application/json", "17", "answers/here", "1", "{}")
        assert "room:kitchen" in user and "unit:°C" in user
        assert 290 <= int(expiry) <= 300


def test_mosquitto_subscription_identifier(node, topic):
    with subscriber(node, "numbered", "-t", topic, "-V", "mqttv5", "-D", "subscribe", "subscription-identifier", "77",
                    "-C", 1, "-F", "%S %p") as sub:
        publish(node, topic, "x")
        assert sub.wait() == 0
        assert sub.lines() == ["77 x"]


def test_mosquitto_topic_alias(node, topic):
    with subscriber(node, "plain", "-t", topic, "-C", 3) as sub:
        run(*mosquitto("pub", node, "-t", topic, "-V", "mqttv5", "-D", "publish", "topic-alias", "3", "-l"),
            stdin="a\nb\nc").ok()
        assert sub.wait() == 0
        assert sub.lines() == ["a", "b", "c"]


def test_mosquitto_large_message(node, topic, tmp_path):
    payload = os.urandom(1000 * 1000)
    (tmp_path / "payload").write_bytes(payload)
    with subscriber(node, "large", "-t", topic, "-q", 2, "-N", "-C", 1) as sub:
        run(*mosquitto("pub", node, "-t", topic, "-q", 2, "-f", tmp_path / "payload")).ok()
        assert sub.wait() == 0
        assert pathlib.Path(sub.file.name).read_bytes() == payload


def test_mosquitto_rr_asks_and_is_answered(node, topic):
    with subscriber(node, "oracle", "-t", f"{topic}/ask", "-V", "mqttv5", "-F", "%R %p", "-C", 1) as oracle:
        with Background(need("mosquitto_rr"), "-h", "127.0.0.1", "-p", node.port, "-V", "mqttv5", "-t", f"{topic}/ask",
                        "-e", f"{topic}/answer", "-m", "why?") as asker:
            assert oracle.wait() == 0
            answer_to, question = oracle.lines()[0].split(" ", 1)
            assert question == "why?"
            publish(node, answer_to, "because", "-V", "mqttv5")
            assert asker.wait() == 0, str(asker)
            assert asker.lines() == ["because"]


# ---- Paho for Python ----

def paho():
    return pytest.importorskip("paho.mqtt.client")


class Paho:
    """A Paho client in its own thread, and what came."""

    def __init__(self, node, client_id, version=5, transport="tcp", **connect):
        module = paho()
        protocol = module.MQTTv5 if version == 5 else module.MQTTv311
        options = {} if version == 5 else {"clean_session": connect.pop("clean_session", True)}
        self.client = module.Client(client_id, protocol=protocol, transport=transport, **options)
        self.version, self.messages, self.connects, self.acknowledged = version, [], [], set()
        self.client.on_message = lambda _c, _u, message: self.messages.append(message)
        self.client.on_connect = lambda _c, _u, flags, reason, *_: self.connects.append((flags, reason))
        self.client.on_publish = lambda _c, _u, mid: self.acknowledged.add(mid)
        self.granted = []
        self.client.on_subscribe = lambda _c, _u, _mid, granted, *_: self.granted.append(granted)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", node.http_port if transport == "websockets" else node.port, **connect)
        self.client.loop_start()
        until(lambda: self.connects, "Paho is connected")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, *words, **options):
        before = len(self.granted)
        self.client.subscribe(*words, **options)
        until(lambda: len(self.granted) > before, "SUBACK")

    def publish(self, topic, payload, qos=0, **options):
        info = self.client.publish(topic, payload, qos, **options)
        info.wait_for_publish(20)
        assert info.is_published()

    def expect(self, *payloads):
        until(lambda: len(self.messages) >= len(payloads), f"{payloads}, got {[m.payload for m in self.messages]}")
        assert [message.payload.decode() for message in self.messages] == list(payloads)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_exchanges_messages(node, topic, version, qos):
    with Paho(node, f"paho-{version}-{qos}", version) as client:
        client.subscribe(topic, qos)
        for i in range(50):
            client.publish(topic, str(i), qos)
        client.expect(*map(str, range(50)))
        assert {message.qos for message in client.messages} == {qos}


def test_paho_over_websocket(node, topic):
    with Paho(node, "paho-ws", 5, "websockets") as client:
        client.client.ws_set_options(path="/mqtt")
        client.subscribe(topic, 1)
        client.publish(topic, "x" * 100000, 1)
        client.expect("x" * 100000)


def test_paho_properties_come_through(node, topic):
    paho()
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions
    with Paho(node, "paho-p") as client:
        client.subscribe(topic, options=SubscribeOptions(qos=2, retainAsPublished=True))
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("a", "1"), ("a", "2")]
        properties.ContentType = "text/plain"
        properties.ResponseTopic = "back"
        properties.CorrelationData = b"\0\1"
        client.publish(topic, "with", 2, retain=True, properties=properties)
        client.expect("with")
        got = client.messages[0]
        assert got.retain
        assert got.properties.UserProperty == [("a", "1"), ("a", "2")]
        assert (got.properties.ContentType, got.properties.ResponseTopic) == ("text/plain", "back")
        assert got.properties.CorrelationData == b"\0\1"


@pytest.mark.parametrize("version", [4, 5])
def test_paho_queue_outlives_a_restart_of_the_node(own_node, version):
    """The client stays as it is and comes back by itself; the session and its queue come back from the disk."""
    node, name = own_node, f"stayer-{version}"
    options = {"clean_session": False}
    if version == 5:
        paho()
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        options = {"clean_start": False, "properties": properties}
    with Paho(node, name, version, **options) as client:
        client.subscribe("queue/#", 1)
        run(*mosquitto("pub", node, "-t", "queue/a", "-m", "before", "-q", 1)).ok()
        client.expect("before")
    wait_gone(node, name)
    run(*mosquitto("pub", node, "-t", "queue/a", "-q", 1, "-l"), stdin="\n".join(f"away {i}" for i in range(30))).ok()
    node.restart()
    with Paho(node, name, version, **options) as client:
        assert client.connects[0][0]["session present"] == 1
        client.expect(*[f"away {i}" for i in range(30)])
        wait_drained(node, name)
        node.restart()
        until(lambda: len(client.connects) == 2, "Paho came back by itself", 60)
        assert client.connects[1][0]["session present"] == 1
        run(*mosquitto("pub", node, "-t", "queue/b", "-m", "after", "-q", 1)).ok()
        client.expect(*[f"away {i}" for i in range(30)], "after")


def test_paho_will_with_delay_comes_only_without_a_return(node, topic):
    paho()
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    with Paho(node, "heir-paho") as heir:
        heir.subscribe(f"{topic}/will", 1)
        module = paho()
        mortal = module.Client("mortal-paho", protocol=module.MQTTv5)
        will, session = Properties(PacketTypes.WILLMESSAGE), Properties(PacketTypes.CONNECT)
        will.WillDelayInterval = 1
        session.SessionExpiryInterval = 60
        mortal.will_set(f"{topic}/will", "late", 1, properties=will)
        connected = []
        mortal.on_connect = lambda *_: connected.append(1)
        mortal.connect("127.0.0.1", node.port, properties=session)
        mortal.loop_start()
        until(lambda: connected, "connected")
        mortal.socket().shutdown(socket.SHUT_RDWR)  # as a network that fails
        mortal.loop_stop()
        heir.expect("late")


# ---- mqtt.js ----

def js_task(url, **task):
    if not MQTT_JS.is_dir():
        pytest.skip("mqtt.js is not installed: npm ci in tests/")
    task["url"] = url
    return [need("node"), HERE / "mqtt_js_client.js", json.dumps(task)]


def js_url(node, kind):
    return f"mqtt://127.0.0.1:{node.port}" if kind == "tcp" else f"ws://127.0.0.1:{node.http_port}/mqtt"


def js_run(url, **task):
    result = run(*js_task(url, **task), env={"MQTT_JS": str(MQTT_JS)})
    assert result.status == 0, str(result)
    return [json.loads(line) for line in result.out.splitlines()]


def js_messages(said):
    return [one for one in said if "topic" in one]


@pytest.mark.parametrize("kind", ["tcp", "ws"])
@pytest.mark.parametrize("version", [3, 4, 5])
def test_mqtt_js_exchanges_messages(node, topic, kind, version):
    names = {3: {"protocolId": "MQIsdp", "protocolVersion": 3}, 4: {"protocolVersion": 4}, 5: {"protocolVersion": 5}}
    publishes = [{"topic": f"{topic}/{qos}", "payload": f"{qos}-{i}", "options": {"qos": qos}}
                 for qos in (0, 1, 2) for i in range(10)]
    said = js_run(js_url(node, kind), options={**names[version], "clientId": f"js-{kind}-{version}"}, messages=30,
                  subscribe=[{"topic": f"{topic}/#", "options": {"qos": 2}}], publish=publishes)
    for qos in (0, 1, 2):
        got = [one for one in js_messages(said) if one["topic"] == f"{topic}/{qos}"]
        assert [one["payload"] for one in got] == [f"{qos}-{i}" for i in range(10)]
        assert {one["qos"] for one in got} == {qos}


def test_mqtt_js_properties(node, topic):
    said = js_run(js_url(node, "ws"), options={"protocolVersion": 5}, messages=1,
                  subscribe=[{"topic": topic, "options": {"qos": 1, "properties": {"subscriptionIdentifier": 5}}}],
                  publish=[{"topic": topic, "payload": "p", "options": {"qos": 1, "properties": {
                      "contentType": "text/plain", "userProperties": {"a": "b"}}}}])
    properties = js_messages(said)[0]["properties"]
    assert properties["contentType"] == "text/plain"
    assert properties["userProperties"] == {"a": "b"}
    assert properties["subscriptionIdentifier"] == 5


def test_mqtt_js_session_is_kept(node, topic):
    options = {"protocolVersion": 5, "clientId": "js-kept", "clean": False, "properties": {"sessionExpiryInterval": 600}}
    subscribe = [{"topic": topic, "options": {"qos": 1}}]
    assert js_run(js_url(node, "tcp"), options=options, subscribe=subscribe)[0]["sessionPresent"] is False
    publish(node, topic, "later", "-q", 1)
    said = js_run(js_url(node, "ws"), options=options, messages=1)
    assert said[0]["sessionPresent"] is True
    assert [one["payload"] for one in js_messages(said)] == ["later"]


# ---- Paho for C ----

@pytest.fixture(scope="module")
def paho_c(tmp_path_factory):
    if not pathlib.Path("/usr/include/MQTTClient.h").exists():
        pytest.skip("libpaho-mqtt-dev is not installed")
    path = tmp_path_factory.mktemp("paho") / "paho_client"
    subprocess.run([need("cc"), "-Wall", "-o", str(path), str(HERE / "paho_client.c"), "-lpaho-mqtt3c"], check=True)
    return path


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_c_exchanges_messages(node, topic, paho_c, version, qos):
    uri = f"tcp://127.0.0.1:{node.port}"
    with Background(paho_c, uri, f"c-sub-{version}-{qos}", version, "sub", f"{topic}/+", qos, 3) as sub:
        sub.expect("ready")
        run(paho_c, uri, f"c-pub-{version}-{qos}", version, "pub", f"{topic}/x", qos, "one", "two", "three").ok()
        assert sub.wait() == 0, str(sub)
        assert sub.lines()[1:] == [f"{qos} {topic}/x {text}" for text in ("one", "two", "three")]


# ---- each with the others ----

def test_every_client_hears_every_other(node, topic, paho_c):
    """Five kinds of subscriber on one filter, five kinds of publisher: each message comes to each, once, as it was."""
    texts = ["from mosquitto 3.1", "from mosquitto 5", "from paho", "from js over WebSocket", "from C"]
    uri, filter_ = f"tcp://127.0.0.1:{node.port}", f"{topic}/#"
    js = js_task(js_url(node, "ws"), options={"protocolVersion": 5, "clientId": "all-js"}, messages=5,
                 subscribe=[{"topic": filter_, "options": {"qos": 2}}])
    with subscriber(node, "all-31", "-t", filter_, "-q", 2, "-V", "mqttv31", "-C", 5) as old, \
            subscriber(node, "all-5", "-t", filter_, "-q", 2, "-V", "mqttv5", "-C", 5) as new, \
            Background(paho_c, uri, "all-c", 4, "sub", filter_, 2, 5) as c, \
            Background(*js, env={"MQTT_JS": str(MQTT_JS)}) as script, Paho(node, "all-paho") as python:
        python.subscribe(filter_, 2)
        c.expect("ready")
        script.expect_part('"subscribed"')
        publish(node, f"{topic}/1", texts[0], "-q", 2, "-V", "mqttv31")
        publish(node, f"{topic}/2", texts[1], "-q", 1, "-V", "mqttv5")
        python.publish(f"{topic}/3", texts[2], 2)
        js_run(js_url(node, "ws"), publish=[{"topic": f"{topic}/4", "payload": texts[3], "options": {"qos": 1}}])
        run(paho_c, uri, "all-c-pub", 5, "pub", f"{topic}/5", 2, texts[4]).ok()
        for one in (old, new, c, script):
            assert one.wait() == 0, str(one)
        python.expect(*texts)
        assert old.lines() == texts and new.lines() == texts
        assert [line.split(" ", 2)[2] for line in c.lines()[1:]] == texts
        assert [one["payload"] for one in js_messages([json.loads(line) for line in script.lines()])] == texts
