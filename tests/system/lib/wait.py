"""Waiting for conditions, never for a fixed time."""
import time

DEADLINE_S = 20


def until(condition, what, seconds=DEADLINE_S):
    """Returns the first true value of condition(); fails when there was none in time."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not in {seconds} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
