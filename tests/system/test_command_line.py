"""The command line: each command as people read it and as JSON, what is said about wrong usage, and mosquitto's flags."""
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from lib import web
from lib.certificates import Authority
from lib.node import Node, free_ports, program
from lib.programs import Background, client_of, microcloud, need, run, wait_subscribed
from lib.wait import until

COMMANDS = ["run", "status", "discover", "token", "token ls", "token rm", "ca show", "ca rotate", "node ls", "node inspect", "node drain",
            "node activate", "node promote", "node demote", "node label", "node rm", "vip set", "vip ls", "vip rm", "setting get", "setting set", "user ls", "user add",
            "user passwd", "user rm", "user import", "acl ls", "acl add", "acl rm", "acl import", "client ls", "client inspect",
            "client kick", "topic ls", "topic get", "topic rm", "pub", "sub", "trace", "bench mqtt", "backup",
            "restore", "doctor", "completion", "version"]


def at(node):
    return ["-h", "127.0.0.1", "-p", str(node.port)]


def pub(node, *words, **options):
    return microcloud(None, "pub", *at(node), *words, **options)


def sub(node, *words, **options):
    return microcloud(None, "sub", *at(node), *words, **options)


def sub_background(node, client_id, *words, count=1):
    started = Background(program(), "sub", *at(node), "-i", client_id, *words)
    wait_subscribed(node, client_id, count)
    return started


# ---- help ----

def test_help_knows_every_command():
    text = microcloud(None, "help").ok().out
    listed = re.findall(r"^  ([a-z]+(?: [a-z]+(?![a-z|]))?)", text.split("Commands:")[1].split("\n\n")[0], re.M)
    assert listed == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command):
    texts = {microcloud(None, *command.split(), "--help").ok().out, microcloud(None, "help", *command.split()).ok().out}
    assert len(texts) == 1
    text = texts.pop()
    assert text.startswith(f"Usage: microcloud {command}")
    assert "\nExample:\n  " in text and "\nOptions:\n" in text


def test_without_a_command_help_and_status_2():
    result = microcloud(None)
    assert result.status == 2 and "Usage:" in result.err


# ---- wrong usage ----

@pytest.mark.parametrize("words,named", [
    (["frobnicate"], ["frobnicate", "unknown command"]),
    (["user"], ["user", "verb"]),
    (["user", "frob"], ["user", "frob"]),
    (["status", "--frob"], ["status", "--frob"]),
    (["status", "extra"], ["status", "extra"]),
    (["status", "--wait"], ["status", "--wait"]),
    (["status", "--wait", "soon"], ["--wait", "soon"]),
    (["status", "--host", "ftp://x"], ["ftp://x"]),
    (["setting", "set", "key"], ["setting set", "KEY VALUE"]),
    (["user", "add"], ["user add", "NAME"]),
    (["acl", "add", "user:x", "read"], ["acl add", "FILTER"]),
    (["client", "inspect"], ["client inspect", "ID"]),
    (["topic", "get"], ["topic get", "TOPIC"]),
    (["trace"], ["trace", "--client"]),
    (["backup"], ["backup", "FILE"]),
    (["restore", "x"], ["restore", "--data"]),
    (["completion", "tcsh"], ["completion", "tcsh"]),
    (["pub", "-m", "x"], ["pub", "-t"]),
    (["pub", "-t", "a/+", "-m", "x"], ["pub", "-t", "a/+"]),
    (["pub", "-t", "a"], ["pub", "-m"]),
    (["pub", "-t", "a", "-m", "x", "-n"], ["pub", "exactly one"]),
    (["pub", "-t", "a", "-m", "x", "-q", "3"], ["pub", "-q", "3"]),
    (["pub", "-t", "a", "-m", "x", "-p", "70000"], ["pub", "-p", "70000"]),
    (["pub", "-t", "a", "-m", "x", "-V", "6"], ["pub", "-V", "6"]),
    (["pub", "-t", "a", "-m", "x", "-D", "publish", "colour", "red"], ["-D"]),
    (["pub", "-t", "a", "-m", "x", "-A", "nowhere"], ["pub", "-A", "nowhere"]),
    (["pub", "-t", "a", "-m", "x", "-x", "5"], ["-x", "-V 5"]),
    (["pub", "-L", "http://x/t", "-m", "x"], ["-L", "http://x/t"]),
    (["sub"], ["sub", "-t"]),
    (["sub", "-t", "a/#/b"], ["sub", "-t", "a/#/b"]),
    (["sub", "-t", "a", "-c"], ["sub", "-c", "-i"]),
    (["sub", "-t", "a", "-F", "%Q"], ["%Q"]),
    (["sub", "-t", "a", "-C", "0"], ["--count", "got 0"]),
    (["bench"], ["bench", "verb"]),
    (["bench", "mqtt", "--qos", "3"], ["--qos", "3"]),
    (["run", "--frob"], ["run", "--frob"]),
    (["run", "--mqtt-port", "x"], ["run", "--mqtt-port", "x"]),
    (["run", "--log-level", "loud"], ["run", "--log-level", "loud"]),
])
def test_wrong_usage_is_named_with_status_2(words, named):
    result = microcloud(None, *words)
    assert result.status == 2, result
    assert result.err.startswith("microcloud: ") and result.out == "", result
    for part in named:
        assert part in result.err, result
    assert result.err.count("\n") == 1, "one line"


