"""The virtual IP: three boxes in namespaces of their own, and every way in which the one that holds it can go.

The time for which two boxes had the address is read from rtnetlink in every namespace: it must be none at all.
"""
import contextlib
import os
import pathlib
import pwd
import re
import signal
import socket
import struct
import subprocess
import time

import pytest

from holders import HEAD, IFA_ADDRESS, RTM_NEWADDR, Holders, overlap, without
from lab import MQTT_PORT, NET, NET6, VIP, VIP6, Lab, inside, ip, until
from lib.boxes import boxes
from lib.node import program
from lib.programs import run
from stranger import Stranger

pytestmark = [pytest.mark.xdist_group("vip"), pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")]

TAKEN_S = 20
HTTP_PORT = 8080
MARK = 0x6d  # of addresses, as in src/keeper/address.c
IFA_PROTO, IFA_F_NODAD = 11, 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE = 1, 4, 0x400
SILENT_S = 2  # asked are 1.2 s at most; the link of a silent one is up for longer than both
PULLS = 16
BACK_S, TRIES, WORST_S = 0.1, 5, 1  # most of them: a busy machine may be late, but none may be as late as the last
OVER_S = 3  # ten times a lease
ANNOUNCEMENTS, DEFEND_S = 5, 10  # as in src/keeper/hold.c
SEEN_S = 0.1  # by how much a watching thread may be late on a busy machine


@pytest.fixture(scope="module")
def lab():
    with boxes() as lab:
        lab.form()
        lab.set_vip(f"{VIP}/24", f"{VIP6}/64")
        yield lab


def connect(lab, address=VIP, timeout=5, port=MQTT_PORT):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(lab.lan):
        sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def answers(lab, address=VIP):
    try:
        connect(lab, address, 0.2).close()
        return True
    except OSError:
        return False


def holder_of(lab):
    """Settled: everybody votes, one holds, and it answers."""
    lab.settle()
    box = until(lab.holder, "somebody holds it")
    until(lambda: answers(lab), "it answers")
    return box


def status(pid):
    with open(f"/proc/{pid}/status") as lines:
        return dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)


def has_no_right(pid):
    daemon = status(pid)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(daemon[name], 16) == 0, name
    assert daemon["NoNewPrivs"].strip() == "1"
    assert 0 not in {int(uid) for uid in daemon["Uid"].split()}, "root's files are root's without any capability"


def test_the_daemon_has_no_right_at_all_and_the_keeper_only_what_it_needs(lab):
    for box in lab.boxes:
        keeper = status(box.keeper_pid)
        has_no_right(box.daemon_pid)
        assert int(keeper["CapEff"], 16) != 0
        allowed = {5, 6, 7, 8, 12, 13}  # CAP_KILL, SETGID, SETUID, SETPCAP, NET_ADMIN, NET_RAW
        assert {bit for bit in range(64) if int(keeper["CapEff"], 16) >> bit & 1} <= allowed


def test_it_answers_in_both_families_and_everybody_knows_who_holds_it(lab):
    box = holder_of(lab)
    assert answers(lab, VIP6)
    for other in lab.boxes:
        def told(other=other):
            answer = other.call("GET", "/v1/vips")[1] or []
            return [(row["address"], row["holder"], row["problem"]) for row in answer]
        wanted = [(f"{VIP}/24", box.name, None), (f"{VIP6}/64", box.name, None)]
        until(lambda told=told: told() == wanted, f"{other.name} knows it")
        assert VIP in other.command("vip", "ls")[1]
        assert f"{VIP}/24" in other.command("status")[1]


WAYS = {
    "daemon killed": lambda box: box.kill("daemon"),
    "keeper killed": lambda box: box.kill("keeper"),
    "both killed": lambda box: box.kill("both"),
    "daemon frozen": lambda box: box.send("daemon", signal.SIGSTOP),
    "keeper frozen": lambda box: box.send("keeper", signal.SIGSTOP),
    "all frozen": lambda box: box.send("both", signal.SIGSTOP),
    "planned stop": lambda box: box.process.send_signal(signal.SIGTERM),
    "cut off": lambda box: box.cut_off("both"),
    "hears nothing": lambda box: box.cut_off("in"),
    "is not heard": lambda box: box.cut_off("out"),
    "cable pulled": lambda box: box.unplug(),
}


