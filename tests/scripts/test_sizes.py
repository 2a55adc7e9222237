"""scripts/sizes on small trees and small functions."""
import pytest
from conftest import load

sizes = load("sizes")


def measured(text):
    """{name: (lines, parameters, nesting, complexity)}"""
    return {name: rest for name, _, *rest in sizes.functions(text)}


def errors_of(tree, allow=""):
    tree("scripts/sizes.allow", allow)
    return sizes.check(tree.root)[2]


def function(lines, name="f"):
    return f"int {name}(void)\n{{\n" + "    x();\n" * (lines - 4) + "    return 0;\n}\n"


def test_a_function_is_measured_from_its_first_line_to_its_brace():
    assert measured("static int\nf(int a,\n  int b)\n{\n    return a;\n}\n") == {"f": [6, 2, 0, 1]}


@pytest.mark.parametrize("head, count", [
    ("void f(void)", 0), ("void f()", 0), ("void f(int a)", 1), ("void f(int a, int b)", 2),
    ("void f(void (*fn)(int, int), void *owner)", 2), ("int f(struct x *x, GError **error)", 2),
    ("__attribute__((format(printf, 1, 2))) void f(const char *format, ...)", 2),
])
def test_parameters_are_counted(head, count):
    assert measured(head + "\n{\n}\n")["f"][1] == count


@pytest.mark.parametrize("body, nesting, complexity", [
    ("x();", 0, 1),
    ("if (a) { x(); }", 1, 2),
    ("if (a)\n x();\nelse\n y();", 1, 2),
    ("if (a) { x(); } else if (b) { y(); } else { z(); }", 1, 3),
    ("if (a && b || c) { x(); }", 1, 4),
    ("for (int i = 0; i < 3 && a; i++) { while (b) { x(); } }", 2, 4),
    ("do { x(); } while (a);", 1, 2),
    ("switch (a) { case 1: x(); break; case 2: { y(); } break; default: z(); }", 1, 2),
    ("switch (a) { case A ... B: if (b) { x(); } }", 2, 3),
    ("return a ? b : c;", 0, 2),
    ("list_for_each(link, head) { if (a) { x(); } }", 2, 3),
    ("session_store_for_each(store, fn, owner);", 0, 1),
    ("struct x x = {.a = 1, .b = {2, 3}};", 0, 1),
    ("int r = ({ int t = a ? b : c; t; });", 0, 2),
    ("again:\n x();\n goto again;", 0, 1),
    ("if (a)\n if (b)\n if (c)\n x();", 3, 4),
    ('x("if (a) { && || ?"); /* while (1) { */ // for', 0, 1),
])
def test_nesting_and_complexity_are_counted(body, nesting, complexity):
    assert measured("int f(int a)\n{\n" + body + "\n}\n")["f"][2:] == [nesting, complexity]


def test_what_is_no_function_is_not_taken_for_one():
    text = """#define LOOP(x)     \\
    do {            \\
    } while (0)
struct x { int a; };
static const struct x table[] = { {1}, {f(2)} };
enum y { A, B };
int declared(int a);
static int (*const pointers[])(void) = { g, h };
_Static_assert(sizeof(int) == 4, "four");
DEFINE_CLEANUP(struct x, x_free)
"""
    assert measured(text) == {}


def test_the_functions_after_tables_are_found():
    text = "static int t[] = {1, 2};\nint f(void)\n{\n}\nstruct x x = {0};\nint g(int a)\n{\n}\n"
    assert sorted(measured(text)) == ["f", "g"]


@pytest.mark.parametrize("path, limit", [("src/a/x.c", 800), ("src/a/x.h", 200), ("tests/sim/x.c", 800),
                                         ("scripts/tool", 800), ("tests/system/test_x.py", 800)])
def test_a_file_over_its_limit_fails(tree, path, limit):
    tree("src/a/README.md", "a\n")
    tree("src/a/f.c", function(10))
    tree(path, "// x\n" * limit)
    assert errors_of(tree) == []
    tree(path, "// x\n" * (limit + 1))
    assert errors_of(tree) == [f"{path}: file {limit + 1}, at most {limit}"]


def many_short(tree):
    tree("src/a/README.md", "a\n")
    tree("src/a/short.c", "".join(function(5, f"f{number}") for number in range(40)))


def test_a_function_over_its_limit_fails(tree):
    many_short(tree)
    tree("src/a/x.c", function(70))
    assert errors_of(tree) == []
    tree("src/a/x.c", function(71))
    assert errors_of(tree) == ["src/a/x.c:f: lines 71, at most 70"]
    tree("src/a/x.c", "int f(int a, int b, int c, int d, int e, int g, int h)\n{\n}\n")
    assert errors_of(tree) == ["src/a/x.c:f: parameters 7, at most 6"]


def test_nine_of_ten_functions_are_short(tree):
    tree("src/a/README.md", "a\n")
    tree("src/a/x.c", function(50, "f") + function(50, "g") + function(5, "h"))
    assert "2 of 3 functions" in errors_of(tree)[0]


def test_a_folder_wants_a_short_readme(tree):
    tree("src/a/x.c", function(5))
    assert errors_of(tree) == ["src/a/README.md: not there"]
    tree("src/a/README.md", "a\n" * 61)
    assert errors_of(tree) == ["src/a/README.md: readme 61, at most 60"]


def test_exceptions_are_allowed_with_a_reason_and_only_while_needed(tree):
    many_short(tree)
    tree("src/a/x.c", function(71))
    assert errors_of(tree, "# comment\nsrc/a/x.c:f lines it is a table\n") == []
    assert "must be PATH" in errors_of(tree, "src/a/x.c:f lines\n")[0]
    assert "must be PATH" in errors_of(tree, "src/a/x.c:f sise because\n")[0]
    tree("src/a/x.c", function(7))
    assert errors_of(tree, "src/a/x.c:f lines a table\n") == \
        ["sizes.allow: src/a/x.c:f lines is not needed any more"]
