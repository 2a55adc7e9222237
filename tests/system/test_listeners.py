"""Where clients come in: TLS and certificates, WebSocket, PROXY protocol, IPv6, Unix sockets; and what the log never tells."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import time

import pytest

from lib import packet, web
from lib.certificates import Authority
from lib.mqtt import Client, Closed
from lib.node import Node, free_ports
from lib.programs import client_of, microcloud, need, run
from lib.wait import until

HERE = pathlib.Path(__file__).resolve().parent
MQTT_JS = HERE.parent / "node_modules" / "mqtt"


@pytest.fixture
def directory():
    path = pathlib.Path(tempfile.mkdtemp(prefix="mc-tls-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def nodes(directory):
    """nodes(*options) starts a node that is ended after the test."""
    started = []

    def start(*options, **more):
        node = Node(directory / f"node{len(started)}", *map(str, options), **more).start()
        started.append(node)
        return node
    yield start
    for node in started:
        node.end()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


class Secure:
    """A node with TLS by a certificate of the authority."""

    def __init__(self, nodes, authority, directory, *options):
        self.certificate, self.key = directory / "server.crt", directory / "server.key"
        self.install(authority, "first")
        self.port, self.https_port = free_ports(2)
        self.node = nodes("--mqtts-port", self.port, "--https-port", self.https_port, "--tls-cert", self.certificate,
                          "--tls-key", self.key, *options)

    def install(self, authority, name):
        certificate, key = authority.issue(name)
        shutil.copy(certificate, self.certificate)
        shutil.copy(key, self.key)


def context(authority, certificate=None, least=ssl.TLSVersion.TLSv1_2, most=ssl.TLSVersion.TLSv1_3):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(authority.certificate)
    made.set_ciphers("DEFAULT:@SECLEVEL=0")  # so that it is the server who refuses what is old
    made.minimum_version, made.maximum_version = least, most
    if certificate:
        made.load_cert_chain(*certificate)
    return made


def secure_socket(port, made):
    return made.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="localhost")


@contextlib.contextmanager
def tls_client(port, made, version=5, **connect):
    with Client(secure_socket(port, made), version) as client:
        client.connect(**connect)
        yield client


def common_name(link):
    return dict(pair for part in link.getpeercert()["subject"] for pair in part)["commonName"]


# ---- TLS ----

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3(nodes, authority, directory, version):
    secure = Secure(nodes, authority, directory)
    with tls_client(secure.port, context(authority, least=version, most=version)) as client:
        assert client.socket.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
        client.subscribe("t", qos=1)
        payload = os.urandom(900_000)  # many records
        client.publish("t", payload, 1)
        client.expect_publish("t", payload)
        assert client_of(secure.node, client.client_id)["transport"] == "tls"


def test_tls_1_1_is_refused(nodes, authority, directory):
    secure = Secure(nodes, authority, directory)
    for port in (secure.port, secure.https_port):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            secure_socket(port, context(authority, least=ssl.TLSVersion.TLSv1, most=ssl.TLSVersion.TLSv1_1))


def test_a_client_that_does_not_speak_tls_is_cut_off(nodes, authority, directory):
    secure = Secure(nodes, authority, directory)
    with Client(secure.port) as client:
        client.send(packet.connect("x"))
        with pytest.raises((Closed, AssertionError, KeyError, ValueError)):  # an alert is no packet of MQTT
            client.read()


def test_a_session_of_tls_is_resumed(nodes, authority, directory):
    secure = Secure(nodes, authority, directory)
    made = context(authority, most=ssl.TLSVersion.TLSv1_2)
    with secure_socket(secure.port, made) as link:
        session = link.session
        assert not link.session_reused
    with made.wrap_socket(socket.create_connection(("127.0.0.1", secure.port), 20), server_hostname="localhost",
                          session=session) as link:
        assert link.session_reused


def test_the_node_makes_its_own_certificate(nodes):
    port, = free_ports(1)
    node = nodes("--mqtts-port", port)
    certificate = node.data / "tls" / "server.crt"
    assert stat.S_IMODE((node.data / "tls" / "server.key").stat().st_mode) == 0o600
    before = certificate.read_bytes()
    result = run(need("mosquitto_pub"), "-h", "127.0.0.1", "-p", port, "--cafile", certificate, "--insecure", "-t", "t",
                 "-m", "m", "-q", 1)
    assert result.status == 0, str(result)
    node.restart()
    assert certificate.read_bytes() == before


# ---- client certificates ----

def test_client_certificates_are_optional_when_they_are_not_required(nodes, authority, directory):
    secure = Secure(nodes, authority, directory, "--tls-ca", authority.certificate)
    with tls_client(secure.port, context(authority)):
        pass
    with tls_client(secure.port, context(authority, authority.issue("device-1"))):
        pass


def refused(port, made):
    """With TLS 1.3 the client learns of it only when it reads."""
    try:
        with Client(secure_socket(port, made)) as client:
            client.start("refused")
    except (ssl.SSLError, ConnectionError, Closed):
        return True
    return False


def test_client_certificates_are_required(nodes, authority, directory):
    secure = Secure(nodes, authority, directory, "--tls-ca", authority.certificate, "--require-client-certificate")
    for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert refused(secure.port, context(authority, most=most)), "without a certificate"
        stranger = Authority(directory / f"stranger{int(most)}", "Stranger")
        assert refused(secure.port, context(authority, stranger.issue("device-1"), most=most)), "from another authority"
        with tls_client(secure.port, context(authority, authority.issue("device-1"), most=most)):
            pass


def test_an_expired_client_certificate_is_refused(nodes, authority, directory):
    secure = Secure(nodes, authority, directory, "--tls-ca", authority.certificate, "--require-client-certificate")
    base = directory / "old"
    key, request, certificate = (base.with_suffix(end) for end in (".key", ".csr", ".crt"))
    authority.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=old",
                      "-keyout", key, "-out", request)
    authority.openssl("x509", "-req", "-in", request, "-CA", authority.certificate, "-CAkey", authority.key,
                      "-CAcreateserial", "-days", "-1", "-out", certificate)
    assert refused(secure.port, context(authority, (certificate, key)))


def test_the_name_in_the_certificate_is_the_user_name(nodes, authority, directory):
    secure = Secure(nodes, authority, directory, "--tls-ca", authority.certificate)
    node = secure.node
    node.set(certificate_as_username="true", anonymous="off")
    node.add_user("device-1", "not asked for")
    node.add_rule(subject="user:device-1", action="readwrite", filter="own/%u/#", allow=True)
    with tls_client(secure.port, context(authority, authority.issue("device-1"))) as client:
        assert client_of(node, client.client_id)["username"] == "device-1"
        assert client.publish("own/device-1/t", "x", 1).reason in (0, 0x10)
        assert client.publish("own/other/t", "x", 1).reason == 0x87
    with tls_client(secure.port, context(authority, authority.issue("unknown"))) as client:
        found = client_of(node, client.client_id)
        assert (found["username"], found["role"]) == ("unknown", "device"), "the authority vouches for it"
    with Client(secure_socket(secure.port, context(authority))) as client:
        assert client.start().reason in (0x86, 0x87), "without a certificate"
    node.default("certificate_as_username")
    with Client(secure_socket(secure.port, context(authority, authority.issue("device-1")))) as client:
        assert client.start().reason in (0x86, 0x87), "the setting is off"


# ---- reloading ----

def test_sighup_serves_the_new_certificate_and_keeps_who_is_there(nodes, authority, directory):
    secure = Secure(nodes, authority, directory)
    node, made = secure.node, context(authority)
    with tls_client(secure.port, made) as old:
        assert common_name(old.socket) == "first"
        secure.install(authority, "second")
        with tls_client(secure.port, made) as still:
            assert common_name(still.socket) == "first", "before SIGHUP"
        node.process.send_signal(signal.SIGHUP)

        def served():
            with secure_socket(secure.port, made) as link, secure_socket(secure.https_port, made) as page:
                return common_name(link) == common_name(page) == "second"
        until(served, f"the new certificate is served: {node.output()}")
        old.subscribe("t")
        old.publish("t", "still here", 1)
        old.expect_publish("t", "still here")
        assert "reloaded" in node.output()


def test_sighup_with_a_broken_certificate_keeps_the_old_one(nodes, authority, directory):
    secure = Secure(nodes, authority, directory)
    node = secure.node
    secure.certificate.write_text("no certificate")
    node.process.send_signal(signal.SIGHUP)
    until(lambda: "not reloaded" in node.output(), "it says so")
    assert str(secure.certificate) in node.output()
    with tls_client(secure.port, context(authority)) as client:
        assert common_name(client.socket) == "first"


def test_certificate_files_that_do_not_fit_end_the_start(directory, authority):
    certificate, _ = authority.issue("one")
    _, other_key = authority.issue("two")
    node = Node(directory / "n")
    result = run(*node.command(), "--tls-cert", certificate, "--tls-key", other_key, "--mqtts-port", free_ports(1)[0])
    assert result.status == 1
    assert str(other_key) in result.err or str(certificate) in result.err
    result = run(*node.command(), "--tls-cert", certificate)
    assert result.status == 2 and "--tls-key" in result.err
    result = run(*node.command(), "--require-client-certificate")
    assert result.status == 2 and "--tls-ca" in result.err


# ---- WebSocket ----

def test_websocket_over_http_and_https(nodes, authority, directory):
    if not MQTT_JS.is_dir():
        pytest.skip("mqtt.js is not installed")
    secure = Secure(nodes, authority, directory)
    for url, options in ((f"ws://localhost:{secure.node.http_port}/mqtt", {}),
                         (f"wss://localhost:{secure.https_port}/mqtt", {"rejectUnauthorized": True})):
        task = {"url": url, "options": {"protocolVersion": 5, **options}, "messages": 2,
                "subscribe": [{"topic": "t", "options": {"qos": 1}}],
                "publish": [{"topic": "t", "payload": "x" * size, "options": {"qos": 1}} for size in (1, 50_000)]}
        result = run(need("node"), HERE / "mqtt_js_client.js", json.dumps(task),
                     env={"MQTT_JS": str(MQTT_JS), "NODE_EXTRA_CA_CERTS": str(authority.certificate)}).ok()
        said = [json.loads(line) for line in result.out.splitlines()]
        assert [len(one["payload"]) for one in said if "topic" in one] == [1, 50_000]


def test_websocket_only_at_its_path(nodes):
    node = nodes()
    for path, status in (("/mqtt", 101), ("/", 200), ("/other", 404)):
        request = (f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Protocol: mqtt\r\n\r\n")
        assert web.raw(node, request.encode()) == status


def test_the_console_over_https(nodes, authority, directory):
    secure = Secure(nodes, authority, directory)
    with secure_socket(secure.https_port, context(authority)) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 200 " in link.recv(4096).split(b"\r\n")[0]


# ---- PROXY protocol ----

@pytest.fixture
def proxied(nodes):
    """A node behind a proxy, which everybody may use."""
    node = nodes("--proxy-protocol")
    node.set(anonymous="on")
    return node


@pytest.mark.parametrize("source,family", [("192.0.2.7", socket.AF_INET), ("2001:db8::7", socket.AF_INET6)])
def test_the_address_is_that_of_the_proxy_header(proxied, source, family):
    with Client(proxied) as client:
        client.send(packet.proxy_header(source, family=family))
        client.connect("behind")
        assert client_of(proxied, "behind")["address"] == source
        listed = json.loads(microcloud(proxied, "client", "ls", "--json").ok().out)
        assert [one["address"] for one in listed if one["id"] == "behind"] == [source]
        client.subscribe("t")
        client.publish("t", "through", 1)
        client.expect_publish("t", "through")


def test_a_header_that_comes_byte_by_byte_with_the_connect_behind_it(proxied):
    with Client(proxied) as client:
        for byte in packet.proxy_header("192.0.2.8") + packet.connect("slowly"):
            client.send(bytes([byte]))
        assert client.expect(packet.CONNACK).reason == 0
        assert client_of(proxied, "slowly")["address"] == "192.0.2.8"


def test_a_connection_without_a_proxy_header_is_refused(proxied):
    with Client(proxied) as client:
        client.send(packet.connect("direct"))
        assert client.expect_closed() == []
    assert "without PROXY header refused" in proxied.output()
    with Client(proxied) as client:
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + packet.connect("version 1"))
        assert client.expect_closed() == []
    with Client(proxied) as client:
        client.send(packet.proxy_header("192.0.2.1")[:20])
        client.socket.shutdown(socket.SHUT_WR)
        assert client.expect_closed() == []


def test_a_proxied_client_is_not_of_this_machine(nodes):
    node = nodes("--proxy-protocol")  # anonymous: loopback
    with Client(node) as client:
        client.send(packet.proxy_header("192.0.2.9"))
        assert client.start("far").reason in (0x86, 0x87)


def test_the_proxy_setting_counts_from_the_next_start_on(nodes):
    node = nodes()
    node.set(proxy_protocol="true", anonymous="on")
    with Client(node) as client:
        client.connect()
    node.restart()
    with Client(node) as client:
        client.send(packet.proxy_header("192.0.2.10"))
        client.connect("after")
        assert client_of(node, "after")["address"] == "192.0.2.10"


# ---- addresses ----

def has_ip6():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not has_ip6(), reason="no IPv6 here")
def test_ip6(nodes):
    node = nodes(bind=None)
    with Client(socket.create_connection(("::1", node.port), 20)) as client:
        client.connect("six")
        assert client_of(node, "six")["address"] == "::1"
    run(need("mosquitto_pub"), "-h", "::1", "-p", node.port, "-t", "t", "-m", "m").ok()
    assert microcloud(node, "pub", "-h", "::1", "-p", node.port, "-t", "t", "-m", "m").status == 0
    only = nodes(bind="::1")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", only.port), 5)


def other_addresses():
    """Addresses of this machine that are not loopback ones."""
    listed = run(need("ip"), "-j", "-4", "addr")
    return [address["local"] for link in json.loads(listed.out) for address in link["addr_info"]
            if not address["local"].startswith("127.")]


@pytest.fixture
def outside():
    """An address of this machine that is not a loopback one; made when there is none."""
    found = other_addresses()
    if found:
        yield found[0]
        return
    address = "198.51.100.77"
    if run(need("ip"), "addr", "add", f"{address}/32", "dev", "lo").status != 0:
        pytest.skip("this machine has only loopback addresses, and gives no other")
    yield address
    run(need("ip"), "addr", "del", f"{address}/32", "dev", "lo")


def test_anonymous_clients_only_from_this_machine(nodes, outside):
    node = nodes(bind=None)
    node.add_user("ann", "known")

    def reason(**connect):
        with Client(socket.create_connection((outside, node.port), 20)) as client:
            return client.start(**connect).reason
    assert reason() in (0x86, 0x87)
    assert reason(username="ann", password="known") == 0
    with Client(node) as client:
        client.connect()
    node.set(anonymous="on")
    assert reason() == 0
    node.set(anonymous="off")
    assert reason() in (0x86, 0x87)
    with Client(node) as client:
        assert client.start().reason in (0x86, 0x87)


def test_a_unix_socket(nodes, directory):
    path = directory / "mqtt.sock"
    node = nodes("--mqtt-socket", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660

    def reach():
        link = socket.socket(socket.AF_UNIX)
        link.connect(str(path))
        return link
    with Client(reach()) as client:
        client.connect("local")
        assert client_of(node, "local")["transport"] == "unix"
        client.subscribe("t", qos=1)
        run(need("mosquitto_pub"), "--unix", path, "-t", "t", "-m", "by mosquitto", "-q", 1).ok()
        client.expect_publish("t", "by mosquitto")
        microcloud(node, "pub", "--unix", path, "-t", "t", "-m", "by microcloud", "-q", 1).ok()
        client.expect_publish("t", "by microcloud")
    node.kill()
    node.start()  # over the file that was left
    with Client(reach()) as client:
        client.connect()
    node.stop()
    assert not path.exists()


def test_a_port_that_is_taken_is_named(nodes, directory):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        result = run(*Node(directory / "second").command(), "--mqtt-port", port)
    assert result.status == 1
    assert f"127.0.0.1:{port}" in result.err and "in use" in result.err


# ---- what is open when ----

def test_listeners_open_when_the_state_is_loaded(nodes):
    """A connection that is taken at all is answered from the whole state: retained messages and sessions are there."""
    node = nodes()
    node.set(max_packet_bytes=1572864)
    with Client(node) as client:
        client.connect("keeper", clean=False, properties=[("session_expiry", 3600)])
        client.subscribe("kept/#", qos=1)
        for i in range(2000):
            client.send_publish(f"load/{i}", os.urandom(500), 1, retain=True)
        for _ in range(2000):
            client.expect(packet.PUBACK)
        client.publish("last", "there", 1, retain=True)
    node.kill()
    with node.log.open("ab") as log:
        node.process = subprocess.Popen(node.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        try:
            link = socket.create_connection(("127.0.0.1", node.port), 1)
            break
        except ConnectionRefusedError:
            assert node.is_alive()
    with Client(link) as client:
        assert client.connect("keeper", clean=False, properties=[("session_expiry", 3600)]).session_present
        client.subscribe("last")
        client.expect_publish("last", "there")


# ---- secrets ----

def test_no_secret_comes_into_the_log(nodes):
    secrets = ["open-sesame-1", "open-sesame-2", "open-sesame-3", "open-sesame-4", "private-payload"]
    node = nodes("--log-level", "debug")
    node.set(anonymous="off")
    node.add_user("ann", secrets[0])
    with Client(node) as client:
        client.connect("c", username="ann", password=secrets[0],
                       will=packet.Will("w", secrets[4]))
        client.publish("t", secrets[4], 1)
    with Client(node) as client:
        assert client.start("d", username="ann", password=secrets[1]).reason in (0x86, 0x87)
    with Client(node) as client:
        client.send(packet.connect("e", username="ann", password=secrets[1], flags=0xff))
        client.expect_closed()
    assert web.login(node, "ann", secrets[2]).status == 401
    token = web.login(node).json["token"]
    assert web.ask(node, "GET", "/v1/users", authorization=f"Bearer {token}").status == 200
    bridge = [{"name": "b", "host": "127.0.0.1", "port": 1, "username": "u", "password": secrets[3],
               "topics": [{"pattern": "#"}]}]
    node.put_setting("mqtt.bridges", json.dumps(bridge))
    until(lambda: "bridge interrupted" in node.output(), "the bridge fails")
    text = node.output()
    assert "client=c" in text, "the log tells of clients at this level"
    for secret in [*secrets, token, web.password(node)]:
        assert secret not in text
