"""Three nodes: joining by a token, clients at any of them, and nothing acknowledged is lost when one dies."""
import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

from lib.cluster import Cluster, Member
from lib.node import program
from lib.wait import until


@pytest.fixture
def three():
    cluster = Cluster(3)
    yield cluster
    cluster.end()


def persistent(member, client_id, clean=False):
    client = member.client()
    client.connect(client_id, clean=clean, properties=[("session_expiry", 3600)])
    return client


def test_messages_cross_between_nodes(three):
    first, second, third = three.members
    with first.client() as subscriber, second.client() as publisher, third.client() as late:
        subscriber.connect("sub", clean=True)
        publisher.connect("pub", clean=True)
        subscriber.subscribe(("home/#", 1))

        def arrives():
            publisher.publish("home/warm-up", b"x", qos=0)
            subscriber.expect_publish("home/warm-up")
            return True
        until(arrives, "the interest is known")
        for number in range(200):
            publisher.publish("home/a", b"%d" % number, qos=number % 2)
        for number in range(200):
            subscriber.expect_publish("home/a", b"%d" % number)
        publisher.publish("home/kept", b"for later", qos=1, retain=True)

        def is_kept():
            status, answer = third.request("GET", "/v1/topics/home/kept")
            return status == 200 and answer
        until(is_kept, "it is retained on the third node")
        late.connect("late", clean=True)
        late.subscribe(("home/kept", 0))
        late.expect_publish("home/kept", b"for later")


def test_a_killed_leader_loses_nothing(three):
    leader = three.leader()
    subscriber = persistent(leader, "keeper", clean=True)
    subscriber.subscribe(("jobs/#", 1))
    acknowledged = []
    publisher_at = three.others(leader)[0]
    with publisher_at.client() as publisher:
        publisher.connect("jobs", clean=True)
        for number in range(50):
            publisher.publish("jobs/a", b"%d" % number, qos=1)
            acknowledged.append(b"%d" % number)
        leader.kill()
        subscriber.close()
        for number in range(50, 100):
            publisher.publish("jobs/a", b"%d" % number, qos=1)
            acknowledged.append(b"%d" % number)
    elsewhere = three.others(leader)[1]
    again = persistent(elsewhere, "keeper")
    assert again.connack.session_present
    seen = []
    while set(seen) < set(acknowledged):
        seen.append(again.expect_publish("jobs/a").payload)
    firsts = list(dict.fromkeys(seen))
    assert firsts == acknowledged
    again.close()
    leader.start()
    three.settle()


def test_clients_of_other_nodes_are_seen_and_disconnected(three):
    first, second, third = three.members
    with persistent(second, "kept") as kept, third.client() as live:
        live.connect("live", clean=True)

        def is_listed():
            _, listed = first.request("GET", "/v1/clients")
            return [(client["connected"], client["node"]) for client in listed] == [(True, second.name)]
        until(is_listed, "the first sees to whom it is connected")
        microcloud(first, "client", "kick", "live", "kept")
        status, answer = first.request("DELETE", "/v1/clients/nobody")
        assert status == 202 and "'nobody': there is no session with this id on this node" in answer["message"]
        for client in (kept, live):
            client.expect_disconnect(0x98)
        status, answer = first.request("GET", "/v1/clients/kept")
        assert status == 200 and answer["id"] == "kept"


def test_a_planned_stop_hands_leadership_over(three):
    leader = three.leader()
    leader.stop()
    until(lambda: three.leader() is not leader, "another leads")
    with three.running()[0].client() as client:
        client.connect("a", clean=True)
        client.publish("a", b"x", qos=1, retain=True)
    leader.start()
    three.settle()


