"""What bench/cluster has to reach, its tables, and where they stand: results/cluster.json, docs/performance.md."""
import json
from dataclasses import dataclass
from pathlib import Path

import report

FILE = report.RESULTS / 'cluster.json'
DOCUMENT = Path(__file__).resolve().parent.parent / 'docs' / 'performance.md'
BEGIN, END = '<!-- bench/cluster --table -->\n', '<!-- end -->'


@dataclass(frozen=True)
class Row:
    """One figure: where it stands in the results, divided by what stands elsewhere, and its bound."""
    text: str
    place: tuple
    unit: str = 'ms'
    most: float | None = None
    least: float | None = None
    over: tuple = ()

    def find(self, results):
        value = at(results, self.place)
        divisor = at(results, self.over) if self.over else 1
        return value / divisor if value is not None and divisor else None

    def asked(self):
        bound = f'≤ {self.most:g}' if self.most is not None else f'≥ {self.least:g}' if self.least is not None else ''
        return f'{bound} {self.unit}'.strip() if bound else ''

    def holds(self, value):
        """None where nothing is asked."""
        if self.most is None and self.least is None:
            return None
        return value <= self.most if self.most is not None else value >= self.least


def at(results, place):
    for name in place:
        results = results.get(name) if isinstance(results, dict) else None
    return results


def spread(text, place, p50=None, p99=None, most=None):
    return [Row(f'{text}, p50', (*place, 'p50'), most=p50), Row(f'{text}, p99', (*place, 'p99'), most=p99), Row(f'{text}, longest', (*place, 'max'), most=most)]


def failover(name, p50, p99=None):
    return [Row('trials', (name, 'TCP connect', 'trials'), ''),
            Row('the address is at another box, p50', (name, 'address there', 'p50')),
            *spread('first TCP connect', (name, 'TCP connect'), p50, p99),
            *spread('first QoS 1 acknowledgement', (name, 'QoS 1 acknowledged'), p50, p99),
            Row('the address at two boxes, in all', (name, 'held by two, ms'), most=0)]


def handed_over(name):
    return [Row('trials', (name, 'TCP connect', 'trials'), ''),
            *spread('nobody takes a connection', (name, 'longest gap of connects'), most=50),
            Row('no QoS 1 acknowledgement, p50', (name, 'longest gap of acknowledgements', 'p50')),
            Row('the address at two boxes, in all', (name, 'held by two, ms'), most=0)]


SECTIONS = {
    "the leader's process dies: killed, fault, keeper too": failover('crash', 150, 400),
    'the leader falls silent: power, cable, SIGSTOP': failover('silent', 600, 1200),
    'the same, the shortest election timeout': failover('silent_least', 300),
    'planned stop of the holder': handed_over('stop'),
    '`node drain` of the holder': handed_over('drain'),
    'an idle client is connected again, after the address is there': spread('it takes', ('idle_client', 'connected after the address is there'), most=100),
    'another box dies': [*spread('a publish at the leader waits', ('follower', 'at the leader', 'when it goes'), most=100),
                         *spread('a publish at the other waits', ('follower', 'at the other follower', 'when it goes'), most=100),
                         Row('a publish waits when nothing happens, p50', ('follower', 'at the leader', 'undisturbed', 'p50'))],
    'another box is frozen': [*spread('a durable publish elsewhere waits', ('frozen_follower', 'durable publish')),
                              *spread('a QoS 1 publish to a subscriber there', ('frozen_follower', 'publish to a subscriber there')),
                              *spread('SUBSCRIBE', ('frozen_follower', 'SUBSCRIBE')), *spread('CONNECT', ('frozen_follower', 'CONNECT'))],
    'the address at two boxes, IPv4 and IPv6': [Row('trials', ('holders', 'trials'), '', least=500), Row('in all', ('holders', 'held by two, ms'), most=0)],
    'daemon and keeper frozen at once': [Row('the address is at another box, longest', ('frozen', 'address there', 'max')),
                                         Row('the address at two boxes, longest', ('frozen', 'held by two', 'max'))],
    'QoS 1, 50×20 → a persistent session, three boxes': [
        Row('delivered/s', ('durable', 'messages/s'), ''), Row('against mosquitto, which syncs nothing', ('durable', 'ratio to mosquitto'), '×', least=1),
        Row('against three NATS, R3', ('durable', 'ratio to NATS'), '×', least=2)],
    'QoS 0 from one box to another': [Row('delivered/s', ('QoS 0 across nodes', 'messages/s'), ''),
                                      Row("of one box's rate", ('QoS 0 across nodes', 'ratio'), '×', least=0.5)],
    'a box joins, 100,000 retained, 10,000 sessions': [
        Row('it votes after', ('join, 100,000 retained, 10,000 sessions', 'voter after s'), 's', most=5),
        Row('publishes meanwhile, p99', ('join, 100,000 retained, 10,000 sessions', 'publish meanwhile', 'p99'), most=50)],
    'idle': [Row('the leader of three, of a core', ('idle', '3 nodes', 'leader, % of a core'), '%', most=0.5),
             Row('another of three, of a core', ('idle', '3 nodes', 'another, % of a core'), '%', most=0.5),
             Row('the leader of three wakes up', ('idle', '3 nodes', 'leader, wake-ups/s'), '/s'),
             Row('another of three wakes up', ('idle', '3 nodes', 'another, wake-ups/s'), '/s'),
             Row('bytes written by three', ('idle', '3 nodes', 'bytes written'), '', most=0),
             Row('the leader of ten, against that of three', ('idle', '10 nodes', 'leader, % of a core'), '×', most=2,
                 over=('idle', '3 nodes', 'leader, % of a core'))],
    'nobody dies, four CPU burners beside it': [
        Row('lasted', ('burners', 'seconds'), 's'), Row('false failovers', ('burners', 'false failovers'), '', most=0),
        Row('QoS 1 acknowledged, p99', ('burners', 'QoS 1 acknowledged', 'p99'))],
    'nobody dies, 200 ms and 1 Mbit/s between boxes': [
        Row('the timeout that doctor proposes', ('roofs', 'proposed, ms')), Row('lasted', ('roofs', 'seconds'), 's'),
        Row('false failovers', ('roofs', 'false failovers'), '', most=0), Row('QoS 1 acknowledged, p99', ('roofs', 'QoS 1 acknowledged', 'p99')),
        Row('a further box serves after', ('roofs', 'a further box serves after, s'), 's')],
    'a witness': [Row('memory (VmRSS)', ('witness', 'VmRSS, MB'), 'MB', most=8), Row('disk', ('witness', 'disk, MB'), 'MB')],
}


