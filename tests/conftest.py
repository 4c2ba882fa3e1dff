"""Every test starts from the same place: one torch thread, no window, a home folder of its own."""

import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))
settings.register_profile("course", deadline=None, derandomize=True)
settings.load_profile("course")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """Progress of tests never reaches the home folder of the person who runs them."""
    monkeypatch.setenv("CMLIB_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def home_on_the_cpu():
    """A test that calls ``setup`` leaves no device behind on which the next test's models would be made."""
    yield
    device = sys.modules.get("cmlib.data.device")
    if device:
        device.set_home("cpu")


def need(what: str, found) -> None:
    """Skip where ``what`` is missing, but fail in CI: there everything must be there."""
    if not found:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{what} is not installed on this "
                                                                         "machine")


@pytest.fixture
def decoded(monkeypatch):
    """The names of the pictures that ``folder`` has decoded."""
    from cmlib.datasets import decoding

    names, read = [], decoding.read_picture
    monkeypatch.setattr(decoding, "read_picture", lambda path: names.append(path.name) or read(path))
    return names


@pytest.fixture(scope="session")
def wall():
    """The best wall for learners' code on this machine."""
    from cmlib.grade import walls

    try:
        return walls.choose()
    except walls.NoWall as why:
        need(f"a wall for learners' code ({why})", None)


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need("Chromium", found)
    return found


def interrupted_at(call: int | None, loss):
    """A loss during whose n-th call somebody presses Ctrl-C (None: nobody)."""
    calls = []

    def interrupted(logits, labels):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return loss(logits, labels)
    return interrupted
