"""Boxes in namespaces (tests/lab) for a test: stopped in the end, their last words printed, and everything taken away."""
import contextlib

from lab import Lab
from lib.node import program

LAST_CHARACTERS = 6000


@contextlib.contextmanager
def boxes(count=3, **options):
    """A lab that is up, its boxes not started; options as Lab takes them."""
    lab = Lab(count, program(), **options)
    try:
        yield lab
        for box in lab.boxes:
            box.stop()
    finally:
        for box in lab.boxes:
            print(f"---- {box.name}\n{box.output()[-LAST_CHARACTERS:]}")
        lab.down()
