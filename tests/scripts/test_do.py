"""./do with stand-ins for apt, dpkg and the build, in a tree of its own."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = """build meson # why
build ninja-build
build libraft-dev from-backports # newer
check clang
test npm unless sh
bench mosquitto
"""


@pytest.fixture
def do(tree):
    """do(VERB..., installed={package: version}) runs a copy of ./do; .apt lists what apt-get was asked."""
    root = tree.root
    shutil.copy(ROOT / "do", root / "do")
    tree("scripts/packages", PACKAGES)
    calls = root / "calls"

    def stand_in(name, text):
        path = tree(f"bin/{name}", "#!/bin/sh\n" + text)
        path.chmod(0o755)

    for name in ("apt-get", "meson", "ninja", "sudo"):
        stand_in(name, f'echo "{name} $*" >>{calls}\n')
    stand_in("sudo", '"$@"\n')
    stand_in("tee", "cat >/dev/null\n")
    stand_in("chmod", "")  # of policy-rc.d, which tee did not write
    stand_in("id", "echo 1000\n")
    stand_in("apt-cache", "echo 0.22.1\n")
    stand_in("ninja", f'mkdir -p build; printf "#!/bin/sh\\necho program \\"\\$@\\"\\n" >build/microcloud; '
                      f'/bin/chmod +x build/microcloud; touch build/build.ninja; echo ninja >>{calls}\n')
    stand_in("meson", f"mkdir build; touch build/build.ninja; echo meson >>{calls}\n")

    def run(*words, installed=None):
        installed = {"meson": "1", "ninja-build": "1", "libraft-dev": "0.22.1-1", "clang": "14"} \
            if installed is None else installed
        lines = "".join(f"echo 'ii |{name}|{version}'\n" for name, version in installed.items())
        stand_in("dpkg-query", lines)
        calls.write_text("")
        done = subprocess.run([root / "do", *words], text=True, capture_output=True, check=False,
                              env=dict(os.environ, PATH=f"{root}/bin:{os.environ['PATH']}"))
        done.calls = calls.read_text().splitlines()
        done.installs = [line for line in done.calls if " install " in line]
        return done
    return run


def test_alone_it_lists_the_verbs(do):
    done = do()
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line[2] != " "}
    assert listed == {"build", "run", "test", "bench", "demo", "torture", "fuzz", "coverage", "format", "package"}


def test_an_unknown_verb_fails_by_name(do):
    done = do("dance")
    assert done.returncode == 1 and "unknown verb 'dance'" in done.stderr


def test_apt_is_not_touched_when_everything_is_there(do):
    done = do("build")
    assert done.returncode == 0 and done.calls == ["meson", "ninja"]


def test_the_build_is_set_up_once(do):
    do("build")
    assert do("build").calls == ["ninja"]


def test_what_is_missing_is_installed_and_said(do):
    done = do("build", installed={"meson": "1", "libraft-dev": "0.22.1-1"})
    assert "installing with apt: ninja-build" in done.stderr
    assert len(done.installs) == 1 and done.installs[0].endswith(" ninja-build")


def test_an_old_libraft_is_replaced_from_where_the_right_one_is(do):
    done = do("build", installed={"meson": "1", "ninja-build": "1", "libraft-dev": "0.15.0-1"})
    (install,) = done.installs
    bookworm = "VERSION_CODENAME=bookworm" in pathlib.Path("/etc/os-release").read_text()
    assert "libraft-dev" in install and ("-t bookworm-backports" in install) == bookworm


def test_a_verb_installs_its_own_groups_only(do):
    done = do("build", installed={})
    assert "mosquitto" not in " ".join(done.installs) and "clang" not in " ".join(done.installs)


def test_a_package_is_not_wanted_where_its_command_exists(do):
    done = do("test", "--list")
    assert "npm" not in " ".join(done.calls)


def test_run_passes_its_options_on_and_chooses_a_data_directory(do):
    assert do("run", "--mqtt-port", "1").stdout.strip().endswith("/data --mqtt-port 1")
    assert do("run", "--data", "/x y").stdout.strip() == "program run --data /x y"
    assert do("run", "--data=/x").stdout.strip() == "program run --data=/x"


def test_fuzz_wants_a_number(do):
    done = do("fuzz", "long")
    assert done.returncode == 1 and "'long'" in done.stderr


def test_the_pipeline_runs_the_tests_and_nothing_else():
    text = (ROOT / ".ci" / "run").read_text()
    commands = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert commands == ['exec "$(dirname "$0")/../do" test']
