"""Scripts whose loading does not end: the log says what they are at (issue 3; seed 004's first problem).

Nothing here waits for a script that loads slowly: each one hangs until it is mended.
"""

import os

import pytest

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
    path = httpd.app("serves.wsgi", MENDED)
    os.utime(path, (100, 100))


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
