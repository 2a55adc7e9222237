"""The shapes of load, what is measured of each, and the targets: ratios against a peer in the same run."""
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from brokers import BROKERS, BenchError, answers


@dataclass(frozen=True)
class Target:
    """`metric` of microcloud is `least` times that of `peer` or more, or `most` times or less; without a peer an absolute bound."""
    metric: str
    peer: str = ''
    least: float = 0
    most: float = 0

    def holds(self, ratio):
        return ratio >= self.least if self.least else ratio <= self.most

    def text(self):
        return f'≥ {self.least:g}' if self.least else f'≤ {self.most:g}'


@dataclass
class Run:
    """What the shapes are given: how long, with which generator, and what was found out before the rounds."""
    generator: Path
    seconds: float
    idle_seconds: float
    cores: tuple = (None, None)
    found: dict = field(default_factory=dict)

    def load(self, broker, *options):
        pin = ['taskset', '-c', str(self.cores[1])] if self.cores[1] is not None else []
        command = pin + [str(self.generator), 'bench', 'mqtt', '-h', '127.0.0.1', '-p', str(broker.port), '--pid', str(broker.pid),
                         '--seconds', str(self.seconds), '--json', *[str(o) for o in options]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise BenchError(f'{broker.name}: {done.stderr.strip()}')
        return json.loads(done.stdout)

    def fresh(self, name, nodelay=False):
        broker = BROKERS[name](core=self.cores[0], nodelay=nodelay)
        try:
            broker.start()
            broker.after_start()
        except BaseException:
            broker.close(keep=True)
            raise
        return broker

    def once(self, name, *options, nodelay=False):
        broker = self.fresh(name, nodelay)
        try:
            return self.load(broker, *options)
        finally:
            broker.close()


class Shape:
    peers = ('mosquitto', 'nats')
    targets = ()
    metrics = ()

    def prepare(self, run, brokers):
        """Finds out what the rounds need to know (once)."""

    def measure(self, run, name):
        raise NotImplementedError


class Flow(Shape):
    """Publishers to subscribers; `held` finds the loss-free rate of a broker that loses acknowledged messages."""
    metrics = ('delivered_per_s', 'cpu_s_per_million', 'p50_us', 'p99_us', 'lost', 'rss_mb', 'broker_cpu_percent', 'generator_cpu_percent')

    def __init__(self, text, options, targets, peers=('mosquitto', 'nats'), held=(), nodelay=False):
        self.text, self.options, self.targets = text, options, targets
        self.peers, self.held, self.nodelay = peers, held, nodelay

    def key(self, name):
        return f'{self.text}: window of {name}'

    def prepare(self, run, brokers):
        for name in brokers:
            if name in self.held:
                self.find_window(run, name)

    def find_window(self, run, name):
        """The number of messages under way at which it is fastest without losing any."""
        best = (0, 25)
        for window in (400, 200, 100, 50, 25):
            figures = run.once(name, *self.options, '--window', window, nodelay=self.nodelay)
            if figures['lost'] == 0 and figures['delivered_per_s'] > best[0]:
                best = (figures['delivered_per_s'], window)
        run.found[self.key(name)] = best[1]

    def measure(self, run, name):
        window = run.found.get(self.key(name))
        options = [*self.options, '--window', window] if window else self.options
        return flow_figures(run.once(name, *options, nodelay=self.nodelay))


def flow_figures(figures):
    return {
        'delivered_per_s': figures['delivered_per_s'],
        'cpu_s_per_million': figures['broker_cpu_s_per_million'],
        'p50_us': figures['latency_us']['p50'],
        'p99_us': figures['latency_us']['p99'],
        'lost': figures['lost'],
        'duplicates': figures['duplicates'],
        'rss_mb': figures['rss_after_bytes'] / 1e6,
        'broker_cpu_percent': figures['broker_cpu_percent'],
        'generator_cpu_percent': figures['generator_cpu_percent'],
        'generator_was_the_limit': figures['generator_was_the_limit'],
    }


class Pairs(Flow):
    """A hundred pairs at the rate that mosquitto just holds: nine tenths of what it does flat out."""

    def prepare(self, run, brokers):
        figures = run.once('mosquitto', *self.options, '--window', 20000, nodelay=self.nodelay)
        rate = figures['delivered_per_s'] * 0.9
        for _ in range(5):
            figures = run.once('mosquitto', *self.options, '--rate', int(rate), nodelay=self.nodelay)
            if figures['delivered_per_s'] >= 0.99 * rate and figures['latency_us']['p99'] < 50000:
                break
            rate *= 0.9
        run.found['qos0-pairs: rate'] = int(rate)

    def measure(self, run, name):
        return flow_figures(run.once(name, *self.options, '--rate', run.found['qos0-pairs: rate'], nodelay=self.nodelay))


class Idle(Shape):
    text = 'idle'
    metrics = ('rss_mb', 'pss_mb', 'wakeups_per_minute', 'written_bytes_per_minute')
    targets = (Target('pss_mb', most=10), Target('written_bytes_per_minute', most=0))

    def measure(self, run, name):
        broker = run.fresh(name)
        try:
            time.sleep(3)  # what a start leaves to do (saving, timers) is not idleness
            before = process_figures(broker.pid)
            begin = time.monotonic()
            time.sleep(run.idle_seconds)
            minutes = (time.monotonic() - begin) / 60
            after = process_figures(broker.pid)
        finally:
            broker.close()
        return {'rss_mb': after['rss'] / 1e6, 'pss_mb': after['pss'] / 1e6,
                'wakeups_per_minute': (after['switches'] - before['switches']) / minutes,
                'written_bytes_per_minute': (after['written'] - before['written']) / minutes}


def descendants(pid):
    found = [pid]
    for at in found:
        for task in Path(f'/proc/{at}/task').iterdir():
            found += [int(child) for child in (task / 'children').read_text().split()]
    return found


def process_figures(pid):
    """Memory, context switches and written bytes of a process and its children."""
    figures = {'rss': 0, 'pss': 0, 'switches': 0, 'written': 0}
    for each in descendants(pid):
        root = Path(f'/proc/{each}')
        for line in (root / 'smaps_rollup').read_text().splitlines():
            words = line.split()
            if words[0] in ('Rss:', 'Pss:'):
                figures[words[0][:3].lower()] += int(words[1]) * 1024
        for task in (root / 'task').iterdir():
            for line in (task / 'status').read_text().splitlines():
                if 'ctxt_switches' in line:
                    figures['switches'] += int(line.split()[1])
        for line in (root / 'io').read_text().splitlines():
            if line.startswith('write_bytes'):
                figures['written'] += int(line.split()[1])
    return figures


class Connections(Shape):
    text = '10,000 idle connections'
    metrics = ('connects_per_s', 'bytes_per_connection')
    targets = (Target('bytes_per_connection', 'mosquitto', most=1), Target('connects_per_s', 'mosquitto', least=1))

    def measure(self, run, name):
        figures = run.once(name, '--shape', 'idle', '--connections', 10000, '--seconds', '0.5')
        return {'connects_per_s': figures['connects_per_s'],
                'bytes_per_connection': (figures['rss_after_bytes'] - figures['rss_before_bytes']) / 10000}


class Subscriptions(Shape):
    text = '1,000,000 live subscriptions'
    metrics = ('subscribes_per_s', 'memory_mb', 'delivered_per_s', 'cpu_s_per_million', 'lost', 'generator_cpu_percent')
    peers = ('mosquitto',)
    targets = (Target('memory_mb', 'mosquitto', most=0.5), Target('subscribes_per_s', 'mosquitto', least=1),
               Target('delivered_per_s', 'mosquitto', least=10))

    def measure(self, run, name):
        figures = run.once(name, '--shape', 'subscriptions', '--connections', 1000, '--filters', 1000)
        return {'subscribes_per_s': figures['subscribes_per_s'], 'delivered_per_s': figures['delivered_per_s'],
                'memory_mb': (figures['rss_after_bytes'] - figures['rss_before_bytes']) / 1e6, 'lost': figures['lost'],
                'cpu_s_per_million': figures['broker_cpu_s_per_million'], 'generator_cpu_percent': figures['generator_cpu_percent']}


class Retained(Shape):
    text = '100,000 retained messages, QoS 1'
    metrics = ('stores_per_s', 'fetches_per_s', 'memory_mb')
    peers = ('mosquitto',)
    targets = (Target('stores_per_s', 'mosquitto', least=1), Target('fetches_per_s', 'mosquitto', least=3),
               Target('memory_mb', 'mosquitto', most=0.5))

    def measure(self, run, name):
        figures = run.once(name, '--shape', 'retained', '--messages', 100000, '--keep')
        return {'stores_per_s': figures['stores_per_s'], 'fetches_per_s': figures['fetches_per_s'],
                'memory_mb': (figures['rss_after_bytes'] - figures['rss_before_bytes']) / 1e6}


class Start(Shape):
    """With 100,000 retained messages and 10,000 sessions on disk. microcloud is killed; the others are stopped in order, or they would have
    nothing to load."""
    text = 'start with 100,000 retained and 10,000 sessions'
    metrics = ('serving_after_s', 'rss_mb')
    peers = ('mosquitto',)
    targets = (Target('serving_after_s', most=1),)

    def measure(self, run, name):
        broker = run.fresh(name)
        try:
            run.load(broker, '--shape', 'retained', '--messages', 100000, '--keep')
            run.load(broker, '--shape', 'sessions', '--connections', 10000)
            broker.stop(signal.SIGKILL if name == 'microcloud' else signal.SIGTERM)
            seconds = broker.start()
            if not answers(broker.port):
                raise BenchError(f'{name}: does not answer after the start')
            return {'serving_after_s': seconds, 'rss_mb': process_figures(broker.pid)['rss'] / 1e6}
        finally:
            broker.close()


def speed(mosquitto, nats=0, cpu_mosquitto=0, cpu_nats=0):
    """Throughput at least so many times the peer's, CPU time a message at most such a part of it."""
    targets = []
    for peer, least, cpu in (('mosquitto', mosquitto, cpu_mosquitto), ('nats', nats, cpu_nats)):
        if least:
            targets.append(Target('delivered_per_s', peer, least=least))
        if cpu:
            targets.append(Target('cpu_s_per_million', peer, most=1 / cpu))
    return tuple(targets)


NONE_LOST = Target('lost', most=0)

SHAPES = {
    'qos0-1to1': Flow('QoS 0, 1→1, 64 B', ('--window', 20000), speed(7, 1.5, 12, 3)),
    'qos0-fanin': Flow('QoS 0, 50→1', ('--pubs', 50, '--window', 20000), speed(6, 1.5, 10, 3)),
    'qos0-fanout': Flow('QoS 0, 1→50', ('--subs', 50, '--window', 2000), speed(8, 2, 10, 3)),
    'qos0-pairs': Pairs('QoS 0, 100 pairs at a fixed rate', ('--pubs', 100, '--subs', 100), (Target('p99_us', 'mosquitto', most=0.5),),
                        peers=('mosquitto',), nodelay=True),
    'qos1-live': Flow('QoS 1, 50×20 → 10 live, none lost', ('-q', 1, '--pubs', 50, '--subs', 10, '--in-flight', 20), (*speed(4, 8), NONE_LOST),
                      held=('mosquitto',)),
    'qos1-persistent': Flow('QoS 1, 10×50 → a persistent session',
                            ('-q', 1, '--pubs', 10, '--subs', 1, '--in-flight', 50, '--persistent'), (*speed(2, 4), NONE_LOST), held=('mosquitto',)),
    'qos2': Flow('QoS 2, 10×20 → 10', ('-q', 2, '--pubs', 10, '--subs', 10, '--in-flight', 20),
                 (*speed(3), NONE_LOST), peers=('mosquitto',)),
    'qos1-single': Flow('QoS 1, one at a time', ('-q', 1, '--in-flight', 1, '--window', 1), (Target('p50_us', 'mosquitto', most=1),),
                        peers=('mosquitto',)),
    'connections': Connections(),
    'subscriptions': Subscriptions(),
    'retained': Retained(),
    'idle': Idle(),
    'start': Start(),
}
