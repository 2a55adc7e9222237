"""What nodes are wanted as: spare, voter, witness, and back to what the cluster makes of them."""
import json
import socket
import subprocess
import time

import pytest

from lib.cluster import Cluster, Member
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
    assert "witness   votes with the others, serves no clients" in witness.output()
    for verb in ("promote", "demote"):
        refused = command(first, "node", verb, witness.name)
        assert refused.returncode == 1 and "witness" in refused.stderr
    assert command(first, "node", "activate", witness.name).returncode == 0
    assert next(node for node in first.nodes() if node["name"] == witness.name)["wanted_role"] == "witness"


def test_a_witness_stays_one_without_its_option(three):
    first, _, witness = three.members
    command_of = witness.command
    witness.stop()
    witness.command = lambda: [word for word in command_of() if word != "--witness"]
    witness.start()
    witness.command = command_of
    three.settle()
    assert "started without --witness, but joined as a witness" in witness.output()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", witness.port)) != 0, "it serves clients"
    assert next(node for node in first.nodes() if node["name"] == witness.name)["wanted_role"] == "witness"


def test_the_token_alone_makes_a_witness(three):
    first = three.members[0]
    late = Member(f"{three.directory}/by-token", "late")
    late.token = command(first, "token", "--role", "witness").stdout.strip()
    late.has_clients = False
    late.start()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", late.port)) != 0, "it serves clients"
    assert inspect(first, "late")["wanted_role"] == "witness"
    assert "mqtt port" not in command(late, "status").stdout
    assert command(first, "node", "rm", "late").returncode == 0
    assert late.process.wait(20) == 3
    three.settle()


@pytest.mark.parametrize("wanted", ["spare", "voter"])
def test_a_witness_is_not_let_in_as_something_else(three, wanted):
    first = three.members[0]
    late = Member(f"{three.directory}/no-{wanted}", "late", "--witness")
    late.token = command(first, "token", "--role", wanted).stdout.strip()
    assert f"token: it lets in a {wanted}, not a witness" in late.run_to_its_end()
    assert role(first, "late") is None


def inspect(asked, name):
    return json.loads(command(asked, "node", "inspect", name).stdout)


def test_a_node_is_inspected_and_labelled(three):
    first, second, _ = three.members
    assert command(first, "node", "label", second.name, "zone=cellar", "rack=1=a").returncode == 0
    shown = inspect(first, second.name)
    assert shown["name"] == second.name and shown["labels"] == {"zone": "cellar", "rack": "1=a"}
    assert inspect(first, shown["id"])["name"] == second.name
    assert command(first, "node", "label", second.name, "zone=attic", "rack-").returncode == 0
    assert inspect(first, second.name)["labels"] == {"zone": "attic"}
    wrong = command(first, "node", "label", second.name, "zone")
    assert wrong.returncode == 2 and "'zone': give KEY=VALUE, or KEY- to take it away" in wrong.stderr
    for word in ("=attic", "-"):
        assert command(first, "node", "label", second.name, word).returncode == 2
    assert command(first, "node", "label", second.name, "zone-").returncode == 0
    assert inspect(first, second.name)["labels"] == {}
    for words in (["inspect", "nobody"], ["label", "nobody", "a=b"], ["label", "nobody", "a-"], ["promote", "nobody"],
                  ["promote", "--force", "nobody"], ["demote", "nobody"], ["drain", "nobody"], ["activate", "nobody"], ["rm", "nobody"]):
        refused = command(first, "node", *words)
        assert refused.returncode == 1 and f"node {words[0]}: node 'nobody': there is none" in refused.stderr


def test_a_node_does_not_remove_itself(three):
    for member in three.members:
        refused = command(member, "node", "rm", member.name)
        assert refused.returncode == 1 and f"node '{member.name}': it would end before it could answer: say this on another node" in refused.stderr
    assert len(three.members[0].nodes()) == 3


def test_a_spare_votes_again_when_it_is_promoted(three):
    first, second, _ = three.members
    assert command(first, "node", "demote", second.name).returncode == 0
    until(lambda: role(first, second.name) == "spare", "it is a spare")
    assert command(first, "node", "promote", second.name).returncode == 0
    until(lambda: role(first, second.name) == "voter", "it votes")
    assert inspect(first, second.name)["wanted_role"] == "voter"
    assert command(first, "node", "activate", second.name).returncode == 0
    assert inspect(first, second.name)["wanted_role"] == "auto"
    three.settle()


