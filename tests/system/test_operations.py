"""The pages of docs/operations.md about several boxes: their commands are run as they stand there (lib/pages.py)."""
import subprocess
import tempfile

import pytest

from lib.pages import Home
from lib.wait import until


@pytest.fixture
def home():
    homes = []

    def make(*names):
        directory = tempfile.TemporaryDirectory(prefix="mc-")
        homes.append((Home(directory.name, names), directory))
        return homes[-1][0]
    yield make
    for made, directory in homes:
        made.end()
        directory.cleanup()


def fill(box):
    """A retained message, a session with a queue, a user, a setting: all acknowledged."""
    with box.client() as client:
        client.connect("sleeper", clean=True, properties=[("session_expiry", 3600)])
        client.subscribe(("jobs/#", 1))
    with box.client() as client:
        client.connect("pub", clean=True)
        client.publish("home/kept", b"before", qos=1, retain=True)
        for number in range(20):
            client.publish("jobs/a", b"%d" % number, qos=1)
    box.add_user("ann", "secret-enough", "operator")
    box.put_setting("mqtt.session_expiry_s_max", 86400)


def what_does_not_expire_is_there(box):
    with box.client() as client:
        client.connect("look", clean=True)
        client.subscribe(("home/kept", 0))
        client.expect_publish("home/kept", b"before")
    assert "ann" in [user["name"] for user in box.request("GET", "/v1/users")[1]]
    assert str(box.request("GET", "/v1/settings/mqtt.session_expiry_s_max")[1]["value"]) == "86400"


def everything_is_there(box):
    what_does_not_expire_is_there(box)
    with box.client() as client:
        client.connect("sleeper", clean=False, properties=[("session_expiry", 3600)])
        assert client.connack.session_present
        for number in range(20):
            client.expect_publish("jobs/a", b"%d" % number)


def takes_writes(box):
    def publish():
        with box.client() as client:
            client.connect("writer", clean=True)
            client.publish("home/later", b"after", qos=1, retain=True)
            return True
    until(publish, "it takes what is to be kept")


def test_one_of_two_boxes_died(home):
    there = home("cellar", "attic")  # cellar votes
    attic, cellar = there.boxes["attic"], there.boxes["cellar"]
    fill(attic)
    cellar.kill()
    there.run("two")
    until(lambda: attic.leader() == "attic" and len(attic.nodes()) == 1, "attic goes on alone")
    takes_writes(attic)
    shed = there.bare("shed", 13)
    there.join(shed, attic)
    there.settle()
    everything_is_there(shed)
    cellar.launch()
    there.run("removed")
    assert cellar.process.wait(20) == 3


def test_the_majority_is_gone_for_good(home):
    there = home("cellar", "shed", "attic")
    attic = there.boxes["attic"]
    fill(there.boxes["shed"])
    there.boxes["cellar"].kill()
    there.boxes["shed"].kill()
    attic.kill()  # the power came back for one
    attic.launch()
    there.run("majority")
    attic.wait_serving()
    takes_writes(attic)
    for name in ("cellar", "shed"):
        there.join(there.replace(name, 20), attic)
    there.settle()
    everything_is_there(there.boxes["cellar"])


def test_a_box_has_lost_its_disk(home):
    there = home("attic", "cellar", "shed")
    attic, cellar = there.boxes["attic"], there.boxes["cellar"]
    fill(cellar)
    before = next(node["id"] for node in attic.nodes() if node["name"] == "cellar")
    there.replace("cellar", 21)
    there.run("disk")
    takes_writes(attic)
    there.join(cellar, attic)
    there.settle()
    assert next(node["id"] for node in attic.nodes() if node["name"] == "cellar") != before
    everything_is_there(cellar)
    cellar.stop()
    cellar.data.rename(cellar.directory / "fresh")
    (cellar.directory / "stolen").rename(cellar.data)
    cellar.launch()
    there.run("removed")
    assert cellar.process.wait(20) == 3


