"""scripts/manpages on made-up help texts."""
import subprocess

from conftest import SCRIPTS, load

manpages = load("manpages")

TOP = """Usage: thing COMMAND [OPTIONS]

A thing - for tests.

Commands:
  run                  run it
  user add NAME        add a user

`thing COMMAND --help` tells more.

Example:
  thing run --data ./data
"""
RUN = """Usage: thing run [OPTIONS]

Run it.

Options:
      --data DIR       where everything
                       is kept
  -h, --help           show this help

Example:
  thing run
  .hidden line
"""


def test_a_page_has_the_sections_of_the_help():
    page = manpages.page("thing-run", RUN, "1.2", ["thing", "thing-run"])
    for part in (".SH NAME", "thing\\-run \\- Run it", ".SH SYNOPSIS", ".SH OPTIONS",
                 ".B \\-\\-data DIR\nwhere everything is kept", ".SH EXAMPLES", "\\&.hidden", ".BR thing (1)"):
        assert part in page


def test_man_reads_a_page_without_complaint(tmp_path):
    path = tmp_path / "thing.1"
    path.write_text(manpages.page("thing", TOP, "1.2", ["thing"]))
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-k", path], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0 and done.stderr == ""
    assert "add a user" in done.stdout


def test_commands_are_found_in_the_help():
    assert list(manpages.command_words(TOP)) == [("run",), ("user", "add")]


def test_every_command_gets_a_page(tmp_path):
    program = tmp_path / "thing"
    program.write_text("#!/bin/sh\ncase $1 in\n--help) cat <<'X'\n" + TOP + "X\n;;\nversion) echo thing 1.2;;\n"
                       "*) cat <<'X'\n" + RUN + "X\n;;\nesac\n")
    program.chmod(0o755)
    subprocess.run([SCRIPTS / "manpages", "--program", program, "--out", tmp_path / "man"], check=True)
    assert sorted(path.name for path in (tmp_path / "man").iterdir()) == \
        ["microcloud-run.1", "microcloud-user-add.1", "microcloud.1"]
