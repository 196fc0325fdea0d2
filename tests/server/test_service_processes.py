"""threads=0: processes that serve no requests and run scripts instead; and scripts that are loaded
before the first request."""

import os
import signal

import pytest

import waiting
from processes import send_signal


def service(httpd, *scripts, options="", lines=()):
    """Serve `hello.wsgi`, and start a service process `jobs` that runs `scripts`."""
    httpd.configure(
        "WSGIDaemonProcess app threads=2 display-name=%{GROUP}",
        f"WSGIDaemonProcess jobs threads=0 display-name=%{{GROUP}} {options}",
        "WSGIScriptAlias / {apps}/hello.wsgi process-group=app application-group=%{GLOBAL}",
        *(f"WSGIImportScript {{apps}}/{script} process-group=jobs application-group=%{{GLOBAL}}" for script in scripts),
        *lines,
    )
    httpd.start()
    return httpd


@pytest.fixture
def diary(httpd):
    """A file that services write lines to; call it for its lines."""
    path = httpd.apps / "diary"
    path.touch()
    path.chmod(0o666)

    def lines():
        return path.read_text().splitlines()

    lines.note = (
        "def note(*words):\n"
        f"    with open({str(path)!r}, 'a') as file:\n"
        "        print(*words, file=file)\n"
    )
    return lines


FOREVER = """
import os, signal, threading, time
note("started", os.getpid(), threading.current_thread() is threading.main_thread())
try:
    while True:
        time.sleep(60)
except SystemExit as left:
    note("leaves", os.getpid(), left.code)
    raise
"""


def test_a_service_runs_on_the_main_thread_until_it_is_asked_to_end(httpd, diary):
    httpd.app("jobs.py", diary.note + FOREVER)
    service(httpd, "jobs.py")
    waiting.until(lambda: len(diary()) == 1, 10, "the service to start")
    (process,) = httpd.workers("jobs", count=1)
    assert diary() == [f"started {process.pid} True"]
    assert httpd.get("/").text == "Hello, World!\n"
    assert httpd.stop() < 5
    assert [line.split()[:2] for line in diary()[1:]] == [["leaves", str(process.pid)]]


def test_sigterm_raises_system_exit_and_the_process_is_started_anew(httpd, diary):
    httpd.app("jobs.py", diary.note + FOREVER)
    service(httpd, "jobs.py")
    waiting.until(lambda: len(diary()) == 1, 10, "the service to start")
    (process,) = httpd.workers("jobs", count=1)
    process.signal(signal.SIGTERM)
    waiting.for_exit(process.pid, 5)
    waiting.until(lambda: len(diary()) == 3, 10, "another one")
    assert diary()[1].startswith(f"leaves {process.pid}")
    (other,) = httpd.workers("jobs", count=1)
    assert diary()[2] == f"started {other.pid} True"


def test_sigint_does_not_reach_it(httpd, diary):
    httpd.app("jobs.py", diary.note + FOREVER)
    service(httpd, "jobs.py")
    waiting.until(lambda: len(diary()) == 1, 10, "the service to start")
    (process,) = httpd.workers("jobs", count=1)
    process.signal(signal.SIGINT)
    # Handled before the next signal is.
    process.signal(signal.SIGTERM)
    waiting.until(lambda: len(diary()) >= 2, 10, "its end")
    assert diary()[1].startswith(f"leaves {process.pid}")


def test_scripts_run_in_the_order_of_their_lines_and_python_ends_as_usual(httpd, diary):
    httpd.app("first.py", diary.note + "import atexit, os\nnote('first', os.getpid())\natexit.register(note, 'exit', os.getpid())\n")
    httpd.app("second.py", diary.note + "import os\nnote('second', os.getpid())\nraise SystemExit(3)\n")
    httpd.app("third.py", diary.note + "import os\nnote('third', os.getpid())\n")
    service(httpd, "first.py", "second.py", "third.py")
    waiting.until(lambda: len(diary()) >= 5, 20, diary)
    pid = diary()[0].split()[1]
    assert diary()[:4] == [f"first {pid}", f"second {pid}", f"third {pid}", f"exit {pid}"]
    # The process is started anew.
    assert diary()[4].split()[0] == "first" and diary()[4].split()[1] != pid


def test_a_script_that_raises_is_told_and_the_next_one_runs(httpd, diary):
    httpd.app("wrong.py", "raise LookupError('no job today')\n")
    httpd.app("right.py", diary.note + FOREVER)
    service(httpd, "wrong.py", "right.py")
    waiting.until(lambda: len(diary()) == 1, 10, "the second script")
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S")
    httpd.error_log.expect("LookupError: no job today")