@pytest.mark.parametrize("words,named", [
    (["setting", "get", "mqtt.frob"], ["setting get", "mqtt.frob"]),
    (["setting", "set", "mqtt.frob", "1"], ["setting set", "mqtt.frob"]),
    (["setting", "set", "mqtt.anonymous", "maybe"], ["mqtt.anonymous", "off|loopback|on", "maybe"]),
    (["user", "rm", "nobody"], ["user rm", "nobody"]),
    (["user", "add", "x", "--role", "king", "--password", "y"], ["user add", "king"]),
    (["user", "import", "/nowhere"], ["user import", "/nowhere"]),
    (["acl", "rm", "77"], ["acl rm", "77"]),
    (["acl", "add", "somebody", "read", "a"], ["acl add", "somebody"]),
    (["acl", "add", "user:x", "eat", "a"], ["acl add", "eat"]),
    (["acl", "add", "user:x", "read", "a#"], ["acl add", "a#"]),
    (["client", "inspect", "nobody"], ["client inspect", "nobody"]),
    (["client", "kick", "nobody"], ["client kick", "nobody"]),
    (["topic", "get", "no/such"], ["topic get", "no/such"]),
    (["backup", "/nowhere/x"], ["backup", "/nowhere/x"]),
    (["restore", "/nowhere", "--data", "/tmp/mc-never"], ["restore", "/nowhere"]),
])
def test_what_fails_is_named_with_status_1(node, words, named):
    result = microcloud(node, *words)
    assert result.status == 1, result
    assert result.err.startswith("microcloud: ") and result.out == "", result
    for part in named:
        assert part in result.err, result


def test_a_node_that_does_not_answer(tmp_path):
    result = microcloud(None, "status", "--data", tmp_path)
    assert result.status == 1 and "api.sock" in result.err
    port, = free_ports(1)
    result = microcloud(None, "status", "--host", f"http://127.0.0.1:{port}")
    assert result.status == 1 and str(port) in result.err
    result = microcloud(None, "pub", "-p", port, "-t", "t", "-m", "m")
    assert result.status == 1 and str(port) in result.err and "refused" in result.err


# ---- finding the node ----

def test_three_ways_to_name_the_node(node, tmp_path):
    path = node.data / "api.sock"
    assert microcloud(None, "status", "--host", f"unix:{path}").status == 0
    assert microcloud(None, "status", "--data", node.data).status == 0
    assert microcloud(None, "status", env={"MICROCLOUD_HOST": f"unix:{path}"}).status == 0
    # --host counts more than the environment.
    assert microcloud(node, "status", "--host", f"unix:{tmp_path}/none").status == 1


def test_over_http_with_a_login(node):
    place = f"127.0.0.1:{node.http_port}"
    result = microcloud(None, "user", "ls", "--host", f"http://{place}")
    assert result.status == 1 and "--token" in result.err, result
    microcloud(None, "user", "ls", "--host", f"http://admin:{web.password(node)}@{place}").ok()
    token = web.login(node).json["token"]
    microcloud(None, "user", "ls", "--host", f"http://{place}", "--token", token).ok()
    microcloud(None, "user", "ls", env={"MICROCLOUD_HOST": f"http://{place}", "MICROCLOUD_TOKEN": token}).ok()
    result = microcloud(None, "user", "ls", "--host", f"http://admin:mistyped@{place}")
    assert result.status == 1 and "mistyped" not in result.err


# ---- listings ----

def as_json(node, *words):
    return json.loads(microcloud(node, *words, "--json").ok().out)


