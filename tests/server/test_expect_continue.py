"""`Expect: 100-continue`: the client is asked to go on when the application reads, and not before
(issue 3, point 2)."""

import pytest


@pytest.fixture(scope="module")
def site(servers):
    return servers().serve("echo.wsgi", options="threads=4")


def test_the_client_is_asked_to_go_on_when_the_application_reads(site):
    with site.connect() as connection:
        connection.send(b"POST /?read HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.head().status == 100
        connection.send(b"abc")
        assert connection.response().json["pieces"] == ["abc"]


@pytest.mark.differs("continue-only-when-read")
def test_the_client_is_not_asked_to_go_on_when_nobody_reads(site):
    with site.connect() as connection:
        connection.send(b"POST /?none HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.head().status == 200


def test_a_large_body_waits_for_the_go_ahead(site):
    with site.connect() as connection:
        connection.send(b"POST /?read HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\nExpect: 100-continue\r\n\r\n")
        assert connection.head().status == 100
        connection.send(b"x" * 300_000)
        answer = connection.response()
        assert (answer.json["length"], answer.interim) == (300_000, [])


@pytest.mark.differs("continue-only-when-read")
def test_no_go_ahead_is_sent_and_the_connection_is_not_used_again_when_nobody_reads(site):
    with site.connect() as connection:
        connection.send(b"POST /?none HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\nExpect: 100-continue\r\n\r\n")
        answer = connection.response()
        assert (answer.status, answer.interim) == (200, [])
        # Whether the body comes is the client's choice, so nothing can follow on this connection.
        assert connection.at_end()


@pytest.mark.differs("continue-only-when-read")
def test_no_go_ahead_follows_the_head(httpd):
    httpd.app("late.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [])
    yield b"first"
    yield environ["wsgi.input"].read()
""")
    httpd.serve("late.wsgi")
    with httpd.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        answer = connection.head()
        # Nobody knows whether the body will come, so httpd ends the connection with the response.
        assert (answer.status, answer["Connection"]) == (200, "close")
        while connection.buffer != b"first":
            connection.buffer += connection.socket.recv(100)
        connection.send(b"abc")
        assert connection.body(answer).body == b"firstabc"


def test_another_expectation_is_417(site):
    answer = site.raw(b"POST /?read HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: magic\r\nContent-Length: 3\r\n\r\nabc")
    assert answer.split(b" ", 2)[1] == b"417"
    site.error_log.allow("Expect", "AH00570")


def test_an_expectation_of_an_http_1_0_client_is_ignored(site):
    with site.connect() as connection:
        connection.send(b"POST /?read HTTP/1.0\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
        answer = connection.response()
        assert (answer.json["length"], answer.interim) == (3, [])


@pytest.mark.differs("continue-only-when-read")
def test_reading_nothing_asks_the_client_to_go_on(httpd):
    httpd.app("nothing.wsgi", """
import threading
go = threading.Event()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/go":
        go.set()
        start_response("204 No Content", [])
        return []
    assert go.wait(20)
    nothing = environ["wsgi.input"].read(0)
    start_response("200 OK", [("Content-Length", "3")])
    return [nothing + environ["wsgi.input"].read()]
""")
    httpd.serve("nothing.wsgi", options="threads=2")
    with httpd.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        # Not before the application reads.
        connection.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.socket.recv(1)
        connection.socket.settimeout(20)
        httpd.get("/go")
        assert connection.head().status == 100
        connection.send(b"abc")
        assert connection.response().text == "abc"