def dial(member, files, alpn):
    """What the port for nodes takes for a node that has these files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    context.load_cert_chain(files / "node.pem", files / "node.key")
    return context.wrap_socket(socket.create_connection(("127.0.0.1", member.peer_port), 10))


def is_open(link):
    """Whether it is left alone for a moment; what was said before an end is read away."""
    link.settimeout(0.3)
    try:
        while link.recv(1000):
            pass
        return False
    except TimeoutError:
        return True
    except OSError:
        return False


def ends(link):
    """The other side ends it; what it says before that is returned."""
    said = b""
    link.settimeout(10)
    try:
        while found := link.recv(1000):
            said += found
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return said


def own_certificate(directory):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=stranger",
                    "-keyout", directory / "node.key", "-out", directory / "node.pem"], check=True, capture_output=True)
    return directory


@pytest.mark.parametrize("alpn", ["raft", "link"])
def test_the_port_for_nodes_takes_tls_1_3_and_certificates_of_the_cluster_only(three, tmp_path, alpn):
    first, second = three.members[:2]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", first.peer_port), 10)) as link:
        assert ends(link) == b""  # who joins has no certificate either, but says so by ALPN
    with dial(first, own_certificate(tmp_path), alpn) as link, pytest.raises(ssl.SSLError, match="(?i)certificate|unknown ca"):
        link.recv(1)
    context.load_cert_chain(second.data / "tls" / "node.pem", second.data / "tls" / "node.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="(?i)version"):
        context.wrap_socket(socket.create_connection(("127.0.0.1", first.peer_port), 10))
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["mqtt"])
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(socket.create_connection(("127.0.0.1", first.peer_port), 10)).recv(1)


def test_a_drained_leader_leads_no_more(three):
    leader = three.leader()
    status, _ = leader.request("POST", f"/v1/nodes/{leader.name}/drain")
    assert status in (200, 204)
    until(lambda: three.leader() is not leader, "another leads")
    until(lambda: f"drained: {leader.name}; the others are online" in str(leader.request("GET", "/v1/doctor")[1]), "it is named")


def test_the_only_node_is_not_drained():
    with contextlib.ExitStack() as stack:
        cluster = Cluster(1)
        stack.callback(cluster.end)
        only = cluster.members[0]
        status, answer = only.request("POST", f"/v1/nodes/{only.name}/drain")
        assert (status, answer["error"]["code"]) == (409, "node_last") and only.name in answer["error"]["message"]
        assert [node["drained"] for node in only.nodes()] == [False]


def test_the_certificate_of_a_removed_node_opens_nothing(three, tmp_path):
    """Not a program that obeys, but somebody who has copied its certificate and its key."""
    gone = three.others(three.leader())[0]
    gone.stop()
    shutil.copytree(gone.data / "tls", tmp_path / "tls")
    others = three.running()
    with contextlib.ExitStack() as opened:
        def take(alpn):
            return [opened.enter_context(dial(member, tmp_path / "tls", alpn)) for member in others]
        rafts, links = take("raft"), take("link")
        assert all(is_open(stream) for stream in rafts + links), "they are taken before"
        assert others[0].request("DELETE", f"/v1/nodes/{gone.name}")[0] in (200, 204)
        for stream in rafts:
            ends(stream)
        for stream in links:
            assert b"removed" in ends(stream)
    for member in others:
        with dial(member, tmp_path / "tls", "raft") as link:
            assert ends(link) == b""
        with dial(member, tmp_path / "tls", "link") as link:
            assert b"removed" in ends(link)


def test_who_may_not_join_is_told_why(three):
    first = three.members[0]
    used = three.members[1].token

    def stranger(token, name="stranger"):
        stranger.count = getattr(stranger, "count", 0) + 1
        member = Member(f"{three.directory}/s{stranger.count}", name)
        member.token = token
        return member
    assert "it has been used" in stranger(used).run_to_its_end()
    assert "name 'n2'" in stranger(three.make_token(), "n2").run_to_its_end()
    assert "--join: " in stranger("mc1.nonsense").run_to_its_end()
    removed = three.make_token()
    _, tokens = first.request("GET", "/v1/tokens")
    for token in tokens:
        if token["state"] == "open":
            first.request("DELETE", f"/v1/tokens/{token['id']}")
    assert "does not know it" in stranger(removed).run_to_its_end()
    occupied = stranger(three.make_token())
    occupied.data = first.data
    assert "another microcloud runs on it" in occupied.run_to_its_end()
    assert len(first.nodes()) == 3


@pytest.mark.parametrize("number", [0, 1], ids=["founder", "one that joined"])
def test_the_majority_is_gone_for_good(three, number):
    survivor = three.members[number]
    with survivor.client() as client:
        client.connect("a", clean=True)
        client.publish("kept", b"before", qos=1, retain=True)
    for member in three.others(survivor):
        member.kill()

    def may_force():
        done = subprocess.run([program(), "node", "promote", survivor.name, "--force", "--data", str(survivor.data)],
                              capture_output=True, text=True)
        return done.returncode == 0
    until(may_force, "the survivor goes on alone")
    until(lambda: survivor.leader() == survivor.name, "it leads")
    until(lambda: len(survivor.nodes()) == 1, "the others are out")
    with survivor.client() as client:
        client.connect("b", clean=True)
        client.publish("kept/too", b"after", qos=1, retain=True)
        client.subscribe(("kept", 0))
        client.expect_publish("kept", b"before")


def test_a_restore_says_how_one_of_several_is_started(three, tmp_path):
    """And that start is not refused, where the usual one is."""
    first, file = three.members[0], tmp_path / "backup"
    until(lambda: len(json.loads((first.data / "peers.json").read_text())) == 2, "it knows where the others are")
    microcloud(first, "backup", str(file))
    for member in three.members:
        member.stop()
    restored = Member(tmp_path / "restored", first.name)
    done = subprocess.run([program(), "restore", str(file), "--data", str(restored.data)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"`microcloud run --rescue --data {restored.data}`" in done.stderr, done.stderr
    assert "start it once with --rescue" in restored.run_to_its_end()
    restored.more = ["--rescue"]
    restored.start()
    try:
        assert [node["name"] for node in restored.nodes()] == [first.name]
    finally:
        restored.end()


def test_sys_topics_tell_of_the_cluster(three):
    leader = three.leader()
    for member in three.members:
        with member.client() as watcher:
            watcher.connect("watcher", clean=True)
            watcher.subscribe(("$SYS/cluster/#", 0))
            watcher.barrier()
            told = {found.topic.removeprefix("$SYS/cluster/"): found.payload.decode() for found in watcher.waiting}
        assert told["leader"] == leader.name and told["quorum"] == "yes" and told["voters"] == "3", told
        assert {topic: value for topic, value in told.items() if topic.endswith("/state")} == \
            {f"nodes/{name}/state": "online" for name in ("n1", "n2", "n3")}
        assert "Any one node may fail" in told["safety"]


def test_a_node_that_is_removed_says_so_and_ends(three):
    gone = three.others(three.leader())[0]
    status, _ = three.leader().request("DELETE", f"/v1/nodes/{gone.name}")
    assert status in (200, 204)
    assert gone.process.wait(20) == 3
    assert "this node was removed from the cluster (node rm)" in gone.output()
    again = subprocess.run(gone.command(), capture_output=True, text=True, timeout=20, check=False)
    assert again.returncode == 3
    assert "empty its data directory" in again.stderr
    gone.process = None
    until(lambda: len(three.running()[0].nodes()) == 2, "the others go on")


def test_a_node_that_was_away_when_it_was_removed_is_told_so(three):
    """Whoever of the two has the lower id, which is the one that dials."""
    for gone in three.others(three.leader()):
        gone.stop()
        other = three.running()[0]
        status, _ = other.request("DELETE", f"/v1/nodes/{gone.name}")
        assert status in (200, 204)
        again = subprocess.run(gone.command(), capture_output=True, text=True, timeout=40, check=False)
        assert again.returncode == 3, again.stderr
        assert "this node was removed from the cluster (node rm)" in again.stderr
        assert gone.name not in [node["name"] for node in other.nodes()]


def role(asked, name):
    return next((node["role"] for node in asked.nodes() if node["name"] == name), None)


def test_a_node_that_was_away_while_all_others_were_replaced_comes_back(three):
    """All that it knows are gone: it lets in those that came, who tell it where they are."""
    away = three.others(three.leader())[0]
    away.stop()
    gone = three.running()
    for _ in gone:
        three.grow()
    until(lambda: role(gone[0], away.name) != "voter", "another votes in its place", 30)
    for member in gone:
        until(lambda m=member: three.others(m)[-1].request("DELETE", f"/v1/nodes/{m.name}")[0] in (200, 204), "it may go", 30)
        assert member.process.wait(20) == 3
        member.process = None
    away.start()
    three.settle()
    assert {node["name"] for node in away.nodes()} == {away.name, "n4", "n5"}


def test_one_that_was_forced_on_alone_does_not_end_the_others(three):
    """The majority lives: who was forced by mistake is the stranger, and the others say so."""
    forced = three.others(three.leader())[0]
    others = three.others(forced)
    for member in others:
        member.process.send_signal(signal.SIGSTOP)

    def may_force():
        done = subprocess.run([program(), "node", "promote", forced.name, "--force", "--data", str(forced.data)],
                              capture_output=True, text=True)
        return done.returncode == 0
    until(may_force, "it goes on alone")
    until(lambda: len(forced.nodes()) == 1, "the others are out for it")
    for member in others:
        member.process.send_signal(signal.SIGCONT)
    told = "a node says that this one was removed, but the majority goes on with it"
    until(lambda: any(told in member.output() for member in others), "the others were told", 30)
    with others[0].client() as client:
        client.connect("a", clean=True)
        client.publish("a", b"x", qos=1, retain=True)
    assert all(member.is_alive() for member in three.members)


def microcloud(member, *words):
    done = subprocess.run([program(), *words, "--data", str(member.data)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def authority(member):
    return json.loads(microcloud(member, "ca", "show", "--json"))


def is_rotated(member, before):
    now = authority(member)
    return now["certificate"] != before["certificate"] and now["previous_certificate"] is None


def shakes_hands(member, files):
    """Whether its port for nodes takes this certificate: nonsense is then answered in words."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["join"])
    context.load_cert_chain(files / "node.pem", files / "node.key")
    with socket.create_connection(("127.0.0.1", member.peer_port), 5) as plain, context.wrap_socket(plain) as link:
        try:
            link.sendall(b"\xff" * 8)
            return b"does not speak as a node does" in link.recv(1000)
        except OSError:
            return False


