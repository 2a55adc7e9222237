"""The static checks of `./do test`. Each takes its stage, writes the stage's log, returns how many
things it looked at and raises CheckFailed when something is wrong."""
import concurrent.futures
import hashlib
import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


class CheckFailed(Exception):
    """Something is wrong; the stage's log says what."""


def output_of(stage, command, status_ok=(0,)):
    """Runs a command, logs and returns what it printed."""
    done = subprocess.run([str(word) for word in command], cwd=ROOT, text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    stage.say(done.stdout)
    if done.returncode not in status_ok:
        raise CheckFailed(f"{pathlib.Path(command[0]).name} found faults")
    return done.stdout


def sources():
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.c",
                             "*.h"], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def layers(stage):
    return int(re.search(r"layers: (\d+) includes", output_of(stage, ["scripts/layers"]))[1])


def sizes(stage):
    return int(re.search(r"sizes: (\d+) files", output_of(stage, ["scripts/sizes"]))[1])


def clang_format(stage):
    files = sources()
    if files:
        output_of(stage, ["clang-format", "--dry-run", "-Werror", *files])
    return len(files)


def links(path):
    """The relative links of a Markdown file that lead nowhere, and how many it has."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.S)
    targets = [target for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)
               if not re.match(r"[a-z]+:|#", target)]
    dead = [target for target in targets if not (path.parent / target.split("#")[0]).exists()]
    return dead, len(targets)


def folder_documents(root):
    """What is wrong with the README of each folder of src/: its tables of files are as the files are."""
    wrong = []
    for path in sorted(root.glob("src/*/README.md")):
        text, folder = path.read_text(), path.parent
        named = set(re.findall(r"`([\w/]+\.(?:c|h|proto))`", text))
        place = path.relative_to(root)
        wrong += [f"{place}: {name} is not there" for name in sorted(named)
                  if not (folder / name).exists() and not (root / "src" / name).exists()]
        wrong += [f"{place}: does not tell of {file.relative_to(folder)}"
                  for file in sorted(folder.rglob("*.c"))
                  if not file.name.endswith("_test.c") and str(file.relative_to(folder)) not in named]
        if len(text.splitlines()) > 60:
            wrong.append(f"{place}: more than 60 lines")
    return wrong


def places(path, root):
    """What a document names in backquotes, `src/mqtt/flow.c` or `mqtt/flow.c`, and is not there."""
    return [f"{path.relative_to(root)}: {name} is not there"
            for name in re.findall(r"`((?:\w+/)+[\w.-]+\.(?:c|h|py|proto|js|md|yaml))`", path.read_text())
            if not (root / name).exists() and not (root / "src" / name).exists()]


def docs(stage):
    looked_at, wrong = 0, folder_documents(ROOT)
    for name in ("architecture", "dependencies", "limits"):
        wrong += places(ROOT / "docs" / f"{name}.md", ROOT)
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/*/README.md"),
                 *ROOT.glob("bench/*.md")]
    for path in documents:
        dead, _ = links(path)
        looked_at += 1
        wrong += [f"{path.relative_to(ROOT)}: {target}: leads nowhere" for target in dead]
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE",
                 "docs/architecture.md", "docs/user-guide.md", "docs/operations.md",
                 "docs/dependencies.md", "docs/limits.md", "docs/openapi.yaml"):
        looked_at += 1
        if not (ROOT / name).is_file():
            wrong.append(f"{name}: not there")
    dependencies = ROOT / "docs" / "dependencies.md"
    for line in (ROOT / "scripts" / "packages").read_text().splitlines():
        words = line.split("#")[0].split()
        if len(words) >= 2 and dependencies.is_file():
            looked_at += 1
            if f"`{words[1]}`" not in dependencies.read_text():
                wrong.append(f"docs/dependencies.md: `{words[1]}` of scripts/packages is not told of")
    stage.say("\n".join(wrong))
    for name in ("conformance", "limits"):
        check = subprocess.run([ROOT / "scripts" / name, "--check"], text=True, check=False,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        stage.say(check.stdout)
        wrong += [f"scripts/{name} found faults"] if check.returncode else []
    if wrong:
        raise CheckFailed("documents are wrong")
    return looked_at + 2


def compile_commands(kind):
    """(file, arguments) of every own C file that was compiled."""
    directory = ROOT / f"build-{kind}"
    seen, found = set(), []
    for unit in json.loads((directory / "compile_commands.json").read_text()):
        path = (directory / unit["file"]).resolve()
        if path not in seen and ROOT in path.parents and directory not in path.parents:
            seen.add(path)
            found.append((path, unit["command"]))
    return directory, found


def tidy_one(directory, path, command, config):
    """Runs clang-tidy on a file unless the same text passed before."""
    # ccache would answer with an empty file.
    words = [word for word in command.split() if word != "ccache"]
    for option in ("-o", "-MF", "-MQ"):
        at = words.index(option) if option in words else None
        if at is not None:
            del words[at:at + 2]
    words = [word for word in words if word not in ("-c", "-MD")] + ["-E", "-C"]
    text = subprocess.run(words, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=False)
    key = hashlib.sha256(text.stdout + config).hexdigest()
    passed = directory / "tidy" / key
    if text.returncode == 0 and passed.exists():
        return True, ""
    done = subprocess.run(["clang-tidy", "--quiet", "--warnings-as-errors=*", "-p", directory, path],
                          cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if done.returncode == 0:
        passed.parent.mkdir(exist_ok=True)
        passed.touch()
    return done.returncode == 0, done.stdout


def clang_tidy(stage):
    directory, units = compile_commands("clang")
    config = (ROOT / ".clang-tidy").read_bytes()
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(stage.cores) as pool:
        jobs = [pool.submit(tidy_one, directory, path, command, config) for path, command in units]
        for job in jobs:
            fine, text = job.result()
            if not fine:
                wrong += 1
                stage.say(text)
    if wrong:
        raise CheckFailed(f"clang-tidy found faults in {wrong} files")
    return len(units)


def cppcheck(stage):
    directory, units = compile_commands("gcc")
    work = directory / "cppcheck"
    work.mkdir(exist_ok=True)
    output_of(stage, [
        "cppcheck", f"--project={directory}/compile_commands.json", f"-i{directory}",
        "--enable=warning,performance,portability", "--inconclusive", "--library=posix",
        "--library=gtk", "--inline-suppr", "--std=c11", "--quiet", "--error-exitcode=1",
        f"--suppressions-list={suppressions(directory)}", f"--cppcheck-build-dir={work}",
        "--template={file}:{line}: {severity}: {message} [{id}]", "-j", stage.cores])
    return len(units)


def suppressions(directory):
    """cppcheck wants its list without the reasons that ours must have."""
    lines = []
    for number, line in enumerate((ROOT / "scripts" / "cppcheck.allow").read_text().splitlines(), 1):
        words = line.split(None, 1)
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 2:
            raise CheckFailed(f"scripts/cppcheck.allow:{number}: must be ID[:FILE[:LINE]] REASON")
        lines.append(words[0])
    path = directory / "cppcheck.suppressions"
    path.write_text("".join(line + "\n" for line in lines))
    return path
