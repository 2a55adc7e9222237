"""HTTP from anybody: broken heads of each class, trickles, bodies, cookies, and what each call of the API does."""
import base64
import json
import socket
import subprocess
import time
import urllib.parse

import pytest

from lib.node import UnixConnection
from lib.wait import until
from lib.web import Answer, ask, bearer, login, password, raw

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/login HTTP/1.1\r\nHost: x\r\n"

BROKEN = {
    "no carriage returns": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "one line without its carriage return": GET + b"A: b\nC: d\r\n\r\n",
    "a carriage return alone": GET + b"A: b\rC: d\r\n\r\n",
    "a folded header": GET + b"A: b\r\n c\r\n\r\n",
    "a folded first header": b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
    "white space before the colon": GET + b"A : b\r\n\r\n",
    "no colon": GET + b"nothing\r\n\r\n",
    "a header without a name": GET + b": b\r\n\r\n",
    "NUL in a header": GET + b"A: b\0c\r\n\r\n",
    "NUL in the path": b"GET /he\0alth HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL at the start": b"\0\0\0\0\r\n\r\n",
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"host: y\r\n\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths in one": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond all numbers": POST + b"Content-Length: 18446744073709551616\r\n\r\n",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "a path that is none": b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces": b"GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab": b"GET\t/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes above ASCII in the path": "GET /küche HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a method that is none": b"GE(T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line first": b"\r\n" + GET + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an MQTT CONNECT": b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
    "a bad percent": b"GET /v1/topics/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a percent": b"GET /v1/topics/a%4 HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL behind a percent": b"GET /v1/topics/a%00b HTTP/1.1\r\nHost: x\r\n\r\n",
    "overlong UTF-8 behind percents": b"GET /v1/topics/%c0%af HTTP/1.1\r\nHost: x\r\n\r\n",
}
REFUSED = {
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411),
    "an unknown transfer encoding": (POST + b"Transfer-Encoding: identity\r\n\r\n", 411),
    "a large body": (POST + b"Content-Length: 2097153\r\n\r\n", 413),
    "the largest number as length": (POST + b"Content-Length: 9223372036854775807\r\n\r\n", 413),
    "a long path": (b"GET /" + b"a" * 4096 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a long header": (GET + b"A: " + b"a" * 17000 + b"\r\n\r\n", 431),
    "a head without end": (GET + b"A: " + b"a" * 17000, 431),
    "a line without end": (b"G" * 17000, 431),
    "many headers": (GET + b"A: b\r\n" * 64 + b"\r\n", 431),
    "another version": (b"GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/2.0 by name": (b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "another method": (b"PATCH /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "a method of one's own": (b"BREW /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", 405),
}


class Link:
    """One connection; answers are read one by one."""

    def __init__(self, node):
        self.socket = socket.create_connection(("127.0.0.1", node.http_port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self, has_body=True):
        """(status, headers, body) of the next answer, or None at the end of the connection."""
        line = self.file.readline()
        if not line:
            return None
        headers = {}
        for text in iter(self.file.readline, b"\r\n"):
            name, _, value = text.decode().partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0)) if has_body else 0
        return int(line.split()[1]), headers, self.file.read(length)


# ---- heads ----

@pytest.mark.parametrize("head", BROKEN.values(), ids=BROKEN)
def test_a_broken_head_is_400(node, head):
    assert raw(node, head) == 400


@pytest.mark.parametrize("head,status", REFUSED.values(), ids=REFUSED)
def test_what_is_too_much_or_not_done_says_so(node, head, status):
    assert raw(node, head) == status


def test_a_refusal_is_an_error_like_all_others(node):
    for head in (BROKEN["two lengths"], REFUSED["chunks"][0], REFUSED["a long path"][0]):
        with Link(node) as link:
            link.send(head)
            status, headers, body = link.answer()
            error = json.loads(body)["error"]
            assert error["code"] == f"http_{status}" and error["message"]
            assert headers["connection"] == "close" and headers["content-type"] == "application/json"
            assert link.answer() is None, "nothing follows on that connection"


def test_what_follows_a_broken_head_is_never_a_request(node):
    """How requests are smuggled past a proxy."""
    token = bearer(node).encode()
    inner = b"DELETE /v1/users/admin HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + b"\r\n\r\n"
    for head in (b"Content-Length: 0\r\nContent-Length: %d" % len(inner), b"Content-Length: 1\r\nTransfer-Encoding: chunked",
                 b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked"):
        with Link(node) as link:
            link.send(POST + head + b"\r\n\r\n" + inner)
            assert link.answer()[0] in (400, 411)
            assert link.answer() is None
    assert {"name": "admin", "role": "admin"} in node.request("GET", "/v1/users")[1]


def test_a_trickle_is_read_byte_by_byte(node):
    body = json.dumps({"username": "admin", "password": password(node)}).encode()
    with Link(node) as link:
        for byte in POST + b"Content-Length: %d\r\n\r\n" % len(body) + body:
            link.send(bytes([byte]))
        assert link.answer()[0] == 200


def test_trickling_connections_hold_up_nobody(node):
    links = [Link(node) for _ in range(100)]
    try:
        for link in links:
            link.send(b"GET / HTT")
        start = time.monotonic()
        assert ask(node, "GET", "/healthz").status == 200
        assert time.monotonic() - start < 5
    finally:
        for link in links:
            link.__exit__()


def test_several_requests_in_one_go_are_answered_in_order(node):
    with Link(node) as link:
        link.send((GET + b"\r\n") * 3 + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"Connection: close\r\n\r\n")
        assert [link.answer()[0] for _ in range(5)] == [200, 200, 200, 404, 200]
        assert link.answer() is None


def test_HTTP_1_0_needs_no_host_and_closes(node):
    with Link(node) as link:
        link.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert link.answer()[0] == 200
        assert link.answer() is None


def test_HEAD_has_the_head_of_GET_and_no_body(node):
    with Link(node) as link:
        link.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"\r\n")
        status, headers, _ = link.answer(has_body=False)
        assert status == 200 and int(headers["content-length"]) > 1000
        assert link.answer()[0] == 200


def test_who_expects_100_continue_gets_it(node):
    body = b'{"username":"x","password":"y"}'
    with Link(node) as link:
        link.send(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert link.answer(has_body=False)[0] == 100
        link.send(body)
        assert link.answer()[0] == 401


def test_a_client_that_leaves_while_it_is_answered_harms_nobody(node):
    body = json.dumps({"username": "admin", "password": password(node)}).encode()
    request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for part in (len(request), len(request) - 1, 40, 10):
        for _ in range(5):
            with Link(node) as link:
                link.send(request[:part])
    assert ask(node, "GET", "/healthz").status == 200


def test_a_client_that_ends_its_side_still_gets_its_answer(node):
    with Link(node) as link:
        link.send(GET + b"\r\n")
        link.socket.shutdown(socket.SHUT_WR)
        assert link.answer()[0] == 200


# ---- bodies ----

def test_a_body_as_large_as_allowed_is_read(node):
    text = "x" * (2 * 1024 * 1024)
    assert ask(node, "POST", "/v1/login", text).code == "body_invalid"
    assert ask(node, "POST", "/v1/login", text + "x").status == 413


@pytest.mark.parametrize("text", ["[" * 10000, '{"a":' * 10000, "[" * 10000 + "]" * 10000, '{"a":' * 10000 + "1" + "}" * 10000,
                                  '{"username":"a","password":' + "[" * 10000 + "]" * 10000 + "}"])
def test_JSON_nested_10000_deep_is_refused(node, text):
    answer = ask(node, "POST", "/v1/login", text)
    assert (answer.status, answer.code) == (400, "body_invalid")


def test_a_field_of_a_wrong_kind_is_refused_not_guessed(node):
    """{"payload": 21.5, "retain": true} taken as an empty payload would remove the retained message."""
    node.request("POST", "/v1/publish", {"topic": "kept", "payload": "here", "retain": True, "qos": 1})
    for field in ({"payload": 21.5}, {"payload": None}, {"payload": {}}, {"payload_base64": "!!"}, {"payload_base64": "YQ"}, {"qos": "1"},
                  {"qos": 3}, {"qos": -1}, {"retain": "yes"}, {"expiry_s": -1}, {"expiry_s": 1 << 32}, {"payload": "a", "payload_base64": "YQ=="}):
        status, answer = node.request("POST", "/v1/publish", {"topic": "kept", "retain": True, **field})
        assert status == 400 and list(field)[0] in answer["error"]["message"], (field, status, answer)
    for field in ({"role": 1}, {"password": 1}, {"password": ""}, {"password": "x" * 1025}, {"role": "king", "password": "x"}):
        assert node.request("PUT", "/v1/users/wrong", {"password": "secret", **field})[0] == 400, field
    assert node.request("GET", "/v1/topics/kept")[1]["payload"] == "here"
    assert "wrong" not in [user["name"] for user in node.request("GET", "/v1/users")[1]]


# ---- logins ----

def test_a_login_says_for_how_long_and_whom(node):
    answer = login(node)
    assert set(answer.json) == {"token", "user", "role", "expires_s"}
    assert answer.json["user"] == "admin" and answer.json["role"] == "admin" and answer.json["expires_s"] == 12 * 3600
    assert len(answer.json["token"]) >= 32 and login(node).json["token"] != answer.json["token"]
    cookie = answer.headers["Set-Cookie"]
    assert f"Max-Age={12 * 3600}" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert answer.headers["Cache-Control"] == "no-store"
    who = ask(node, "GET", "/v1/login", Authorization="Bearer " + answer.json["token"]).json
    assert who == {"user": "admin", "role": "admin"}


def test_a_wrong_password_and_a_wrong_name_look_alike(own_node):
    wrong, unknown = login(own_node, secret="wrong"), login(own_node, "nobody", "wrong")
    assert wrong.status == unknown.status == 401 and wrong.json == unknown.json


def test_headers_that_are_nearly_right_open_nothing(node):
    token = login(node).json["token"]
    for value in (token, "Basic " + token, "Bearer", "Bearer ", "Bearer  " + token, f"Bearer {token} ", "Bearer " + token[:-1], "Bearer " + "a" * 5000):
        answer = ask(node, "GET", "/v1/status", Authorization=value)
        assert answer.status == (200 if value == f"Bearer {token} " else 401), value  # white space at the end is no part of it
    for value in ("microcloud=", "microcloud=" + token[:-1], "microcloud2=" + token, token, ";;;=" * 50):
        assert ask(node, "GET", "/v1/status", Cookie=value).status == 401, value
    assert ask(node, "GET", "/v1/status", Cookie=f"a=b; microcloud={token}; c=d").status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:1", "127.0.0.1:{port}",
                                    "http://127.0.0.1:{port}.evil.example", "http://evil.example/127.0.0.1:{port}", "http://a@127.0.0.1:{port}"])
def test_a_change_with_the_cookie_from_elsewhere_is_refused(node, origin):
    cookie = login(node).headers["Set-Cookie"].split(";")[0]
    origin = origin.format(port=node.http_port)
    for method, path in (("POST", "/v1/publish"), ("PUT", "/v1/users/x"), ("DELETE", "/v1/topics/a"), ("POST", "/v1/logout")):
        assert ask(node, method, path, {}, Cookie=cookie, Origin=origin).code == "foreign_origin", (method, path)
    assert ask(node, "GET", "/v1/login", Cookie=cookie).status == 200, "and the login is still there"


# ---- each call ----

ROLES = ("none", "device", "viewer", "operator", "admin")


def test_each_route_refuses_each_role_below_its_own(node):
    tokens = {"none": {}}
    for role in ("viewer", "operator", "admin"):
        node.add_user("role-" + role, "secret", role)
        tokens[role] = {"Authorization": bearer(node, "role-" + role, "secret")}
    routes = node.request("GET", "/v1/routes")[1]
    assert len(routes) > 30
    for route in routes:
        path = route["path"].replace("{topic...}", "a").replace("{id}", "1").replace("{name}", "nobody").replace("{key}", "k").replace("{file}", "f")
        for role in ROLES[:ROLES.index(route["role"])]:
            if role == "device":
                continue  # gets no token
            answer = ask(node, route["method"], path, None if route["method"] == "GET" else {}, **tokens[role])
            expected = (401, "login_needed") if role == "none" else (403, "not_allowed")
            assert (answer.status, answer.code) == expected, (route, role)


def test_the_pages_are_served_with_a_strict_policy(node):
    page = ask(node, "GET", "/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    for name, kind in (("style.css", "text/css"), ("console.js", "text/javascript"), ("mqtt.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        answer = ask(node, "GET", "/console/" + name)
        assert answer.status == 200 and answer.headers["Content-Type"].startswith(kind), name
    for name in ("nothing.js", "..%2f..%2fetc%2fpasswd", "%2e%2e", "."):
        assert ask(node, "GET", "/console/" + name).status == 404, name
    assert "openapi: 3" in ask(node, "GET", "/v1/openapi.yaml").bytes.decode()


def test_the_state_of_the_node_is_told(node):
    status = node.request("GET", "/v1/status")[1]
    assert status["node"] == "one" and status["quorum"] is True and status["leader"] == "one" and status["memory_bytes"] > 1 << 20
    assert [entry["leader"] for entry in status["nodes"]] == [True]
    checks = {check["check"]: check for check in node.request("GET", "/v1/doctor")[1]}
    assert len(checks) >= 5
    for check in checks.values():
        assert check["ok"] or check["advice"], check
    assert node.request("GET", "/v1/bridges") == (200, [])


def test_a_setting_is_changed_and_stays(own_node):
    path = "/v1/settings/mqtt.queue_messages_max"
    assert own_node.request("PUT", path, {"value": 77})[0] == 200
    assert own_node.request("PUT", path, {"value": "78"})[0] == 200
    for value in (0, -1, 1 << 40, "many", "", None, [], {"a": 1}):
        status, answer = own_node.request("PUT", path, {"value": value})
        assert status == 400, (value, answer)
    own_node.restart()
    setting = own_node.request("GET", path)[1]
    assert setting["value"] == "78" and setting["default"] == "10000" and setting["meaning"] and setting["at_limit"]
    listed = own_node.request("GET", "/v1/settings")[1]
    assert [entry["key"] for entry in listed] == sorted(entry["key"] for entry in listed) and setting in listed


def test_users_are_added_changed_and_removed(node):
    assert node.request("PUT", "/v1/users/anna", {"password": "one"})[0] == 200
    assert {"name": "anna", "role": "device"} in node.request("GET", "/v1/users")[1]
    assert node.request("PUT", "/v1/users/anna", {"role": "viewer"})[0] == 200
    assert login(node, "anna", "one").json["role"] == "viewer"
    assert node.request("DELETE", "/v1/users/anna")[0] == 200
    assert node.request("DELETE", "/v1/users/anna")[0] == 404
    assert login(node, "anna", "one").status == 401
    for name in ("a:b", "x" * 256):
        assert node.request("PUT", "/v1/users/" + urllib.parse.quote(name), {"password": "x"})[0] == 400, name
    assert "password" not in json.dumps(node.request("GET", "/v1/users")[1])


def test_a_rule_holds_at_once_and_goes_again(node, open_client):
    node.add_user("ruled", "secret")
    assert node.request("POST", "/v1/acl", {"subject": "user:ruled", "action": "write", "filter": "mine/%u/#"})[0] == 200
    rule = node.request("GET", "/v1/acl")[1][-1]
    client = open_client(node, username="ruled", password="secret")
    assert client.publish("mine/ruled/a", "x", qos=1).reason in (0, 0x10)
    assert client.publish("other", "x", qos=1).reason == 0x87
    assert node.request("DELETE", f"/v1/acl/{rule['id']}")[0] == 200
    assert client.publish("other", "x", qos=1).reason in (0, 0x10)
    assert node.request("DELETE", f"/v1/acl/{rule['id']}")[0] in (400, 404)


def test_a_message_of_the_API_arrives_by_MQTT(node, open_client):
    client = open_client(node)
    client.subscribe("from/api", qos=2)
    data = bytes(range(256))
    assert node.request("POST", "/v1/publish", {"topic": "from/api", "payload": "grüße", "qos": 1})[1]["reason"] == 0
    found = client.expect_publish("from/api", "grüße")
    assert found.qos == 1
    assert node.request("POST", "/v1/publish", {"topic": "from/api", "payload_base64": base64.b64encode(data).decode(), "qos": 2, "expiry_s": 60})[0] == 200
    found = client.expect_publish("from/api", data)
    assert found.qos == 2 and found.property("message_expiry") in (59, 60)
    assert node.request("POST", "/v1/publish", {"topic": "to/nobody", "payload": "x", "qos": 1})[1]["reason"] == 0x10
    for topic in ("", "a/#", "a/+", "$SYS/x", "a\0b", "x" * 70000):
        assert node.request("POST", "/v1/publish", {"topic": topic, "payload": "x"})[0] == 400, topic[:10]


def test_retained_messages_are_listed_by_filter_and_removed(node, open_client):
    for topic in ("shed/a", "shed/b/c", "/shed", "shed/with space", "shed/50%"):
        node.request("POST", "/v1/publish", {"topic": topic, "payload": topic, "retain": True, "qos": 1})

    def listed(topic_filter):
        answer = node.request("GET", "/v1/topics?filter=" + urllib.parse.quote(topic_filter, safe=""))[1]
        return {entry["topic"] for entry in answer}
    assert listed("shed/+") == {"shed/a", "shed/with space", "shed/50%"}
    assert listed("shed/#") == {"shed/a", "shed/b/c", "shed/with space", "shed/50%"}
    assert listed("#") >= {"/shed", "shed/a"} and not any(topic.startswith("$") for topic in listed("#"))
    client = open_client(node)
    client.subscribe("shed/#", as_published=True)
    assert {client.expect_publish().topic for _ in range(4)} == listed("shed/#")
    for topic in ("shed/a", "shed/b/c", "/shed", "shed/with space", "shed/50%"):
        path = "/v1/topics/" + urllib.parse.quote(topic)
        assert node.request("GET", path)[1]["payload"] == topic
        assert node.request("DELETE", path)[0] == 200, topic
        assert node.request("DELETE", path)[0] == 404, topic
    assert client.expect_publish("shed/a", "").retain, "who listens is told"


def test_a_kicked_client_is_told_why_and_keeps_its_session(node, open_client):
    client = open_client(node, client_id="kick-me", properties=[("session_expiry", 300)])
    client.subscribe("kept/#", qos=1)
    assert node.request("GET", "/v1/clients/kick-me")[1]["connected"] is True
    assert node.request("DELETE", "/v1/clients/kick-me")[0] == 200
    client.expect_disconnect(0x98)
    found = until(lambda: (lambda session: session if not session["connected"] else None)(node.request("GET", "/v1/clients/kick-me")[1]), "it is away")
    assert found["persistent"] and found["subscriptions"] == 1
    assert node.request("DELETE", "/v1/clients/kick-me?purge=1")[0] == 200
    until(lambda: node.request("GET", "/v1/clients/kick-me")[0] == 404, "its session is gone")


def test_a_purge_is_answered_when_the_session_is_gone(own_node, open_client):
    open_client(own_node, client_id="kept", properties=[("session_expiry", 1000)])
    assert own_node.request("DELETE", "/v1/clients/kept?purge=1")[0] == 200
    assert own_node.request("GET", "/v1/clients/kept")[0] == 404
    own_node.kill()
    own_node.start()
    assert own_node.request("GET", "/v1/clients/kept")[0] == 404


def test_a_client_id_of_any_kind_is_found(node, open_client):
    for client_id in ("a/b", "über", "100%", "with space", "?x=1", "#", "..", "trace"):
        client = open_client(node, client_id=client_id)
        path = "/v1/clients/" + urllib.parse.quote(client_id, safe="")
        assert node.request("GET", path)[1]["id"] == client_id
        client.close()


def test_a_trace_ends_with_its_reader(own_node, open_client):
    links = []
    for _ in range(20):
        link = UnixConnection(own_node.data / "api.sock")
        link.request("GET", "/v1/clients/anybody/trace")
        assert link.getresponse().status == 200
        links.append(link)
    for link in links:
        link.close()
    client = open_client(own_node, client_id="anybody")
    client.publish("a", "b", qos=1)
    assert own_node.request("GET", "/healthz")[0] == 200


# ---- mosquitto's files ----

def test_users_made_by_mosquitto_passwd_log_in(node, open_client, tmp_path):
    file = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", file, "kiosk", "swordfish"], check=True, capture_output=True)
    subprocess.run(["mosquitto_passwd", "-b", file, "gate", "pass:with:colons"], check=True, capture_output=True)
    token = bearer(node)
    answer = ask(node, "POST", "/v1/users/import?role=viewer", file.read_text(), Authorization=token)
    assert (answer.status, answer.json) == (200, {"imported": 2})
    assert login(node, "kiosk", "swordfish").json["role"] == "viewer"
    assert open_client(node, username="gate", password="pass:with:colons").connack.reason == 0
    assert open_client(node, connect=False).start(username="gate", password="pass").reason in (0x86, 0x87)


def test_an_import_of_what_is_no_such_file_adds_nothing(node):
    token = bearer(node)
    before = node.request("GET", "/v1/users")[1], node.request("GET", "/v1/acl")[1]
    for path, body in (("/v1/users/import?role=king", "a:$7$101$c2FsdA==$aGFzaA==\n"), ("/v1/users/import", b"\xff\xfe\n"), ("/v1/users/import", b"a\0b:c\n"),
                       ("/v1/users/import", "plain:text\n"), ("/v1/acl/import", "user\n"), ("/v1/acl/import", b"\xff"),
                       ("/v1/acl/import", "topic read a/#/b\n")):
        answer = ask(node, "POST", path, body, Authorization=token)
        assert answer.status == 400, (path, body, answer.bytes)
    assert (node.request("GET", "/v1/users")[1], node.request("GET", "/v1/acl")[1]) == before


def test_rules_of_an_acl_file_hold(own_node, open_client):
    own_node.add_user("anna", "secret")
    own_node.add_user("bert", "secret")
    rules = "topic read public/#\n\n# Anna's own\nuser anna\ntopic readwrite home/#\ntopic deny home/safe\npattern write tele/%u/%c\n"
    answer = ask(own_node, "POST", "/v1/acl/import", rules, Authorization=bearer(own_node))
    assert answer.status == 200, answer.bytes
    anna = open_client(own_node, client_id="c1", username="anna", password="secret")
    bert = open_client(own_node, client_id="c2", username="bert", password="secret")

    def may(client, topic):
        return client.publish(topic, "x", qos=1).reason != 0x87
    assert may(anna, "home/lamp") and may(anna, "tele/anna/c1") and may(bert, "tele/bert/c2")
    assert not may(anna, "home/safe") and not may(anna, "tele/bert/c1") and not may(bert, "home/lamp") and not may(anna, "other")


def test_the_unix_socket_is_for_its_owner_and_group(node):
    assert (node.data / "api.sock").stat().st_mode & 0o777 == 0o660
    link = UnixConnection(node.data / "api.sock")
    link.request("GET", "/v1/login")
    assert Answer(link.getresponse()).json == {"user": None, "role": "admin"}
    link.close()