def cells(row, results):
    value = row.find(results)
    if value is None:
        return None
    holds = row.holds(value)
    return f'{report.number(value)} {row.unit}'.strip(), f'{row.asked()} {"✓" if holds else "✗"}' if holds is not None else ''


def targets_table(results):
    lines = ['| what happens | figure | measured | asked |', '| --- | --- | ---: | --- |']
    for section, rows in SECTIONS.items():
        first = section
        for row in rows:
            if found := cells(row, results):
                lines.append(f'| {first} | {row.text} | {found[0]} | {found[1]} |')
                first = ''
    return lines if len(lines) > 2 else []


# What Keepalived calls it, what `holders` calls it.
WAYS = {'box dead': None, 'cable pulled': 'cable pulled', 'cut off silently': 'cut off', 'killed': None, 'frozen': 'daemon frozen',
        'is not heard': 'is not heard', 'planned stop': None}


def pair_cells(results, way):
    """Of Keepalived at 1 s and at 0.1 s: gap p50 / longest, held by two of the time watched."""
    found = []
    for interval in ('1', '0.1'):
        each = at(results, (f'keepalived {interval} s', way))
        gap, both = each['longest gap of connects'], each['held by two']
        found.append(f'{report.number(gap["p50"])} / {report.number(gap["max"])}')
        found.append(f'{report.number(both["p50"])} of {report.number(1000 * each["watched, s"])}')
    return found


def own_cells(results, way):
    if way == 'planned stop':
        gap, both = at(results, ('stop', 'longest gap of connects')), at(results, ('stop', 'held by two, ms'))
    elif way == 'box dead':
        gap, both = at(results, ('silent', 'by kind', 'power')), at(results, ('silent', 'held by two, ms'))
    elif way == 'killed':  # its keeper, too
        gap, both = at(results, ('crash', 'by kind', 'keeper too')), at(results, ('crash', 'held by two, ms'))
    else:
        gap, both = at(results, ('holders', 'address there by kind', WAYS[way])), at(results, ('holders', 'held by two by kind, ms', WAYS[way]))
    return [f'{report.number(gap["p50"])} / {report.number(gap["max"])}' if gap else '–', report.number(both)]


def pairs_table(results):
    """Keepalived's, beside ours. Of ours it is the time until the address is there, or the gap at a planned stop."""
    if not {'keepalived 1 s', 'keepalived 0.1 s'} <= results.keys():
        return []
    lines = ['', 'Keepalived in the same namespaces. Milliseconds for which nobody answered (p50 / longest), and for which two boxes had the address:', '',
             '| the holder | microcloud | two | Keepalived, 1 s | two | Keepalived, 0.1 s | two |', '| --- | ---: | ---: | ---: | ---: | ---: | ---: |']
    return lines + [f'| {way} | {" | ".join(own_cells(results, way) + pair_cells(results, way))} |' for way in WAYS]


def table(results):
    return '\n'.join(targets_table(results) + pairs_table(results))


def missed(results):
    return [f'{section}: {row.text}: {" ".join(found)}' for section, rows in SECTIONS.items() for row in rows
            if (found := cells(row, results)) and found[1].endswith('✗')]


def stored():
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def judged(results):
    """Each measure with what was asked of it."""
    for row in (row for rows in SECTIONS.values() for row in rows):
        value = row.find(results)
        holds = row.holds(value) if value is not None else None
        if holds is not None:
            results[row.place[0]].setdefault('targets', []).append(
                {'figure': ', '.join(row.place[1:]), 'value': round(value, 2), 'asked': row.asked(), 'holds': holds})
    return results


def keep(results):
    """Into the file, and all that is there into the document."""
    everything = {**stored(), **results}
    for result in everything.values():
        result.pop('targets', None)
    FILE.write_text(json.dumps(judged(everything), indent=1, ensure_ascii=False) + '\n')
    before, rest = DOCUMENT.read_text().split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + table(everything) + '\n' + END + rest.split(END, 1)[1])
