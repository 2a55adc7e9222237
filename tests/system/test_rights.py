"""As whom the daemon runs when root starts it, and what becomes root's no more."""

import os
import pwd
import threading

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


def swap_when_one_is_given(directories, victim, stop):
    """As soon as the first file of one of them has been given away all others become links to `victim`."""
    files = [next(directory.iterdir()) for directory in directories]
    while not stop.is_set():
        given = [file.parent for file in files if os.stat(file).st_uid != 0]
        if given:
            for directory in directories:
                if directory not in given:
                    directory.rename(f"{directory}-away")
                    directory.symlink_to(victim)
            return


def test_who_owns_the_directory_gets_nothing_by_a_link_that_he_puts_there_meanwhile(box):
    """There are so many files that there is time for it."""
    user, victim = own_user(), box.lab.directory / "victim"
    box.data.mkdir()
    directories = [box.data / f"d{number}" for number in range(4)]
    for directory in (victim, *directories):
        directory.mkdir()
        for number in range(3000):
            (directory / f"{number}").touch()
    os.chown(box.data, user.pw_uid, user.pw_gid)
    (box.data / "node.json").touch()
    stop = threading.Event()
    swapper = threading.Thread(target=swap_when_one_is_given, args=(directories, victim, stop))
    swapper.start()
    try:
        box.start()
        until(lambda: box.process.poll() is not None, "it ends: node.json is empty")
    finally:
        stop.set()
        swapper.join()
    assert any(directory.is_symlink() for directory in directories), "the links came too late"
    assert {os.stat(file).st_uid for file in victim.iterdir()} == {0}


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


def test_a_link_of_roots_is_followed_and_what_is_hidden_stays_roots(box):
    """It may lie on another disk."""
    disk = box.lab.directory / "disk"
    disk.mkdir()
    (disk / ".keys").mkdir()
    (disk / ".keys" / "key").touch()
    box.data.symlink_to(disk)
    begin(box)
    assert uids_of(box) == {own_user().pw_uid}
    assert os.stat(disk).st_uid == own_user().pw_uid
    assert os.stat(disk / ".keys").st_uid == os.stat(disk / ".keys" / "key").st_uid == 0
    box.stop()


def test_the_daemon_gets_to_its_directory_whatever_roots_umask_is(box):
    box.data = box.lab.directory / "above" / "data"
    mask = os.umask(0o077)
    try:
        begin(box)
    finally:
        os.umask(mask)
    assert uids_of(box) == {own_user().pw_uid}
    assert os.stat(box.data).st_mode & 0o777 == 0o700
    box.stop()


def test_where_a_link_leads_only_root_may_go(box):
    disk = box.lab.directory / "disk"
    disk.mkdir(0o700)
    (disk / "data").mkdir()
    box.data.symlink_to(disk / "data")
    begin(box)
    assert uids_of(box) == {0}
    box.stop()
