"""Medians over the rounds, the table, and the files in results/."""
import datetime
import json
import os
import platform
import statistics
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / 'results'
UNITS = {'delivered_per_s': 'delivered/s', 'cpu_s_per_million': 'CPU s per million', 'p50_us': 'p50 µs', 'p99_us': 'p99 µs',
         'connects_per_s': 'connects/s', 'bytes_per_connection': 'bytes each', 'subscribes_per_s': 'subscribed/s', 'memory_mb': 'memory MB',
         'stores_per_s': 'stored/s', 'fetches_per_s': 'fetched/s', 'rss_mb': 'RSS MB', 'pss_mb': 'PSS MB', 'lost': 'lost',
         'wakeups_per_minute': 'wake-ups a minute', 'written_bytes_per_minute': 'bytes written a minute',
         'serving_after_s': 'serving after s', 'broker_cpu_percent': 'CPU % of a core', 'generator_cpu_percent': "generator's CPU %"}


def machine():
    model = next((line.split(':')[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')), '?')
    return {'cores': os.cpu_count(), 'cpu': model, 'kernel': platform.release(), 'system': platform.freedesktop_os_release()['PRETTY_NAME']}


def medians(rounds):
    """{broker: {metric: median}}; lost messages are summed, because one is too many."""
    result = {}
    for broker in {name for each in rounds for name in each}:
        figures = [each[broker] for each in rounds if broker in each]
        result[broker] = {metric: (sum if metric == 'lost' else statistics.median)([f[metric] for f in figures])
                          for metric in figures[0] if not isinstance(figures[0][metric], bool)}
        result[broker]['generator_was_the_limit'] = sum(f.get('generator_was_the_limit', False) for f in figures) * 2 > len(figures)
    return result


def number(value):
    if value is None:
        return '–'
    if abs(value) >= 1000:
        return f'{value:,.0f}'
    return f'{value:.0f}' if abs(value) >= 100 or value == int(value) else f'{value:.2f}' if abs(value) >= 0.1 else f'{value:.4f}'


def compare(target, figures):
    """(ratio or value, whether it holds) of a target; (None, None) when a side is missing."""
    ours = figures.get('microcloud', {}).get(target.metric)
    if ours is None:
        return None, None
    if not target.peer:
        return ours, target.holds(ours)
    theirs = figures.get(target.peer, {}).get(target.metric)
    if not theirs:
        return None, None
    if ours <= 0:
        return 0.0, target.most > 0
    return ours / theirs, target.holds(ours / theirs)


def verdict(shape, target, figures):
    ratio, holds = compare(target, figures)
    if ratio is None:
        return '–'
    text = f'{number(ratio)}{"×" if target.peer else ""} ({target.text()})'
    if holds:
        return text + ' ✓'
    if figures['microcloud'].get('generator_was_the_limit') and target.metric == 'delivered_per_s':
        return text + ' ✓ the generator was the limit'
    return text + ' ✗'


def table(results):
    """Markdown: one row a metric that a target or a reader asks for."""
    lines = ['| shape | figure | microcloud | mosquitto | NATS | against mosquitto | against NATS |', '| --- | --- | ---: | ---: | ---: | --- | --- |']
    for shape, figures in results:
        first = shape.text
        for metric in shape.metrics:
            if metric in ('broker_cpu_percent', 'generator_cpu_percent') and not any(t.metric == 'delivered_per_s' for t in shape.targets):
                continue
            cells = [number(figures.get(name, {}).get(metric)) for name in ('microcloud', 'mosquitto', 'nats')]
            by_peer = {'mosquitto': '', 'nats': ''}
            for target in shape.targets:
                if target.metric == metric:
                    by_peer[target.peer or 'mosquitto'] = verdict(shape, target, figures)
            lines.append(f'| {first} | {UNITS[metric]} | {" | ".join(cells)} | {by_peer["mosquitto"]} | {by_peer["nats"]} |')
            first = ''
    return '\n'.join(lines)


def missed(results):
    """The targets not reached, as lines."""
    lines = []
    for shape, figures in results:
        for target in shape.targets:
            text = verdict(shape, target, figures)
            if text.endswith('✗'):
                lines.append(f'{shape.text}: {UNITS[target.metric]}{" against " + target.peer if target.peer else ""}: {text}')
    return lines


def write(name, shape, rounds, found):
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f'{name}.json').write_text(json.dumps({
        'shape': name, 'text': shape.text, 'time': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'machine': machine(), 'found': {k: v for k, v in found.items() if k.startswith((shape.text, name))}, 'rounds': rounds,
        'medians': medians(rounds)}, indent=1, ensure_ascii=False) + '\n')


def stored(shapes):
    """What results/ holds, as the table takes it."""
    return [(shape, json.loads((RESULTS / f'{name}.json').read_text())['medians'])
            for name, shape in shapes.items() if (RESULTS / f'{name}.json').exists()]
