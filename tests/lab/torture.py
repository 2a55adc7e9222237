#!/usr/bin/python3
"""Faults at random on three real boxes, under clients that account for everything: torture.py PROGRAM [SECONDS] [SEED].

One fault at a time, healed before the next. At the end everything that was acknowledged must be there: messages at persistent
subscribers, retained ones on all boxes, settings; nothing twice at QoS 2; order kept; the virtual IP never at two boxes.
"""
import pathlib
import random
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from holders import Holders, overlap  # noqa: E402
from lab import MQTT_PORT, VIP, Lab, LabError, inside, until  # noqa: E402
from traffic import Client, Publisher, Subscriber  # noqa: E402

PUBLISHERS, SUBSCRIBERS, RATE_PER_S = 4, 2, 60
DISK_MB = 96
SETTING = "mqtt.queue_messages_max"


class Torture:
    def __init__(self, lab, seed):
        self.lab, self.random = lab, random.Random(seed)
        targets = [box.address for box in lab.boxes] + [VIP]
        self.publishers = [Publisher(lab, i, targets, RATE_PER_S, seed * 100 + i) for i in range(PUBLISHERS)]
        self.subscribers = [Subscriber(lab, i, targets, seed * 100 + 50 + i) for i in range(SUBSCRIBERS)]
        self.faults = []   # what must never happen
        self.counts = {}   # what was done
        self.setting = None

    # ---- what is done to the boxes ----

    def choose(self):
        """A box, the one that leads half of the time."""
        holder = self.lab.holder()
        return holder if holder and self.random.random() < 0.5 else self.random.choice(self.lab.running())

    def freeze(self, box, which):
        box.send(which, signal.SIGSTOP)
        self.last(0.2, 2.5)
        box.send(which, signal.SIGCONT)

    def cut(self, box, way):
        if way == "unplug":
            box.unplug()
        else:
            box.cut_off(way)
        self.last(0.3, 3)
        box.heal()

    def fill_disk(self, box):
        """Until nothing more fits; what it must write meanwhile fails."""
        filler = box.data / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        self.last(0.5, 2.5)
        filler.unlink()

    def last(self, least, most):
        time.sleep(self.random.uniform(least, most))  # how long the fault lasts, not a condition

    def deeds(self):
        return {
            "daemon killed": lambda box: box.kill("daemon"),
            "keeper killed": lambda box: box.kill("keeper"),
            "both killed": lambda box: box.kill("both"),
            "planned stop": lambda box: box.stop(),
            "daemon frozen": lambda box: self.freeze(box, "daemon"),
            "keeper frozen": lambda box: self.freeze(box, "keeper"),
            "box frozen": lambda box: self.freeze(box, "both"),
            "cut off": lambda box: self.cut(box, "both"),
            "hears nothing": lambda box: self.cut(box, "in"),
            "is not heard": lambda box: self.cut(box, "out"),
            "cable pulled": lambda box: self.cut(box, "unplug"),
            "disk full": self.fill_disk,
        }

    def one_fault(self):
        deeds = self.deeds()
        name = self.random.choice(sorted(deeds))
        box = self.choose()
        deeds[name](box)
        if not box.is_alive():
            box.process = None
            box.start()
        self.counts[name] = self.counts.get(name, 0) + 1
        try:
            until(lambda: box.call("GET", "/healthz", timeout=1)[0] == 200, f"{box.name} answers", 60)
            self.lab.settle()
        except LabError as error:
            self.faults.append(f"after '{name}' of {box.name}: {error}")
        self.change_setting()
        return name, box

    def change_setting(self):
        value = str(self.random.randrange(100000, 200000))
        if self.lab.running()[0].command("setting", "set", SETTING, value)[0] == 0:
            self.setting = value

    # ---- what must be true in the end ----

    def retained_at(self, box):
        with inside(self.lab.lan):
            link = socket.socket()
        link.settimeout(5)
        link.connect((box.address, MQTT_PORT))
        with Client(link, 5) as client:
            client.connect()
            client.subscribe("retained/#", qos=1)
            client.barrier()
            return {found.topic: int(found.payload) for found in client.waiting}

    def judge(self):
        for traveller in self.publishers + self.subscribers:
            self.faults += traveller.faults
        for subscriber in self.subscribers:
            self.faults += subscriber.judge(self.publishers)
            missing = subscriber.missing(self.publishers)
            if missing:
                self.faults.append(f"{subscriber.client_id}: {missing} acknowledged messages never came")
        retained = [self.retained_at(box) for box in self.lab.boxes]
        if any(each != retained[0] for each in retained):
            self.faults.append(f"retained messages differ: {retained}")
        for publisher in self.publishers:
            there = retained[0].get(f"retained/{publisher.number}", 0)
            if there < publisher.retained:
                self.faults.append(f"retained/{publisher.number}: {publisher.retained} was acknowledged, {there} is there")
        for box in self.lab.boxes:
            if self.setting and self.setting not in box.command("setting", "get", SETTING)[1]:
                self.faults.append(f"{box.name}: {SETTING} is not {self.setting}")

    def quiesce(self):
        for publisher in self.publishers:
            publisher.is_closing = True
        self.wait("all that was sent is answered", lambda: not any(publisher.in_flight for publisher in self.publishers))
        self.wait("all that was acknowledged has come", lambda: not any(s.missing(self.publishers) for s in self.subscribers))

    def wait(self, what, condition):
        try:
            until(condition, what, 60)
        except LabError as error:
            self.faults.append(str(error))

    def report(self, seconds, spans, seed):
        faults = sum(self.counts.values())
        acknowledged = sum(len(p.acknowledged[1]) + len(p.acknowledged[2]) for p in self.publishers)
        print(f"\nseed {seed}, {faults} faults in {seconds:.0f} s")
        for name, count in sorted(self.counts.items()):
            print(f"  {count:4}  {name}")
        print(f"acknowledged {acknowledged}, refused {sum(p.refused for p in self.publishers)}, "
              f"received {sum(len(n) for s in self.subscribers for n in s.received.values())} by {SUBSCRIBERS} subscribers, "
              f"connections {sum(t.connections for t in self.publishers + self.subscribers)}")
        print(f"longest time without an acknowledgement {max(p.longest_s for p in self.publishers):.2f} s")
        print(f"virtual IP: taken {sum(map(len, spans.values()))} times, by two for {1000 * overlap(spans):.1f} ms")
        for fault in self.faults:
            print(f"FAULT {fault}")
        print(f"{'lost or wrong: ' + str(len(self.faults)) if self.faults else 'nothing lost, nothing twice, order kept'}")

    def run(self, seconds, seed):
        for subscriber in self.subscribers:
            subscriber.start()
        for subscriber in self.subscribers:
            subscriber.is_subscribed.wait(30)
        for publisher in self.publishers:
            publisher.start()
        watch = Holders(self.lab, VIP)
        begun = time.monotonic()
        while time.monotonic() - begun < seconds and not self.faults:
            name, box = self.one_fault()
            print(f"{time.monotonic() - begun:6.1f} s  {name}: {box.name}", flush=True)
        lasted = time.monotonic() - begun
        self.quiesce()
        spans = watch.stop()
        if overlap(spans) > 0:
            self.faults.append(f"two boxes had the virtual IP for {1000 * overlap(spans):.1f} ms: {spans}")
        self.judge()
        for traveller in self.publishers + self.subscribers:
            traveller.is_stopped = True
        self.report(lasted, spans, seed)
        return 1 if self.faults else 0


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())
    print(f"seed {seed}", flush=True)
    lab = Lab(3, program, disk_mb=DISK_MB)
    try:
        lab.form()
        until(lambda: lab.leader().command("setting", "set", "mqtt.anonymous", "on")[0] == 0, "clients may come")
        lab.set_vip()
        status = Torture(lab, seed).run(seconds, seed)
        if status:
            for box in lab.boxes:
                print(f"---- {box.name}, the end of its log\n{box.output()[-5000:]}")
        return status
    finally:
        lab.down()


if __name__ == "__main__":
    sys.exit(main())
