"""The API as people and programs use it: logins, roles, what is refused, backup and restore."""
import base64
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

from lib.node import Node, program
from lib.wait import until
from lib.web import Answer, ask, bearer, login, password


# ---- who asks ----

def test_what_needs_no_login_and_what_does(node):
    for path in ("/", "/console/style.css", "/healthz", "/v1/openapi.yaml"):
        assert ask(node, "GET", path).status == 200, path
    for path in ("/metrics", "/v1/status", "/v1/users", "/v1/backup", "/v1/clients", "/v1/topics"):
        answer = ask(node, "GET", path)
        assert (answer.status, answer.code) == (401, "login_needed"), path


def test_a_token_opens_the_api_until_the_logout(node):
    token = bearer(node)
    assert ask(node, "GET", "/v1/status", Authorization=token).json["quorum"] is True
    assert ask(node, "POST", "/v1/logout", Authorization=token).status == 204
    assert ask(node, "GET", "/v1/status", Authorization=token).status == 401
    assert ask(node, "GET", "/v1/status", Authorization="Bearer " + "0" * 64).status == 401


def test_the_cookie_is_for_our_own_pages_only(node):
    cookie = login(node).headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    cookie = cookie.split(";")[0]
    own = f"http://127.0.0.1:{node.http_port}"
    path, body = "/v1/settings/mqtt.anonymous", {"value": "loopback"}
    assert ask(node, "GET", "/v1/status", Cookie=cookie).status == 200
    assert ask(node, "PUT", path, body, Cookie=cookie).code == "foreign_origin"
    assert ask(node, "PUT", path, body, Cookie=cookie, Origin="http://evil.example").code == "foreign_origin"
    assert ask(node, "PUT", path, body, Cookie=cookie, Origin=own).status == 200


def test_a_wrong_password_is_refused_and_slowed_down(own_node):
    assert login(own_node, secret="wrong").code == "login_failed"
    assert login(own_node, "nobody", "wrong").code == "login_failed"
    start = time.monotonic()
    for _ in range(3):
        assert login(own_node, secret="wrong").status == 401
    assert time.monotonic() - start > 0.5


def test_each_role_may_what_it_may(node):
    for role in ("device", "viewer", "operator"):
        node.add_user(role, "secret", role)
    assert login(node, "device", "secret").status == 403
    viewer, operator = bearer(node, "viewer", "secret"), bearer(node, "operator", "secret")
    message = {"topic": "role/test", "payload": "x"}
    assert ask(node, "GET", "/v1/status", Authorization=viewer).status == 200
    assert ask(node, "POST", "/v1/publish", message, Authorization=viewer).code == "not_allowed"
    assert ask(node, "POST", "/v1/publish", message, Authorization=operator).status == 200
    assert ask(node, "PUT", "/v1/users/x", {"password": "y"}, Authorization=operator).status == 403
    assert ask(node, "GET", "/v1/backup", Authorization=operator).status == 403


def test_a_new_password_and_a_removed_user_end_their_logins(node):
    node.add_user("moving", "one", "viewer")
    first = bearer(node, "moving", "one")
    node.request("PUT", "/v1/users/moving", {"role": "operator"})
    assert ask(node, "GET", "/v1/login", Authorization=first).json["role"] == "operator"
    node.add_user("moving", "two", "viewer")
    assert ask(node, "GET", "/v1/status", Authorization=first).status == 401
    second = bearer(node, "moving", "two")
    assert node.request("DELETE", "/v1/users/moving")[0] == 200
    node.add_user("moving", "two", "viewer")
    assert ask(node, "GET", "/v1/status", Authorization=second).status == 401


# ---- what is refused ----

def test_nested_and_broken_json_is_refused(node):
    for body in ("[" * 10000, '{"a":' * 10000, "{", "null", "[]", '"x"', "\xff", '{"username":1}', '{"username":"a","username":"b"}', ""):
        answer = ask(node, "POST", "/v1/login", body.encode("latin-1"))
        assert (answer.status, answer.code) == (400, "body_invalid"), body[:20]


def test_errors_name_the_thing(node):
    cases = [("GET", "/v1/settings/mqtt.colour", None, 404, "mqtt.colour"), ("PUT", "/v1/settings/mqtt.anonymous", {"value": "some"}, 400, "mqtt.anonymous"),
             ("GET", "/v1/clients/nobody", None, 404, "nobody"), ("DELETE", "/v1/clients/nobody", None, 404, "nobody"),
             ("GET", "/v1/topics/not/there", None, 404, "not/there"), ("DELETE", "/v1/users/nobody", None, 404, "nobody"),
             ("PUT", "/v1/users/x", {"role": "king", "password": "x"}, 400, "king"), ("PUT", "/v1/users/y", {}, 400, "password"),
             ("POST", "/v1/publish", {"topic": "a/#"}, 400, "topic"), ("POST", "/v1/publish", {"topic": "a", "qos": 3}, 400, "qos"),
             ("POST", "/v1/publish", {"payload": "x"}, 400, "topic"), ("GET", "/v1/topics?filter=a%23", None, 400, "a#"),
             ("POST", "/v1/acl", {"subject": "x", "action": "read", "filter": "#"}, 400, "subject"),
             ("DELETE", "/v1/acl/x", None, 400, "x"), ("GET", "/v1/nothing", None, 404, "/v1/nothing"), ("PATCH", "/v1/status", None, 405, "method"),
             ("POST", "/v1/restore", {}, 409, "microcloud restore")]
    for method, path, body, status, word in cases:
        got, answer = node.request(method, path, body)
        assert got == status and word in answer["error"]["message"], (method, path, got, answer)


