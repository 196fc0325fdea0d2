"""A group whose Python or whose script cannot be used: one sentence in the log that names the
path and the mend, 503 at once, and a server that is well otherwise (issue 2, point 4).

The C module keeps such a process alive and answers 500, or hangs, or dies and starts again.
"""

import re
import shutil

import pytest

import pythons
from waiting import SLACK

pytestmark = pytest.mark.differs("broken-python-is-503", run=False)


@pytest.fixture
def broken(httpd):
    """Serve two groups: `bad` with `options`, and `good`; check what must be true of every fault.

    `group` says that the whole group is out of service, so that clients are told when to ask again.
    """
    def check(options, *names, script="hello.wsgi", statuses=(503,), group=True):
        httpd.configure(
            f"WSGIDaemonProcess bad threads=2 {options}", "WSGIDaemonProcess good threads=2",
            f"WSGIScriptAlias /bad {httpd.apps}/{script} process-group=bad",
            "WSGIScriptAlias /good {apps}/hello.wsgi process-group=good",
        )
        httpd.start()
        for _ in range(3):
            answer = httpd.get("/bad")
            assert answer.status in statuses
            assert answer.elapsed < 1 + SLACK
            if group:
                assert answer["Retry-After"].isdigit()
        assert httpd.get("/good").text == "Hello, World!\n"
        # One sentence names the place at fault; 503s of single requests may refer to it.
        everything = "".join(f"(?=.*{re.escape(str(name))})" for name in names)
        httpd.error_log.allow(r"\bbad\b")
        found, *_ = httpd.error_log.expect(everything + ".*bad")
        return found.text

    return check


def test_a_home_that_does_not_exist(broken, httpd):
    broken(f"python-home={httpd.root}/none/env", f"{httpd.root}/none")


def test_a_home_that_is_a_file(broken, httpd):
    venv = pythons.debian().virtualenv(httpd.root / "venv")
    # What people write: the interpreter in place of its environment. The mend is the directory.
    broken(f"python-home={venv}/bin/python", f"{venv}/bin/python", f"python-home={venv}")


def test_a_home_without_a_python(broken, httpd):
    (httpd.root / "empty").mkdir()
    broken(f"python-home={httpd.root}/empty", f"{httpd.root}/empty")


def test_a_virtual_environment_whose_python_is_gone(broken, httpd):
    base = httpd.root / "base" / "bin"
    base.mkdir(parents=True)
    venv = pythons.debian().virtualenv(httpd.root / "venv")
    for name in ("python", "python3"):
        (venv / "bin" / name).unlink()
        (venv / "bin" / name).symlink_to(base / "python3.99")
    (venv / "pyvenv.cfg").write_text(f"home = {base}\nversion = 3.99.0\n")
    broken(f"python-home={venv}", f"{base}")


def test_a_virtual_environment_of_a_python_that_is_too_old(broken, httpd):
    venv = pythons.debian().virtualenv(httpd.root / "venv")
    text = (venv / "pyvenv.cfg").read_text()
    (venv / "pyvenv.cfg").write_text(re.sub(r"version = .*", "version = 3.8.10", text))
    said = broken(f"python-home={venv}", venv, "3.8")
    assert "3.10" in said


def test_a_python_behind_a_directory_the_user_cannot_enter(broken, httpd):
    private = httpd.root / "private"
    private.mkdir(mode=0o700)
    venv = pythons.debian().virtualenv(private / "venv")
    said = broken(f"python-home={venv}", private)
    assert "www-data" in said and "chmod" in said


def test_a_base_python_behind_a_directory_the_user_cannot_enter(broken, httpd):
    found = next(filter(None, map(pythons.readable, [(3, 12), (3, 13), (3, 10)])), None)
    if found is None:
        pythons.missing((3, 12), (3, 13), (3, 10))
    private = httpd.root / "private"
    private.mkdir(mode=0o755)
    shutil.copytree(found.prefix, private / "python", symlinks=True)
    base = pythons.Python(found.version, private / "python", private / "python" / "bin" / found.executable.name)
    venv = base.virtualenv(httpd.root / "venv")
    private.chmod(0o700)
    said = broken(f"python-home={venv}", private)
    assert "www-data" in said and "chmod" in said


def test_a_python_that_is_not_executable(broken, httpd):
    prefix = httpd.root / "prefix" / "bin"
    prefix.mkdir(parents=True)
    (prefix / "python3").write_text("no program")
    broken(f"python-home={httpd.root}/prefix", f"{prefix}/python3")


def test_a_python_that_ends_at_once(broken, httpd):
    prefix = httpd.root / "prefix" / "bin"
    prefix.mkdir(parents=True)
    for name in ("python", "python3"):
        (prefix / name).write_text("#!/bin/sh\nexit 7\n")
        (prefix / name).chmod(0o755)
    broken(f"python-home={httpd.root}/prefix", "status 7")


def test_a_script_directory_the_user_cannot_enter(broken, httpd, users):
    private = httpd.apps / "private"
    private.mkdir(mode=0o755)
    httpd.app("private/hello.wsgi", (httpd.apps / "hello.wsgi").read_text())
    shutil.chown(private, "www-data", "www-data")
    private.chmod(0o700)
    said = broken(f"user={users[0].pw_name} group={users[0].pw_name}", private, script="private/hello.wsgi", group=False)
    assert users[0].pw_name in said and "chmod" in said


def test_a_script_the_user_cannot_read(broken, httpd, users):
    path = httpd.app("secret.wsgi", (httpd.apps / "hello.wsgi").read_text())
    shutil.chown(path, "www-data", "www-data")
    path.chmod(0o600)
    broken(f"user={users[0].pw_name} group={users[0].pw_name}", path, script="secret.wsgi", statuses=(500, 503), group=False)


def test_the_sentence_is_not_repeated_for_every_request(broken, httpd):
    broken(f"python-home={httpd.root}/none", f"{httpd.root}/none")
    told_by_the_supervisor = re.escape("WSGI0341: process group 'bad'")
    before = len(httpd.error_log.records(told_by_the_supervisor))
    assert before
    for _ in range(20):
        assert httpd.get("/bad").status == 503
    assert len(httpd.error_log.records(told_by_the_supervisor)) <= before + 2


def test_a_mended_environment_is_taken_without_a_restart(broken, httpd):
    broken(f"python-home={httpd.root}/venv", f"{httpd.root}/venv")
    pythons.debian().virtualenv(httpd.root / "venv")
    from waiting import until
    until(lambda: httpd.get("/bad").status == 200, 10, "the mended group to serve")
