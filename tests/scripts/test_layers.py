"""scripts/layers on small trees."""
import pytest
from conftest import load

layers = load("layers")

TABLE = """# Architecture

| folder | may include | guarded library | what it does |
| --- | --- | --- | --- |
| `base` | | | below |
| `loop` | `base` | `libuv` | events |
| `net` | `base`, `loop` | `libuv` | streams |
| `mqtt` | `net` | | broker |
| `node` | all above | | main |
| `*` | | `GLib` | everywhere |

| library | headers |
| --- | --- |
| `GLib` | `glib.h`, `glib/` |
| `libuv` | `uv.h`, `uv/` |
"""


def errors_of(tree, table=TABLE):
    tree("docs/architecture.md", table)
    return layers.check(tree.root)[1]


@pytest.mark.parametrize("folder, line", [
    ("base", "#include <stdint.h>"),
    ("base", "#include <sys/socket.h>"),
    ("base", "#include <glib.h>"),
    ("base", "#include <glib/gstdio.h>"),
    ("base", '#include "base/list.h"'),
    ("loop", '#include "base/list.h"'),
    ("loop", "#include <uv.h>"),
    ("node", '#include "mqtt/broker.h"'),
    ("base", '#include "commands.pb-c.h"'),
])
def test_what_the_table_allows_passes(tree, folder, line):
    tree(f"src/{folder}/x.c", line + "\n")
    assert errors_of(tree) == []


@pytest.mark.parametrize("folder, line, why", [
    ("base", '#include "loop/loop.h"', "base may not include loop"),
    ("mqtt", '#include "loop/loop.h"', "mqtt may not include loop"),
    ("base", "#include <uv.h>", "base may not include <uv.h>: libuv is guarded"),
    ("mqtt", "# include <uv/unix.h>", "libuv is guarded"),
    ("base", "#include <raft.h>", "of no library"),
    ("base", '#include "absent/x.h"', "absent has no row"),
    ("base", '#include "list.h"', "from src/"),
])
def test_what_the_table_does_not_allow_fails_with_its_line(tree, folder, line, why):
    tree(f"src/{folder}/x.c", "\n" + line + "\n")
    (error,) = errors_of(tree)
    assert error.startswith(f"src/{folder}/x.c:2: ") and why in error


def test_a_header_is_judged_as_a_source_is(tree):
    tree("src/base/x.h", '#include "net/stream.h"\n')
    assert len(errors_of(tree)) == 1


def test_files_of_a_folder_within_a_folder_belong_to_its_layer(tree):
    tree("src/net/tls/x.c", '#include "mqtt/broker.h"\n')
    assert "net may not include mqtt" in errors_of(tree)[0]


def test_a_test_may_reach_what_its_folder_reaches_indirectly(tree):
    tree("src/mqtt/x_test.c", '#include "loop/loop.h"\n#include <uv.h>\n#include <cmocka.h>\n')
    assert errors_of(tree) == []


def test_a_test_may_not_reach_upwards(tree):
    tree("src/loop/x_test.c", '#include "net/stream.h"\n')
    assert len(errors_of(tree)) == 1


def test_a_header_that_includes_cmocka_is_a_tests(tree):
    tree("src/mqtt/sample.h", '#include "loop/loop.h"\n#include <cmocka.h>\n')
    assert errors_of(tree) == []


def test_only_tests_include_cmocka(tree):
    tree("src/loop/x.c", "#include <cmocka.h>\n")
    assert len(errors_of(tree)) == 1


def test_a_folder_without_row_fails(tree):
    tree("src/extra/x.c", "#include <stdint.h>\n")
    assert "src/extra: has no row" in errors_of(tree)[0]


def test_a_cycle_in_the_table_fails(tree):
    table = TABLE.replace("| `base` | | |", "| `base` | `net` | |")
    assert any("cycle" in error for error in errors_of(tree, table))


def test_a_row_that_names_an_unknown_folder_or_library_fails(tree):
    assert any("`" not in error and "nothing" in error
               for error in errors_of(tree, TABLE.replace("`base`, `loop`", "`base`, `nothing`")))
    assert any("libnone" in error for error in errors_of(tree, TABLE.replace("| `net` | | broker", "| `net` | `libnone` | broker")))


def test_more_than_twenty_sources_fail_and_tests_do_not_count(tree):
    for number in range(20):
        tree(f"src/net/x{number}.c", "#include <stdint.h>\n")
        tree(f"src/net/x{number}_test.c", "#include <stdint.h>\n")
    assert errors_of(tree) == []
    tree("src/net/one_more.c", "#include <stdint.h>\n")
    assert "21 .c files" in errors_of(tree)[0]


def test_a_missing_table_fails(tree):
    tree("src/net/x.c", "#include <stdint.h>\n")
    assert any("no table" in error for error in errors_of(tree, "# Architecture\n"))
    (tree.root / "docs/architecture.md").unlink()
    assert layers.check(tree.root)[1]
