"""What doing nothing costs: wake-ups, disk, memory. Run with the build that users get, for sanitizers need memory of their own."""
import os
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lab"))
from lab import Lab, until  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces want root")

WINDOW_S = 3
# With the default election timeout a leader sends 13 heartbeats a second and wakes up for the answers of two, its keeper for the renewed
# hold; each link is pinged once a second. Together at most some 60 and 20, before they went together it was 166 and 82.
LEADER_WAKES, FOLLOWER_WAKES = 90, 30
WITNESS_KB = 8 * 1024


@pytest.fixture
def lab(request):
    made = Lab(request.param, os.environ["MICROCLOUD"])
    try:
        yield made.form()
    finally:
        made.down()


def spent(lab):
    """What each box has used in a moment, the leader first."""
    leader = lab.leader()
    boxes = [leader, *lab.others(leader)]
    before = [box.usage() for box in boxes]
    time.sleep(WINDOW_S)
    return [box.usage().since(then) for box, then in zip(boxes, before)]


@pytest.mark.parametrize("lab", [3], indirect=True)
def test_three_boxes_with_a_virtual_ip_hardly_wake_up_and_write_nothing(lab):
    def is_idle():
        leader, *others = spent(lab)
        return leader.wakes <= LEADER_WAKES * WINDOW_S and all(each.wakes <= FOLLOWER_WAKES * WINDOW_S for each in others) and \
            not any(each.written_bytes for each in (leader, *others))

    lab.set_vip()
    until(is_idle, "it is idle", 60)


@pytest.mark.parametrize("lab", [1], indirect=True)
def test_a_lone_node_does_not_wake_up(lab):
    until(lambda: spent(lab)[0].wakes == 0, "nothing wakes it", 60)


@pytest.mark.parametrize("lab", [2], indirect=True)
def test_a_witness_needs_little(lab):
    box = lab.add(["--witness"])
    lab.join(box)
    lab.settle()
    until(lambda: box.usage().resident_kb <= WITNESS_KB, "what only the start needed has left memory", 60)
    lab.leader().kill("daemon")
    lab.settle()
    until(lambda: box.usage().resident_kb <= WITNESS_KB, "what only the election needed has left memory", 60)