def test_the_whole_cluster_from_a_backup(home):
    there = home("attic", "cellar", "shed")
    fill(there.boxes["shed"])
    there.run("backup")
    with there.boxes["attic"].client() as client:
        client.connect("pub", clean=True)
        client.publish("home/kept", b"too late", qos=1, retain=True)
    for name in ("attic", "cellar", "shed"):
        there.replace(name, 22).data.mkdir()
    there.run("restore")
    attic = there.boxes["attic"]  # which now has the name of the box that the backup was taken from
    attic.wait_serving()
    until(lambda: [node["name"] for node in attic.nodes()] == ["cellar"], "it is alone")
    for name in ("cellar", "shed"):
        box = there.boxes[name]
        box.config.write_text(box.config.read_text().replace("name: cellar", "name: attic"))
        there.join(box, attic)
    until(lambda: sorted(node["name"] for node in attic.nodes()) == ["attic", "cellar", "shed"], "three are the cluster")
    everything_is_there(there.boxes["shed"])


def test_one_box_of_a_living_cluster_is_not_put_back_from_a_backup(home):
    there = home("attic", "cellar", "shed")
    there.run("backup")
    cellar = there.boxes["cellar"]
    refused = subprocess.run([str(there.tools / "microcloud"), "restore", str(there.directory / "house.backup"), "--data", str(cellar.data)],
                             capture_output=True, text=True)
    assert refused.returncode != 0 and str(cellar.data) in refused.stderr
    assert cellar.request("POST", "/v1/restore")[0] == 409
    there.replace("cellar", 23)
    cellar.shell("sudo microcloud restore /media/usb/house.backup --data /var/lib/microcloud")
    cellar.launch()
    there.run("stale")
    assert cellar.process.wait(20) == 1
    fill(there.boxes["attic"])
    everything_is_there(there.boxes["shed"])


def test_a_box_moves_to_another_address(home):
    there = home("attic", "cellar", "shed")
    fill(there.boxes["attic"])
    for name in ("cellar", "attic", "shed"):  # whichever has the lowest id, which is dialled by none
        there.boxes["cellar"], before = there.boxes[name], there.boxes["cellar"]
        there.boxes["cellar"].config.write_text(f"name: {name}\naddress: 127.0.1.2{len(name)}\n")
        there.run("move")
        there.boxes["cellar"].wait_serving()
        moved = there.boxes["cellar"]
        for box in there.running():
            until(lambda b=box: next((n["address"] for n in b.nodes() if n["name"] == name), "").startswith("127.0.1.22:"),
                  f"{box.name} knows the new address of {name}")
        moved.config.write_text(f"name: {name}\naddress: 127.0.1.3{len(name)}\n")
        there.boxes["cellar"] = before
        moved.systemctl("restart")
        moved.wait_serving()
        until(lambda: all(n["state"] == "online" for b in there.running() for n in b.nodes()), "all see each other")
    everything_is_there(there.boxes["shed"])


def test_all_boxes_move_to_another_network(home):
    there = home("attic", "cellar", "shed")
    fill(there.boxes["attic"])
    there.run("network")
    for box in there.boxes.values():
        box.wait_serving()
    for box in there.boxes.values():
        until(lambda b=box: all(n["address"].startswith("127.0.7.") and n["state"] == "online" for n in b.nodes()),
              f"{box.name} knows all by their new addresses")
    everything_is_there(there.boxes["shed"])


def test_the_authority_is_replaced(home):
    there = home("attic", "cellar", "shed")
    fill(there.boxes["attic"])
    before = there.boxes["attic"].request("GET", "/v1/ca")[1]["certificate"]
    there.run("authority")
    for box in there.boxes.values():
        until(lambda b=box: b.request("GET", "/v1/ca")[1]["certificate"] != before, "it is another")
    there.settle()
    everything_is_there(there.boxes["shed"])


def test_all_boxes_were_off_until_their_certificates_had_ended(home, clocks):
    there = home("cellar", "shed", "attic")
    fill(there.boxes["shed"])
    for box in there.boxes.values():
        box.stop()
    for box in there.boxes.values():
        box.environment = clocks(400 * 86400)
        box.launch()
    there.run("ended")
    assert not any(box.leader() for box in there.boxes.values())
    there.run("majority")
    attic = there.boxes["attic"]
    attic.wait_serving()
    takes_writes(attic)
    for name in ("cellar", "shed"):
        there.join(there.boxes[name], attic)
    there.settle()
    what_does_not_expire_is_there(there.boxes["cellar"])