def test_status(node):
    status = as_json(node, "status")
    assert status["node"] == "one" and status["quorum"] is True and status["leader"] == "one"
    assert [one["name"] for one in status["nodes"]] == ["one"]
    assert status["mqtt"]["port"] == node.port
    text = microcloud(node, "status").ok().out
    assert "one" in text and str(node.port) in text


def test_status_waits_until_the_node_serves(tmp_path):
    node = Node(tmp_path / "n")
    with Background(program(), "status", "--wait", "60", "--data", node.data) as waiting:
        node.start()
        assert waiting.wait() == 0
    node.end()
    began = time.monotonic()
    assert microcloud(None, "status", "--wait", "0.3", "--data", node.data).status == 1
    assert 0.3 <= time.monotonic() - began < 20


def test_settings(node):
    assert microcloud(node, "setting", "get", "mqtt.anonymous").ok().out == "loopback\n"
    microcloud(node, "setting", "set", "mqtt.anonymous", "off").ok()
    try:
        one = as_json(node, "setting", "get", "mqtt.anonymous")
        assert (one["value"], one["default"]) == ("off", "loopback")
        assert {"key", "value", "default", "kind", "meaning"} <= set(as_json(node, "setting", "get")[0])
    finally:
        microcloud(node, "setting", "set", "mqtt.anonymous", "loopback").ok()


def test_users_and_rules(node):
    microcloud(node, "user", "add", "u1", "--password", "x").ok()
    microcloud(node, "user", "add", "u2", "--role", "viewer", stdin="y\n").ok()
    assert {"name": "u1", "role": "device"} in as_json(node, "user", "ls")
    assert re.search(r"^u2 +viewer$", microcloud(node, "user", "ls").ok().out, re.M)
    microcloud(node, "user", "rm", "u1", "u2").ok()
    assert not {"u1", "u2"} & {one["name"] for one in as_json(node, "user", "ls")}
    assert as_json(node, "acl", "ls") == []
    microcloud(node, "acl", "add", "user:u1", "read", "a b/#").ok()
    microcloud(node, "acl", "add", "*", "write", "c", "--deny").ok()
    rules = as_json(node, "acl", "ls")
    assert [(one["subject"], one["action"], one["filter"], one["allow"]) for one in rules] == [
        ("user:u1", "read", "a b/#", True), ("*", "write", "c", False)]
    assert "a b/#" in microcloud(node, "acl", "ls").ok().out
    microcloud(node, "acl", "rm", *[one["id"] for one in rules]).ok()
    assert as_json(node, "acl", "ls") == []


def test_clients(node):
    with sub_background(node, "shown/with slash", "-t", "a/#", "-t", "b", "-q", "1", "-V", "5", count=2) as shown:
        found = next(one for one in as_json(node, "client", "ls") if one["id"] == "shown/with slash")
        assert (found["connected"], found["version"], found["subscriptions"]) == (True, "5.0", 2)
        assert "shown/with slash" in microcloud(node, "client", "ls").ok().out
        inspected = as_json(node, "client", "inspect", "shown/with slash")
        assert inspected["address"] == "127.0.0.1"
        assert {(one["filter"], one["qos"]) for one in inspected["filters"]} == {("a/#", 1), ("b", 1)}
        microcloud(node, "client", "kick", "shown/with slash").ok()
        assert shown.wait() == 1 and "administrative action" in shown.err()
    sub(node, "-i", "kept", "-c", "-t", "t", "-q", "1", "-E").ok()
    until(lambda: not client_of(node, "kept")["connected"], "it is away")
    microcloud(node, "client", "kick", "kept", "--purge").ok()
    until(lambda: client_of(node, "kept") is None, "its session is gone")


def test_topics(node):
    pub(node, "-t", "shop/open", "-m", "yes", "-r", "-q", "1").ok()
    pub(node, "-t", "shop/räume/1", "-m", "zwölf", "-r", "-q", "1").ok()
    run(program(), "pub", *at(node), "-t", "shop/raw", "-s", "-r", "-q", "1", stdin=b"\xff\0\xfe").ok()
    assert {one["topic"] for one in as_json(node, "topic", "ls", "shop/#")} == {"shop/open", "shop/räume/1", "shop/raw"}
    assert "shop/räume/1" in microcloud(node, "topic", "ls").ok().out
    assert microcloud(node, "topic", "get", "shop/räume/1").ok().out == "zwölf\n"
    assert microcloud(node, "topic", "get", "shop/raw").ok().bytes == b"\xff\0\xfe"
    assert as_json(node, "topic", "get", "shop/open")["payload"] == "yes"
    microcloud(node, "topic", "rm", "shop/open", "shop/räume/1", "shop/raw").ok()
    assert as_json(node, "topic", "ls", "shop/#") == []


