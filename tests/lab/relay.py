#!/usr/bin/python3
"""A slow line between two TAP devices: relay.py NAMESPACE DEVICE NAMESPACE DEVICE DELAY_MS BIT_PER_S.

Each way: what comes in waits its turn in a queue that is bounded, as that of a router is, goes out at the rate of the line and
arrives after the delay. What finds the queue full is dropped. Says "ready" when both devices are open.
"""
import collections
import fcntl
import os
import pathlib
import select
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import inside  # noqa: E402

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME_BYTES_MAX = 1 << 16
QUEUE_BYTES = 64 * 1024
LINE_BYTES = 24  # what Ethernet sends besides the frame: preamble, checksum, gap


def open_tap(namespace, device):
    with inside(namespace):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return tap


class Line:
    """One way."""

    def __init__(self, out, delay_s, bit_per_s):
        self.out, self.delay_s, self.bit_per_s = out, delay_s, bit_per_s
        self.free_at = 0.0  # when the last that waits is on its way
        self.under_way = collections.deque()  # (arrival, frame)

    def take(self, frame, now):
        begin = max(now, self.free_at)
        if (begin - now) * self.bit_per_s > 8 * QUEUE_BYTES:
            return
        self.free_at = begin + 8 * (len(frame) + LINE_BYTES) / self.bit_per_s
        self.under_way.append((self.free_at + self.delay_s, frame))

    def give(self, now):
        while self.under_way and self.under_way[0][0] <= now:
            try:
                os.write(self.out, self.under_way.popleft()[1])
            except OSError:
                pass  # the device is down: a cable that is pulled loses what is on it

    def next_at(self):
        return self.under_way[0][0] if self.under_way else float("inf")


def main():
    taps = [open_tap(*sys.argv[1:3]), open_tap(*sys.argv[3:5])]
    delay_s, bit_per_s = float(sys.argv[5]) / 1000, float(sys.argv[6])
    lines = {taps[0]: Line(taps[1], delay_s, bit_per_s), taps[1]: Line(taps[0], delay_s, bit_per_s)}
    poll = select.epoll()
    for tap in taps:
        poll.register(tap, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        wait = min(line.next_at() for line in lines.values()) - time.monotonic()
        for tap, _ in poll.poll(None if wait == float("inf") else max(wait, 0)):
            try:
                lines[tap].take(os.read(tap, FRAME_BYTES_MAX), time.monotonic())
            except OSError:
                continue  # a device that is down is readable, too
        now = time.monotonic()
        for line in lines.values():
            line.give(now)


if __name__ == "__main__":
    main()