def tokens(asked):
    return json.loads(command(asked, "token", "ls", "--json").stdout)


def test_a_token_for_a_role_and_a_time(three):
    first = three.members[0]
    known = [token["id"] for token in tokens(first)]
    made = command(first, "token", "--role", "spare", "--ttl", "30m")
    assert made.returncode == 0 and made.stdout.startswith("mc1.") and made.stdout.count("\n") == 1
    token = next(token for token in tokens(first) if token["id"] not in known)
    assert token["role"] == "spare" and token["state"] == "open"
    assert 1700 < token["expires_unix_ms"] / 1000 - time.time() < 1801
    assert any(line.split()[:3] == [token["id"], "spare", "open"] for line in command(first, "token", "ls").stdout.splitlines())
    late = Member(f"{three.directory}/late", "late")
    late.token = made.stdout.strip()
    late.start()
    until(lambda: role(first, "late") == "spare", "what the token says counts")
    assert next(used for used in tokens(first) if used["id"] == token["id"])["used_by"] == "late"
    assert command(first, "node", "rm", "late").returncode == 0
    assert late.process.wait(20) == 3
    three.settle()


def test_a_token_that_was_removed_is_worth_nothing(three):
    first = three.members[0]
    known = [token["id"] for token in tokens(first)]
    late = Member(f"{three.directory}/too-late", "late")
    late.token = command(first, "token").stdout.strip()
    removed = next(token["id"] for token in tokens(first) if token["id"] not in known)
    assert command(first, "token", "rm", removed).returncode == 0
    assert removed not in [token["id"] for token in tokens(first)]
    assert "token: this cluster does not know it" in late.run_to_its_end()
    again = command(first, "token", "rm", removed)
    assert again.returncode == 1 and "there is none of this id" in again.stderr


def test_a_token_of_no_role_or_time_is_refused(three):
    first = three.members[0]
    for words, status, said in ((["--role", "chief"], 1, "token: role: must be auto, voter, spare or witness, got 'chief'"),
                                (["--ttl", "31d"], 1, "token: ttl_s: must be 1..2592000 (30 days), got 2678400"),
                                (["--ttl", "soon"], 2, "token: --ttl: 'soon' is no time of a second or more, such as 30m")):
        refused = command(first, "token", *words)
        assert refused.returncode == status and refused.stderr == f"microcloud: {said}\n"


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


def test_a_vote_moves_to_the_zone_that_has_none():
    cluster = Cluster(4)
    try:
        until(lambda: len(members_of(cluster, "stand-by")) == 1, "one stands by")
        lone, votes = members_of(cluster, "stand-by")[0], members_of(cluster, "voter")
        zones = dict(zip([member.name for member in [*votes, lone]], ("cellar", "cellar", "attic", "shed")))
        for name, zone in zones.items():
            assert command(cluster.members[0], "node", "label", name, f"zone={zone}").returncode == 0

        def zones_of_voters():
            return sorted(zones[member.name] for member in members_of(cluster, "voter"))
        until(lambda: zones_of_voters() == ["attic", "cellar", "shed"], "each vote stands in a zone of its own")
        assert len(members_of(cluster, "stand-by")) == 1 and lone in members_of(cluster, "voter")
        cluster.settle()
    finally:
        cluster.end()


def test_a_witness_that_is_all_that_is_left_serves_after_a_rescue():
    cluster = Cluster(1)
    try:
        cluster.grow()
        witness = cluster.grow("--witness")
        cluster.settle()
        with cluster.members[0].client() as client:
            client.connect("a", clean=True)
            client.publish("kept", b"x", qos=1, retain=True)
        for member in cluster.members:
            member.kill()
        for option in ("--rescue", "--no-discovery"):  # and it does so from then on
            witness.more = [option]
            witness.start()
            until(lambda: witness.leader() == witness.name, "it leads")
            with witness.client() as client:
                client.connect("b", clean=True)
                client.subscribe(("kept", 0))
                client.expect_publish("kept", b"x")
            witness.stop()
    finally:
        cluster.end()
