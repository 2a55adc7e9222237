#!/usr/bin/python3
"""Faults at random on three real boxes, under clients that account for everything: torture.py PROGRAM [SECONDS] [SEED] [--json FILE].

One fault at a time, healed before the next; but the clock of a box may stay an hour off while others follow. At the end everything that
was acknowledged must be there: messages at persistent subscribers, retained ones on all boxes, subscriptions, settings; nothing twice at
QoS 2; order kept; the virtual addresses never at two boxes.
"""
import argparse
import json
import pathlib
import random
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from holders import Holders, overlap  # noqa: E402
from lab import MQTT_PORT, VIP, VIP6, Lab, LabError, end_on_signals, inside, until  # noqa: E402
from traffic import RETAIN_EVERY, Chooser, Client, Publisher, Subscriber  # noqa: E402

PUBLISHERS, SUBSCRIBERS, CHOOSERS, RATE_PER_S = 4, 2, 1, 60
DISK_MB = 96
SETTING = "mqtt.queue_messages_max"
HOUR_S = 3600


def both(spans):
    """The times that touch another box's: (box, from, to)."""
    flat = [(who, since, to) for who, each in spans.items() for since, to in each]
    return [(who, round(since, 3), round(to, 3)) for who, since, to in flat
            if any(other != who and since < there_to and there < to for other, there, there_to in flat)]