def test_a_flood_of_connections_is_limited(own_node):
    def answer():
        """None: one too many is told 503 and let go, perhaps before it has asked."""
        try:
            return own_node.request("GET", "/healthz")[0]
        except (BrokenPipeError, ConnectionResetError):
            return None

    links = []
    try:
        for _ in range(600):
            links.append(socket.create_connection(("127.0.0.1", own_node.http_port), 20))
        assert answer() in (200, 503, None)
    finally:
        for link in links:
            link.close()
    until(lambda: answer() == 200, "the node answers again")


# ---- what it does ----

def test_a_message_goes_in_and_comes_out(node):
    topic = "küche/lampe 1"
    path = "/v1/topics/" + urllib.parse.quote(topic)
    assert node.request("POST", "/v1/publish", {"topic": topic, "payload": "an", "qos": 1, "retain": True})[0] == 200
    assert node.request("GET", path)[1]["payload"] == "an"
    data = base64.b64encode(b"\xff\x00\x01").decode()
    assert node.request("POST", "/v1/publish", {"topic": topic, "payload_base64": data, "retain": True})[0] == 200
    until(lambda: node.request("GET", path)[1].get("payload_base64") == data, "the bytes are kept")
    listed = node.request("GET", "/v1/topics?filter=" + urllib.parse.quote("küche/#"))[1]
    assert [entry["topic"] for entry in listed] == [topic]
    assert node.request("DELETE", path)[0] == 200
    assert node.request("GET", path)[0] == 404


def test_clients_are_listed_traced_and_kicked(node, open_client):
    client = open_client(node, client_id="lamp/1")
    path = "/v1/clients/" + urllib.parse.quote("lamp/1", safe="")
    link = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
    link.request("GET", path + "/trace", headers={"Authorization": bearer(node)})
    stream = link.getresponse()
    assert stream.status == 200 and stream.headers["Content-Type"].startswith("text/event-stream")
    client.subscribe("home/#")
    event = stream.readline()
    assert event.startswith(b"data: ") and b"SUBSCRIBE" in event, event
    link.close()
    status, found = node.request("GET", path)
    assert status == 200 and found["connected"] and found["filters"][0]["filter"] == "home/#"
    assert node.request("DELETE", path)[0] == 200
    until(lambda: not node.request("GET", path)[1].get("connected"), "the client is gone")


def test_files_of_mosquitto_are_imported(node):
    token = bearer(node)
    record = "anna:$7$101$" + base64.b64encode(b"salt" * 3).decode() + "$" + base64.b64encode(b"h" * 64).decode() + "\n"
    answer = ask(node, "POST", "/v1/users/import?role=viewer", record, Authorization=token)
    assert answer.json == {"imported": 1}, answer.bytes
    assert {"name": "anna", "role": "viewer"} in node.request("GET", "/v1/users")[1]
    assert ask(node, "POST", "/v1/users/import", "no colon\n", Authorization=token).status in (400, 503)
    before = len(node.request("GET", "/v1/acl")[1])
    rules = "user anna\ntopic read home/#\npattern write tele/%u/#\n"
    assert ask(node, "POST", "/v1/acl/import", rules, Authorization=token).json == {"imported": 2}
    added = node.request("GET", "/v1/acl")[1][before:]
    assert len(added) == 2
    for rule in added:
        assert node.request("DELETE", f"/v1/acl/{rule['id']}")[0] == 200


def test_metrics_are_as_prometheus_reads_them(node):
    text = ask(node, "GET", "/metrics", Authorization=bearer(node)).bytes.decode()
    lines = text.splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {"microcloud_mqtt_clients_connected", "microcloud_memory_bytes"} <= names
    for line in lines:
        assert line.startswith("# ") or re.fullmatch(r"microcloud_[a-z_]+ [0-9.e+]+", line), line


def test_secrets_are_not_in_the_log(own_node):
    own_node.add_user("quiet", "very-secret-password")
    login(own_node, "quiet", "very-secret-password")
    login(own_node, secret="another-secret")
    assert "secret" not in own_node.output()
    assert password(own_node) not in own_node.output()


# ---- the data directory ----

def run(*words):
    return subprocess.run([program(), *map(str, words)], capture_output=True, text=True, timeout=60)


