"""How long nobody answers when a box goes, and whether two ever held the address: a part of bench/cluster."""
import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from holders import Holders, overlap, without
from lab import VIP, VIP6, LabError, until
from lib.mqtt import Client, Closed
from probe import Probe, link_to
from rivals import Keepalived

GONE = (OSError, Closed, AssertionError)
ANSWER_S = 30     # somebody must answer until then
LEAST_TIMEOUT_MS = 100  # of cluster.election_timeout_ms
LABS = 2          # the trials of `holders` are shared by so many homes


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def figures(values):
    """Of seconds, in milliseconds."""
    return {'trials': len(values), 'p50': round(1000 * quantile(values, 0.5), 1), 'p99': round(1000 * quantile(values, 0.99), 1),
            'max': round(1000 * max(values), 1), 'unit': 'ms'}


def set_in(lab, name, value):
    until(lambda: lab.leader().command('setting', 'set', name, str(value))[0] == 0, f'{name} is set')


# ---- what happens to a box ----

def lose_power(box):
    box.unplug()
    box.kill('both')


def terminate(box):
    box.process.send_signal(signal.SIGTERM)


def drain(box):
    box.command('node', 'drain', box.name)


CRASHES = {'kill -9': lambda box: box.kill('daemon'),
           'fault': lambda box: box.send('daemon', signal.SIGSEGV),
           'keeper too': lambda box: box.kill('both')}
SILENCES = {'power': lose_power,
            'cable': lambda box: box.unplug(),
            'SIGSTOP': lambda box: box.send('daemon', signal.SIGSTOP)}
WAYS = {'daemon killed': lambda box: box.kill('daemon'),
        'keeper killed': lambda box: box.kill('keeper'),
        'both killed': lambda box: box.kill('both'),
        'daemon frozen': lambda box: box.send('daemon', signal.SIGSTOP),
        'keeper frozen': lambda box: box.send('keeper', signal.SIGSTOP),
        'suspended': lambda box: box.suspend(),
        'cut off': lambda box: box.cut_off('both'),
        'hears nothing': lambda box: box.cut_off('in'),
        'is not heard': lambda box: box.cut_off('out'),
        'cable pulled': lambda box: box.unplug()}
FROZEN = {'all frozen': lambda box: box.send('both', signal.SIGSTOP)}


def mend(box):
    """As it was before: what still runs goes on, what does not is started afresh."""
    box.heal()
    if box.process and box.is_alive():
        box.send('both', signal.SIGCONT)
    if not box.process or not box.is_alive() or box.daemon_pid == 0:
        if box.process:
            box.kill('keeper')  # it would wait longer after each crash
        box.start()


def start_again(box):
    box.process.wait(ANSWER_S)
    box.start()


def activate(box):
    until(lambda: box.command('node', 'activate', box.name)[0] == 0, f'{box.name} is active again')


class Trial:
    """One harm to the holder: when another box took the address, when it answered, for how long nobody did."""

    def __init__(self, lab, harm, put_right):
        holder = until(lab.holder, 'somebody holds it')
        watch, probe = Holders(lab, VIP), Probe(lab, VIP)
        probe.start()
        until(lambda: all(probe.answers.times.values()), 'it answers')
        self.since = time.monotonic()
        harm(holder)
        until(lambda: self.is_answered(watch.taken_by_another(holder.name, self.since), probe.answers), f'another answers than {holder.name}', ANSWER_S, 0.005)
        self.answers = probe.stop()
        self.taken = watch.taken_by_another(holder.name, self.since)
        put_right(holder)
        lab.settle()
        self.both = overlap(watch.stop())

    def is_answered(self, taken, answers):
        return taken and all(answers.first(kind, self.since, taken) for kind in answers.times)

    def first(self, kind):
        return self.answers.first(kind, self.since, self.taken) - self.since


