"""Who may not join is told why, and no trace is left: of it in the cluster, of the cluster in its directory, of the token its use."""
import base64
import contextlib
import json
import socket
import ssl
import struct
import subprocess
import time
import uuid

import pytest

from lib.cluster import Cluster, Member
from lib.wait import until

DAY_S = 86400


@pytest.fixture(scope="module")
def one():
    cluster = Cluster(1)
    yield cluster
    cluster.end()


def stranger(cluster, name="stranger", *options):
    stranger.count = getattr(stranger, "count", 0) + 1
    return Member(f"{cluster.directory}/s{stranger.count}", name, *options)


def refused(member, environment=None):
    """What it says; nothing of the cluster is in its directory."""
    done = subprocess.run(["env", *(f"{key}={value}" for key, value in (environment or {}).items()), *member.command()],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    for name in ("node.json", "peers.json", "tls/node.pem", "tls/cluster.key", "tls/ca.pem"):
        assert not (member.data / name).exists(), name
    return done.stderr


def may_still_join(cluster, member):
    """With the same token and directory, once what was wrong is put right."""
    assert len(cluster.members[0].nodes()) == 1
    member.start()
    first = cluster.members[0]
    until(lambda: len(first.nodes()) == 2 and all(node["state"] == "online" for node in first.nodes()), "it has joined")
    member.stop()
    assert first.request("DELETE", f"/v1/nodes/{member.name}")[0] in (200, 204)
    until(lambda: len(first.nodes()) == 1, "it is out again")


@pytest.mark.parametrize("off_s", [-7200, 7200])
def test_a_clock_that_is_off(one, clocks, off_s):
    member = stranger(one)
    member.token = one.make_token()
    said = refused(member, clocks(off_s))
    assert f"{'behind' if off_s < 0 else 'ahead of'} ours: set the clock" in said and "its clock is 7" in said
    may_still_join(one, member)


def test_a_clock_that_is_off_by_years(one, clocks):
    """Not even the certificates are valid then."""
    member = stranger(one)
    member.token = one.make_token()
    assert "is the clock of this machine right?" in refused(member, clocks(-40 * 365 * DAY_S))
    may_still_join(one, member)


def test_a_token_that_is_old(one):
    member = stranger(one)
    member.token = one.make_token(ttl_s=1)
    until(lambda: "ended" in [token["state"] for token in one.members[0].request("GET", "/v1/tokens")[1]], "it has ended")
    assert "token: it has ended" in refused(member)
    assert len(one.members[0].nodes()) == 1


def test_a_token_that_was_used(one):
    member, late = stranger(one), stranger(one, "late")
    member.token = late.token = one.make_token()
    may_still_join(one, member)
    assert "token: it has been used: make another" in refused(late)
    late.token = one.make_token()
    may_still_join(one, late)


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_directory_that_was_used(one):
    """It stays what it was, and so does the token."""
    other = Cluster(1)
    try:
        used, member = other.members[0], stranger(one)
        used.stop()
        before = contents(used.data)
        used.token = member.token = one.make_token()
        assert f"data directory '{used.data}' belongs to node '{used.name}' of cluster " in used.run_to_its_end()
        assert contents(used.data) == before
        may_still_join(one, member)
        used.token = None
        used.start()
        assert [node["name"] for node in used.nodes()] == [used.name]
    finally:
        other.end()


def call(member):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["join"])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", member.peer_port), 10))


def ask_to_join(member, token, name, level):
    """What a program says that can do as much (src/cluster/join_message.c), and what it is told."""
    fields = base64.urlsafe_b64decode(token.removeprefix("mc1.") + "==")
    asked = {"protocol": 1, "cluster": str(uuid.UUID(bytes=fields[33:49])), "token": fields[49:57].hex(), "secret": fields[57:73].hex(),
             "name": name, "address": f"127.0.0.1:{member.peer_port}", "port": member.peer_port, "version": "99.0.0", "role": "auto",
             "level": level, "unix_ms": int(time.time() * 1000), "request": "", "fingerprint": bytes(32).hex()}
    with call(member) as link:
        text = json.dumps(asked).encode()
        link.sendall(struct.pack(">I", len(text)) + text)
        answer = link.makefile("rb")
        return json.loads(answer.read(struct.unpack(">I", answer.read(4))[0]))


def test_a_version_that_is_too_new(one):
    """More than one level of commands; test_upgrade.py has one, and those that are too old."""
    first, member = one.members[0], stranger(one)
    member.token = one.make_token()
    told = ask_to_join(first, member.token, member.name, first.nodes()[0]["level"] + 2)
    assert told["error"]["code"] == "version_new"
    assert f"microcloud 99.0.0 is too new for this cluster, whose node '{first.name}' runs " in told["error"]["message"]
    may_still_join(one, member)


def is_cut_off(link):
    link.settimeout(10)
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_too_many_at_once(one):
    """16 are heard, 16 more are told to come again, and the log has each."""
    first, member = one.members[0], stranger(one)
    member.token = one.make_token()
    with contextlib.ExitStack() as silent:
        for _ in range(16):
            silent.enter_context(call(first))
        assert "other nodes join just now: try again in a minute" in refused(member)
        until(lambda: "a node may not join name=\"stranger\" code=busy" in first.output(), "the log has it")
        for _ in range(16):
            silent.enter_context(call(first))
        with call(first) as link:
            assert is_cut_off(link)
        assert 'code=busy why="too many ask at once"' in first.output()
    may_still_join(one, member)


def test_a_token_from_elsewhere(one):
    other = Cluster(1)
    try:
        member = stranger(one)
        member.token = other.make_token()
        other.members[0].stop()
        other.members[0].peer_port, mine = one.members[0].peer_port, other.members[0].peer_port
        assert "no node of the token's cluster answers" in refused(member)
        assert mine and len(one.members[0].nodes()) == 1
    finally:
        other.end()


def test_a_name_that_is_taken(one):
    member = stranger(one, one.members[0].name)
    member.token = one.make_token()
    assert "another node has it: give another with --name" in refused(member)
    member.name = "another"
    may_still_join(one, member)


def test_an_address_that_cannot_be_reached_back(one):
    member = stranger(one)
    member.token = one.make_token()
    right = member.command

    member.command = lambda: ["192.0.2.1" if word == "127.0.0.1" else word for word in right()]
    said = refused(member)
    member.command = right
    assert "address '192.0.2.1:" in said and "cannot be reached back from here" in said
    may_still_join(one, member)


def test_certificates_renew_themselves_before_they_end(clocks):
    """Nine months have passed."""
    cluster = Cluster(3)
    try:
        before = [(member.data / "tls" / "node.pem").read_text() for member in cluster.members]
        for member in cluster.members:
            member.stop()
        environment = [f"{key}={value}" for key, value in clocks(270 * DAY_S).items()]
        for member in cluster.members:
            with member.log.open("ab") as log:
                member.process = subprocess.Popen(["env", *environment, *member.command()], stdout=log, stderr=subprocess.STDOUT)
        for member in cluster.members:
            until(member.is_serving, f"{member.name} serves", 40)
        cluster.settle()
        for member, old in zip(cluster.members, before):
            until(lambda m=member, o=old: (m.data / "tls" / "node.pem").read_text() != o, f"{member.name} has a new certificate")
        with cluster.members[0].client() as client:
            client.connect("a", clean=True)
            client.publish("a", b"x", qos=1, retain=True)
    finally:
        cluster.end()