def test_a_backup_is_restored_into_an_empty_directory(own_node, tmp_path):
    own_node.add_user("kept", "secret")
    own_node.request("POST", "/v1/publish", {"topic": "kept/topic", "payload": "kept", "qos": 1, "retain": True})
    file = tmp_path / "backup"
    done = run("backup", file, "--data", own_node.data)
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o077 == 0
    other = Node(tmp_path / "other")
    done = run("restore", file, "--data", other.data)
    assert done.returncode == 0, done.stderr
    assert run("restore", file, "--data", other.data).returncode == 1, "not over another"
    own_node.stop()
    other.start()
    try:
        assert other.request("GET", "/v1/topics/kept/topic")[1]["payload"] == "kept"
        assert login(other, "kept", "secret").status == 403, "a device, and its password is right"
    finally:
        other.end()
    own_node.start()


def test_a_damaged_backup_is_refused(own_node, tmp_path):
    file = tmp_path / "backup"
    assert run("backup", file, "--data", own_node.data).returncode == 0
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    done = run("restore", file, "--data", tmp_path / "other")
    assert done.returncode == 1 and "damaged" in done.stderr, done.stderr
    assert not (tmp_path / "other" / "node.json").exists()


def test_two_nodes_never_share_a_directory(own_node):
    second = run("run", "--data", own_node.data, "--mqtt-port", 0, "--http-port", 0, "--mqtts-port", 0, "--https-port", 0)
    assert second.returncode == 1 and "another microcloud runs on it" in second.stderr


def test_a_log_without_its_identity_is_refused(own_node):
    own_node.stop()
    identity = own_node.data / "node.json"
    kept = identity.read_bytes()
    identity.unlink()
    done = run(*own_node.command()[1:])
    assert done.returncode == 1 and str(own_node.data) in done.stderr, done.stderr
    identity.write_bytes(kept)
    own_node.start()


def test_a_port_that_is_taken_is_named(own_node, tmp_path):
    done = run("run", "--data", tmp_path / "d", "--mqtt-port", own_node.port, "--http-port", 0, "--mqtts-port", 0, "--https-port", 0)
    assert done.returncode == 1 and str(own_node.port) in done.stderr, done.stderr


def test_a_stop_takes_a_second_whatever_goes_on(own_node, open_client):
    """Half a request, an open stream, a login that is being checked, a client: none of them holds it up."""
    token = bearer(own_node)
    client = open_client(own_node)
    client.subscribe("a")
    half = socket.create_connection(("127.0.0.1", own_node.http_port))
    half.sendall(b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    stream = http.client.HTTPConnection("127.0.0.1", own_node.http_port)
    stream.request("GET", "/v1/clients/x/trace", headers={"Authorization": token})
    assert stream.getresponse().status == 200

    def try_login():
        try:
            login(own_node, secret="wrong")
        except (OSError, http.client.HTTPException):
            pass
    login(own_node, secret="wrong")  # those that follow wait for their turn
    threads = [threading.Thread(target=try_login) for _ in range(4)]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    own_node.process.send_signal(signal.SIGTERM)
    status = own_node.process.wait(20)
    taken = time.monotonic() - start
    for thread in threads:
        thread.join()
    own_node.process = None
    half.close()
    stream.close()
    assert status == 0, own_node.output()[-6000:]
    assert taken < (1.5 if "asan" not in os.environ.get("MICROCLOUD", "") else 6), taken
    own_node.start()


def test_certificates_are_made_once_and_read_again(tmp_path):
    node = Node(tmp_path / "n")
    https = node.port + 1
    node.options = ["--https-port", str(https)]
    node.start()
    try:
        files = {name: (node.data / "tls" / name) for name in ("server.crt", "server.key")}
        assert files["server.key"].stat().st_mode & 0o077 == 0
        trusts_it = ssl.create_default_context(cafile=files["server.crt"])
        link = http.client.HTTPSConnection("localhost", https, timeout=20, context=trusts_it)
        link.request("GET", "/healthz")
        assert Answer(link.getresponse()).json == {"status": "ok"}
        link.close()
        before = files["server.crt"].read_bytes()
        node.process.send_signal(signal.SIGHUP)
        until(lambda: "certificates reloaded" in node.output(), "the certificates are read again")
        node.restart()
        assert pathlib.Path(files["server.crt"]).read_bytes() == before
    finally:
        node.end()


def test_a_change_is_told_in_the_log_when_it_is_done(own_node):
    assert own_node.request("PUT", "/v1/vips", {"address": "nonsense"})[0] in (400, 409)
    assert own_node.request("DELETE", "/v1/vips/192.0.2.1")[0] == 400
    assert own_node.request("PUT", "/v1/settings/mqtt.receive_maximum", {"value": 77})[0] == 200
    told = [line for line in own_node.output().splitlines() if "changed by a user" in line]
    assert len(told) == 1 and 'change="set" name="mqtt.receive_maximum"' in told[0], told
