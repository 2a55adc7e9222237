"""Who has an address when: rtnetlink in each namespace, a thread each, on one monotonic clock."""
import socket
import struct
import threading
import time

from lab import inside

RTM_NEWADDR, RTM_DELADDR = 20, 21
GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
IFA_ADDRESS, IFA_LOCAL = 1, 2
HEAD, IFADDRMSG = 16, 8


def parse(data):
    """(is it there, address) of each message that says so."""
    at = 0
    while at + HEAD <= len(data):
        length, kind = struct.unpack_from("IH", data, at)
        if length < HEAD:
            return
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            family = data[at + HEAD]
            attributes = at + HEAD + IFADDRMSG
            while attributes + 4 <= at + length:
                size, name = struct.unpack_from("HH", data, attributes)
                if size < 4:
                    break
                wanted = IFA_LOCAL if family == socket.AF_INET else IFA_ADDRESS
                if name == wanted:
                    yield kind == RTM_NEWADDR, socket.inet_ntop(family, data[attributes + 4:attributes + size])
                attributes += (size + 3) & ~3
        at += (length + 3) & ~3


def intervals(events, end):
    """{who: [(from, to)]} of [(time, who, is there)]; what lasts is there until `end`."""
    open_since, result = {}, {}
    for when, who, is_there in sorted(events):
        if is_there:
            open_since.setdefault(who, when)
        elif who in open_since:
            result.setdefault(who, []).append((open_since.pop(who), when))
    for who, since in open_since.items():
        result.setdefault(who, []).append((since, end))
    return result


def overlap(spans):
    """For how long two different ones had it."""
    edges = sorted((edge, step) for each in spans.values() for since, to in each for edge, step in ((since, 1), (to, -1)))
    total, count, before = 0.0, 0, None
    for when, step in edges:
        if count > 1:
            total += when - before
        count, before = count + step, when
    return total


def without(spans, name, since, to):
    """The spans but for those of a box while it was not on the LAN."""
    pieces = [piece for begin, end in spans.get(name, ()) for piece in ((begin, min(end, since)), (max(begin, to), end)) if piece[0] < piece[1]]
    return {**spans, name: pieces}


class Holders:
    """Watches one address from now on until stop()."""

    def __init__(self, lab, address):
        self.address = address
        self.events = [(time.monotonic(), box.name, True) for box in lab.boxes if box.holds(address)]
        self.is_stopped = False
        self.threads = []
        for box in lab.boxes:
            with inside(box.namespace):
                watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            watch.bind((0, GROUPS))
            watch.settimeout(0.1)
            thread = threading.Thread(target=self.watch, args=(box.name, watch), daemon=True)
            thread.start()
            self.threads.append(thread)

    def watch(self, name, sock):
        with sock:
            while not self.is_stopped:
                try:
                    data = sock.recv(65536)
                except TimeoutError:
                    continue
                now = time.monotonic()
                for is_there, address in parse(data):
                    if address == self.address:
                        self.events.append((now, name, is_there))

    def taken_by_another(self, name, since):
        """When, after `since`, by somebody else; None = not yet."""
        return min((when for when, who, is_there in list(self.events) if is_there and who != name and when > since), default=None)

    def stop(self):
        self.is_stopped = True
        for thread in self.threads:
            thread.join()
        return intervals(self.events, time.monotonic())