def test_trace(node):
    with Background(program(), "trace", "--client", "traced", "-C", "8", "--host", f"unix:{node.data}/api.sock") as text, \
            Background(program(), "trace", "--client", "traced", "-C", "2", "--json", "--host",
                       f"unix:{node.data}/api.sock") as lines:
        def traces():
            pub(node, "-i", "traced", "-t", "t", "-m", "secret", "-q", "1").ok()
            return text.process.poll() is not None and lines.process.poll() is not None
        until(traces, "both have seen enough", 60)
        assert text.wait() == 0 and lines.wait() == 0
        assert len(text.lines()) == 8 and "PUBLISH" in text.out() and "CONNECT v4" in text.out()
        assert all("packet" in json.loads(line) for line in lines.lines())
        assert "secret" not in text.out(), "payloads are not shown"


def test_status_says_for_how_long_it_is_up(node):
    assert re.search(r"^up for {10} (\d+ s|\d+ min)$", microcloud(node, "status").ok().out, re.MULTILINE)


def test_doctor(node, tmp_path):
    checks = as_json(node, "doctor")
    assert {"log", "engine", "disk space", "descriptors", "clock", "clock here", "rights", f"port {node.port} (MQTT)"} <= \
        {one["check"] for one in checks}
    assert all(one["ok"] for one in checks), checks
    told = microcloud(node, "doctor").ok().out
    assert "room for" in told
    assert re.findall(r"^hint (.+?)  ", told, re.MULTILINE) == [one["check"] for one in checks if one["ok"] and one["advice"]]
    result = microcloud(None, "doctor", "--data", tmp_path)
    assert result.status == 1 and "BAD" in result.out and "->" in result.out
    assert not json.loads(microcloud(None, "doctor", "--data", tmp_path, "--json").out)[0]["ok"]


def test_doctor_sees_what_is_open_to_others(node):
    secret = node.data / "node.json"
    secret.chmod(0o644)
    try:
        result = microcloud(node, "doctor")
        assert result.status == 1 and "open to others: node.json" in result.out and "chmod" in result.out
    finally:
        secret.chmod(0o600)
    microcloud(node, "doctor").ok()


def limited_node(tmp_path, descriptors):
    node = Node(tmp_path / f"n{descriptors}")
    command = node.command
    node.command = lambda: ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command()]
    return node.start()


@pytest.mark.parametrize("descriptors,status,room", [(1000, 1, 296), (4096, 0, 3392), (20000, 0, 10000)])
def test_doctor_counts_the_descriptors(tmp_path, descriptors, status, room):
    node = limited_node(tmp_path, descriptors)
    try:
        result = microcloud(node, "doctor")
        assert result.status == status and f"room for {room} MQTT connections" in result.out, result
        if status == 0:
            node.set(connections_max=room + 1)
            result = microcloud(node, "doctor")
            assert (result.status == 1) == (descriptors - 704 < room + 1)
    finally:
        node.end()


def is_closed(link):
    link.setblocking(False)
    try:
        return link.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_clients_never_take_the_last_descriptor(tmp_path):
    node = limited_node(tmp_path, 800)
    links = []
    try:
        for _ in range(200):
            try:
                links.append(socket.create_connection(("127.0.0.1", node.port), 10))
            except ConnectionResetError:
                pass  # closed before it was known to be open
        # 96 may be, 64 more are let in to be told that they are too many, the rest is closed at once.
        until(lambda: len(links) - sum(map(is_closed, links)) <= 160, "the rest is closed")
        assert microcloud(node, "status").status == 0
        node.set(sys_interval_s=5)  # the log goes on
    finally:
        for link in links:
            link.close()
        node.end()


def test_bench(node):
    words = ["bench", "mqtt", "--host", f"mqtt://127.0.0.1:{node.port}"]
    help_text = microcloud(None, "bench", "mqtt", "--help").out
    if "mqtt://" not in help_text:
        words = ["bench", "mqtt", *at(node)]
    words += ["--pubs", "2", "--subs", "2", "--seconds", "1", "--size", "64"]
    for qos in (0, 1):
        report = json.loads(microcloud(None, *words, "--qos", qos, "--json").ok().out)
        assert report, report
        text = microcloud(None, *words, "--qos", qos).ok().out
        assert re.search(r"\d", text)


