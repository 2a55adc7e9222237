"""Fixtures: a node for the whole file, and nodes of one's own for tests that kill, restart or set things."""
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "lab"))

from lab import clock_environment  # noqa: E402
from lib.mqtt import Client  # noqa: E402
from lib.node import Node  # noqa: E402


@pytest.fixture(scope="module")
def shared_node():
    """Started once for the file; nobody stops it."""
    directory = tempfile.mkdtemp(prefix="mc-")
    node = Node(directory).start()
    yield node
    node.end()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def node(shared_node):
    """The file's node; it must have outlived the test."""
    yield shared_node
    assert shared_node.is_alive(), f"the node died:\n{shared_node.output()[-8000:]}"


@pytest.fixture
def own_node():
    """A node for one test alone."""
    directory = tempfile.mkdtemp(prefix="mc-")
    node = Node(directory).start()
    yield node
    node.end()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def open_client():
    """open_client(node, version) makes clients that are closed after the test."""
    clients = []

    def make(node, version=5, **options):
        client = Client(node, version)
        clients.append(client)
        if options.pop("connect", True):
            client.connect(**options)
        return client
    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def clocks(tmp_path_factory):
    """clocks(seconds): the environment that sets a node's calendar clock off by so much."""
    directory = tmp_path_factory.mktemp("clocks")
    source = pathlib.Path(__file__).resolve().parent.parent / "lab" / "clock_step.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", directory / "clock.so", source, "-ldl"], check=True, timeout=60)

    def environment(seconds):
        if not (directory / str(seconds)).exists():  # others have it mapped
            (directory / str(seconds)).write_bytes(struct.pack("=q", seconds))
        return clock_environment(directory / "clock.so", directory / str(seconds))
    return environment
