"""A host of the LAN on which nothing of ours runs: it says of addresses that they are its own, and hears who else does."""
import socket
import struct
import time

from lab import inside, ip

DEVICE = "eth0"
ETH_P_ALL, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0806, 0x86dd
BROADCAST, ALL_NODES_MAC, ALL_NODES = b"\xff" * 6, b"\x33\x33\x00\x00\x00\x01", "ff02::1"
HEAD_BYTES, ARP_BYTES, IP6_BYTES, ND_BYTES = 14, 28, 40, 24
ARP_REQUEST, ND_ADVERTISE = 1, 136
ND_OVERRIDE, ND_OPTION_TARGET = 0x20000000, 2


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def is_announcement(frame, address):
    """To all, as RFC 5227, 1.1 and RFC 4861, 7.2.6 have it."""
    target = packed(address)
    if len(frame) < HEAD_BYTES + (IP6_BYTES + ND_BYTES if ":" in address else ARP_BYTES):
        return False
    head, body = frame[:6] + frame[12:14], frame[HEAD_BYTES:]
    if ":" in address:
        said = body[IP6_BYTES:]
        is_advertised = (body[6], said[0], said[8:24]) == (socket.IPPROTO_ICMPV6, ND_ADVERTISE, target)
        return is_advertised and head == ALL_NODES_MAC + struct.pack("!H", ETH_P_IPV6)
    return head == BROADCAST + struct.pack("!H", ETH_P_ARP) and body[14:18] == body[24:28] == target


class Stranger:
    """It removes itself with the lab."""

    def __init__(self, lab):
        self.box = lab.add()
        lab.boxes.remove(self.box)
        lab.guests.append(self.box)
        with inside(self.box.namespace):
            self.index = socket.if_nametoindex(DEVICE)
            self.packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.packets.bind((DEVICE, ETH_P_ALL))
            self.icmp6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self.packets.setblocking(False)
        self.mac = self.packets.getsockname()[4]
        self.icmp6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        self.frames = []  # (when, bytes) of others

    def take(self, address):
        more = ["nodad"] if ":" in address else []  # else its kernel would ask first, and be told
        ip("-n", self.box.namespace, "addr", "add", f"{address}/{64 if more else 24}", "dev", DEVICE, *more)

    def claim(self, address):
        """To all. That it has it: see take()."""
        target = packed(address)
        if ":" in address:
            body = struct.pack("!BBHI16sBB6s", ND_ADVERTISE, 0, 0, ND_OVERRIDE, target, ND_OPTION_TARGET, 1, self.mac)
            self.icmp6.sendto(body, (ALL_NODES, 0, 0, self.index))  # the kernel writes the checksum
        else:
            body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, ARP_REQUEST, self.mac, target, bytes(6), target)
            self.packets.send(BROADCAST + self.mac + struct.pack("!H", ETH_P_ARP) + body)

    def heard(self, address):
        """When others have said, to all, that they have it."""
        while True:
            try:
                frame = self.packets.recv(2048)
            except BlockingIOError:
                return [when for when, frame in self.frames if is_announcement(frame, address)]
            if frame[6:12] != self.mac:
                self.frames.append((time.monotonic(), frame))

    def close(self):
        ip("-n", self.box.namespace, "link", "set", DEVICE, "down")
        self.packets.close()
        self.icmp6.close()
