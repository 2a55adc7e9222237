"""Upgrades: nodes of this version and of the next one (tests/next) in one cluster, with clients and without a gap."""
import re
import socket
import subprocess

import pytest

from lib.cluster import Cluster, Member
from lib.node import next_program, program
from lib.wait import until
from traffic import Publisher, Subscriber

OLD = subprocess.run([program(), "version"], capture_output=True, text=True, check=True).stdout.split()[1]
NEW_SETTING = "cluster.advance_ms"
ENOUGH = 30  # messages


class Local:
    """A traveller on this machine instead of one in a namespace; `lab` is the cluster."""

    def address(self):
        return "127.0.0.1", self.random.choice(self.lab.running()).port

    def socket(self):
        return socket.socket()


class LocalPublisher(Local, Publisher):
    pass


class LocalSubscriber(Local, Subscriber):
    pass


class Traffic:
    """Two publishers and a subscriber that account for everything, all the time."""

    def __init__(self, cluster):
        self.subscriber = LocalSubscriber(cluster, 0, None, 1)
        self.publishers = [LocalPublisher(cluster, number, None, 50, number + 2) for number in range(2)]
        self.subscriber.start()
        assert self.subscriber.is_subscribed.wait(20)
        for publisher in self.publishers:
            publisher.start()

    def acknowledged(self):
        return [sum(map(len, publisher.acknowledged.values())) for publisher in self.publishers]

    def goes_on(self):
        """Every publisher gets acknowledgements, from now on."""
        before = self.acknowledged()
        until(lambda: all(now - then >= ENOUGH for then, now in zip(before, self.acknowledged())), "publishes are acknowledged", 40)

    def rest(self):
        """Until all is said and heard; nothing that was acknowledged is missing."""
        for publisher in self.publishers:
            publisher.is_closing = True
        until(lambda: not any(publisher.in_flight for publisher in self.publishers), "all is acknowledged")
        until(lambda: self.subscriber.missing(self.publishers) == 0, "all that was acknowledged has come")
        assert self.subscriber.judge(self.publishers) == []
        assert [traveller.faults for traveller in (*self.publishers, self.subscriber)] == [[], [], []]
        assert [publisher.refused for publisher in self.publishers] == [0, 0]

    def go_on(self):
        for publisher in self.publishers:
            publisher.is_closing = False

    def end(self):
        for traveller in (*self.publishers, self.subscriber):
            traveller.is_stopped = True
        for traveller in (*self.publishers, self.subscriber):
            traveller.join(20)


@pytest.fixture
def three():
    cluster = Cluster(3)
    yield cluster
    cluster.end()


@pytest.fixture
def traffic(three):
    running = Traffic(three)
    yield running
    running.end()


def exchange(member, path):
    """As `apt install` does."""
    member.stop()
    member.program = path
    member.start()


def assert_same_everywhere(cluster):
    def digests():
        found = [member.request("GET", "/v1/digest")[1] for member in cluster.running()]
        return found if len({digest["applied_index"] for digest in found}) == 1 else None
    assert len({digest["sha256"] for digest in until(digests, "all are at the same index")}) == 1


def say(member, *words):
    done = subprocess.run([member.program, *words, "--data", str(member.data)], capture_output=True, text=True, check=False)
    return done.stdout


def snapshot_index(member):
    return member.request("GET", "/v1/status")[1]["log"]["snapshot_index"]


def forget_log(member):
    """Its log no longer begins at the beginning: who comes new needs a snapshot."""
    with member.client() as client:
        client.connect("big", clean=True)

        def is_forgotten():
            client.publish("big", b"x" * 200000, qos=1, retain=True)
            return snapshot_index(member) > 150
        until(is_forgotten, "a snapshot that is more than those 64 entries ahead that are kept")


def behind_of(nodes):
    return sorted(node["name"] for node in nodes if node["behind"])


def assert_waits(member, behind):
    """What is new is refused, with the name of a node that is behind; who is behind is told."""
    for method, key, body in (("DELETE", "mqtt.receive_maximum", None), ("PUT", NEW_SETTING, {"value": "5"})):
        status, answer = member.request(method, f"/v1/settings/{key}", body)
        assert status == 409 and answer["error"]["code"] == "version_too_old", answer
        assert answer["error"]["message"] in [
            f"node '{name}' runs microcloud {OLD}, which cannot apply this change: upgrade it first" for name in behind]
    _, status = member.request("GET", "/v1/status")
    assert behind_of(status["nodes"]) == behind
    assert all(f"'{name}' ({OLD})" in status["upgrade"] for name in behind)
    assert "is under way, these nodes are behind: " in say(member, "status")
    last_line = say(member, "node", "ls").splitlines()[-1]
    assert sorted(last_line.partition("these nodes are behind:")[2].split()) == behind
    assert "BAD  versions" in say(member, "doctor")


