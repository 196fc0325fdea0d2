"""Runs each test on every Python found: Debian's, and those named by WSGI_PYTHONS."""

import glob
import os
import textwrap

import pytest

from harness import RUNTIME, Worker


def pythons():
    named = os.environ.get("WSGI_PYTHONS")
    if named:
        return named.split(":")
    others = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[0-9]*/bin/python3")))
    # One of each minor version.
    found = {path.split("/versions/")[1].split("/")[0].rsplit(".", 1)[0]: path for path in others}
    if os.path.exists("/usr/bin/python3"):
        import subprocess

        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        version = subprocess.check_output(["/usr/bin/python3", "-c", code], text=True).strip()
        found[version] = "/usr/bin/python3"
    return [found[key] for key in sorted(found, key=lambda v: int(v.split(".")[1]))]


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        metafunc.parametrize("python", pythons(), scope="session")


@pytest.fixture(scope="session", autouse=True)
def built():
    assert os.path.exists(RUNTIME), f"build it first: {RUNTIME}"


@pytest.fixture
def script(tmp_path):
    """Writes a script and returns its path."""

    def write(source, name="app.wsgi"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        return path

    return write


@pytest.fixture
def worker(python, tmp_path):
    """Starts workers; all are gone after the test, and none has reported an internal error."""
    started = []

    def start(wait=True, **setup):
        made = Worker(python, tmp_path, **setup)
        started.append(made)
        return made.ready() if wait else made

    yield start
    for made in started:
        made.close()
    for made in started:
        assert "WSGI0300" not in made.log
        assert "Fatal Python error" not in made.log
