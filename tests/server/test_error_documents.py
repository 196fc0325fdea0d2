"""Pages about errors that an application makes (`ErrorDocument 413 /errors/413`): requests that httpd makes.
The body is that of the request that failed, so they have none, at once (issue 10, B 8)."""

import time

import pytest

import h2client
from waiting import SLACK

# The C module waits for the body until its own limits pass.
NO_BODY = pytest.mark.differs("error-pages-without-body", run=False)

APPLICATION = """
import json

def application(environ, start_response):
    body = environ["wsgi.input"].read()
    keys = ["REQUEST_METHOD", "CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "REDIRECT_STATUS", "REDIRECT_URL",
            "REDIRECT_REQUEST_METHOD"]
    told = {key: environ.get(key) for key in keys}
    told["length"] = len(body)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
"""

RAISES = """
def application(environ, start_response):
    raise RuntimeError("asked for")
"""


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("errors.wsgi", APPLICATION)
    httpd.app("raise.wsgi", RAISES)
    httpd.configure(
        "Protocols h2c http/1.1",
        # The application is asked before the body is whole.
        "WSGIDaemonProcess app threads=3 display-name=%{GROUP}" + ("" if httpd.is_reference else " request-spool-size=0"),
        "WSGIScriptAlias /errors {apps}/errors.wsgi process-group=app application-group=%{GLOBAL}",
        "WSGIScriptAlias /small {apps}/errors.wsgi process-group=app application-group=%{GLOBAL}",
        "WSGIScriptAlias /slow {apps}/errors.wsgi process-group=app application-group=%{GLOBAL}",
        "WSGIScriptAlias /raise {apps}/raise.wsgi process-group=app application-group=%{GLOBAL}",
        "WSGIScriptAlias /gone {apps}/nowhere.wsgi process-group=app application-group=%{GLOBAL}",
        "<Location /small>", "LimitRequestBody 1000", "</Location>",
        "RequestReadTimeout header=0 body=1",
        *(f"ErrorDocument {status} /errors/{status}" for status in (400, 404, 408, 413, 500, 501)),
    )
    return httpd.start()


def expect_no_body(answer, failed):
    told = answer.json
    assert answer.complete
    assert told["REDIRECT_STATUS"] == str(failed)
    assert (told["REQUEST_METHOD"], told["length"], told["CONTENT_LENGTH"], told["HTTP_TRANSFER_ENCODING"]) == ("GET", 0, None, None)


def allow_refused_body(site):
    """The application that is refused a body may or may not be reading it already."""
    script = r"errors.wsgi\] "
    site.error_log.allow("WSGI0", script + "Traceback", script + " ", script + "OSError: the request body is larger")


@NO_BODY
@pytest.mark.parametrize("body", [b"x" * 5000, [b"x" * 5000]], ids=["length", "chunked"])
def test_the_page_about_a_body_that_is_too_large_does_not_get_it(site, body):
    expect_no_body(site.post("/small/", body), 413)
    allow_refused_body(site)


@NO_BODY
@pytest.mark.parametrize("body", [b"x" * 5000, [b"x" * 5000]], ids=["length", "chunked"])
@pytest.mark.parametrize("path, failed", [("/gone/", 404), ("/raise/", 500)])
def test_the_page_about_another_error_has_no_body(site, path, failed, body):
    expect_no_body(site.post(path, body), failed)
    site.error_log.allow("WSGI0")
    if failed == 500:
        site.error_log.expect_traceback("RuntimeError: asked for")


@NO_BODY
@pytest.mark.parametrize("path, failed, framing", [
    ("/small/", 413, "Content-Length: 5000"), ("/gone/", 404, "Content-Length: 5000"), ("/gone/", 404, "Transfer-Encoding: chunked"),
])
def test_a_client_that_waits_is_not_asked_for_the_body(site, path, failed, framing):
    with site.connect() as connection:
        since = time.monotonic()
        connection.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\nExpect: 100-continue\r\n\r\n".encode())
        answer = connection.response()
        assert answer.interim == [] and time.monotonic() - since < 1 + SLACK
        expect_no_body(answer, failed)
        # Whether the body comes is the client's choice: nothing can follow.
        assert connection.at_end()
    site.error_log.allow("WSGI0")


@NO_BODY
@pytest.mark.parametrize("head", ["Content-Length: 5000", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_waited_for_once(site, head):
    with site.connect() as connection:
        since = time.monotonic()
        connection.send(f"POST /slow/ HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        answer = connection.response()
        expect_no_body(answer, 408)
        assert time.monotonic() - since < 1.9 + SLACK
        assert connection.at_end()
    site.error_log.allow("WSGI0", "AH01382")
    if "chunked" in head:
        site.error_log.expect_traceback("OSError: the client stopped sending the request body and Apache's time limit passed")


@NO_BODY
@pytest.mark.parametrize("head, failed", [("Content-Length: 1x", 400), ("Transfer-Encoding: gzip", 400)])
def test_a_request_with_broken_framing_gets_its_page(site, head, failed):
    answer = site.raw(f"POST /errors/ HTTP/1.1\r\nHost: x\r\n{head}\r\nConnection: close\r\n\r\n".encode())
    assert b'"length": 0' in answer and f'"REDIRECT_STATUS": "{failed}"'.encode() in answer
    site.error_log.allow("WSGI0", "AH0")


@NO_BODY
def test_the_connection_is_used_again_where_the_body_was_read(site):
    with site.connect() as connection:
        for _ in range(3):
            connection.send_request("POST", "/gone/", body=b"x" * 3000)
            assert connection.response().json["REDIRECT_STATUS"] == "404"
        connection.send_request("GET", "/errors/")
        assert connection.response().json["REDIRECT_STATUS"] is None
    site.error_log.allow("WSGI0")


@NO_BODY
@pytest.mark.parametrize("path, failed", [("/small/", 413), ("/gone/", 404), ("/raise/", 500)])
def test_such_a_page_over_http_2(site, path, failed):
    with h2client.Connection(site.port) as connection:
        expect_no_body(connection.request("POST", path, body=b"x" * 5000), failed)
        assert connection.get("/errors/").json["REDIRECT_STATUS"] is None
    allow_refused_body(site)
    if failed == 500:
        site.error_log.expect_traceback("RuntimeError: asked for")


def test_a_request_that_was_led_elsewhere_keeps_its_body(httpd):
    httpd.app("errors.wsgi", APPLICATION)
    (httpd.root / "htdocs" / "led").mkdir()
    (httpd.root / "htdocs" / "led" / ".htaccess").write_text("RewriteEngine On\nRewriteRule .* /errors/ [L]\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=3 display-name=%{GROUP}",
        "WSGIScriptAlias /errors {apps}/errors.wsgi process-group=app application-group=%{GLOBAL}",
        "<Directory {root}/htdocs/led>", "AllowOverride FileInfo", "</Directory>",
        "RewriteEngine Off",
    )
    httpd.start()
    told = httpd.post("/led/x", b"x" * 5000).json
    assert (told["REQUEST_METHOD"], told["length"], told["CONTENT_LENGTH"]) == ("POST", 5000, "5000")
