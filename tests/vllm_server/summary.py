"""What the end of every test run says of the tests that need vLLM: how many ran and against what, or why none did."""

import pytest

FOLDER = "tests/vllm_server/"  # a folder of tests named vllm would be importable as the library


def pytest_configure(config):
    config.addinivalue_line("markers", "vllm: starts a real vLLM server, from .venv-vllm (`make vllm`)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter):
    from tasks.sampling import servers

    ran, skipped, seconds = [], [], 0.0
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.nodeid.startswith(FOLDER):
                (skipped if outcome == "skipped" else ran).append(report)
                seconds += report.duration
    if not ran and not skipped:
        return  # none was asked for
    failed = sum(r.failed for r in ran)
    if ran:
        program = servers.choose("vllm")
        said = f"vLLM: {len(ran)} tests ran, {failed} failed, in {seconds:.0f} s, with the vLLM of {program.where}"
    else:
        said = f"vLLM: NONE of its {len(skipped)} tests ran. {reason(skipped[0])}"
    terminalreporter.write_line(said, yellow=not ran, red=bool(failed), green=bool(ran) and not failed)


def reason(report) -> str:
    """Of a skipped test, in the words of whoever skipped it."""
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix("Skipped: ")
