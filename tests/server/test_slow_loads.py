"""Scripts whose loading does not end: the log says what they are at (issue 3; seed 004's first problem).

Nothing here waits for a script that loads slowly: each one hangs until it is mended.
"""

import signal
import time
from contextlib import ExitStack

import pytest
import waiting

SERVES = """
from wsgiref.simple_server import make_server

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]

def main():
    make_server("127.0.0.1", 0, application).serve_forever()

main()
"""

MENDED = SERVES.replace("\nmain()\n", '\nif __name__ == "__main__":\n    main()\n')


def mend(httpd):
    """Put the mended script in the place of the one that hangs, by renaming."""
    httpd.app("serves.wsgi", MENDED)


@pytest.mark.differs("slow-loads-are-told", run=False)
@pytest.mark.parametrize("preloaded", [False, True], ids=["for a request", "at start"])
def test_a_script_that_runs_a_server_of_its_own_is_told_with_the_line_that_does(httpd, preloaded):
    httpd.app("serves.wsgi", SERVES)
    if preloaded:
        httpd.configure(
            "WSGIDaemonProcess app threads=2 graceful-timeout=1 shutdown-timeout=1",
            "WSGIScriptAlias / {apps}/serves.wsgi process-group=app application-group=%{GLOBAL}",
        ).start()
    else:
        httpd.serve("serves.wsgi", options="threads=2 graceful-timeout=1 shutdown-timeout=1")
    # It is still at it when the server stops.
    httpd.error_log.allow("WSGI0304", "WSGI0345")
    with httpd.connect(timeout=60) as connection:
        connection.send_request("GET", "/")
        record, = httpd.error_log.expect("WSGI0321", level="warn", within=40)
        assert f"{httpd.apps}/serves.wsgi is still being loaded after" in record.text
        assert ("as its worker starts" if preloaded else "for GET /:") in record.text
        assert "serve_forever (" in record.text and f"called by main ({httpd.apps}/serves.wsgi:9)" in record.text
        assert "app.run()" in record.text and "if __name__ == '__main__':" in record.text


@pytest.mark.differs("slow-loads-are-told", run=False)
def test_a_script_that_hangs_is_served_once_it_is_mended(httpd):
    httpd.app("serves.wsgi", SERVES)
    httpd.serve("serves.wsgi", options="threads=2 graceful-timeout=1 shutdown-timeout=1")
    httpd.error_log.allow("WSGI0321", "WSGI0304")
    with httpd.connect(timeout=60) as connection:
        connection.send_request("GET", "/")
        httpd.error_log.expect("WSGI0321", level="warn", within=40)
        mend(httpd)
        assert httpd.get("/", timeout=40).text == "served"
        # The one that hung has not seen the application, and is served as well.
        assert connection.response().text == "served"


@pytest.mark.differs("slow-loads-are-told", run=False)
def test_a_script_that_waits_for_something_else_is_told_later(httpd):
    httpd.app("waits.wsgi", """
import threading

def connect():
    threading.Event().wait()

connect()
""")
    httpd.serve("waits.wsgi", options="threads=2 graceful-timeout=1 shutdown-timeout=1")
    # It is still at it when the server stops.
    httpd.error_log.allow("WSGI0304", "WSGI0345")
    with httpd.connect(timeout=60) as connection:
        connection.send_request("GET", "/")
        record, = httpd.error_log.expect("WSGI0321", level="warn", within=60)
        assert "requests for it wait, now in wait (" in record.text and "threading.py" in record.text
        assert "app.run()" not in record.text


HOW = {
    "for a request": ("WSGIScriptAlias / {apps}/serves.wsgi process-group=app",),
    "in a sub-interpreter": ("WSGIScriptAlias / {apps}/serves.wsgi process-group=app application-group=own",),
    "at start": ("WSGIScriptAlias / {apps}/serves.wsgi process-group=app application-group=%{GLOBAL}",),
    "of WSGIImportScript": (
        "WSGIImportScript {apps}/serves.wsgi process-group=app application-group=%{GLOBAL}",
        "WSGIScriptAlias / {apps}/other.wsgi process-group=app",
    ),
}


@pytest.mark.differs("slow-loads-are-told", run=False)
@pytest.mark.parametrize("how", HOW)
def test_requests_that_wait_for_a_load_without_end_are_answered_once_the_script_is_mended(httpd, how):
    httpd.app("serves.wsgi", SERVES)
    httpd.app("other.wsgi", MENDED)
    httpd.configure("WSGIDaemonProcess app threads=2 display-name=%{GROUP}", *HOW[how]).start()
    [hung] = httpd.workers(count=1)
    with ExitStack() as stack:
        # More than the group has threads: one is in none of its hands.
        waits = [stack.enter_context(httpd.connect(timeout=60)) for _ in range(3)]
        for connection in waits:
            connection.send_request("GET", "/")
        httpd.error_log.expect("WSGI0321", level="warn", within=40)
        mend(httpd)
        begin = time.monotonic()
        assert [connection.response().text for connection in waits] == ["served"] * 3
        assert time.monotonic() - begin < 3 + waiting.SLACK
    record, = httpd.error_log.expect("WSGI0430", level="notice", count=1)
    assert f"{httpd.apps}/serves.wsgi has changed while it was being loaded" in record.text
    # Its load has not ended, and it is not waited for.
    waiting.for_exit(hung.pid, 3)
    assert httpd.get("/").text == "served"


@pytest.mark.differs("slow-loads-are-told", run=False)
def test_a_successor_that_loads_without_end_is_replaced_once_the_script_is_mended(httpd):
    httpd.app("serves.wsgi", MENDED)
    httpd.serve("serves.wsgi", options="threads=2")
    assert httpd.get("/").text == "served"
    [first] = httpd.workers(count=1)
    httpd.app("serves.wsgi", SERVES)
    first.signal(signal.SIGUSR1)
    record, = httpd.error_log.expect("WSGI0321", level="warn", within=40)
    assert "as its worker starts" in record.text
    [hung] = [worker for worker in httpd.workers(count=2) if worker.pid != first.pid]
    mend(httpd)
    begin = time.monotonic()
    waiting.for_exit(hung.pid, 3 + waiting.SLACK)
    waiting.for_exit(first.pid, 3 + waiting.SLACK)
    assert time.monotonic() - begin < 3 + waiting.SLACK
    httpd.error_log.expect("WSGI0430", level="notice", count=1)
    assert httpd.get("/").text == "served"


@pytest.mark.differs("slow-loads-are-told", run=False)
def test_a_slow_load_whose_script_stays_as_it_is_goes_on(httpd):
    """Being looked at again and again does it no harm; nor does a script that is away for a moment."""
    gate = httpd.root / "gate"
    script = httpd.app("slow.wsgi", f"""
import os, time
while not os.path.exists({str(gate)!r}):
    time.sleep(0.01)
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"at last"]
""")
    httpd.serve("slow.wsgi", options="threads=2")
    httpd.error_log.allow("WSGI0321")
    [worker] = httpd.workers(count=1)
    with httpd.connect(timeout=60) as connection:
        connection.send_request("GET", "/")
        httpd.error_log.expect("WSGI0321", within=60)
        script.rename(httpd.apps / "away.wsgi")
        (httpd.apps / "away.wsgi").rename(script)
        gate.touch()
        assert connection.response().text == "at last"
    assert [worker.pid] == [same.pid for same in httpd.workers(count=1)]
