"""What nodes are wanted as: spare, voter, witness, and back to what the cluster makes of them."""
import subprocess

import pytest

from lib.cluster import Cluster
from lib.node import program
from lib.wait import until


@pytest.fixture(scope="module")
def three():
    """n1, n2, and a witness."""
    cluster = Cluster(1)
    cluster.grow()
    cluster.grow("--witness")
    cluster.settle()
    yield cluster
    cluster.end()


def command(member, *words):
    return subprocess.run([program(), *words, "--data", str(member.data)], capture_output=True, text=True, check=False, timeout=60)


def authority(member):
    return member.request("GET", "/v1/ca")[1]


def role(asked, name):
    return next((node["role"] for node in asked.nodes() if node["name"] == name), None)


def test_a_spare_serves_and_never_votes_until_it_is_activated(three):
    first, second, _ = three.members
    assert command(first, "node", "demote", second.name).returncode == 0
    until(lambda: role(first, second.name) == "spare", "it is a spare")
    with second.client() as client:
        client.connect("a", clean=True)
        client.publish("kept/by/spare", b"x", qos=1, retain=True)
    until(lambda: first.request("GET", "/v1/topics/kept/by/spare")[0] == 200, "the others have it")
    assert second.request("GET", "/healthz")[0] == 200
    assert not second.request("GET", "/v1/status")[1].get("stale")
    assert first.request("PUT", "/v1/settings/mqtt.receive_maximum", {"value": 77})[0] == 200
    until(lambda: str(second.request("GET", "/v1/settings/mqtt.receive_maximum")[1]["value"]) == "77", "it follows the log")
    assert command(first, "node", "activate", second.name).returncode == 0
    until(lambda: role(first, second.name) == "voter", "it votes again")
    three.settle()


def test_a_witness_is_shown_as_one(three):
    first, _, witness = three.members
    listed = command(first, "node", "ls").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["n1", "n2", "n3"]
    assert "voter (witness)" in listed[3] and "(witness)" not in listed[1]
    assert role(first, witness.name) == "voter"
    assert "mqtt port" in command(first, "status").stdout
    told = command(witness, "status").stdout
    assert "mqtt port" not in told and "voter (witness)" in told
    for verb in ("promote", "demote"):
        refused = command(first, "node", verb, witness.name)
        assert refused.returncode == 1 and "witness" in refused.stderr
    assert command(first, "node", "activate", witness.name).returncode == 0
    assert next(node for node in first.nodes() if node["name"] == witness.name)["wanted_role"] == "witness"


def members_of(cluster, role):
    """Those that the leader gives this role."""
    names = [node["name"] for node in cluster.leader().nodes() if node["role"] == role]
    return [member for member in cluster.members if member.name in names]


def test_the_authority_is_replaced_with_those_that_do_not_vote():
    cluster = Cluster(5)
    try:
        until(lambda: len(members_of(cluster, "stand-by")) == 2, "two stand by")
        spare, standby = members_of(cluster, "stand-by")
        assert command(cluster.members[0], "node", "demote", spare.name).returncode == 0
        until(lambda: members_of(cluster, "spare") == [spare] and members_of(cluster, "stand-by") == [standby], "one is a spare")
        before = authority(spare)["certificate"]
        assert command(spare, "ca", "rotate").returncode == 0
        for member in cluster.members:
            until(lambda m=member: authority(m)["certificate"] != before and authority(m)["previous_certificate"] is None, "it is over")
        fresh = authority(standby)["certificate"]
        for member in cluster.members:
            assert fresh in (member.data / "tls" / "node.pem").read_text(), member.name
            until(lambda m=member: (m.data / "tls" / "ca.pem").read_text() == fresh, f"{member.name} trusts the new one alone")
        for member in (spare, standby):
            member.restart()
            cluster.settle()
            with member.client() as client:
                client.connect("a", clean=True)
                client.publish(f"kept/by/{member.name}", b"x", qos=1, retain=True)
        for member in cluster.members:
            for name in (spare.name, standby.name):
                until(lambda m=member, n=name: m.request("GET", f"/v1/topics/kept/by/{n}")[0] == 200, "all have it")
        assert members_of(cluster, "spare") == [spare] and members_of(cluster, "stand-by") == [standby]
    finally:
        cluster.end()