def test_backup_and_restore(own_node, tmp_path):
    pub(own_node, "-t", "kept", "-m", "value", "-r", "-q", "1").ok()
    microcloud(own_node, "user", "add", "ann", "--password", "x").ok()
    file = tmp_path / "backup"
    result = microcloud(own_node, "backup", file).ok()
    assert "secrets" in result.err and result.out == ""
    assert file.stat().st_mode & 0o077 == 0, "others may not read it"
    target = tmp_path / "restored"
    told = microcloud(None, "restore", file, "--data", target).ok().err
    assert f"`microcloud run --data {target}`" in told and "--rescue" not in told
    result = microcloud(None, "restore", file, "--data", target)
    assert result.status == 1 and str(target) in result.err, "not over what is there"
    own_node.stop()
    again = Node(tmp_path / "n")
    again.data = target
    again.start()
    try:
        assert microcloud(again, "topic", "get", "kept").ok().out == "value\n"
        assert "ann" in microcloud(again, "user", "ls").ok().out
    finally:
        again.end()


def test_version():
    text = microcloud(None, "version").ok().out
    assert re.search(r"\d+\.\d+\.\d+", text)
    assert microcloud(None, "--version").ok().out == text


# ---- completion ----

def complete(*words):
    script = ('source <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _microcloud; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    return run(need("bash"), "-euc", script, program(), *words).ok().out.split()


def test_bash_completion_is_evaluated():
    assert {"status", "setting", "pub", "user"} <= set(complete("microcloud", ""))
    assert complete("microcloud", "ver") == ["version"]
    assert set(complete("microcloud", "user", "")) >= {"ls", "add", "passwd", "rm", "import"}
    assert "--retain" in complete("microcloud", "pub", "--re")
    assert "--role" in complete("microcloud", "user", "add", "--r")
    assert set(complete("microcloud", "completion", "")) >= {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_every_command(shell):
    text = microcloud(None, "completion", shell).ok().out
    for name in {one.split()[0] for one in COMMANDS}:
        assert name in text
    path = run("sh", "-c", f"command -v {shell}").out.strip()
    if path:
        assert run(path, "-n", stdin=text).status == 0


# ---- pub and sub with mosquitto's flags ----

def long_flags(tool):
    """All flags that mosquitto's help names."""
    text = run(need(tool), "--help").out
    return sorted(set(re.findall(r"(?<![\w-])(--?[a-zA-Z][a-zA-Z0-9-]*)", text.split("Usage:")[1].split(" -A :")[0])))


@pytest.mark.parametrize("tool,command", [("mosquitto_pub", "pub"), ("mosquitto_sub", "sub")])
def test_every_flag_of_mosquitto_is_known(tool, command):
    text = microcloud(None, command, "--help").ok().out
    known = set(re.findall(r"(?<![\w-])(--?[a-zA-Z][a-zA-Z0-9-]*)", text))
    missing = set(long_flags(tool)) - known
    assert missing <= {"--help"}, f"{tool} has {missing}"


def test_pub_ways_to_give_a_payload(node, tmp_path):
    (tmp_path / "file").write_bytes(b"from a file\0\xff")
    with sub_background(node, "payloads", "-t", "p/#", "-q", "1", "-F", "%x", "-C", "7") as seen:
        pub(node, "-t", "p", "-q", "1", "-m", "text").ok()
        pub(node, "-t", "p", "-q", "1", "-f", tmp_path / "file").ok()
        pub(node, "-t", "p", "-q", "1", "-n").ok()
        pub(node, "-t", "p", "-q", "1", "-s", stdin="all of\nit\n").ok()
        pub(node, "-t", "p", "-q", "1", "-l", stdin="one\n\nlast without end").ok()
        assert seen.wait() == 0
        assert [bytes.fromhex(line) for line in seen.lines()] == [
            b"text", b"from a file\0\xff", b"", b"all of\nit\n", b"one", b"", b"last without end"]


def test_pub_repeats(node):
    with sub_background(node, "repeats", "-t", "r", "-q", "1", "-C", "3") as seen:
        began = time.monotonic()
        pub(node, "-t", "r", "-m", "x", "-q", "1", "--repeat", "3", "--repeat-delay", "0.2").ok()
        assert time.monotonic() - began >= 0.4
        assert seen.wait() == 0 and seen.lines() == ["x"] * 3


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_pub_of_many_lines_from_a_pipe(node, qos):
    count = 20000
    name = f"many-{qos}"
    with sub_background(node, name, "-t", f"many/{qos}", "-q", qos, "-C", count) as seen:
        pub(node, "-t", f"many/{qos}", "-q", qos, "-l", "-M", "100", stdin="".join(f"{i}\n" for i in range(count))).ok()
        if qos:
            assert seen.wait() == 0
            assert seen.lines() == [str(i) for i in range(count)]


def test_sub_shows_topics_and_formats(node):
    pub(node, "-t", "f/a", "-m", '{"x": 1}', "-r", "-q", "1").ok()

    def shown(*words):
        return sub(node, "-t", "f/#", "-C", "1", "-q", "1", *words).ok().out
    assert shown("-v") == 'f/a {"x": 1}\n'
    assert shown("-N") == '{"x": 1}'
    assert shown("-F", "%t|%p|%q|%r|%l|%%|\\t|") == 'f/a|{"x": 1}|1|1|8|%|\t|\n'
    assert json.loads(shown("-F", "%j"))["payload"] == '{"x": 1}'
    assert json.loads(shown("-F", "%J"))["payload"] == {"x": 1}
    assert shown("-F", "%J", "--pretty").count("\n") > 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*\n", shown("-F", "%I"))
    # As mosquitto_sub prints it.
    for words in (["-v"], ["-N"], ["-F", "%t %q %r %l %x %X"], ["-F", "@Y-@m-@d %p"]):
        theirs = run(need("mosquitto_sub"), *at(node), "-t", "f/#", "-C", "1", "-q", "1", *words).ok().bytes
        assert shown(*words).encode() == theirs, words
    microcloud(node, "topic", "rm", "f/a").ok()


def test_sub_retained_flags(node):
    for name in ("a", "b"):
        pub(node, "-t", f"ret/{name}", "-m", name, "-r", "-q", "1").ok()
    with sub_background(node, "no-retained", "-t", "ret/#", "-q", "1", "-R", "-C", "1", "-v") as seen:
        pub(node, "-t", "ret/c", "-m", "live", "-q", "1").ok()
        assert seen.wait() == 0 and seen.lines() == ["ret/c live"]
    with sub_background(node, "retained-only", "-t", "ret/#", "-q", "1", "--retained-only") as seen:
        until(lambda: len(seen.lines()) == 2, "both came")
        pub(node, "-t", "ret/c", "-m", "live", "-q", "1").ok()
        assert seen.wait() == 0 and sorted(seen.lines()) == ["a", "b"]
    with sub_background(node, "as-published", "-t", "ret/d", "-q", "1", "-V", "5", "--retain-as-published", "-F", "%r",
                        "-C", "1") as seen:
        pub(node, "-t", "ret/d", "-m", "x", "-r", "-q", "1").ok()
        assert seen.wait() == 0 and seen.lines() == ["1"]
    result = sub(node, "-t", "ret/#", "--remove-retained", "-W", "2")
    assert result.status == 27
    assert microcloud(node, "topic", "ls", "ret/#", "--json").ok().out.strip() == "[]"


def test_sub_filters_unsubscribes_and_ends(node):
    with sub_background(node, "filtered", "-t", "x/#", "-T", "x/noise/#", "-q", "1", "-C", "2", "-v") as seen:
        for name in ("a", "noise/1", "b"):
            pub(node, "-t", f"x/{name}", "-m", name, "-q", "1").ok()
        assert seen.wait() == 0 and seen.lines() == ["x/a a", "x/b b"]
    sub(node, "-t", "a", "-t", "b", "-c", "-i", "unsub", "-q", "1", "-E").ok()
    sub(node, "-U", "a", "-c", "-i", "unsub", "-E").ok()
    assert [one["filter"] for one in client_of(node, "unsub")["filters"]] == ["b"]
    microcloud(node, "client", "kick", "unsub", "--purge").ok()
    began = time.monotonic()
    assert sub(node, "-t", "nothing/here", "-W", "0.5").status == 27
    assert 0.5 <= time.monotonic() - began < 30
    with sub_background(node, "interrupted", "-t", "y") as seen:
        seen.signal(signal.SIGINT)
        assert seen.wait() == 0


def test_persistent_sessions_and_expiry(node):
    sub(node, "-i", "keeps", "-c", "-t", "k", "-q", "1", "-E").ok()
    pub(node, "-t", "k", "-m", "while away", "-q", "1").ok()
    assert sub(node, "-i", "keeps", "-c", "-t", "k", "-q", "1", "-C", "1", "-W", "20").ok().out == "while away\n"
    microcloud(node, "client", "kick", "keeps", "--purge").ok()
    sub(node, "-i", "brief", "-c", "-V", "5", "-x", "1", "-t", "k", "-E").ok()
    until(lambda: client_of(node, "brief") is None, "it expired")
    sub(node, "-i", "long", "-c", "-V", "5", "-x", "600", "-t", "k", "-E").ok()
    assert client_of(node, "long")["expiry_s"] == 600
    microcloud(node, "client", "kick", "long", "--purge").ok()


def test_connection_flags(node):
    with sub_background(node, "flagged", "-t", "x", "-k", "77", "-V", "mqttv5", "-D", "connect", "receive-maximum", "5",
                        "--will-topic", "flag/will", "--will-payload", "bye", "--will-qos", "1", "--will-retain",
                        "--nodelay", "-D", "subscribe", "subscription-identifier", "9") as flagged:
        found = client_of(node, "flagged")
        assert (found["keep_alive_s"], found["will"], found["version"]) == (77, True, "5.0")
        assert found["filters"][0]["subscription_id"] == 9
        flagged.kill()
    until(lambda: microcloud(node, "topic", "get", "flag/will").out == "bye\n", "the will is retained")
    microcloud(node, "topic", "rm", "flag/will").ok()
    for version, name in (("31", "3.1"), ("mqttv31", "3.1"), ("311", "3.1.1"), ("mqttv311", "3.1.1"), ("5", "5.0")):
        with sub_background(node, f"v{version}", "-t", "x", "-V", version):
            assert client_of(node, f"v{version}")["version"] == name
    with Background(program(), "sub", *at(node), "-I", "pre-", "-t", "x") as prefixed:
        wait_subscribed(node, f"pre-{prefixed.process.pid}")


def test_the_source_address(node):
    with sub_background(node, "from-elsewhere", "-t", "x", "-A", "127.0.0.9"):
        assert client_of(node, "from-elsewhere")["address"] == "127.0.0.9"
    result = pub(node, "-A", "192.0.2.200", "-t", "x", "-m", "y")
    assert result.status == 1 and "assign" in result.err


def test_urls_and_logins(node):
    node.add_user("ann b", "s:e/c@ret")
    url = f"mqtt://ann%20b:s%3Ae%2Fc%40ret@127.0.0.1:{node.port}/url/topic"
    with Background(program(), "sub", "-L", url, "-i", "by-url", "-C", "1") as seen:
        wait_subscribed(node, "by-url")
        assert client_of(node, "by-url")["username"] == "ann b"
        microcloud(None, "pub", "-L", url, "-m", "by URL", "-q", "1").ok()
        assert seen.wait() == 0 and seen.lines() == ["by URL"]
    assert pub(node, "-u", "ann b", "-P", "s:e/c@ret", "-t", "x", "-m", "y").status == 0
    result = pub(node, "-u", "ann b", "-P", "wrong", "-t", "x", "-m", "y")
    assert result.status == 1 and "s:e/c" not in result.err and result.err.startswith("microcloud: pub: ")
    node.request("DELETE", "/v1/users/ann%20b")


def test_properties_go_out_and_are_shown(node):
    with sub_background(node, "props", "-t", "prop", "-V", "5", "-q", "1", "-F", "%C|%R|%D|%P|%F|%E", "-C", "1") as seen:
        pub(node, "-V", "5", "-t", "prop", "-m", "x", "-q", "1", "-D", "publish", "content-type", "text/plain", "-D",
            "publish", "response-topic", "back", "-D", "publish", "correlation-data", "c", "-D", "publish",
            "user-property", "k", "v", "-D", "publish", "payload-format-indicator", "1", "-D", "publish",
            "message-expiry-interval", "60").ok()
        assert seen.wait() == 0
        content, back, correlation, user, form, expiry = seen.lines()[0].split("|")
        assert (content, back, correlation, form) == ("text/plain", "back", "c", "1")
        assert "k:v" in user and int(expiry) <= 60


def test_tls_flags(tmp_path):
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("localhost")
    port, = free_ports(1)
    node = Node(tmp_path / "n", "--mqtts-port", str(port), "--tls-cert", str(certificate), "--tls-key", str(key),
                "--tls-ca", str(authority.certificate)).start()
    client_certificate, client_key = authority.issue("device")
    secure = ["pub", "-h", "localhost", "-p", port, "-t", "t", "-m", "m", "-q", "1"]
    trusted = [*secure, "--cafile", authority.certificate]
    try:
        microcloud(None, *trusted).ok()
        microcloud(None, *trusted, "--tls-version", "tlsv1.3").ok()
        microcloud(None, *trusted, "--tls-alpn", "mqtt", "--ciphers", "ECDHE+AESGCM").ok()
        microcloud(None, *trusted, "--cert", client_certificate, "--key", client_key, "--keyform", "pem").ok()
        microcloud(None, *secure, "--insecure").ok()
        (tmp_path / "hashed").mkdir()
        name = authority.openssl("x509", "-hash", "-noout", "-in", authority.certificate).out.strip()
        os.symlink(authority.certificate, tmp_path / "hashed" / f"{name}.0")
        microcloud(None, *secure, "--capath", tmp_path / "hashed").ok()
        microcloud(None, "pub", "-L", f"mqtts://localhost:{port}/t", "-m", "m", "--cafile", authority.certificate).ok()
        for words, part in (([*secure, "--tls-use-os-certs"], "certificate"),
                            ([*trusted, "--ciphers", "NONSENSE"], "NONSENSE"),
                            ([*trusted, "--cafile", "/nowhere"], "/nowhere"),
                            (["pub", "-h", "127.0.0.2", *secure[3:], "--cafile", authority.certificate], "")):
            result = microcloud(None, *words)
            assert result.status == 1 and part in result.err, result
        for words in (["--tls-version", "tlsv1.1"], ["--psk", "00"], ["--proxy", "x"], ["--keyform", "engine"]):
            result = microcloud(None, *trusted, *words)
            assert result.status == 2 and words[0] in result.err, result
    finally:
        node.end()


def test_debug_shows_packets_and_quiet_shows_nothing(node):
    text = pub(node, "-t", "t", "-m", "the payload", "-q", "2", "-d").ok().err
    for word in ("CONNECT", "CONNACK", "PUBLISH", "PUBREC", "PUBREL", "PUBCOMP", "DISCONNECT"):
        assert word in text
    result = pub(node, "-u", "nobody", "-P", "x", "-t", "t", "-m", "x", "-d")
    assert "password" not in result.err.lower() or "-P" not in result.err


def test_sub_comes_back_when_the_node_does(own_node):
    with sub_background(own_node, "faithful", "-t", "t", "-q", "1") as seen:
        pub(own_node, "-t", "t", "-m", "before", "-q", "1").ok()
        seen.expect("before")
        own_node.restart()
        wait_subscribed(own_node, "faithful")
        pub(own_node, "-t", "t", "-m", "after", "-q", "1").ok()
        seen.expect("before", "after")
        assert "trying again" in seen.err()


# ---- output that goes nowhere ----

def test_sub_into_head_ends_quietly(node):
    script = f'"$0" sub {" ".join(at(node))} -i piped -t pipe/# | head -1; echo "${{PIPESTATUS[0]}}"'
    with Background(need("bash"), "-c", script, program()) as shell:
        wait_subscribed(node, "piped")

        def gone():
            pub(node, "-t", "pipe/x", "-m", "line", "-q", "1").ok()
            return shell.process.poll() is not None
        until(gone, f"it ended: {shell}")
        assert shell.lines() == ["line", "1"], shell
        assert shell.err() == ""


@pytest.mark.parametrize("words", [["setting", "get"], ["setting", "get", "--json"], ["help"], ["completion", "bash"]])
def test_a_closed_pipe_is_no_noise(node, words):
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run([program(), *words], stdout=writer, stderr=subprocess.PIPE, check=False,
                             env={**os.environ, "MICROCLOUD_HOST": f"unix:{node.data}/api.sock"})
    os.close(writer)
    assert process.stderr == b"" and process.returncode == 1


def test_a_full_disk_is_told(node):
    with open("/dev/full", "wb") as full:
        for words in (["setting", "get"], ["sub", *at(node), "-t", "$SYS/broker/version", "-C", "1"]):
            process = subprocess.run([program(), *words], stdout=full, stderr=subprocess.PIPE, check=False,
                                     env={**os.environ, "MICROCLOUD_HOST": f"unix:{node.data}/api.sock"}, timeout=60)
            assert process.returncode == 1 and b"No space left" in process.stderr, process.stderr