class Failovers:
    """Measures; `lab`, `trials`, `open` and `say` are those of bench/cluster."""

    def failover(self, name, count, ways, put_right=mend):
        """Each of the ways in its turn."""
        trials = {way: [] for way in ways}
        for number in range(self.count(count)):
            way = list(ways)[number % len(ways)]
            trials[way].append(Trial(self.lab, ways[way], put_right))
        every = [trial for each in trials.values() for trial in each]
        self.say(name, {'address there': figures([trial.taken - trial.since for trial in every]),
                        'TCP connect': figures([trial.first('tcp') for trial in every]),
                        'QoS 1 acknowledged': figures([trial.first('ack') for trial in every]),
                        'longest gap of connects': figures([trial.answers.longest_gap('tcp') for trial in every]),
                        'longest gap of acknowledgements': figures([trial.answers.longest_gap('ack') for trial in every]),
                        'by kind': {way: figures([trial.first('tcp') for trial in each]) for way, each in trials.items() if each},
                        'held by two, ms': round(1000 * sum(trial.both for trial in every), 1)})

    def crash(self):
        """The process of the leader dies; everything can be known at once."""
        self.open()
        self.failover('crash', 102, CRASHES)

    def silent(self):
        """Nothing tells that it is gone."""
        self.open()
        self.failover('silent', 60, SILENCES)

    def silent_least(self):
        self.open()
        set_in(self.lab, 'cluster.election_timeout_ms', LEAST_TIMEOUT_MS)
        self.failover('silent_least', 30, SILENCES)

    def stop(self):
        self.open()
        self.failover('stop', 40, {'stop': terminate}, start_again)

    def drain(self):
        self.open()
        self.failover('drain', 20, {'drain': drain}, activate)

    def idle_client(self):
        """It waits for a message at the holder, which goes: until it is connected to the new one, counted from when the address is there."""
        lab, after = self.open(), []
        ways = {**SILENCES, 'kill -9': CRASHES['kill -9']}
        for number in range(self.count(20)):
            harm = list(ways.values())[number % len(ways)]
            holder = until(lab.holder, 'somebody holds it')
            client = Idle(lab)
            watch, since = Holders(lab, VIP), time.monotonic()
            client.start()
            harm(holder)
            taken = until(lambda: watch.taken_by_another(holder.name, since), 'another takes it')
            client.join(ANSWER_S)
            after.append(client.came - taken)
            mend(holder)
            lab.settle()
            watch.stop()
        self.say('idle_client', {'connected after the address is there': figures(after)})

    def follower(self):
        """One that does not lead goes: the longest that durable publishes at the two others wait, each after the one before."""
        lab = self.open(vip=False)
        longest = {where: {'undisturbed': [], 'when it goes': []} for where in ('at the leader', 'at the other follower')}
        for number in range(self.count(30)):
            leader = lab.leader()
            gone, other = lab.others(leader)
            publishers = [Waiting(lab, leader), Waiting(lab, other)]
            time.sleep(Waiting.SECONDS)  # how long they are watched, not a condition
            harmed = time.monotonic()
            (lose_power if number % 2 else CRASHES['kill -9'])(gone)
            time.sleep(Waiting.SECONDS)
            for publisher, each in zip(publishers, longest.values()):
                publisher.stop()
                each['undisturbed'].append(publisher.longest(0, harmed))
                each['when it goes'].append(publisher.longest(harmed, time.monotonic()))
            mend(gone)
            lab.settle()
        self.say('follower', {where: {when: figures(waits) for when, waits in each.items()} for where, each in longest.items()})

    def frozen_follower(self):
        """The same when its daemon is frozen, whose links stay: clients at the two others, each of which asks one thing after another."""
        lab = self.open(vip=False)
        longest = {what: [] for what in Waiting.ASKS}
        for _ in range(self.count(20)):
            leader = lab.leader()
            gone, other = lab.others(leader)
            with Client(link_to(lab, gone.address, 5)) as subscriber:
                subscriber.connect()
                subscriber.subscribe(('bench/live/#', 1))
                asking = [(what, Waiting(lab, box, ask)) for what, ask in Waiting.ASKS.items() for box in (leader, other)]
                time.sleep(Waiting.SECONDS)
                harmed = time.monotonic()
                gone.send('daemon', signal.SIGSTOP)
                until(lambda: all(each.waits[-1][0] > harmed + Waiting.SECONDS for _, each in asking), 'all are answered')
                for what, each in asking:
                    each.stop()
                    longest[what].append(each.longest(harmed, time.monotonic()))
                mend(gone)
            lab.settle()
        self.say('frozen_follower', {what: figures(waits) for what, waits in longest.items()})

    # ---- two at once ----

    def holders(self):
        """Many short trials of every way to go, in two homes side by side: for how long two boxes had one address, in either family."""
        self.close()
        count = self.count(520)
        jobs = [name for number in range(-(-count // len(WAYS))) for name in WAYS][:count]
        with ThreadPoolExecutor(LABS) as pool:
            ended = [each for found in pool.map(self.hold, [jobs[number::LABS] for number in range(LABS)]) for each in found]
        by_kind = {way: [each for each in ended if each[0] == way] for way in WAYS}
        self.say('holders', {'trials': len(ended), 'held by two, ms': round(1000 * sum(both for _, both, _ in ended), 1),
                             'held by two by kind, ms': {way: round(1000 * sum(both for _, both, _ in each), 1) for way, each in by_kind.items()},
                             'address there by kind': {way: figures([taken for _, _, taken in each]) for way, each in by_kind.items() if each}})

    def frozen(self):
        """Daemon and keeper at once, which only a test does: the address goes when the kernel's lifetime for it is over."""
        found = self.hold(['all frozen'] * self.count(10))
        self.say('frozen', {'address there': figures([taken for _, _, taken in found]),
                            'held by two': figures([both for _, both, _ in found])})

    def hold(self, names):
        """[(way, seconds held by two, seconds until another had both addresses)], in a lab of its own."""
        lab = self.make_lab()
        try:
            lab.set_vip(f'{VIP}/24', f'{VIP6}/64')
            return [(name, *self.hold_once(lab, name)) for name in names]
        finally:
            lab.down()

    @staticmethod
    def hold_once(lab, name):
        holder = until(lambda: lab.holder() if lab.holder(VIP6) is lab.holder() else None, 'one holds both')
        watches = [Holders(lab, VIP), Holders(lab, VIP6)]
        since = time.monotonic()
        {**WAYS, **FROZEN}[name](holder)
        try:
            taken = max(until(lambda each=watch: each.taken_by_another(holder.name, since), f'{name}: another takes it') for watch in watches)
        except LabError as error:
            raise SystemExit(f'bench: {error}\n{holder.output()[-3000:]}') from error
        if name == 'suspended':
            holder.resume()
        else:
            mend(holder)
        healed = time.monotonic()
        lab.settle()
        spans = [watch.stop() for watch in watches]
        if name == 'suspended':  # here its kernel goes on; a real one would be as still as its box
            spans = [without(each, holder.name, since, healed) for each in spans]
        return sum(map(overlap, spans)), taken - since

    # ---- beside it ----

    def keepalived(self):
        """Keepalived with a mosquitto on each of two boxes, in such namespaces; its ways to go side by side, each with boxes of its own."""
        self.close()
        for interval, count, watch_s in ((1, 10, 6), (0.1, 20, 2)):
            with ThreadPoolExecutor(len(Keepalived.WAYS)) as pool:
                done = pool.map(lambda way: run_pair(way, interval, self.count(count), watch_s), Keepalived.WAYS)
            self.say(f'keepalived {interval} s', dict(zip(Keepalived.WAYS, done)))


def run_pair(way, interval, count, watch_s):
    with Keepalived(interval) as pair:
        trials = [pair.trial(way, watch_s) for _ in range(count)]
    return {'longest gap of connects': figures([trial.gap for trial in trials]), 'held by two': figures([trial.both for trial in trials]),
            'watched, s': watch_s, 'idle clients reset meanwhile': sum(trial.is_reset for trial in trials)}


class Idle(threading.Thread):
    """A plug: keeps its connection, and is told nothing; when that ends it connects again, with the patience of a plug on a LAN."""

    PATIENCE_S = 0.05

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.came = lab, None
        self.client = Client(link_to(lab, VIP, 5))
        self.client.connect(keep_alive=60)

    def run(self):
        with contextlib.suppress(*GONE):
            self.client.next(ANSWER_S)
        self.client.close()
        while not self.came:
            with contextlib.suppress(*GONE, TimeoutError), Client(link_to(self.lab, VIP, self.PATIENCE_S)) as client:
                client.connect(keep_alive=60)
                self.came = time.monotonic()


def publish_durably(waiting):
    waiting.client.publish(f'bench/{waiting.box.number}', 'x', 1, retain=True)


def publish_live(waiting):
    waiting.client.publish(f'bench/live/{waiting.box.number}', 'x', 1)


def subscribe(waiting):
    waiting.client.subscribe((f'bench/other/{len(waiting.waits) % 50}', 1))


def connect(waiting):
    with Client(link_to(waiting.lab, waiting.box.address, 5)) as client:
        client.connect()


class Waiting(threading.Thread):
    """Asks one thing after another, until stop()."""

    SECONDS = 1.2
    ASKS = {'durable publish': publish_durably, 'publish to a subscriber there': publish_live, 'SUBSCRIBE': subscribe, 'CONNECT': connect}

    def __init__(self, lab, box, ask=publish_durably):
        super().__init__(daemon=True)
        self.lab, self.box, self.ask = lab, box, ask
        self.client = Client(link_to(lab, box.address, 5))
        self.client.connect()
        self.waits = []  # (when it was answered, seconds)
        self.is_stopped = False
        self.start()

    def run(self):
        with self.client:
            while not self.is_stopped:
                begun = time.monotonic()
                self.ask(self)
                self.waits.append((time.monotonic(), time.monotonic() - begun))

    def stop(self):
        self.is_stopped = True
        self.join()

    def longest(self, since, to):
        """Of those that were answered then."""
        return max(wait for came, wait in self.waits if since < came <= to)