def assert_new_command_works(cluster):
    member = cluster.members[0]
    until(lambda: member.request("GET", "/v1/status")[1]["upgrade"] is None, "all run the new version")
    assert "under way" not in say(member, "status") + say(member, "node", "ls")
    member.put_setting("mqtt.receive_maximum", 900)
    assert member.request("DELETE", "/v1/settings/mqtt.receive_maximum")[0] == 200
    member.put_setting(NEW_SETTING, 5)
    for other in cluster.members:
        until(lambda: other.request("GET", f"/v1/settings/{NEW_SETTING}")[1]["value"] == "5", "it is everywhere")
        _, setting = other.request("GET", "/v1/settings/mqtt.receive_maximum")
        assert setting["value"] == setting["default"]


def test_a_cluster_is_upgraded_node_by_node_under_traffic(three, traffic):
    behind = [member.name for member in three.members]
    for member in three.members:
        member.stop()
        traffic.goes_on()
        member.program = next_program()
        member.start()
        three.settle()
        behind.remove(member.name)
        traffic.goes_on()
        if behind:
            until(lambda: behind_of(member.nodes()) == behind, "its version is known")
            assert_waits(member, behind)
            assert three.members[-1].request("DELETE", "/v1/settings/mqtt.receive_maximum")[0] == 405
        traffic.rest()
        assert_same_everywhere(three)
        traffic.go_on()
    assert_new_command_works(three)
    traffic.goes_on()
    traffic.rest()
    assert_same_everywhere(three)


def upgraded(three):
    for member in three.members:
        exchange(member, next_program())
    three.settle()
    assert_new_command_works(three)


def test_there_is_no_way_back_once_a_new_command_was_used(three):
    upgraded(three)
    member = three.others(three.leader())[0]
    member.kill()  # its log has the command, its last snapshot is of the old version
    member.program = program()
    assert re.search(rf"command of level \d+, and microcloud {OLD} applies those up to", member.run_to_its_end())
    member.program = next_program()
    member.start()
    three.settle()
    with member.client() as client:
        client.connect("big")
        client.publish("big", b"x" * 500000, qos=1, retain=True)  # so that a snapshot is worthwhile when it stops
    assert_same_everywhere(three)
    member.stop()
    member.program = program()
    assert re.search(rf"snapshot: commands of level \d+ are in use, and microcloud {OLD}", member.run_to_its_end())
    member.program = next_program()
    member.start()
    three.settle()
    assert_same_everywhere(three)


def test_an_old_program_does_not_join_an_upgraded_cluster(three):
    for member in three.members:
        exchange(member, next_program())
    three.settle()
    stranger = Member(f"{three.directory}/stranger", "stranger")
    stranger.token = three.make_token()
    assert f"microcloud {OLD} is too old for this cluster, whose nodes run " in stranger.run_to_its_end()
    for member in three.members:
        assert "stranger" not in [node["name"] for node in member.nodes()]
    _, tokens = three.members[0].request("GET", "/v1/tokens")
    assert [token["state"] for token in tokens].count("open") == 1
    stranger.program = next_program()
    three.members.append(stranger.start())
    until(lambda: len(three.members[0].nodes()) == 4, "the same token lets the new version in")


def test_old_and_new_join_a_mixed_cluster_and_the_way_back_is_open(three):
    newer = three.members[1]
    exchange(newer, next_program())
    three.settle()
    for old in three.others(newer):
        assert old.request("POST", f"/v1/nodes/{old.name}/drain")[0] == 200
    until(lambda: three.leader() is newer, "the new version leads")
    forget_log(newer)
    older = three.grow()
    assert snapshot_index(older) > 0, "it came by a snapshot of the new version"
    joined = Member(f"{three.directory}/n5", "n5")
    joined.program = next_program()
    joined.token = three.make_token()
    three.members.append(joined.start())
    three.settle()
    assert_waits(newer, ["n1", "n3", "n4"])
    assert_same_everywhere(three)
    exchange(newer, program())
    three.settle()
    until(lambda: behind_of(joined.nodes()) == ["n1", "n2", "n3", "n4"], "its version is known")
    assert_same_everywhere(three)
