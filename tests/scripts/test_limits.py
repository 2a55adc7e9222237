"""scripts/limits on small trees."""
import subprocess

import pytest
from conftest import SCRIPTS, load

limits = load("limits")

HEADER = "#define HEAD_BYTES_MAX (16 * 1024) /* of a request */\n#define SPAN 3\n"


def document(*rows):
    return "| what | limit | at the limit | where |\n| --- | --- | --- | --- |\n" + "".join(
        f"{row}\n" for row in rows)


def check(tree, header, *rows):
    tree("src/a/a.h", header)
    tree("docs/limits.md", document(*rows))
    return limits.check(tree.root)


def test_a_row_that_says_what_the_code_says_is_right(tree):
    row = "| Head | 16 KiB | 431 | `HEAD_BYTES_MAX` in `src/a/a.h` |"
    assert check(tree, HEADER, row) == (1, [])


@pytest.mark.parametrize("row, message", [
    ("| Head | 32 KiB | 431 | `HEAD_BYTES_MAX` in `src/a/a.h` |", "is 16384 in src/a/a.h, the document says 32 KiB"),
    ("| Head | much | 431 | `HEAD_BYTES_MAX` in `src/a/a.h` |", "the document says much"),
    ("| Head | 16 KiB | | `HEAD_BYTES_MAX` in `src/a/a.h` |", "and what happens at it"),
    ("| Head | 16 KiB | 431 | `HEAD_BYTES_MAX` in `src/a/b.h` |", "HEAD_BYTES_MAX is not in src/a/b.h"),
])
def test_a_row_that_says_something_else_fails(tree, row, message):
    _, errors = check(tree, HEADER, row)
    assert len(errors) == 1 and message in errors[0]


def test_a_limit_of_a_header_without_a_row_fails(tree):
    assert check(tree, HEADER) == (0, ["HEAD_BYTES_MAX of src/a/a.h has no row (or reason in scripts/limits)"])


def test_limits_of_tests_and_those_inside_need_no_row(tree):
    tree("src/a/fixture.h", "#define WAIT_MAX 5\n")
    assert check(tree, "#define PACKET_SMALL_BYTES_MAX 8\n") == (0, [])


@pytest.mark.parametrize("cell, name, number", [
    ("10 min", "FORGET_MS", 600000), ("12 h", "TOKEN_SECONDS", 43200), ("100 ms", "FIRST_MS", 100),
    ("200 000", "NODES_MAX", 200000), ("1 GiB", "SNAPSHOT_BYTES_MAX", 1 << 30), ("4096", "X_MAX", 4096),
    ("5 s", "REST_MS", 5000), ("", "X_MAX", None)])
def test_a_cell_is_read_in_the_unit_of_its_constant(cell, name, number):
    assert limits.number_of(cell, name) == number


@pytest.mark.parametrize("expression, number", [
    ("((1u << 26) - 2)", 67108862), ("0x0fffffffu", 268435455), ("(1024ull * 1024 * 1024)", 1 << 30),
    ("(2 * OTHER)", None)])
def test_constants_are_plain_arithmetic(expression, number):
    assert limits.value_of(expression) == number


SETTING = "| `mqtt.sessions_max` | `5` | 0–9 | sessions | Number of sessions. | refused |"


@pytest.mark.parametrize("path, text, errors", [
    ("tests/system/test_x.py", "node.set(sessions_max=3)", []),
    ("tests/system/test_x.py", '[{"sessions_max": 3}]', []),
    ("src/a/a_test.c", 'set("mqtt.sessions_max", "3");', []),
    ("src/a/settings_test.c", 'set("mqtt.sessions_max", "3");', ["no test sets mqtt.sessions_max"]),
    ("tests/system/test_x.py", "# sessions_max", ["no test sets mqtt.sessions_max"]),
])
def test_a_setting_that_is_a_limit_is_set_by_some_test(tree, path, text, errors):
    tree(path, text)
    assert check(tree, "", SETTING)[1] == errors


def test_a_setting_that_is_no_limit_needs_no_test(tree):
    assert check(tree, "", "| `mqtt.bridges` | `[]` | text | | Bridges. |  |") == (0, [])


def test_the_script_fails_when_something_is_wrong(tree):
    check(tree, HEADER)
    done = subprocess.run(["/usr/bin/python3", SCRIPTS / "limits", "--check", "--root", tree.root],
                          text=True, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 1 and "docs/limits.md: HEAD_BYTES_MAX of src/a/a.h" in done.stdout