def test_the_authority_is_replaced_while_messages_go_on(three, tmp_path):
    leader, before = three.leader(), authority(three.members[0])
    away = three.others(leader)[0]
    shutil.copytree(away.data / "tls", tmp_path / "tls")
    terms = leader.output().count("info leader node=")
    with three.others(leader)[0].client() as publisher, three.others(leader)[1].client() as subscriber:
        subscriber.connect("sub", clean=True, properties=[("session_expiry", 3600)])
        subscriber.subscribe(("jobs/#", 1))
        publisher.connect("pub", clean=True)
        sent = 0

        def is_over():
            nonlocal sent
            publisher.publish("jobs/a", b"%d" % sent, qos=1)
            sent += 1
            return all(is_rotated(member, before) for member in three.members)
        publisher.publish("jobs/a", b"first", qos=1)
        microcloud(leader, "ca", "rotate")
        until(is_over, "the previous authority is gone")
        subscriber.expect_publish("jobs/a", b"first")
        for number in range(sent):
            subscriber.expect_publish("jobs/a", b"%d" % number)
    three.settle()
    assert leader.output().count("info leader node=") == terms, "an election was caused"
    fresh = authority(leader)["certificate"]
    for member in three.members:
        assert fresh in (member.data / "tls" / "node.pem").read_text()
        until(lambda m=member: (m.data / "tls" / "ca.pem").read_text() == fresh, "it trusts the new one alone")
    target = three.others(away)[0]
    assert not shakes_hands(target, tmp_path / "tls"), "a certificate of the old authority is taken"
    assert shakes_hands(target, away.data / "tls")


