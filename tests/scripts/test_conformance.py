"""scripts/conformance on small trees."""
import subprocess

import pytest
from conftest import SCRIPTS, load

conformance = load("conformance")

STATEMENTS = ("# comment\nMQTT-1.5.4-1\tboth\tstrings are UTF-8\nMQTT-3.1.0-1\tclient\tconnects first\n"
              "MQTT-3.1.0-2\tserver\tno second CONNECT\nMQTT-3.2.2-9\tserver\tmaximum QoS\tall are\n")


def run(tree, *options):
    tree("scripts/mqtt5-statements.tsv", STATEMENTS)
    (tree.root / "docs").mkdir(exist_ok=True)
    done = subprocess.run(["/usr/bin/python3", SCRIPTS / "conformance", "--root", tree.root, *options],
                          text=True, stdout=subprocess.PIPE, check=False)
    return done.returncode, done.stdout


def held(tree, path, text):
    tree(path, text)
    return conformance.collect(tree.root, {"MQTT-1.5.4-1", "MQTT-3.1.0-2"})


@pytest.mark.parametrize("path, text", [
    ("src/a/x_test.c", "/* Why. [MQTT-1.5.4-1] [MQTT-3.1.0-2] */\nstatic void f(void **state)\n{\n}\n"),
    ("src/a/x_test.c", "// [MQTT-1.5.4-1] [MQTT-3.1.0-2]\nstatic void f(void **state)\n{\n}\n"),
    ("src/a/x_test.c", "static void f(void **in)\n{\n    g(); /* [MQTT-1.5.4-1] [MQTT-3.1.0-2] */\n}\n"),
    ("tests/system/test_x.py", "# [MQTT-1.5.4-1]\n# [MQTT-3.1.0-2]\ndef test_f(broker):\n    pass\n"),
    ("tests/system/test_x.py",
     "# [MQTT-1.5.4-1] [MQTT-3.1.0-2]\n@pytest.mark.parametrize('a', [1])\ndef test_f(a):\n    pass\n"),
    ("tests/system/test_x.py",
     "def test_f(broker):\n    \"\"\"Why. [MQTT-1.5.4-1]\n    [MQTT-3.1.0-2]\"\"\"\n    pass\n"),
    ("tests/browser/x.test.js", "// [MQTT-1.5.4-1] [MQTT-3.1.0-2]\ntest('f', async () => {\n});\n"),
])
def test_annotations_above_and_inside_a_test_are_its(tree, path, text):
    found, errors = held(tree, path, text)
    assert errors == []
    assert {tag: [name.replace("test_", "") for _, name in tests] for tag, tests in found.items()} == \
        {"MQTT-1.5.4-1": ["f"], "MQTT-3.1.0-2": ["f"]}


def test_each_annotation_belongs_to_one_test(tree):
    found, errors = held(tree, "src/a/x_test.c",
                         "/* [MQTT-1.5.4-1] */\nstatic void f(void **state)\n{\n}\n\n"
                         "/* [MQTT-3.1.0-2] */\nstatic void g(void **state)\n{\n}\n")
    assert errors == []
    assert [found["MQTT-1.5.4-1"][0][1], found["MQTT-3.1.0-2"][0][1]] == ["f", "g"]
    assert len(found["MQTT-1.5.4-1"]) == len(found["MQTT-3.1.0-2"]) == 1


def test_an_annotation_above_no_test_fails(tree):
    _, errors = held(tree, "src/a/x_test.c", "/* [MQTT-1.5.4-1] */\nint x;\n\nstatic void f(void **s)\n{\n}\n")
    assert errors == ["src/a/x_test.c: [MQTT-1.5.4-1] stands above no test"]


def test_an_annotation_of_no_statement_fails(tree):
    _, errors = held(tree, "src/a/x_test.c", "/* [MQTT-9.9.9-9] */\nstatic void f(void **s)\n{\n}\n")
    assert errors == ["src/a/x_test.c: f: [MQTT-9.9.9-9] is no statement of the standard"]


def test_annotations_anywhere_in_the_simulation_are_held_by_it(tree):
    found, errors = held(tree, "tests/sim/ledger.c",
                         "/* [MQTT-3.1.0-2] */\nint x;\n\nvoid f(void)\n{\n    fail(\"twice [MQTT-1.5.4-1]\");\n}\n")
    assert errors == []
    assert found == {tag: [("tests/sim/ledger.c", "sim-broker")] for tag in ("MQTT-1.5.4-1", "MQTT-3.1.0-2")}


def test_the_simulation_too_can_name_a_statement_that_is_none(tree):
    _, errors = held(tree, "tests/sim/talk.c", "/* [MQTT-9.9.9-9] */\nint x;\n")
    assert errors == ["tests/sim/talk.c: sim-broker: [MQTT-9.9.9-9] is no statement of the standard"]


def test_the_check_fails_while_a_statement_has_no_test(tree):
    tree("src/a/x_test.c", "/* [MQTT-1.5.4-1] */\nstatic void f(void **s)\n{\n}\n")
    assert run(tree)[0] == 0
    status, output = run(tree, "--check")
    assert status == 1 and "1 statements have no test: MQTT-3.1.0-2" in output


def test_the_check_passes_when_all_is_held_and_fails_when_stale(tree):
    tree("src/a/x_test.c", "/* [MQTT-1.5.4-1] [MQTT-3.1.0-2] */\nstatic void f(void **s)\n{\n}\n")
    assert "stale" in run(tree, "--check")[1]
    assert run(tree)[0] == 0
    assert run(tree, "--check")[0] == 0
    text = (tree.root / "docs/mqtt-conformance.md").read_text()
    assert "| MQTT-1.5.4-1 | strings are UTF-8 | `src/a/x_test.c`: f |" in text
    assert "does not apply: all are" in text and "MQTT-3.1.0-1" not in text


def test_the_list_of_statements_is_whole():
    statements = conformance.read_statements(SCRIPTS / "mqtt5-statements.tsv")
    ids = [statement[0] for statement in statements]
    assert len(ids) == len(set(ids)) == 251
    by_section = {}
    for tag in ids:
        section, number = tag.rsplit("-", 1)
        by_section.setdefault(section, []).append(int(number))
    # 2.2.1-1 exists in no edition of the standard.
    by_section["MQTT-2.2.1"].insert(0, 1)
    for section, numbers in by_section.items():
        assert numbers == list(range(1, len(numbers) + 1)), section
