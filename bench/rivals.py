"""The peers of bench/cluster, in namespaces as ours are: Keepalived with mosquittos, one mosquitto, three NATS servers."""
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from holders import Holders, overlap
from lab import MQTT_PORT, VIP, Lab, inside, ip, until
from probe import Probe, link_to

PAIR_SPACING_S = 0.005  # of probes: seven pairs are asked at the same time

MOSQUITTO = 'listener {port} {address}\nallow_anonymous true\nuser root\npersistence true\npersistence_location {directory}/\nlog_type error\n'
KEEPALIVED = '''global_defs {{
    vrrp_version 3
}}
vrrp_instance bench {{
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int {interval}
    virtual_ipaddress {{
        {vip}/24
    }}
}}
'''


def answers(namespace, address, timeout):
    with inside(namespace):
        link = socket.socket()
    link.settimeout(timeout)
    try:
        link.connect((address, MQTT_PORT))
        return True
    except OSError:
        return False
    finally:
        link.close()


class Peer:
    """Processes in namespaces, ended together."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix='mc-bench-', dir=os.environ.get('MICROCLOUD_BENCH_DIR', '/var/tmp')))
        self.processes = []

    def start(self, namespace, *command):
        with (self.directory / 'log').open('ab') as log:
            process = subprocess.Popen(['ip', 'netns', 'exec', namespace, *map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def mosquitto(self, box, address='0.0.0.0'):
        folder = self.directory / f'{box.name}-mosquitto'
        folder.mkdir(exist_ok=True)
        (folder / 'conf').write_text(MOSQUITTO.format(port=MQTT_PORT, address=address, directory=folder))
        return self.start(box.namespace, '/usr/sbin/mosquitto', '-c', folder / 'conf')


class Mosquitto(Peer):
    """One, in a namespace of its own on the LAN of a lab of ours; as Debian configures it."""

    def __init__(self, lab):
        super().__init__()
        self.box = getattr(lab, 'peer_box', None) or lab.add()
        if self.box in lab.boxes:
            lab.boxes.remove(self.box)
            lab.guests.append(self.box)
        lab.peer_box = self.box
        self.address = self.box.address
        self.mosquitto(self.box)
        until(lambda: answers(lab.lan, self.address, 0.5), 'mosquitto answers')


class Nats(Peer):
    """A JetStream cluster of three; sessions and messages of MQTT are kept three times."""

    def __init__(self, count):
        super().__init__()
        self.lab = Lab(count, '/bin/false')
        self.address = self.lab.boxes[0].address
        routes = ', '.join(f'"nats://{box.address}:6222"' for box in self.lab.boxes)
        for box in self.lab.boxes:
            file = self.directory / f'{box.name}.conf'
            file.write_text(f'server_name: {box.name}\nlisten: "{box.address}:4222"\njetstream {{ store_dir: "{self.directory}/{box.name}" }}\n'
                            f'cluster {{ name: bench, listen: "{box.address}:6222", routes: [{routes}] }}\n'
                            f'mqtt {{ listen: "{box.address}:{MQTT_PORT}", stream_replicas: 3 }}\n')
            self.start(box.namespace, shutil.which('nats-server') or '/usr/sbin/nats-server', '-c', file)
        until(self.is_there, 'NATS answers', 60, 0.5)

    def is_there(self):
        """Its MQTT answers a CONNECT only when its streams have been made."""
        done = subprocess.run(['ip', 'netns', 'exec', self.lab.lan, 'mosquitto_pub', '-h', self.address, '-t', 'x', '-m', 'x', '-q', '1', '-i', 'try'],
                              capture_output=True, timeout=30)
        return done.returncode == 0

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        self.lab.down()


def tree(pid):
    """A process and all that it started."""
    found = [pid]
    for each in found:
        found += map(int, Path(f'/proc/{each}/task/{each}/children').read_text().split())
    return found


@dataclass
class PairTrial:
    gap: float      # the longest between two connects that were answered
    both: float     # for which both held the address
    is_reset: bool  # an idle connection was told


class Keepalived(Peer):
    """Two boxes, each with a mosquitto; multicast VRRPv3. Its child does the work: both are meant by `killed` and `frozen`."""

    WAYS = {
        'box dead': lambda pair, box: (box.unplug(), pair.signal(box, signal.SIGKILL), forget(box)),
        'cable pulled': lambda pair, box: box.unplug(),
        'cut off silently': lambda pair, box: box.drop('input', 'output'),
        'killed': lambda pair, box: pair.signal(box, signal.SIGKILL),
        'frozen': lambda pair, box: pair.signal(box, signal.SIGSTOP),
        'is not heard': lambda pair, box: box.drop('output ip protocol 112'),
        'planned stop': lambda pair, box: pair.vrrp[box.name].terminate(),
    }

    def __init__(self, interval):
        super().__init__()
        self.interval = interval
        self.lab = Lab(2, '/bin/false')
        self.vrrp = {}
        self.numbers = itertools.count()
        for box in self.lab.boxes:
            self.mosquitto(box)
            self.keep(box)

    def keep(self, box):
        number = next(self.numbers)
        file = self.directory / f'{box.name}.conf'
        file.write_text(KEEPALIVED.format(priority=160 - 30 * box.number, interval=self.interval, vip=VIP))
        self.vrrp[box.name] = self.start(box.namespace, '/usr/sbin/keepalived', '-n', '-l', '-P', '-f', file,
                                         '-p', self.directory / f'{box.name}-{number}.pid', '-r', self.directory / f'{box.name}-{number}.vrrp')

    def signal(self, box, number):
        for pid in tree(self.vrrp[box.name].pid):
            os.kill(pid, number)

    def trial(self, way, watch_s):
        """Watched for so long after the harm: what is not over then has no end."""
        holder, backup = self.lab.boxes
        until(lambda: holder.holds(VIP) and not backup.holds(VIP), 'the one with the higher priority holds it', 60)
        until(lambda: answers(self.lab.lan, VIP, 1), 'it answers')
        watch, probe, idle = Holders(self.lab, VIP), Probe(self.lab, VIP, ('tcp',), PAIR_SPACING_S), link_to(self.lab, VIP, 5)
        probe.start()
        until(lambda: probe.answers.times['tcp'], 'it answers the probe')
        time.sleep(random.uniform(0, self.interval))  # anywhere between two adverts
        self.WAYS[way](self, holder)
        with idle:
            is_reset = is_told(idle, watch_s)
        answered = probe.stop()
        both = overlap(watch.stop())
        self.mend(holder)
        return PairTrial(answered.longest_gap('tcp'), both, is_reset)

    def mend(self, box):
        """Afresh, and without what its life before has left."""
        box.heal()
        process = self.vrrp[box.name]
        if process.poll() is None:
            self.signal(box, signal.SIGKILL)
        process.wait(20)
        forget(box)
        self.keep(box)

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        self.lab.down()


def forget(box):
    """What a kernel that went with its box, or was started afresh, has not any more."""
    ip('-n', box.namespace, 'addr', 'del', f'{VIP}/24', 'dev', 'eth0', check=False)


def is_told(link, seconds):
    """Whether an idle connection ends within; it takes that long in any case."""
    end = time.monotonic() + seconds
    link.settimeout(seconds)
    try:
        link.recv(1)
    except TimeoutError:
        return False
    except OSError:
        pass
    time.sleep(max(0, end - time.monotonic()))  # for how long it is watched, not a condition
    return True
