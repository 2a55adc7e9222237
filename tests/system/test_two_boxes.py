"""Two boxes: one votes, the other stands by. What the survivor says, and how it goes on."""
import signal
import subprocess
import time

import pytest

from lib.cluster import Cluster
from lib.node import program
from lib.supervisor import Supervisor
from lib.wait import until

SAYS_WITHIN_S = 6


@pytest.fixture
def two():
    cluster = Cluster(1)
    cluster.grow()
    until(lambda: [node["role"] for node in cluster.members[1].nodes()].count("stand-by") == 1, "the second one stands by")
    yield cluster
    cluster.end()


def command(member, *words):
    return subprocess.run([program(), *words, "--data", str(member.data)], capture_output=True, text=True, check=False, timeout=60)


def told(member):
    """What it tells of the cluster by MQTT."""
    with member.client() as watcher:
        watcher.connect("watcher", clean=True)
        watcher.subscribe(("$SYS/cluster/#", 0))
        watcher.barrier()
        return {found.topic.removeprefix("$SYS/cluster/"): found.payload.decode() for found in watcher.waiting}


def force(member):
    done = command(member, "node", "promote", "--force", member.name)
    assert done.returncode == 0, done.stderr
    assert member.leader() == member.name, "it leads when the command ends"
    until(lambda: [node["name"] for node in member.nodes()] == [member.name], "the other is out")


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
def test_the_survivor_says_that_it_is_cut_off_and_can_be_forced_on(two, way):
    voter, standby = two.members
    with standby.client() as client:
        client.connect("a", clean=True)
        client.publish("kept", b"before", qos=1, retain=True)
    voter.process.send_signal(way)
    since = time.monotonic()
    until(lambda: standby.request("GET", "/healthz")[0] == 503, "it says that it is not well", SAYS_WITHIN_S)
    assert time.monotonic() - since < SAYS_WITHIN_S
    status = standby.request("GET", "/v1/status")[1]
    assert (status["leader"], status["quorum"], status["stale"]) == (None, False, True), status
    assert "cannot be reached" in status["safety"] and "node promote --force" in status["safety"]
    topics = told(standby)
    assert (topics["leader"], topics["quorum"]) == ("none", "no"), topics
    assert topics["safety"] == status["safety"]
    told_by_doctor = command(standby, "doctor").stdout
    assert "no majority answers" in told_by_doctor and f"promote --force {standby.name}\n" in told_by_doctor
    assert "node rm" not in told_by_doctor, "that needs a majority"
    assert "cut off from the others" in command(standby, "status").stdout
    force(standby)
    with standby.client() as client:
        client.connect("b", clean=True)
        client.publish("kept/too", b"after", qos=1, retain=True)
        client.subscribe(("kept", 0))
        client.expect_publish("kept", b"before")
    if way == signal.SIGSTOP:
        voter.process.send_signal(signal.SIGCONT)
        assert voter.process.wait(30) == 3
        assert "the others went on without it" in voter.output()
        voter.process = None


def test_the_voter_alone_goes_on_and_the_other_comes_back(two):
    voter, standby = two.members
    standby.kill()
    with voter.client() as client:
        client.connect("a", clean=True)
        client.publish("kept", b"alone", qos=1, retain=True)
    assert voter.request("GET", "/healthz")[0] == 200
    until(lambda: f"offline: {standby.name}" in command(voter, "doctor").stdout, "doctor names it", 10)
    until(lambda: "decides alone" in voter.request("GET", "/v1/status")[1]["safety"], "it says what is not safe", 10)
    standby.start()
    until(lambda: standby.request("GET", "/v1/topics/kept")[0] == 200, "it has caught up")


def test_one_that_starts_alone_says_whom_it_waits_for(two, tmp_path):
    voter, standby = two.members
    supervisor = Supervisor(tmp_path)
    voter.kill()
    standby.stop()
    said = tmp_path / "said"
    with said.open("w") as log:
        process = subprocess.Popen(standby.command(), stderr=log, env=supervisor.environment())
    try:
        until(lambda: "no majority of the nodes that vote answers" in said.read_text(), "it says whom it waits for")
        assert supervisor.heard() == ["READY=1", "STATUS=not serving yet, no majority of the nodes that vote answers"]
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.parametrize("is_up", [True, False], ids=["met at its start", "met later"])
def test_a_voter_that_was_given_up_does_not_serve_as_a_second_leader(two, is_up):
    voter, standby = two.members
    voter.kill()
    until(lambda: standby.request("GET", "/healthz")[0] == 503, "it knows", SAYS_WITHIN_S)
    force(standby)
    if is_up:
        done = subprocess.run(voter.command(), capture_output=True, text=True, check=False, timeout=60)
        assert "serving" not in done.stderr
    else:
        standby.stop()
        voter.start()
        standby.start()
        voter.process.wait(30)
        done = subprocess.CompletedProcess([], voter.process.returncode, stderr=voter.output())
        voter.process = None
    assert done.returncode == 3, done.stderr
    assert "the others went on without it" in done.stderr
    assert [node["name"] for node in standby.nodes()] == [standby.name]


def test_the_one_that_decides_is_drained_before_it_is_removed(two):
    voter, standby = two.members
    refused = command(standby, "node", "rm", voter.name)
    assert refused.returncode == 1 and f"node drain {voter.name}" in refused.stderr
    assert command(standby, "node", "drain", voter.name).returncode == 0
    assert [node["leader"] for node in standby.nodes() if node["name"] == voter.name] == [False], "it was waited for"
    until(lambda: standby.leader() == standby.name, "the other one leads")

    def is_removed():
        return command(standby, "node", "rm", voter.name).returncode == 0
    until(is_removed, "its vote is gone, and so it is")
    assert voter.process.wait(20) == 3
    voter.process = None
    with standby.client() as client:
        client.connect("a", clean=True)
        client.publish("kept", b"x", qos=1, retain=True)