def mend(lab, box):
    box.heal()
    if box.process is not None and box.process.poll() is None:
        box.send("both", signal.SIGCONT)
    with contextlib.suppress(Exception):
        if box.process is not None:
            box.process.wait(0.1 if box.is_alive() else 20)
    if not box.is_alive():
        box.process = None
        box.start()
    lab.settle()


@pytest.mark.parametrize("way", WAYS)
def test_never_do_two_boxes_hold_it(lab, way):
    box = holder_of(lab)
    watches = [Holders(lab, VIP), Holders(lab, VIP6)]
    since = time.monotonic()
    try:
        WAYS[way](box)
        taken = [until(lambda watch=watch: watch.taken_by_another(box.name, since), f"{way}: another takes it", TAKEN_S) for watch in watches]
        until(lambda: answers(lab), "it answers again")
        print(f"{way}: taken after {[round((when - since) * 1000) for when in taken]} ms")
        mend(lab, box)
    finally:
        spans = [watch.stop() for watch in watches]
    assert [overlap(each) for each in spans] == [0, 0], (way, spans)


def test_a_suspended_box_that_goes_on_has_it_no_more(lab):
    """Before its network is there again, whatever its kernel still has when it wakes up."""
    box = holder_of(lab)
    watches = [Holders(lab, VIP), Holders(lab, VIP6)]
    since = time.monotonic()
    try:
        box.suspend()
        taken = [until(lambda watch=watch: watch.taken_by_another(box.name, since), "another takes it", TAKEN_S) for watch in watches]
        box.resume()
        healed = time.monotonic()
        until(lambda: answers(lab), "it answers again")
        lab.settle()
    finally:
        box.resume()
        spans = [watch.stop() for watch in watches]
    print(f"suspended: taken after {[round((when - since) * 1000) for when in taken]} ms")
    assert [overlap(without(each, box.name, since, healed)) for each in spans] == [0, 0], spans


def test_a_dying_keeper_loses_the_address_before_its_links(lab):
    """The kernel lets go of the highest descriptor first, and the end of the links tells others that the address is free."""
    descriptors = pathlib.Path(f"/proc/{holder_of(lab).keeper_pid}/fd")
    targets = {int(each.name): os.readlink(each) for each in descriptors.iterdir()}
    assert targets[max(targets)] == "/dev/net/tun", targets
    assert sum(target.startswith("socket:") for target in targets.values()) > 2, targets


def test_a_witness_that_is_elected_hands_over_to_the_box_that_lives():
    """Never to the leader that fell silent, whose link looks as if it were there. Each box in turn: both orders of ids."""
    with boxes(2) as lab:
        lab.add(["--witness"])
        lab.form()
        lab.set_vip(f"{VIP}/24")
        witness = lab.boxes[2]
        for pull in range(PULLS):
            box = holder_of(lab)
            watch, since = Holders(lab, VIP), time.monotonic()
            try:
                box.unplug()
                taken = until(lambda watch=watch, box=box, since=since: watch.taken_by_another(box.name, since), "the other takes it", TAKEN_S)
                box.heal()
                lab.settle()
            finally:
                spans = watch.stop()
            assert overlap(spans) == 0, spans
            assert taken - since < SILENT_S, witness.output()[-3000:]
            if "the leader is not to lead" in witness.output() and pull > 1:
                break
        else:
            pytest.fail("the witness was never elected")


def test_a_crashed_daemon_is_started_again_by_its_keeper(lab):
    box = holder_of(lab)
    keeper, daemon = box.keeper_pid, box.daemon_pid
    box.kill("daemon")
    until(lambda: box.daemon_pid not in (0, daemon), "the keeper starts it again")
    lab.settle()
    assert box.keeper_pid == keeper