class Torture:
    def __init__(self, lab, seed):
        self.lab, self.random = lab, random.Random(seed)
        targets = [box.address for box in lab.boxes] + [VIP]
        self.publishers = [Publisher(lab, i, targets, RATE_PER_S, seed * 100 + i) for i in range(PUBLISHERS)]
        self.subscribers = [Subscriber(lab, i, targets, seed * 100 + 50 + i) for i in range(SUBSCRIBERS)]
        self.choosers = [Chooser(lab, i, targets, seed * 100 + 80 + i) for i in range(CHOOSERS)]
        self.travellers = [*self.subscribers, *self.choosers, *self.publishers]
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
        self.last(0.2, 2)
        box.send(which, signal.SIGCONT)

    def cut(self, box, way):
        if way == "unplug":
            box.unplug()
        else:
            box.cut_off(way)
        self.last(0.3, 2.5)
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
        self.last(0.5, 1.5)
        filler.unlink()

    def step_clock(self, box):
        """By an hour, and half of the time it stays so until the next step of any clock."""
        for other in self.lab.boxes:
            other.step_clock(0)
        box.step_clock(self.random.choice((-HOUR_S, HOUR_S)))
        self.last(0.5, 1.5)
        if self.random.random() < 0.5:
            box.step_clock(0)

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
            "clock stepped": self.step_clock,
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
        status, _ = self.lab.running()[0].call("PUT", f"/v1/settings/{SETTING}", {"value": value})
        if status in (200, 204):
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
        for traveller in self.travellers:
            self.faults += traveller.faults
        for box in self.lab.boxes:
            for chooser in self.choosers:
                self.faults += chooser.judge(box)
        for subscriber in self.subscribers:
            self.faults += subscriber.judge(self.publishers)
            missing = subscriber.missing(self.publishers)
            if missing:
                self.faults.append(f"{subscriber.client_id}: {missing} acknowledged messages never came: {subscriber.explain(self.publishers)}; "
                                   f"what the boxes say of it: {self.described(subscriber)}")
        retained = []
        for box in self.lab.boxes:
            try:
                retained.append(self.retained_at(box))
            except OSError as error:  # the report tells why it is not there
                self.faults.append(f"{box.name} cannot be asked for retained messages: {error}")
        retained = retained or [{}]
        if any(each != retained[0] for each in retained):
            self.faults.append(f"retained messages differ: {retained}")
        for publisher in self.publishers:
            there = retained[0].get(f"retained/{publisher.number}", 0)
            if there < publisher.retained:
                self.faults.append(f"retained/{publisher.number}: {publisher.retained} was acknowledged, {there} is there")
        for box in self.lab.boxes:
            if self.setting and self.setting not in box.command("setting", "get", SETTING)[1]:
                self.faults.append(f"{box.name}: {SETTING} is not {self.setting}")

    def described(self, traveller):
        answers = [(box.call("GET", f"/v1/clients/{traveller.client_id}")[1] or {}, box.name) for box in self.lab.boxes]
        return [(name, *(answer.get(key) for key in ("connected", "queued", "in_flight", "dropped"))) for answer, name in answers]

    def quiesce(self):
        for traveller in self.publishers + self.choosers:
            traveller.is_closing = True
        for box in self.lab.boxes:
            box.step_clock(0)
        self.wait("all that was sent is answered", lambda: not any(publisher.in_flight for publisher in self.publishers))
        self.wait("all that was acknowledged has come", lambda: not any(s.missing(self.publishers) for s in self.subscribers))

    def wait(self, what, condition):
        try:
            until(condition, what, 60)
        except LabError as error:
            self.faults.append(str(error))

    def summary(self, seconds, spans, seed):
        return {"seed": seed, "faults": sum(self.counts.values()), "seconds": round(seconds), "kinds": dict(sorted(self.counts.items())),
                "acknowledged": sum(len(p.acknowledged[1]) + len(p.acknowledged[2]) for p in self.publishers),
                "retained acknowledged": sum(p.retained for p in self.publishers) // RETAIN_EVERY,
                "subscriptions changed": sum(c.changes for c in self.choosers),
                "longest without an acknowledgement, s": round(max(p.longest_s for p in self.publishers), 2),
                "virtual IP held by two, ms": [round(1000 * overlap(each), 1) for each in spans],
                "lost or wrong": len(self.faults)}

    def report(self, seconds, spans, seed):
        faults = sum(self.counts.values())
        acknowledged = sum(len(p.acknowledged[1]) + len(p.acknowledged[2]) for p in self.publishers)
        print(f"\nseed {seed}, {faults} faults in {seconds:.0f} s")
        for name, count in sorted(self.counts.items()):
            print(f"  {count:4}  {name}")
        print(f"acknowledged {acknowledged}, refused {sum(p.refused for p in self.publishers)}, "
              f"received {sum(len(n) for s in self.subscribers for n in s.received.values())} by {SUBSCRIBERS} subscribers, "
              f"subscriptions changed {sum(c.changes for c in self.choosers)}, connections {sum(t.connections for t in self.travellers)}")
        waited = max(self.publishers, key=lambda publisher: publisher.longest_s)
        print(f"longest time without an acknowledgement {waited.longest_s:.2f} s: "
              + ", ".join(f"{since:.1f} s {what}" for since, what in waited.longest_story[:40]))
        for address, each in zip((VIP, VIP6), spans):
            print(f"{address}: taken {sum(map(len, each.values()))} times, by two for {1000 * overlap(each):.1f} ms")
        for fault in self.faults:
            print(f"FAULT {fault}")
        print(f"{'lost or wrong: ' + str(len(self.faults)) if self.faults else 'nothing lost, nothing twice, order kept'}")

    def run(self, seconds, seed, file):
        for subscriber in self.subscribers:
            subscriber.start()
        for subscriber in self.subscribers:
            subscriber.is_subscribed.wait(30)
        for traveller in self.choosers + self.publishers:
            traveller.start()
        watches = [Holders(self.lab, address) for address in (VIP, VIP6)]
        begun = time.monotonic()
        while time.monotonic() - begun < seconds and not self.faults:
            name, box = self.one_fault()
            print(f"{time.monotonic() - begun:6.1f} s  {name}: {box.name}", flush=True)
        lasted = time.monotonic() - begun
        self.quiesce()
        spans = [watch.stop() for watch in watches]
        for address, each in zip((VIP, VIP6), spans):
            if overlap(each) > 0:
                self.faults.append(f"two boxes had {address} for {1000 * overlap(each):.1f} ms: {both(each)}")
        self.judge()
        for traveller in self.travellers:
            traveller.is_stopped = True
        self.report(lasted, spans, seed)
        if file:
            file.write_text(json.dumps(self.summary(lasted, spans, seed), indent=2) + "\n")
        return 1 if self.faults else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("seconds", type=float, nargs="?", default=60)
    parser.add_argument("seed", type=int, nargs="?", default=int(time.time()))
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="a summary, for bench/results")
    chosen = parser.parse_args()
    end_on_signals()
    print(f"seed {chosen.seed}", flush=True)
    lab = Lab(3, chosen.program.resolve(), disk_mb=DISK_MB, has_clocks=True)
    try:
        lab.form()
        until(lambda: lab.leader().command("setting", "set", "mqtt.anonymous", "on")[0] == 0, "clients may come")
        lab.set_vip(f"{VIP}/24", f"{VIP6}/64")
        status = Torture(lab, chosen.seed).run(chosen.seconds, chosen.seed, chosen.json)
        if status:
            for box in lab.boxes:
                print(f"---- {box.name}, the end of its log\n{box.output()[-5000:]}")
        return status
    finally:
        lab.down()


if __name__ == "__main__":
    sys.exit(main())
