"""What all tests share."""
import os

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: r.yaml, a recipe of small stages, and v.txt, its input."""
    import fake_stages

    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.txt").write_text("hello")
    (tmp_path / "r.yaml").write_text(fake_stages.RECIPE)
    return tmp_path


@pytest.fixture
def expected(folder):
    """The bytes of an undisturbed run of r.yaml."""
    import fake_stages

    fake_stages.walk("whole").result
    return fake_stages.result_hash("whole")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With CI=true, a skip for anything but a GPU is a failure."""
    report = yield
    return _refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """The same for files that are skipped as a whole."""
    report = yield
    return _refuse_skip(report)


def _refuse_skip(report):
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "GPU" not in reason and "CUDA device" not in reason:
            report.outcome = "failed"
            report.longrepr = f"with CI=true nothing but a GPU may be missing: {reason}"
    return report