def test_signal_handlers_of_a_service_are_its_own(httpd, diary):
    httpd.app("own.py", diary.note + """
import os, signal, time
signal.signal(signal.SIGUSR1, lambda number, frame: note("usr1", os.getpid()))
note("started", os.getpid())
while True:
    time.sleep(60)
""")
    service(httpd, "own.py")
    waiting.until(lambda: len(diary()) == 1, 10, "the service to start")
    pid = int(diary()[0].split()[1])
    send_signal(pid, signal.SIGUSR1)
    waiting.until(lambda: len(diary()) == 2, 5, "its handler")
    assert diary()[1] == f"usr1 {pid}"


def test_a_service_that_does_not_heed_it_is_ended_in_time(httpd, diary):
    httpd.app("deaf.py", diary.note + """
import time
note("started")
while True:
    try:
        time.sleep(60)
    except SystemExit:
        note("heard")
""")
    service(httpd, "deaf.py", options="shutdown-timeout=1")
    waiting.until(lambda: len(diary()) == 1, 10, "the service to start")
    assert httpd.stop() < 5
    assert diary().count("heard") == 1


@pytest.mark.differs("graceful-restarts-lose-nothing", run=False)
def test_a_graceful_restart_ends_the_service_and_starts_a_new_one(httpd, diary):
    httpd.app("jobs.py", diary.note + FOREVER)
    service(httpd, "jobs.py")
    waiting.until(lambda: len(diary()) == 1, 10, "the service to start")
    pid = diary()[0].split()[1]
    httpd.graceful()
    waiting.until(lambda: len(diary()) == 3, 10, diary)
    assert {line.split()[0] for line in diary()} == {"started", "leaves"}
    assert len([line for line in diary() if line.startswith(f"leaves {pid}")]) == 1
    httpd.workers("jobs", count=1)


@pytest.mark.differs("services-name-their-lack", run=False)
def test_a_service_without_scripts_is_explained(httpd):
    service(httpd)
    httpd.error_log.allow("WSGI0303", "WSGI0")
    httpd.error_log.expect("WSGI0335.*'jobs'.*no WSGIImportScript names a script for it")
    assert httpd.get("/").status == 200


# -- scripts that are loaded before the first request ------------------------------------------


LOADED = """
import os, threading
note("loaded", __name__.startswith("_mod_wsgi_"), threading.current_thread() is threading.main_thread())
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"x"]
"""


@pytest.mark.parametrize("group", ["%{GLOBAL}", "shop"])
def test_an_imported_script_is_there_before_the_first_request(httpd, diary, group):
    httpd.app("early.wsgi", diary.note + LOADED)
    httpd.configure(
        "WSGIDaemonProcess app threads=2 processes=2 display-name=%{GROUP}",
        f"WSGIImportScript {{apps}}/early.wsgi process-group=app application-group={group}",
        "WSGIScriptAlias / {apps}/early.wsgi", "WSGIProcessGroup app", f"WSGIApplicationGroup {group}",
    )
    httpd.start()
    waiting.until(lambda: len(diary()) == 2, 10, "both processes to load it")
    for _ in range(5):
        assert httpd.get("/").status == 200
    # The request uses the module that is there.
    assert len(diary()) == 2


@pytest.mark.parametrize("rest, early", [
    ("process-group=app application-group=%{GLOBAL}", True),
    ("process-group=app application-group=shop", True),
    ("process-group=app", False),
    ("process-group=app application-group=%{SERVER}", False),
])
def test_an_alias_with_both_groups_is_loaded_at_start(httpd, diary, rest, early):
    httpd.app("early.wsgi", diary.note + LOADED)
    httpd.configure(
        "WSGIDaemonProcess app threads=2 display-name=%{GROUP}",
        "WSGIDaemonProcess other threads=2 display-name=%{GROUP}",
        "WSGIScriptAlias /other {apps}/hello.wsgi process-group=other",
        f"WSGIScriptAlias / {{apps}}/early.wsgi {rest}",
    )
    httpd.start()
    if early:
        waiting.until(lambda: len(diary()) == 1, 10, "the script to be loaded")
    assert httpd.get("/other").status == 200
    assert httpd.get("/").status == 200
    assert len(diary()) == 1


def test_imported_scripts_are_loaded_in_order_and_one_that_fails_stops_none(httpd, diary):
    for name, line in (("a.py", "note('a')"), ("b.py", "raise LookupError('b is ill')"), ("c.py", "note('c')")):
        httpd.app(name, diary.note + line + "\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=2 display-name=%{GROUP}",
        *(f"WSGIImportScript {{apps}}/{name} process-group=app application-group=%{{GLOBAL}}" for name in ("a.py", "b.py", "c.py")),
        "WSGIScriptAlias / {apps}/hello.wsgi", "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}",
    )
    httpd.start()
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S")
    httpd.error_log.expect("LookupError: b is ill")
    waiting.until(lambda: diary()[:2] == ["a", "c"], 10, diary)
    assert httpd.get("/").status == 200
