"""What the stage `docs` says of documents that name files."""
import pytest
from conftest import load

checks = load("stages_static.py")


def folder(tree, readme):
    tree("src/mqtt/flow.c", "")
    tree("src/mqtt/flow_test.c", "")
    tree("src/net/stream.h", "")
    tree("src/mqtt/README.md", readme)
    return checks.folder_documents(tree.root)


def test_a_readme_that_tells_of_its_files_is_right(tree):
    assert folder(tree, "| `flow.c` | slow ones, on `net/stream.h` |\n") == []


@pytest.mark.parametrize("readme, wrong", [
    ("| `flow.c`, `gone.c` | x |\n", "gone.c is not there"),
    ("| `net/stream.h` | x |\n", "does not tell of flow.c"),
    ("`flow.c`\n" * 61, "more than 60 lines"),
])
def test_a_readme_that_lags_behind_fails(tree, readme, wrong):
    assert folder(tree, readme) == [f"src/mqtt/README.md: {wrong}"]


def test_a_place_that_is_not_there_is_told_of(tree):
    tree("src/mqtt/flow.c", "")
    path = tree("docs/architecture.md", "`src/mqtt/flow.c`, `mqtt/flow.c`, `mqtt/gone.c`, `-EAGAIN`, `raft/open-N`\n")
    assert checks.places(path, tree.root) == ["docs/architecture.md: mqtt/gone.c is not there"]
