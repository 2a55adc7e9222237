"""Who may come in and what they may do: users, roles, rules with %u and %c, mosquitto's files, failed logins, and changes that
act on clients which are connected."""
import base64
import hashlib
import json
import pathlib
import shutil
import tempfile
import time

import pytest

from lib import packet, web
from lib.mosquitto import Mosquitto
from lib.mqtt import Client
from lib.node import Node
from lib.programs import client_of, microcloud, need, run
from lib.wait import until

REFUSED = 0x87  # not authorized
BAD_LOGIN = (0x86, 0x87)


@pytest.fixture
def directory():
    path = pathlib.Path(tempfile.mkdtemp(prefix="mc-access-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def rule(node, subject, action, filter_, allow=True):
    node.add_rule(subject=subject, action=action, filter=filter_, allow=allow)


def user(node, name, role="device", version=5, client_id="", **connect):
    client = Client(node, version)
    client.connect(client_id or f"of-{name}-{version}", username=name, password=f"pw-{name}", **connect)
    return client


@pytest.fixture
def people(own_node):
    """A node with one user of each role, and no way in without a name."""
    for role in ("admin", "operator", "viewer", "device"):
        own_node.add_user(role[0] + "-" + role, f"pw-{role[0]}-{role}", role)
    own_node.set(anonymous="off")
    return own_node


NAMES = ["a-admin", "o-operator", "v-viewer", "d-device"]


def may_publish(client, topic):
    return client.publish(topic, "x", 1).reason < 0x80


def may_subscribe(client, filter_):
    return client.subscribe(filter_).reasons[0] < 0x80


# ---- users ----

def test_users_come_in_with_their_password_only(people):
    for version in (4, 5):
        refused = BAD_LOGIN if version == 5 else (4, 5)
        for login in ({"username": "d-device", "password": "wrong"}, {"username": "nobody", "password": "pw-d-device"},
                      {"username": "d-device"}, {"username": "d-device", "password": ""}, {}):
            if version == 4 and "password" not in login and login:
                login["password"] = "pw-d-device "
            with Client(people, version) as client:
                assert client.start(**login).reason in refused, login
        with user(people, "d-device", version=version) as client:
            assert client.connack.reason == 0


def test_users_by_the_command_line(own_node):
    node = own_node
    microcloud(node, "user", "add", "ann", "--role", "operator", stdin="secret\n").ok()
    listed = json.loads(microcloud(node, "user", "ls", "--json").ok().out)
    assert {"name": "ann", "role": "operator"} in listed
    assert "password" not in json.dumps(listed) and "$7$" not in json.dumps(listed)
    with Client(node) as client:
        client.connect(username="ann", password="secret")
    microcloud(node, "user", "passwd", "ann", stdin="other\n").ok()
    with Client(node) as client:
        assert client.start(username="ann", password="secret").reason in BAD_LOGIN
    with Client(node) as client:
        client.connect(username="ann", password="other")
    microcloud(node, "user", "rm", "ann").ok()
    with Client(node) as client:
        assert client.start(username="ann", password="other").reason in BAD_LOGIN
    result = microcloud(node, "user", "passwd", "bob", stdin="x\n")
    assert result.status == 1 and "bob" in result.err


def test_passwords_outlive_a_restart(own_node):
    own_node.add_user("ann", "ünïcödé – 密码")
    own_node.restart()
    with Client(own_node) as client:
        client.connect(username="ann", password="ünïcödé – 密码")


# ---- roles ----

def test_roles_without_rules(people):
    node = people
    for name in NAMES:
        with user(node, name) as client:
            assert may_subscribe(client, "any/#")
            assert may_publish(client, "any/t") == (name != "v-viewer"), name
            assert not may_publish(client, "$SYS/broker/uptime") or name == "a-admin", name


def test_roles_in_the_api(people):
    """viewer looks, operator also publishes and kicks, admin everything, device nothing."""
    calls = [("GET", "/v1/clients", None), ("POST", "/v1/publish", {"topic": "t", "payload": "x"}),
             ("PUT", "/v1/settings/mqtt.sys_interval_s", {"value": "10"})]
    expected = {"a-admin": [True, True, True], "o-operator": [True, True, False], "v-viewer": [True, False, False],
                "d-device": [False, False, False]}
    for name, allowed in expected.items():
        token = web.login(people, name, f"pw-{name}")
        if name == "d-device":
            assert token.status in (200, 401, 403)
            if token.status != 200:
                continue
        authorization = f"Bearer {token.json['token']}"
        got = [web.ask(people, *call, authorization=authorization).status for call in calls]
        assert [status not in (401, 403) for status in got] == allowed, (name, got)


def test_rules_bind_everybody_but_admins(people):
    rule(people, "role:operator", "readwrite", "plant/#")
    rule(people, "role:viewer", "readwrite", "plant/#")  # a viewer never writes
    for name, write, read in (("a-admin", True, True), ("o-operator", True, True), ("v-viewer", False, True),
                              ("d-device", False, False)):
        with user(people, name) as client:
            assert (may_publish(client, "plant/1"), may_subscribe(client, "plant/#")) == (write, read), name


# ---- rules ----

def test_patterns_with_user_and_client_id(people):
    rule(people, "role:device", "readwrite", "users/%u/#")
    rule(people, "role:device", "write", "clients/%c/state")
    people.add_user("d2", "pw-d2")
    with user(people, "d-device", client_id="c1") as one, user(people, "d2", client_id="c2") as two:
        assert may_publish(one, "users/d-device/a/b")
        assert not may_publish(one, "users/d2/a")
        assert may_publish(one, "clients/c1/state") and not may_publish(one, "clients/c2/state")
        assert may_publish(two, "clients/c2/state") and not may_publish(two, "clients/c1/state")
        assert may_subscribe(two, "users/d2/#") and not may_subscribe(two, "users/d-device/#")


@pytest.mark.parametrize("name", ["+", "#", "a/b"])
def test_a_name_that_would_widen_a_pattern_grants_nothing(people, name):
    rule(people, "role:device", "readwrite", "users/%u/#")
    rule(people, "role:device", "readwrite", "clients/%c/#")
    people.add_user("plain", "pw-plain")
    with user(people, "plain", client_id=name) as client:
        assert not may_publish(client, "clients/victim/t")
        assert not may_subscribe(client, "clients/+/#") and not may_subscribe(client, "clients/#")
    if "/" in name:
        return  # no name of a user
    status, _ = people.request("PUT", f"/v1/users/{name.replace('%', '%25').replace('#', '%23').replace('+', '%2B')}",
                               {"password": "pw", "role": "device"})
    assert status == 200
    with Client(people) as client:
        client.connect(username=name, password="pw")
        assert not may_publish(client, "users/victim/t")
        assert not may_subscribe(client, "users/+/#")


def test_a_denial_wins(people):
    rule(people, "*", "readwrite", "#")
    rule(people, "user:d-device", "write", "valve/#", allow=False)
    with user(people, "d-device") as client:
        assert may_publish(client, "other") and not may_publish(client, "valve/1")
        assert may_subscribe(client, "valve/#")


def test_a_wide_subscription_brings_only_what_may_be_read(people):
    rule(people, "user:d-device", "read", "rooms/+/temperature")
    rule(people, "user:d-device", "subscribe", "#")
    rule(people, "role:operator", "readwrite", "#")
    with user(people, "o-operator") as writer, user(people, "d-device") as reader:
        writer.publish("rooms/1/door", "kept back", 1, retain=True)
        writer.publish("rooms/1/temperature", "20", 1, retain=True)
        assert may_subscribe(reader, "#")
        reader.expect_publish("rooms/1/temperature", "20")
        writer.publish("rooms/1/door", "open", 1)
        writer.publish("rooms/2/temperature", "21", 1)
        reader.expect_publish("rooms/2/temperature", "21")
        reader.expect_nothing()


def test_shared_subscriptions_obey_the_rules(people):
    rule(people, "user:d-device", "read", "jobs/#")
    with user(people, "d-device") as client:
        assert may_subscribe(client, "$share/g/jobs/#")
        assert not may_subscribe(client, "$share/g/other/#")


def test_anonymous_clients_have_rules_of_their_own(own_node):
    rule(own_node, "anonymous", "read", "public/#")
    with Client(own_node) as client:
        client.connect()
        assert may_subscribe(client, "public/#") and not may_publish(client, "public/x")
        assert not may_subscribe(client, "private/#")


# ---- how a refusal looks ----

def test_a_refused_publish_in_mqtt_5(people):
    rule(people, "role:device", "write", "mine/#")
    with user(people, "d-device") as client, user(people, "a-admin") as watcher:
        watcher.subscribe("#")
        assert client.publish("theirs/t", "x", 1).reason == REFUSED
        assert client.publish("theirs/t", "x", 2).reason == REFUSED
        client.publish("theirs/t", "x", 0)
        assert client.publish("mine/t", "y", 2).reason in (0, 0x10)
        watcher.expect_publish("mine/t", "y")
        watcher.expect_nothing()


@pytest.mark.parametrize("version", [3, 4])
def test_a_refused_publish_before_mqtt_5_is_acknowledged_and_dropped(people, version):
    """3.1.1, 3.3.5-2: it says nothing, or closes; a closed connection would come again and again."""
    rule(people, "role:device", "write", "mine/#")
    with user(people, "d-device", version=version) as client, user(people, "a-admin") as watcher:
        watcher.subscribe("#")
        for qos in (0, 1, 2):
            client.publish("theirs/t", "x", qos)
        client.publish("mine/t", "y", 1)
        watcher.expect_publish("mine/t", "y")
        watcher.expect_nothing()
        client.barrier()


def test_a_refused_subscription(people):
    rule(people, "role:device", "read", "mine/#")
    with user(people, "d-device") as client:
        assert client.subscribe("mine/a", "theirs/a", "mine/#", qos=1).reasons == [1, REFUSED, 1]
    with user(people, "d-device", version=4) as client:
        assert client.subscribe("mine/a", "theirs/a", qos=1).reasons == [1, 0x80]


def test_a_will_that_may_not_be_published(people):
    rule(people, "role:device", "write", "mine/#")
    with Client(people) as client:
        answer = client.start("w", username="d-device", password="pw-d-device", will=packet.Will("theirs/t", "x"))
        assert answer.reason == REFUSED
    with user(people, "d-device", will=packet.Will("mine/t", "x")) as client:
        assert client.connack.reason == 0


@pytest.mark.parametrize("version", [4, 5])
def test_a_will_on_a_topic_of_the_brokers_own(people, version):
    """As with PUBLISH: not even an admin writes below $SYS."""
    will = packet.Will("$SYS/broker/forged", "mine")
    with user(people, "a-admin") as reader, Client(people, version) as client:
        reader.subscribe("$SYS/broker/forged")
        answer = client.start("w", username="a-admin", password="pw-a-admin", will=will)
        assert answer.reason == (REFUSED if version == 5 else 0)
        client.close()
        until(lambda: people.request("GET", "/v1/clients/w")[0] == 404, "the client is gone")
        reader.expect_nothing()


def test_a_refusal_is_counted(people):
    rule(people, "role:device", "write", "mine/#")
    with user(people, "d-device") as client:
        client.publish("theirs/t", "x", 1)
    metrics = web.ask(people, "GET", "/metrics", authorization=web.bearer(people)).bytes.decode()
    assert "microcloud_mqtt_publish_refused_total 1\n" in metrics


# ---- changes act on those who are connected ----

def test_a_rule_that_is_added_acts_at_once(people):
    with user(people, "d-device") as client, user(people, "a-admin") as admin:
        assert may_subscribe(client, "a/#") and may_publish(client, "b")
        rule(people, "role:device", "write", "b")
        admin.publish("a/1", "not any more", 1)
        assert may_publish(client, "b") and not may_publish(client, "c")
        client.expect_nothing()
        _, rules = people.request("GET", "/v1/acl")
        people.request("DELETE", f"/v1/acl/{rules[0]['id']}")
        assert may_publish(client, "c")
        admin.publish("a/1", "again", 1)
        client.expect_publish("a/1", "again")


def test_another_role_counts_at_once(people):
    with user(people, "o-operator") as client:
        assert may_publish(client, "t")
        assert people.request("PUT", "/v1/users/o-operator", {"role": "viewer"})[0] == 200
        assert not may_publish(client, "t")
        assert people.request("PUT", "/v1/users/o-operator", {"role": "admin"})[0] == 200
        assert may_publish(client, "t")


def test_a_removed_user_goes(people):
    with user(people, "d-device") as client, user(people, "d-device", version=4) as old, user(people, "o-operator") as other:
        assert people.request("DELETE", "/v1/users/d-device")[0] == 200
        client.expect_disconnect(REFUSED)
        old.expect_closed()
        other.barrier()


def test_the_queue_of_a_session_obeys_the_rules_of_now(people):
    properties = [("session_expiry", 600)]
    with user(people, "d-device", clean=False, properties=properties) as client:
        client.subscribe("a", "b", qos=1)
    with user(people, "a-admin") as admin:
        admin.publish("a", "secret by now", 1)
        admin.publish("b", "open", 1)
    rule(people, "role:device", "read", "b")
    with user(people, "d-device", clean=False, properties=properties) as client:
        client.expect_publish("b", "open")
        client.expect_nothing()


# ---- mosquitto's files ----

def test_password_files_of_mosquitto(people, directory):
    """$7$ as mosquitto_passwd writes it today, and $6$ as it did before 2.0."""
    file = directory / "passwords"
    run(need("mosquitto_passwd"), "-b", "-c", file, "seven", "pw:with:colons").ok()
    salt = b"twelve bytes"
    six = base64.b64encode(hashlib.sha512(b"old one" + salt).digest()).decode()
    with file.open("a") as out:
        out.write(f"six:$6${base64.b64encode(salt).decode()}${six}\n\n# a comment\n")
    assert file.read_text().startswith("seven:$7$")
    microcloud(people, "user", "import", file, "--role", "operator").ok()
    for name, password in (("seven", "pw:with:colons"), ("six", "old one")):
        with Client(people) as client:
            client.connect(username=name, password=password)
            assert client_of(people, client.client_id)["role"] == "operator"
        with Client(people) as client:
            assert client.start(username=name, password=password + "x").reason in BAD_LOGIN
    microcloud(people, "user", "passwd", "six", stdin="new one\n").ok()
    with Client(people) as client:
        client.connect(username="six", password="new one")


ACL_FILE = """# before any user: for those without a name
topic read public/#

user ann
topic home/#
topic read garden/#
topic write alarms
topic deny home/safe/#

user bob
topic readwrite with spaces/a b/#

pattern write state/%c
pattern readwrite own/%u/#
"""


def test_acl_files_of_mosquitto(own_node, directory):
    (directory / "acl").write_text(ACL_FILE)
    for name in ("ann", "bob"):
        own_node.add_user(name, f"pw-{name}")
    microcloud(own_node, "acl", "import", directory / "acl").ok()
    with Client(own_node) as client:
        client.connect()
        assert may_subscribe(client, "public/x") and not may_publish(client, "public/x")
        assert not may_subscribe(client, "home/x")
    with user(own_node, "ann", client_id="c7") as ann, user(own_node, "bob") as bob:
        assert may_publish(ann, "home/a") and may_subscribe(ann, "home/#")
        assert may_subscribe(ann, "garden/#") and not may_publish(ann, "garden/1")
        assert may_publish(ann, "alarms") and not may_subscribe(ann, "alarms")
        assert not may_publish(ann, "home/safe/door") and not may_subscribe(ann, "home/safe/door")
        assert may_publish(ann, "state/c7") and not may_publish(ann, "state/c8")
        assert may_publish(ann, "own/ann/x") and not may_publish(ann, "own/bob/x")
        assert may_publish(bob, "with spaces/a b/c") and not may_publish(bob, "home/a")
        bob.publish("own/bob/x", "y", 1)


@pytest.mark.parametrize("kind,text,words", [
    ("user", "ann:plain text\n", ["line 1", "ann"]), ("user", "ann\n", ["line 1"]),
    ("user", "# x\n\nann:$7$101$x\n", ["line 3"]),
    ("acl", "topic read a/#/b\n", ["line 1", "a/#/b"]), ("acl", "user ann\nallow all\n", ["line 2", "allow all"]),
])
def test_a_wrong_file_names_its_line_and_adds_nothing(node, directory, kind, text, words):
    (directory / "file").write_text(text)
    before = node.request("GET", "/v1/users" if kind == "user" else "/v1/acl")
    result = microcloud(node, kind, "import", directory / "file")
    assert result.status == 1
    for word in words:
        assert word in result.err, result
    assert node.request("GET", "/v1/users" if kind == "user" else "/v1/acl") == before


def test_the_same_decisions_as_mosquitto(own_node, directory):
    """One ACL file, one password file, both brokers: who may write where is the same."""
    (directory / "acl").write_text(ACL_FILE)
    for name in ("ann", "bob"):
        run(need("mosquitto_passwd"), "-b", *([] if (directory / "pw").exists() else ["-c"]), directory / "pw", name,
            f"pw-{name}").ok()
    (directory / "pw").chmod(0o644)
    other = Mosquitto(directory / "m", f"acl_file {directory / 'acl'}", f"password_file {directory / 'pw'}").start()
    try:
        microcloud(own_node, "user", "import", directory / "pw").ok()
        microcloud(own_node, "acl", "import", directory / "acl").ok()
        topics = ["public/x", "home/a", "home/safe/a", "garden/a", "alarms", "state/id", "state/other", "own/ann/a",
                  "own/bob/a", "with spaces/a b/c", "elsewhere"]
        for name in (None, "ann", "bob"):
            login = {"username": name, "password": f"pw-{name}"} if name else {}
            answers = []
            for broker in (own_node, other):
                with Client(broker if broker is own_node else other.port) as client:
                    client.connect("id", **login)
                    answers.append([client.publish(topic, "x", 1).reason == REFUSED for topic in topics])
            assert answers[0] == answers[1], (name, list(zip(topics, *answers)))
    finally:
        other.stop()


# ---- failed logins ----

def test_failed_logins_slow_their_address_down(directory):
    """The answer to a wrong password comes later each time; another address does not wait; a right one ends it."""
    node = Node(directory / "n", "--proxy-protocol").start()
    try:
        node.add_user("ann", "right")
        node.set(login_delay_ms_max=3000)

        def attempt(source, password):
            begin = time.monotonic()
            with Client(node) as client:
                client.send(packet.proxy_header(source))
                reason = client.start(username="ann", password=password).reason
            return time.monotonic() - begin, reason
        assert attempt("192.0.2.1", "right")[1] == 0
        for _ in range(6):
            assert attempt("192.0.2.1", "wrong")[1] in BAD_LOGIN
        slow, reason = attempt("192.0.2.1", "wrong")
        assert slow >= 3 and reason in BAD_LOGIN
        fast, reason = attempt("192.0.2.2", "right")
        assert fast < 3 and reason == 0
        slow, reason = attempt("192.0.2.1", "right")
        assert slow >= 2.9 and reason == 0, "right, but still of this address"
        assert attempt("192.0.2.1", "right")[0] < 2.9, "forgiven"
        assert "login failed address=192.0.2.1" in node.output()
        node.set(login_delay_ms_max=0)
        for _ in range(3):
            assert attempt("192.0.2.3", "wrong")[0] < 2.9
    finally:
        node.end()


def test_a_login_that_waits_does_not_hold_up_others(people):
    people.set(login_delay_ms_max=600000)
    for _ in range(5):
        with Client(people) as client:
            client.start(username="d-device", password="wrong")
    with Client(people) as waiting:
        waiting.send(packet.connect("w", username="d-device", password="wrong"))
        assert people.request("GET", "/v1/status")[0] == 200
        people.stop()  # and not the end of the node either
        waiting.expect_closed()
    people.start()
