"""Does anybody take a living leader for dead: beside CPU burners, and over lines as between roofs?"""
import re
import subprocess
import sys
import time

from failover import figures
from lab import MQTT_PORT, VIP, inside, until
from holders import Holders
from lib.mqtt import Client

BURNERS = 4
BURN = 'while True: pass'
LINE = (50, 1_000_000)  # ms and bit/s of each box's line; two lie between two boxes: 200 ms there and back
PROPOSAL = re.compile(r'microcloud setting set (cluster\.election_timeout_ms) (\d+)')


def told_leaders(lab):
    """How often each box has told a leader."""
    return [len(re.findall(r' info leader node=', box.output())) for box in lab.boxes]


def publish(lab, seconds):
    """Durable publishes at a box that does not lead, one after the other: how long each waited."""
    box, waits, end = lab.others(lab.leader())[0], [], time.monotonic() + seconds
    with inside(box.namespace):
        client = Client(MQTT_PORT)
    with client:
        client.connect()
        while time.monotonic() < end:
            begun = time.monotonic()
            client.publish('bench/steady', 'x', 1, retain=True)
            waits.append(time.monotonic() - begun)
            time.sleep(0.05)  # not a condition: a house that is not busy
    return waits


def watch(lab, seconds):
    lab.settle()
    before = told_leaders(lab)
    waits = publish(lab, seconds)
    failovers = max(after - told for after, told in zip(told_leaders(lab), before))
    return {'seconds': seconds, 'false failovers': failovers, 'QoS 1 acknowledged': figures(waits)}


def burners(lab, seconds):
    holders = Holders(lab, VIP)
    burning = [subprocess.Popen([sys.executable, '-c', BURN]) for _ in range(BURNERS)]
    try:
        result = watch(lab, seconds)
    finally:
        for each in burning:
            each.kill()
            each.wait()
    return {'burners': BURNERS, **result, 'the address was taken, times': sum(map(len, holders.stop().values())) - 1}


def proposed(box):
    return PROPOSAL.search(box.command('doctor')[1])


def roofs(lab, seconds):
    """With the timeout that doctor proposes, set as it says; then a further box joins."""
    found = [until(lambda box=box: proposed(box), 'a timeout is proposed') for box in lab.boxes]
    longest = max(found, key=lambda each: int(each[2]))
    lab.leader().command('setting', 'set', *longest.groups())
    until(lambda: not any(map(proposed, lab.boxes)), 'doctor is content')
    result = watch(lab, seconds)
    begun = time.monotonic()
    lab.join(lab.add())
    return {'proposed, ms': int(longest[2]), **result, 'a further box serves after, s': round(time.monotonic() - begun, 1)}