def test_a_node_that_was_away_while_the_authority_was_replaced_comes_back(three):
    away, before = three.others(three.leader())[0], authority(three.members[0])
    away.stop()
    microcloud(three.leader(), "ca", "rotate")
    for member in three.running():
        until(lambda m=member: authority(m)["certificate"] != before["certificate"], "there is a new one")
        assert authority(member)["previous_certificate"], "it is trusted until all have changed over"
    away.start()
    three.settle()
    for member in three.members:
        until(lambda m=member: is_rotated(m, before), "all have changed over")


def test_a_rotation_ends_when_another_leads_meanwhile(three):
    leader, before = three.leader(), authority(three.members[0])
    microcloud(leader, "ca", "rotate")
    microcloud(leader, "node", "drain", leader.name)
    for member in three.members:
        until(lambda m=member: is_rotated(m, before), "all have changed over")
    microcloud(leader, "node", "activate", leader.name)


def test_a_rotation_ends_when_the_node_that_is_away_is_removed(three):
    away, before = three.others(three.leader())[0], authority(three.members[0])
    away.stop()
    microcloud(three.leader(), "ca", "rotate")
    microcloud(three.leader(), "node", "rm", away.name)
    for member in three.running():
        until(lambda m=member: is_rotated(m, before), "all that are left have changed over")
