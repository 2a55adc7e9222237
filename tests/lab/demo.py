#!/usr/bin/python3
"""A home on this machine: three boxes, Sonoff plugs and a thermometer that know one address. demo.py PROGRAM [--script]

Kills the box that leads in front of you, shows how long nobody answered and what was lost, and brings it back. Keys: k kill the
leader, c cut it off, h heal, q quit. --script runs it without a terminal and ends with 1 when anything was lost.
"""
import contextlib
import json
import math
import pathlib
import select
import sys
import termios
import threading
import time
import tty

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from holders import Holders, overlap  # noqa: E402
from lab import MQTT_PORT, VIP, Lab, end_on_signals, inside, until  # noqa: E402
from traffic import Publisher, Subscriber  # noqa: E402

import socket  # noqa: E402

PLUGS = ("kitchen", "attic", "garden")
PER_S = 10
PROBE_S = 0.01
FIRST_KILL_S, FIRST_HEAL_S = 8, 18  # what happens by itself until a key is pressed
BOLD, DIM, RED, GREEN, YELLOW, CYAN, PLAIN = "\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[33m", "\033[36m", "\033[0m"


class Plug(Publisher):
    """A Sonoff with Tasmota: its telemetry, every second command of which it is told changes POWER."""

    def __init__(self, lab, number, name):
        super().__init__(lab, number, [VIP], PER_S, number)
        self.name_of_plug = name

    def message(self, qos, number, retain):
        state = {"Time": time.strftime("%Y-%m-%dT%H:%M:%S"), "Uptime": f"0T00:{number // 600:02}:{number // 10 % 60:02}",
                 "POWER": "ON" if number // 20 % 2 else "OFF", "Wifi": {"RSSI": 78}, "n": number, "plug": self.number, "qos": qos}
        return f"tele/{self.name_of_plug}/{'INFO1' if retain else 'STATE'}", json.dumps(state)

    @staticmethod
    def number_of(payload):
        return json.loads(payload)["n"]


class Thermometer(Plug):
    def message(self, qos, number, retain):
        celsius = round(19.5 + 2 * math.sin(number / 60), 1)
        return f"tele/{self.name_of_plug}/{'INFO1' if retain else 'SENSOR'}", json.dumps(
            {"Time": time.strftime("%Y-%m-%dT%H:%M:%S"), "AM2301": {"Temperature": celsius}, "TempUnit": "C",
             "n": number, "plug": self.number, "qos": qos})


class House(Subscriber):
    """What collects all of it: Home Assistant, or a phone."""

    filter = "tele/+/+"
    last = {}

    def read(self, found):
        state = json.loads(found.payload)
        self.last[found.topic.split("/")[1]] = state
        if found.topic.endswith("/INFO1"):  # kept for whoever comes later; not counted here
            return state["plug"], "kept", state["n"]
        return state["plug"], state["qos"], state["n"]


class Silence(threading.Thread):
    """Asks the address all the time whether it answers."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.is_stopped = lab, False
        self.answered = time.monotonic()
        self.longest_s = 0.0

    def run(self):
        while not self.is_stopped:
            with inside(self.lab.lan):
                link = socket.socket()
            link.settimeout(PROBE_S)
            try:
                link.connect((VIP, MQTT_PORT))
                now = time.monotonic()
                self.longest_s = max(self.longest_s, now - self.answered)
                self.answered = now
                time.sleep(PROBE_S)
            except OSError:
                pass
            finally:
                link.close()


class Demo:
    def __init__(self, lab, is_scripted):
        self.lab, self.is_scripted = lab, is_scripted
        self.plugs = [Plug(lab, i, name) for i, name in enumerate(PLUGS)] + [Thermometer(lab, len(PLUGS), "thermometer")]
        self.house = House(lab, 0, [VIP], 99)
        self.silence = Silence(lab)
        self.story = []
        self.dead, self.cut = None, None
        self.watch = None

    # ---- what is shown ----

    def tell(self, text, colour=PLAIN):
        self.story.append((colour, f"{time.strftime('%H:%M:%S')}  {text}"))
        if self.is_scripted:
            print(self.story[-1][1], flush=True)

    def nodes(self):
        for box in self.lab.running():
            nodes = box.nodes()
            if nodes:
                return sorted(nodes, key=lambda node: node["name"])
        return []

    def counts(self):
        acknowledged = sum(len(plug.acknowledged[1]) + len(plug.acknowledged[2]) for plug in self.plugs)
        sent = sum(plug.sent() for plug in self.plugs)
        received = sum(len(set(numbers)) for (_, qos), numbers in self.house.received.items() if qos != "kept")
        return sent, acknowledged, received, self.house.missing(self.plugs)

    def draw(self):
        sent, acknowledged, received, missing = self.counts()
        lines = [f"{BOLD}microCloud{PLAIN}  three boxes, one address: {CYAN}{VIP}{PLAIN}", ""]
        lines.append(f"{DIM}  box   state     role      leads  {VIP}{PLAIN}")
        for node in self.nodes():
            colour = GREEN if node["state"] == "online" else RED
            lines.append(f"  {node['name']:5} {colour}{node['state']:9}{PLAIN} {node['role']:9} "
                         f"{'yes' if node['leader'] else '':6} {CYAN + 'answers' + PLAIN if node['holder'] else ''}")
        lines += ["", f"{DIM}  device         last word{PLAIN}"]
        for plug in self.plugs:
            state = self.house.last.get(plug.name_of_plug, {})
            word = state.get("POWER") or (f"{state['AM2301']['Temperature']} °C" if "AM2301" in state else "")
            lines.append(f"  {plug.name_of_plug:14} {YELLOW if word == 'ON' else ''}{word}{PLAIN}")
        lines += ["", f"  sent {sent}   acknowledged {acknowledged}   received {received}   "
                      f"{GREEN if missing < 10 else YELLOW}on their way {missing}{PLAIN}",
                  f"  longest silence of the address {BOLD}{1000 * self.silence.longest_s:.0f} ms{PLAIN}", ""]
        lines += [f"  {colour}{text}{PLAIN}" for colour, text in self.story[-8:]]
        lines += ["", f"{DIM}  k kill the leader   c cut it off   h heal   q quit{PLAIN}"]
        sys.stdout.write("\033[H" + "".join(f"{line}\033[K\n" for line in lines) + "\033[J")
        sys.stdout.flush()

    # ---- what is done ----

    def fell_silent(self, deed, what):
        """How long nobody answered after it."""
        holder = until(self.lab.holder, "somebody holds the address")
        self.silence.longest_s = 0.0
        watch, since = Holders(self.lab, VIP), time.monotonic()
        deed(holder)
        self.tell(f"{holder.name}, which led, {what}", RED)
        until(lambda: watch.taken_by_another(holder.name, since), "another one takes the address")
        until(lambda: self.silence.answered > watch.taken_by_another(holder.name, since), "it answers")
        both = overlap(watch.stop())
        self.tell(f"{self.lab.holder().name} answers: nobody did for {1000 * self.silence.longest_s:.0f} ms; "
                  f"two boxes at once for {1000 * both:.0f} ms", GREEN)
        return holder

    def is_whole(self):
        """A second one must not go while one is away: two of three are the majority."""
        away = self.dead or self.cut
        if away:
            self.tell(f"{away.name} is still away: h brings it back", YELLOW)
        return not away

    def kill(self):
        if self.is_whole():
            self.dead = self.fell_silent(lambda box: box.kill("both"), "was killed")

    def cut_off(self):
        if self.is_whole():
            self.cut = self.fell_silent(lambda box: box.unplug(), "lost its cable")

    def heal(self):
        if self.dead:
            self.dead.start()
            self.tell(f"{self.dead.name} is started again")
        if self.cut:
            self.cut.heal()
            self.tell(f"{self.cut.name} has its cable again")
        if self.dead or self.cut:
            self.lab.settle()
            self.tell("all three are there", GREEN)
        else:
            self.tell("all three are there: nothing to heal", YELLOW)
        self.dead = self.cut = None

    def count_up(self):
        """Nothing new is sent; all that was acknowledged must have come."""
        self.silence.is_stopped = True
        for plug in self.plugs:
            plug.is_closing = True
        with contextlib.suppress(Exception):
            until(lambda: not any(plug.in_flight for plug in self.plugs) and not self.house.missing(self.plugs), "all has come", 20)
        _, acknowledged, received, missing = self.counts()
        faults = [fault for fault in self.house.judge(self.plugs) if "kept" not in fault] + self.house.faults
        self.silence.join()
        for traveller in [*self.plugs, self.house]:
            traveller.is_stopped = True
        self.tell(f"acknowledged {acknowledged}, received {received}, lost {missing}, twice or out of order {len(faults)}",
                  GREEN if not missing and not faults else RED)
        return 1 if missing or faults else 0

    def start(self):
        self.house.start()
        self.house.is_subscribed.wait(30)
        for plug in self.plugs:
            plug.start()
        self.silence.start()

    def script(self):
        self.start()
        until(lambda: self.counts()[2] > 50, "messages come")
        for deed in (self.kill, self.cut_off):
            deed()
            before = self.counts()[1]
            until(lambda before=before: self.counts()[1] > before + 50, "messages go on")
            self.heal()
        return self.count_up()

    def play(self):
        keys = {"k": self.kill, "c": self.cut_off, "h": self.heal}
        before = termios.tcgetattr(sys.stdin)
        self.start()
        begun, doing = time.monotonic(), None
        by_itself = [(FIRST_KILL_S, "k"), (FIRST_HEAL_S, "h")]
        try:
            tty.setcbreak(sys.stdin)
            sys.stdout.write("\033[2J\033[?25l")
            while True:
                self.draw()
                key = sys.stdin.read(1) if select.select([sys.stdin], [], [], 0.2)[0] else ""
                is_busy = doing is not None and doing.is_alive()
                if key:
                    by_itself.clear()
                elif by_itself and not is_busy and time.monotonic() - begun > by_itself[0][0]:
                    key = by_itself.pop(0)[1]
                if key == "q":
                    return self.count_up()
                if key in keys and not is_busy:
                    doing = threading.Thread(target=keys[key], daemon=True)
                    doing.start()
        finally:
            sys.stdout.write("\033[?25h")
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
            if self.story:
                print(self.story[-1][1])


def main():
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    program = pathlib.Path(sys.argv[1]).resolve()
    is_scripted = "--script" in sys.argv[2:] or not sys.stdin.isatty()
    end_on_signals()
    print("three boxes are started ...", flush=True)
    lab = Lab(3, program)
    try:
        lab.form()
        until(lambda: lab.leader().command("setting", "set", "mqtt.anonymous", "on")[0] == 0, "clients may come")
        lab.set_vip()
        demo = Demo(lab, is_scripted)
        return demo.script() if is_scripted else demo.play()
    finally:
        threading.excepthook = lambda _: None  # what still runs finds its lab gone
        lab.down()


if __name__ == "__main__":
    sys.exit(main())
