"""scripts/stages: counting, choosing, order, and that nothing passes silently."""
import json

import pytest
from conftest import load

stages = load("stages")


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "LOGS", tmp_path)
    monkeypatch.setattr(stages, "ROOT", tmp_path)


def run(*made):
    runner = stages.Runner(list(made))
    runner.run()
    return runner


def passing(count=1):
    return lambda stage: stages.Counts(count)


def test_passed_and_failed_are_summed(capsys):
    runner = run(stages.Stage("a", passing(3), ""), stages.Stage("b", lambda stage: stages.Counts(2, 1), ""))
    assert (runner.passed, runner.failed) == (5, 1)
    assert "FAILED" in capsys.readouterr().out


def test_a_stage_without_tests_has_failed(capsys):
    assert run(stages.Stage("a", passing(0), "")).failed == 1
    assert "no tests" in capsys.readouterr().out


def test_a_static_check_that_looked_at_nothing_has_failed():
    assert run(stages.Stage("a", stages.static(lambda stage: 0), "")).failed == 1


def test_an_error_of_a_stage_is_a_failure():
    def broken(stage):
        raise ValueError("x")
    assert run(stages.Stage("a", broken, "")).failed == 1


def test_a_stage_whose_need_failed_has_failed_and_is_not_run():
    ran = []
    first = stages.Stage("first", lambda stage: stages.Counts(0, 1), "")
    second = stages.Stage("second", lambda stage: ran.append(1), "", after=["first"])
    assert run(first, second).failed == 2 and not ran


def test_a_stage_waits_for_what_it_needs():
    order = []

    def note(name):
        def fn(stage):
            order.append(name)
            return stages.Counts(1)
        return fn
    run(stages.Stage("late", note("late"), "", after=["early"]), stages.Stage("early", note("early"), ""))
    assert order == ["early", "late"]


def test_a_command_that_fails_or_never_ends_fails_its_stage():
    stage = stages.Stage("a", lambda stage: stage.run(["false"]), "")
    assert run(stage).failed == 1 and "$ false" in stage.text()
    assert run(stages.Stage("b", lambda stage: stage.run(["sleep", "60"]), "", minutes=0.001)).failed == 1


def test_named_stages_bring_what_they_need():
    everything = stages.all_stages(None)
    assert [stage.name for stage in stages.choose(everything, ["unit"])] == ["gcc", "unit"]
    assert "coverage" not in [stage.name for stage in stages.choose(everything, [])]
    with pytest.raises(SystemExit):
        stages.choose(everything, ["nonsense"])


@pytest.mark.parametrize("result, output, counts", [
    ("OK", "[  PASSED  ] 3 test(s).", (3, 0, 0)),
    ("OK", "[  PASSED  ] 3 test(s).\n[  PASSED  ] 2 test(s).", (5, 0, 0)),
    ("OK", "", (1, 0, 0)),
    ("OK", "[  PASSED  ] 2 test(s).\n[  SKIPPED ] 1 test(s), listed below:", (2, 0, 1)),
    ("FAIL", "[  PASSED  ] 2 test(s).\n[  FAILED  ] 1 test(s), listed below:", (2, 1, 0)),
    ("FAIL", "[       OK ] a\n[       OK ] b\nSegmentation fault", (2, 1, 0)),
    ("TIMEOUT", "", (0, 1, 0)),
    ("SKIP", "", (0, 0, 1)),
])
def test_cmocka_tests_are_counted(tmp_path, result, output, counts):
    path = tmp_path / "testlog.json"
    path.write_text(json.dumps({"name": "x", "result": result, "stdout": output}) + "\n")
    found = stages.count_meson_tests(path)
    assert (found.passed, found.failed, found.skipped) == counts


def test_junit_reports_are_counted(tmp_path):
    path = tmp_path / "x.xml"
    path.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="1"/></testsuites>')
    found = stages.count_junit(path)
    assert (found.passed, found.failed, found.skipped) == (5, 3, 1)
