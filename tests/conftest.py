"""What holds for every test: one that was skipped proves nothing, so a skip fails the session."""

import signal

import pytest
from hypothesis import settings

# A shell's background command ignores Ctrl-C, and so would everything that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes says something of the machine, not of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def skipped_count(config: pytest.Config) -> int:
    """Return how many tests, or whole files, were skipped in this session."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", ())) if reporter else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files that boot guests first, so that two processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("qemu")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that would have passed with something skipped."""
    if skipped_count(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many tests were skipped, also when none was."""
    count = skipped_count(config)
    verdict = "nothing may be skipped: make what they need available, or delete them" if count else "good"
    terminalreporter.write_line(f"skipped: {count} ({verdict})")
