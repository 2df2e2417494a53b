"""A missing component skips a test on a user's machine and fails it in CI."""

from __future__ import annotations

import pytest

from tests.needs import PROGRAMS, missing, needs, program, verdict

pytest_plugins = ["pytester"]
CONFTEST = "from tests.conftest import pytest_configure, pytest_runtest_setup\n"
PLAIN = ("-p", "no:randomly", "-p", "no:asyncio")
SUITE = """
from tests.needs import needs

@needs("chromium")
def test_page():
    print("the page was opened")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setitem(PROGRAMS, "chromium", ("no-such-program",))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE)
    return pytester


def test_a_present_component_lets_the_test_run(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROGRAMS, "chromium", ("sh",))
    suite.runpytest_inprocess(*PLAIN).assert_outcomes(passed=1)


def test_a_missing_component_skips_with_a_reason_on_a_users_machine(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess("-rs", *PLAIN)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs chromium, which this machine lacks*"])


def test_a_missing_component_fails_in_ci(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = suite.runpytest_inprocess(*PLAIN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs chromium*CI must install it*"])


@pytest.mark.parametrize(
    ("absent", "ci", "said"),
    [
        ([], "", "run"),
        ([], "true", "run"),
        (["node"], "", "skip"),
        (["node"], "false", "skip"),
        (["node"], "1", "fail"),
    ],
)
def test_the_verdict(absent: list[str], ci: str, said: str) -> None:
    assert verdict(absent, {"CI": ci}) == said


def test_a_slip_in_a_components_name_is_an_error_and_not_a_skip() -> None:
    with pytest.raises(KeyError):
        needs("cromium")


def test_programs_are_found_in_the_folders_of_servers_too(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(PROGRAMS, "chromium", ("nologin",))
    assert program("chromium") is not None
    assert missing("chromium") == []
