"""The Debian package: what is in it, that its parts fit together, and that the program in it serves as the unit starts it."""
import configparser
import gzip
import os
import pathlib
import re
import signal
import subprocess

import pytest

from lib.node import Node, program
from lib.programs import microcloud, need, run
from lib.supervisor import Supervisor
from lib.wait import until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("MICROCLOUD_BUILD", str(ROOT / "build"))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """(the .deb, where it is unpacked)"""
    need("dpkg-shlibdeps")
    out = tmp_path_factory.mktemp("package")
    run("sh", ROOT / "packaging" / "build-deb", BUILD, out, timeout=300).ok()
    deb, = out.glob("microcloud_*.deb")
    run("dpkg-deb", "-x", deb, out / "unpacked").ok()
    run("dpkg-deb", "-e", deb, out / "control").ok()
    return deb, out / "unpacked", out / "control"


def unit(tree):
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), interpolation=None)
    parser.optionxform = str
    parser.read(tree / "usr/lib/systemd/system/microcloud.service")
    return parser


def test_the_package_says_what_it_is_and_needs(package):
    deb, _, _ = package
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "-f", deb).ok().out.splitlines() if re.match(r"\w", line))
    version = microcloud(None, "version").ok().out
    assert fields["Package"] == "microcloud" and fields["Version"] in version
    libraries = run("ldd", program()).ok().out
    for name, package_name in (("libglib-2.0", "libglib2.0-0"), ("libuv", "libuv1"), ("libssl", "libssl3"),
                               ("libraft", "libraft0")):
        assert name in libraries and package_name in fields["Depends"], fields["Depends"]
    for name in re.findall(r"[a-z][a-z0-9.+-]+", re.sub(r"\([^)]*\)", "", fields["Depends"])):
        known = run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name)
        assert known.status == 0 or name == "adduser", f"{name} is not installed here, yet the program runs"


def test_nobody_but_root_owns_or_writes_its_files(package):
    deb, _, _ = package
    for line in run("dpkg-deb", "-c", deb).ok().out.splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root" and mode[5] != "w" and mode[8] != "w" and "s" not in mode[1:], line


def test_the_scripts_of_the_package_are_shell(package):
    _, _, control = package
    for name in ("postinst", "prerm", "postrm"):
        assert os.access(control / name, os.X_OK)
        run("sh", "-n", control / name).ok()
    assert (control / "conffiles").read_text() == "/etc/microcloud/microcloud.yml\n"
    assert "purge" in (control / "postrm").read_text(), "data go with a purge only"


def test_each_command_has_its_man_page(package):
    _, tree, _ = package
    pages = {path.name[:-len(".1.gz")]: gzip.decompress(path.read_bytes()).decode()
             for path in (tree / "usr/share/man/man1").iterdir()}
    text = microcloud(None, "help").ok().out.split("Commands:")[1].split("\n\n")[0]
    for line in text.splitlines():
        words = re.match(r"^  ([a-z]+(?: [a-z]+(?= |$))?)", line)
        if words:
            names = words.group(1).split()
            page = pages.get("microcloud-" + "-".join(names)) or pages.get("microcloud-" + names[0])
            assert page and page.lstrip(".\\\" \n").strip(), line
    assert "microcloud" in pages
    for name, page in pages.items():
        rendered = run(need("man"), "-l", "--warnings", "-", stdin=page, env={"MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
        assert rendered.status == 0 and not rendered.err, (name, rendered.err)


def test_completions_are_those_of_the_program(package):
    _, tree, _ = package
    for shell, path in (("bash", "usr/share/bash-completion/completions/microcloud"),
                        ("zsh", "usr/share/zsh/vendor-completions/_microcloud"),
                        ("fish", "usr/share/fish/vendor_completions.d/microcloud.fish")):
        assert (tree / path).read_text() == microcloud(None, "completion", shell).ok().out


def test_the_unit_is_right(package, tmp_path):
    _, tree, _ = package
    service = unit(tree)["Service"]
    assert service["ExecStart"].split()[0] == "/usr/bin/microcloud" and (tree / "usr/bin/microcloud").exists()
    assert service["Type"] == "notify" and service["User"] == "microcloud"
    assert unit(tree)["Unit"]["StartLimitIntervalSec"] == "0", "it tries again each second, not only five times"
    assert int(service["LimitNOFILE"]) >= 10000 + 704, "mqtt.connections_max fits by default"
    text = (tree / "usr/lib/systemd/system/microcloud.service").read_text()
    copy = tmp_path / "microcloud.service"
    copy.write_text(text.replace("/usr/bin/microcloud", str(tree / "usr/bin/microcloud"))
                    .replace("Documentation=man:microcloud(1)\n", ""))
    result = run(need("systemd-analyze"), "verify", copy)
    assert result.status == 0 and "microcloud.service" not in result.err, str(result)


def test_the_unit_is_closely_confined(package):
    _, tree, _ = package
    # 20 without a keeper; its two capabilities, their sockets and its device make the rest.
    result = run(need("systemd-analyze"), "security", "--offline=true", "--threshold=26",
                 tree / "usr/lib/systemd/system/microcloud.service", env={"SYSTEMD_COLORS": "0"})
    if "unrecognized option" in result.err or "Unknown command" in result.err:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert result.status == 0, str(result)


def test_the_packaged_program_serves_as_the_unit_starts_it(package, tmp_path):
    _, tree, _ = package
    supervisor = Supervisor(tmp_path)
    node = Node(tmp_path / "n", "--config", str(tree / "etc/microcloud/microcloud.yml"))
    node.command = lambda command=node.command: [str(tree / "usr/bin/microcloud"), *command()[1:]]
    with node.log.open("ab") as log:
        node.process = subprocess.Popen(node.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        env=supervisor.environment())
    assert supervisor.heard() == ["READY=1", "STATUS=serving"]
    with node.client() as client:  # at once: ready means that it listens
        client.connect()
        client.publish("t", "x", 1)
    node.process.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in node.output(), "ExecReload works")
    node.process.send_signal(signal.SIGTERM)
    assert "STOPPING=1" in supervisor.heard()
    assert node.process.wait(20) == 0


def test_every_line_of_the_example_configuration_is_an_option(package, tmp_path):
    """Uncommented, the file is taken as it stands."""
    _, tree, _ = package
    lines = (tree / "etc/microcloud/microcloud.yml").read_text().splitlines()
    options = [line[2:] for line in lines if re.match(r"# [a-z-]+: ", line)]
    assert len(options) >= 5
    node = Node(tmp_path / "n")
    file = tmp_path / "all.yml"
    file.write_text("\n".join(options) + "\n")
    node.options = ["--config", str(file)]
    node.start()
    node.end()
    file.write_text("\n".join([*options, "colour: red"]) + "\n")
    result = run(*node.command())
    assert result.status == 1 and "colour" in result.err and str(file) in result.err
