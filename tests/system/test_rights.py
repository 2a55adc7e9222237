"""As whom the daemon runs when root starts it, and what becomes root's no more."""

import os
import pwd

import pytest

from lab import Lab, until
from lib.node import program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")


def own_user():
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("microcloud") or names["nobody"]


def uids_of(box):
    with open(f"/proc/{box.daemon_pid}/status") as lines:
        return {int(uid) for line in lines if line.startswith("Uid:") for uid in line.split()[1:]}


@pytest.fixture
def box():
    lab = Lab(1, program(), ["--no-keeper"])
    try:
        yield lab.boxes[0]
    finally:
        lab.down()


def begin(box):
    box.start()
    until(lambda: box.call("GET", "/healthz")[0] == 200, f"it serves; its log:\n{box.output()}")


def test_a_directory_of_roots_is_given_away_with_what_root_puts_there(box):
    begin(box)
    user = own_user()
    assert uids_of(box) == {user.pw_uid}
    assert os.stat(box.data).st_uid == user.pw_uid
    box.stop()
    os.chown(box.data / "node.json", 0, 0)
    other = box.lab.directory / "roots"
    other.write_text("root's")
    os.link(other, box.data / "also-roots")
    (box.data / "a-way-out").symlink_to(other)
    begin(box)
    assert os.stat(box.data / "node.json").st_uid == user.pw_uid
    assert os.stat(other).st_uid == 0
    box.stop()


def test_a_directory_of_somebody_else_is_not_touched(box):
    box.data.mkdir()
    photos = box.data / "photos"
    photos.write_text("of a cat")
    box.start()
    until(lambda: box.process.poll() is not None, "it ends")
    assert "'photos', which is not microcloud's" in box.output()
    assert os.stat(photos).st_uid == os.stat(box.data).st_uid == 0


def test_where_only_root_may_go_it_says_that_it_stays_root(box):
    box.lab.directory.chmod(0o700)
    begin(box)
    assert uids_of(box) == {0}
    assert "the daemon keeps the user id of root" in box.output()
    box.stop()
