"""Fixtures: whole regions, started by the program itself (`homeward dev up`).

`mesh` is shared by the tests of a module that only ask questions; `own_mesh` is
for tests that break things.  On a failure the regions' logs are shown.
"""
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from mesh import Mesh  # noqa: E402  (the path comes first)

DATA = pathlib.Path(os.environ.get("DATA", pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "data"))


def pytest_configure(config):
    # Whoever stops a run, as a time limit does, must not leave its regions behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "sanitized: also run against the ASan and TSan builds")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for name in ("mesh", "own_mesh", "brokers", "events"):
            started = item.funcargs.get(name)
            if started is not None:
                report.sections.append((f"logs of {name}", started.logs()))


@pytest.fixture(scope="module")
def mesh():
    with Mesh("na", "eu", "ap") as started:
        yield started


@pytest.fixture
def own_mesh():
    with Mesh("na", "eu", "ap") as started:
        yield started


@pytest.fixture(scope="session")
def data():
    """Real sites and sessions; tests that need them skip where they are absent."""
    if not (DATA / "superchargers.json").exists():
        pytest.skip(f"no real data in {DATA}")
    return DATA
