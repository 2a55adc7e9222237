"""Starts and stops the brokers, each on loopback with an empty data directory on a real disk.

A broker is started afresh for every measurement, so that nothing of the one before (memory, queues, files) counts in the next.
"""
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

DATA_ROOT = Path(os.environ.get('MICROCLOUD_BENCH_DIR', '/var/tmp'))
CONNECT = bytes([0x10, 16, 0, 4]) + b'MQTT' + bytes([4, 2, 0, 0, 0, 4]) + b'wait'


class BenchError(Exception):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def answers(port):
    """True when a CONNECT is answered by a CONNACK that lets the client in."""
    try:
        with socket.create_connection(('127.0.0.1', port), timeout=5) as s:
            s.sendall(CONNECT)
            return s.recv(4)[3:4] == b'\0'
    except OSError:
        return False


class Broker:
    """Life of one broker process; subclasses say how it is configured."""
    name = ''
    package = ''

    def __init__(self, core=None, nodelay=False):
        self.core, self.nodelay = core, nodelay
        self.directory = Path(tempfile.mkdtemp(prefix=f'microcloud-bench-{self.name}-', dir=DATA_ROOT))
        self.port = free_port()
        self.process = None
        self.log = open(self.directory / 'log', 'ab')
        self.configure()

    def configure(self):
        """Writes configuration files."""

    def command(self):
        raise NotImplementedError

    def after_start(self):
        """What can only be set in a running broker."""

    def start(self, timeout_s=60):
        """Returns the seconds until it let the first client in."""
        pin = ['taskset', '-c', str(self.core)] if self.core is not None else []
        begin = time.monotonic()
        self.process = subprocess.Popen(pin + self.command(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        while not answers(self.port):
            if self.process.poll() is not None:
                raise BenchError(f'{self.name}: ended with {self.process.returncode}: see {self.directory}/log')
            if time.monotonic() - begin > timeout_s:
                raise BenchError(f'{self.name}: does not answer: see {self.directory}/log')
            time.sleep(0.002)
        return time.monotonic() - begin

    @property
    def pid(self):
        return self.process.pid

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def close(self, keep=False):
        self.stop(signal.SIGKILL)
        self.log.close()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)


class Mosquitto(Broker):
    """As Debian configures it (persistence on, saved at the end and every half hour), without log. TCP_NODELAY, off by default, is on in the
    shapes where it serves it better (latency); in the others it halves the throughput."""
    name = 'mosquitto'
    package = 'mosquitto'

    def configure(self):
        nodelay = 'true' if self.nodelay else 'false'
        user = pwd.getpwuid(os.getuid()).pw_name
        (self.directory / 'conf').write_text(
            f'listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay {nodelay}\nuser {user}\n'
            f'persistence true\npersistence_location {self.directory}/\nlog_type error\n')

    def command(self):
        return ['/usr/sbin/mosquitto', '-c', str(self.directory / 'conf')]


class Nats(Broker):
    """JetStream is what its MQTT needs; files, not memory, as is its default. No sync before an acknowledgement: its default too."""
    name = 'nats'
    package = 'nats-server'

    def configure(self):
        (self.directory / 'conf').write_text(
            f'server_name: bench\nlisten: "127.0.0.1:{free_port()}"\njetstream {{ store_dir: "{self.directory}/js" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}" }}\n')

    def command(self):
        return [shutil.which('nats-server') or '/usr/sbin/nats-server', '-c', str(self.directory / 'conf')]


class Microcloud(Broker):
    """With default settings, but for the number of connections that one address may hold: all load comes from one address here."""
    name = 'microcloud'
    program = None
    ports = ('--mqtts-port', '0', '--https-port', '0')

    def configure(self):
        self.http_port = free_port()

    def command(self):
        return [str(self.program), 'run', '--data', str(self.directory / 'data'), '--bind', '127.0.0.1', '--mqtt-port', str(self.port),
                '--http-port', str(self.http_port), '--peer-port', '0', *self.ports]

    def after_start(self):
        done = subprocess.run([str(self.program), 'setting', 'set', 'mqtt.connections_per_address_max', '30000', '--data',
                               str(self.directory / 'data')], capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f'microcloud: {done.stderr.strip()}')


BROKERS = {broker.name: broker for broker in (Microcloud, Mosquitto, Nats)}


def install_peers(names):
    """Installs what is missing from Debian, and leaves no service running."""
    packages = [BROKERS[name].package for name in names if BROKERS[name].package and not installed(name)]
    if not packages:
        return
    print(f'installing {" ".join(packages)} (Debian packages, nothing is left running)', flush=True)
    sudo = [] if os.getuid() == 0 else ['sudo']
    policy = Path('/usr/sbin/policy-rc.d')
    forbids_starts = not policy.exists()
    if forbids_starts:
        subprocess.run(sudo + ['sh', '-c', f'printf "#!/bin/sh\\nexit 101\\n" > {policy} && chmod 755 {policy}'], check=True)
    try:
        subprocess.run(sudo + ['apt-get', 'install', '-y', '-q', '--no-install-recommends', *packages], check=True,
                       env={**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}, stdout=subprocess.DEVNULL)
    finally:
        if forbids_starts:
            subprocess.run(sudo + ['rm', '-f', str(policy)], check=True)


def installed(name):
    return any(Path(d, BROKERS[name].package).exists() for d in ('/usr/sbin', '/usr/bin', '/usr/local/sbin', '/usr/local/bin'))


def check_disk():
    """Figures of a disk that is memory would flatter those who write to it."""
    kind = subprocess.run(['stat', '-f', '-c', '%T', str(DATA_ROOT)], capture_output=True, text=True).stdout.strip()
    if kind in ('tmpfs', 'ramfs'):
        raise BenchError(f'{DATA_ROOT} is {kind}: set MICROCLOUD_BENCH_DIR to a directory on a disk')