def websocket(lab, address):
    """A connection that has become a WebSocket for MQTT."""
    link = connect(lab, address, port=HTTP_PORT)
    link.sendall(b"GET /mqtt HTTP/1.1\r\nHost: box\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                 b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += link.recv(4096)
    assert b" 101 " in answer
    return link


def wait_told(box, address=VIP):
    """Who was connected when this begins is known to the others when it ends: a box tells of each one as it takes it, or of all as soon as
    it knows that it holds the address, and only then answers whoever asks it later.
    """
    def does_hold():
        rows = box.call("GET", "/v1/vips")[1] or []
        return any(row["address"].startswith(f"{address}/") and row["holder"] == box.name for row in rows)
    until(does_hold, f"{box.name} knows that it holds {address}")


def back_after(lab, come, address):
    """How long after the address is there an idle client is connected again whose box fell silent."""
    holder_of(lab)
    idle = come(lab, address)
    box = holder_of(lab)
    wait_told(box, address)
    watch = Holders(lab, address)
    since = time.monotonic()
    box.send("both", signal.SIGSTOP)  # silent: nobody resets it but the next holder
    try:
        idle.settimeout(TAKEN_S)
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
        reset = time.monotonic()
        come(lab, address).close()
        back = time.monotonic()
        taken = until(lambda: watch.taken_by_another(box.name, since), "another one takes it", TAKEN_S)
        assert reset > taken - SEEN_S, "it was reset before the address had moved"
        print(f"{address}: reset {1000 * (reset - taken):.1f} ms, connected again {1000 * (back - taken):.1f} ms after the address was there")
        assert back - taken < WORST_S
        return back - taken
    finally:
        watch.stop()
        idle.close()
        mend(lab, box)


def is_mostly_soon(back_after):
    """Whether the median of the tries is below BACK_S; no more of them than it takes to know."""
    soon = late = 0
    while max(soon, late) <= TRIES // 2:
        is_soon = back_after() < BACK_S
        soon, late = soon + is_soon, late + (not is_soon)
    return soon > late


@pytest.mark.parametrize("address", [VIP, VIP6])
@pytest.mark.parametrize("come", [connect, websocket])
def test_an_idle_client_is_back_at_once_when_its_box_has_died(lab, come, address):
    assert is_mostly_soon(lambda: back_after(lab, come, address))


def put(box, address, mark):
    """As the keeper puts an IPv6 address on its LAN, but for ever; `ip` of Debian 12 cannot mark one."""
    with inside(box.namespace):
        index = socket.if_nametoindex("eth0")
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    bytes_of = socket.inet_pton(socket.AF_INET6, address)
    body = struct.pack("=BBBBI", socket.AF_INET6, 128, IFA_F_NODAD, 0, index)
    body += struct.pack("=HH16s", 20, IFA_ADDRESS, bytes_of) + struct.pack("=HHB3x", 5, IFA_PROTO, mark)
    with netlink:
        netlink.send(struct.pack("=IHHII", HEAD + len(body), RTM_NEWADDR, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 1, 0) + body)
        assert struct.unpack_from("=i", netlink.recv(4096), HEAD) == (0,)
    assert box.holds(address)


def test_an_address_of_an_earlier_life_is_gone_when_the_keeper_starts(lab):
    """Its mark is what makes it ours; one that somebody else put there stays."""
    box = lab.others(holder_of(lab))[0]
    box.stop()
    left, foreign = f"{NET6}:150", f"{NET6}:151"
    put(box, left, MARK)
    put(box, foreign, MARK + 1)
    box.start()
    lab.settle()
    until(lambda: not box.holds(left), "what it left is gone")
    assert box.holds(foreign)
    ip("-n", box.namespace, "addr", "del", f"{foreign}/128", "dev", "eth0")


def problems(lab, address):
    """As each node says: also those that do not lead know it."""
    return {row["problem"] for box in lab.boxes for row in box.call("GET", "/v1/vips")[1] or [] if row["address"].startswith(f"{address}/")}


def test_an_address_that_another_host_has_is_not_taken(lab):
    taken, taken6 = f"{NET}.101", f"{NET6}:101"
    ip("-n", lab.lan, "addr", "add", f"{taken}/24", "dev", "br0")
    ip("-n", lab.lan, "addr", "add", f"{taken6}/64", "dev", "br0", "nodad")
    mac = ip("-o", "-n", lab.lan, "link", "show", "br0").split("link/ether ")[1].split()[0]
    leader = lab.leader()
    for address, prefix in ((taken, 24), (taken6, 64)):
        assert leader.command("vip", "set", f"{address}/{prefix}", "--interface", "eth0")[0] == 0
        until(lambda a=address: problems(lab, a) == {f"another host ({mac}) answers for it"}, "the other host is named")
        assert f"another host ({mac}) answers for it" in lab.others(leader)[0].command("doctor")[1]
        assert lab.holder(address) is None
        ip("-n", lab.lan, "addr", "del", f"{address}/{prefix}", "dev", "br0")
        until(lambda a=address: lab.holder(a), "it is taken when it is free")
        until(lambda a=address: problems(lab, a) == {None}, "the problem is gone")
        assert leader.command("vip", "rm", address)[0] == 0
        until(lambda a=address: lab.holder(a) is None, "it is given up")


def test_an_address_that_is_held_is_defended_once_in_ten_seconds(lab):
    """RFC 5227, 2.4 (c): it stays, and each box says who else claims it."""
    box, addresses = holder_of(lab), (f"{NET}.103", f"{NET6}:103")
    stranger = Stranger(lab)

    def heard(least):
        return all(len(stranger.heard(address)) >= least for address in addresses)

    def claim():
        for address in addresses:
            stranger.claim(address)

    def is_defended_again():
        claim()
        return heard(ANNOUNCEMENTS + 2)

    try:
        lab.set_vip(f"{addresses[0]}/24", f"{addresses[1]}/64")
        until(lambda: all(answers(lab, address) for address in addresses), "they answer")
        until(lambda: heard(ANNOUNCEMENTS), "they are announced")
        for address in addresses:
            stranger.take(address)
        claim()
        until(lambda: heard(ANNOUNCEMENTS + 1), "they are defended at once", 1)
        until(lambda: all(answers(lab, address) for address in addresses), "the LAN goes to the box again", 2)

        problem = f"another host ({stranger.mac.hex(':')}) answers for it"
        for address in addresses:
            until(lambda a=address: problems(lab, a) == {problem}, "the other host is named")
            assert re.search(f"virtual IP claimed by another host too.*address={address} .*{re.escape(problem)}", box.output())
        for other in lab.boxes:
            assert all(other.command(*words)[1].count(problem) == len(addresses) for words in (("vip", "ls"), ("status",)))

        until(is_defended_again, "they are defended again", DEFEND_S + 3, 0.1)
        for address in addresses:
            first, second = stranger.heard(address)[ANNOUNCEMENTS:ANNOUNCEMENTS + 2]
            assert DEFEND_S - SEEN_S < second - first < DEFEND_S + 1, address
            assert lab.holder(address) is box
    finally:
        stranger.close()
        for address in addresses:
            lab.leader().command("vip", "rm", address)


def test_an_address_that_is_set_anew_had_not_been_let_go(lab):
    """The lease of the ones before is over since long, and nobody missed it."""
    box = holder_of(lab)
    for address in (VIP, VIP6):
        assert box.command("vip", "rm", address)[0] == 0
        until(lambda a=address: lab.holder(a) is None, "it is given up")
    over, said = time.monotonic() + OVER_S, len(box.output())
    until(lambda: time.monotonic() > over, "the last lease is over")
    lab.set_vip(f"{VIP}/24", f"{VIP6}/64")
    late = [int(ms) for ms in re.findall(r"is let go: .*late_ms=(\d+)", box.output()[said:])]
    assert max(late, default=0) < OVER_S * 500, "only a busy machine is late, and never by so much"


@pytest.mark.parametrize("words, why", [
    ((f"{NET}.255/24",), "this is its broadcast address"),
    ((f"{NET}.1/24",), "node 'n1' has this address itself"),
    (("10.99.0.5/24",), "no interface of this node is in its network"),
    ((f"{NET}.102/24", "--interface", "default"), "this node has no interface 'default'; it has: eth0"),
])
def test_what_no_box_can_hold_is_refused_and_moves_nothing(lab, words, why):
    box = holder_of(lab)
    code, _, error = box.command("vip", "set", *words)
    assert code == 1
    assert why in error
    assert lab.holder() is box
    assert words[0] not in box.command("vip", "ls")[1]


def test_a_node_without_rights_refuses_and_says_what_is_missing():
    lab = Lab(1, program(), ["--no-keeper"])
    try:
        lab.form()
        code, _, error = lab.boxes[0].command("vip", "set", f"{VIP}/24")
        assert code == 1
        assert "no node may hold a virtual IP: start microcloud as root" in error
        has_no_right(lab.boxes[0].daemon_pid)  # root started it, but it needs nothing
        lab.boxes[0].stop()
    finally:
        lab.down()


def test_boxes_that_cannot_hold_it_are_named_before_it_must_move():
    lab = Lab(1, program())
    able = lab.boxes[0]
    second, third = (lab.add(["--no-keeper"]) for _ in range(2))
    warning = f"No virtual IP can move: only {able.name} can hold one"

    def safety(box):
        return box.command("status")[1]

    def bad(box):
        """Whom doctor names."""
        code, out, _ = box.command("doctor")
        rows = [line for line in out.splitlines() if line.startswith("BAD  virtual IPs")]
        assert code == 1 or not rows
        return sorted(rows[0].removesuffix(" cannot hold one").replace(",", " ").split()[3:]) if rows else []

    try:
        lab.form()
        assert not any(warning in safety(box) or bad(box) for box in lab.boxes)
        lab.set_vip()
        for box in lab.boxes:
            until(lambda box=box: f"everything goes on. {warning}" in safety(box), f"{box.name} says that it cannot move")
            until(lambda box=box: bad(box) == [second.name, third.name], f"{box.name} names those that cannot")
        third.stop()
        third.options = []
        third.start()
        lab.settle()
        for box in lab.boxes:
            until(lambda box=box: warning not in safety(box), f"{box.name} has two that can")
            until(lambda box=box: bad(box) == [second.name], f"{box.name} names the one that still cannot")
        for box in lab.boxes:
            box.stop()
    finally:
        lab.down()


def test_it_runs_as_the_user_that_is_named():
    user = pwd.getpwnam("daemon")
    lab = Lab(1, program(), ["--user", "daemon"])
    try:
        os.chmod(lab.directory, 0o755)
        os.chown(lab.directory, user.pw_uid, user.pw_gid)
        lab.form()
        lab.set_vip()
        box = lab.boxes[0]
        assert status(box.daemon_pid)["Uid"].split() == [str(user.pw_uid)] * 4
        assert status(box.daemon_pid)["Gid"].split() == [str(user.pw_gid)] * 4
        assert status(box.keeper_pid)["Uid"].split() == ["0"] * 4
        assert os.stat(box.data).st_uid == user.pw_uid
        assert answers(lab)
        box.stop()
        assert lab.holder() is None
    finally:
        lab.down()


@pytest.fixture(scope="module")
def lwip(tmp_path_factory):
    """A device with lwIP, as most plugs have it."""
    out = tmp_path_factory.mktemp("lwip") / "lwip-device"
    flags = run("pkg-config", "--cflags", "--libs", "lwip").ok().out.split()
    run("cc", "-o", out, pathlib.Path(__file__).resolve().parent.parent / "lab" / "lwip_device.c", *flags).ok()
    return out


class Plug:
    """That device, with a cable to the LAN."""

    def __init__(self, lab, path):
        self.lab = lab
        ip("-n", lab.lan, "tuntap", "add", "dev", "plug0", "mode", "tap")
        ip("-n", lab.lan, "link", "set", "plug0", "master", "br0", "up")
        self.process = subprocess.Popen(["ip", "netns", "exec", lab.lan, path, f"{NET}.77", "255.255.255.0", VIP, str(MQTT_PORT), "plug"],
                                        stdout=subprocess.PIPE, text=True, env={**os.environ, "PRECONFIGURED_TAPIF": "plug0"})

    def next(self, what):
        """When, on CLOCK_BOOTTIME."""
        while True:
            word, when = self.process.stdout.readline().split()
            if word == what:
                return int(when) / 1000

    def back_after(self):
        """How long after the address is there it is connected again when its box fell silent."""
        box = holder_of(self.lab)
        offset = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        wait_told(box)
        watch, since = Holders(self.lab, VIP), time.monotonic()
        box.send("both", signal.SIGSTOP)
        try:
            reset, back = self.next("reset"), self.next("connected")
            taken = until(lambda: watch.taken_by_another(box.name, since), "another one takes it", TAKEN_S) + offset
        finally:
            watch.stop()
            mend(self.lab, box)
        print(f"lwIP: reset {1000 * (reset - taken):.0f} ms, connected again {1000 * (back - taken):.0f} ms after the address was there")
        assert reset > taken - SEEN_S, "it was reset by the box that died"
        assert back - taken < WORST_S
        return back - taken

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        ip("-n", self.lab.lan, "link", "del", "plug0")


def test_an_idle_plug_with_lwip_is_back_at_once(lab, lwip):
    holder_of(lab)
    until(lambda: lab.leader().command("setting", "set", "mqtt.anonymous", "on")[0] == 0, "the plug may come")
    plug = Plug(lab, lwip)
    try:
        plug.next("connected")
        assert is_mostly_soon(plug.back_after)
    finally:
        plug.close()
