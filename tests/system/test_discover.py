"""Nodes find each other on a LAN, and that is all that it does."""
import json
import os
import subprocess

import pytest

from lab import Lab, until
from lib.avahi import Avahi
from lib.node import program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")


def discover(lab, *words, namespace=None):
    return subprocess.run(["ip", "netns", "exec", namespace or lab.lan, program(), "discover", *words], capture_output=True, text=True,
                          timeout=60, check=False)


def discoverable(count):
    lab = Lab(count, program(), is_discoverable=True)
    try:
        yield lab
        for box in lab.boxes:
            box.stop()
    finally:
        lab.down()


@pytest.fixture(scope="module")
def lab():
    yield from discoverable(3)


def test_an_empty_lan_is_told_of_plainly(lab):
    done = discover(lab, "--timeout", "0.3")
    assert done.returncode == 0 and done.stdout == ""
    assert "no node was heard within 0.3 s" in done.stderr
    assert json.loads(discover(lab, "--timeout", "0.3", "--json").stdout) == []


def test_clusters_and_nodes_are_listed_and_a_fresh_node_names_the_other_cluster(lab):
    one, two, stranger = lab.boxes
    lab.join(one)
    lab.join(two)
    stranger.start()  # without a token: a cluster of its own
    until(lambda: stranger.call("GET", "/healthz")[0] == 200, "it serves")
    wanted = {(box.name, box.address) for box in lab.boxes}
    rows = until(lambda: (found := json.loads(discover(lab, "--json").stdout)) and
                 {(row["node"], row["address"]) for row in found} == wanted and found, "all three are heard")
    clusters = {row["node"]: row["cluster"] for row in rows}
    assert clusters["n1"] == clusters["n2"] != clusters["n3"]
    assert all(row["port"] == 7474 and row["version"] for row in rows)
    assert clusters["n1"] in discover(lab).stdout
    until(lambda: f"cluster={clusters['n1']}" in stranger.output(), "the fresh node names the cluster that it could join")
    assert stranger.output().count("another one is on this LAN") == 1
    assert {node["name"] for node in stranger.nodes()} == {"n3"}, "it joined nothing"
    assert {node["name"] for node in one.nodes()} == {"n1", "n2"}


@pytest.fixture
def two_homes():
    yield from discoverable(2)


def wait_found(name, asker):
    until(lambda: name in {row["node"] for row in json.loads(discover(asker.lab, "--json", namespace=asker.namespace).stdout)},
          f"{asker.name} finds {name}")


def share(avahi, other):
    """Both answer who asks all, Avahi also who asks its box alone; the node there hears others."""
    wait_found("n1", other)  # first: from here on the node has the port
    wait_found("n2", avahi.box)
    avahi.wait_told(other)
    avahi.wait_told(other, to=avahi.box.address)


def test_a_node_and_avahi_share_a_box_whichever_was_there_first(two_homes):
    beside, other = two_homes.boxes
    two_homes.join(other)
    wait_found("n2", other)
    with Avahi(beside, "first") as avahi:
        avahi.wait_told(other, to=beside.address)
        beside.start()
        share(avahi, other)
        until(lambda: "another one is on this LAN" in beside.output(), "the node beside Avahi names the cluster that it could join")
    with Avahi(beside, "second") as avahi:
        share(avahi, other)
