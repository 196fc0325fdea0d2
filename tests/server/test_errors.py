"""Errors before and after the head, and what the client and the log learn of them
(issue 2, point 5; DESIGN 3.6)."""

import time

import pytest

from waiting import SLACK

WAYS_TO_DIE = {
    "an exception": "raise ValueError('midway')",
    "SystemExit": "sys.exit(3)",
    "os._exit": "os._exit(3)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGSEGV": "signal.raise_signal(signal.SIGSEGV)",
}

FRAMINGS = {"chunked": "[]", "length": "[('Content-Length', '1014')]"}

DYING = """
import os, signal, sys

def application(environ, start_response):
    if environ["PATH_INFO"] == "/well":
        start_response("200 OK", [("Content-Length", "4")])
        yield b"well"
        return
    start_response("200 OK", {headers})
    yield b"x" * 505
    {way}
    yield b"y" * 509
"""

# What either module says when a worker dies; the tests on messages are elsewhere.
DEATHS = [r"WSGI0\d\d\d", "Traceback", r"\]\s+\S", "ValueError: midway", "SystemExit: 3", r"exit signal|killed by|exited"]


DYING_EARLY = """
import os, signal, sys

def application(environ, start_response):
    if environ["PATH_INFO"] != "/well":
        {way}
    start_response("200 OK", [("Content-Length", "4")])
    return [b"well"]
"""


def before(way):
    """An application that dies before its head is out."""
    return DYING_EARLY.replace("{way}", way)


@pytest.mark.differs("truncation-is-visible")
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", WAYS_TO_DIE)
def test_an_answer_cut_short_is_broken_for_the_client(httpd, way, framing):
    httpd.app("dying.wsgi", DYING.replace("{headers}", FRAMINGS[framing]).replace("{way}", WAYS_TO_DIE[way]))
    httpd.serve("dying.wsgi")
    httpd.error_log.allow(*DEATHS)
    with httpd.connect(timeout=14) as connection:
        connection.send_request("GET", "/")
        answer = connection.response()
    assert answer.status == 200
    assert b"y" not in answer.body
    assert not answer.complete and answer.ending in ("eof", "reset")
    assert httpd.get("/well").text == "well"


@pytest.mark.parametrize("way", ["os._exit", "SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_before_its_head_is_502_and_the_next_request_is_served(httpd, way):
    httpd.app("dying.wsgi", before(WAYS_TO_DIE[way]))
    httpd.serve("dying.wsgi")
    httpd.error_log.allow(*DEATHS)
    assert httpd.get("/").status == 502
    assert httpd.get("/well").text == "well"


@pytest.mark.differs("tracebacks-are-whole")
def test_an_exception_before_the_head_is_500_with_its_traceback_in_the_log(httpd):
    httpd.app("dying.wsgi", before(WAYS_TO_DIE["an exception"]))
    httpd.serve("dying.wsgi")
    answer = httpd.get("/")
    assert answer.status == 500
    assert b"midway" not in answer.body
    text = httpd.error_log.expect_traceback("ValueError: midway")
    assert "dying.wsgi" in text and "in application" in text
    assert text.count("Traceback (most recent call last):") == 1
    assert httpd.get("/well").text == "well"


def test_system_exit_in_a_request_is_500_and_the_worker_lives_on(httpd):
    httpd.app("dying.wsgi", before(WAYS_TO_DIE["SystemExit"]))
    httpd.serve("dying.wsgi")
    before_it = {worker.pid for worker in httpd.workers(count=1)}
    assert httpd.get("/").status == 500
    httpd.error_log.expect("SystemExit")
    httpd.error_log.allow(*DEATHS)
    assert httpd.get("/well").text == "well"
    assert {worker.pid for worker in httpd.workers(count=1)} == before_it


def test_error_500_of_the_module_goes_through_error_document(httpd):
    httpd.app("dying.wsgi", before(WAYS_TO_DIE["an exception"]))
    httpd.serve("dying.wsgi", "ErrorDocument 500 own-page")
    assert httpd.get("/").text == "own-page"
    httpd.error_log.expect_traceback("ValueError: midway")


def test_a_traceback_in_a_generator_is_logged_whole_and_once(httpd):
    httpd.app("chained.wsgi", """
def inner():
    raise KeyError("inner")

def application(environ, start_response):
    start_response("200 OK", [])
    yield b""
    try:
        inner()
    except KeyError as error:
        raise ValueError("outer") from error
""")
    httpd.serve("chained.wsgi")
    httpd.get("/")
    text = httpd.error_log.expect_traceback("ValueError: outer")
    assert text.count("Traceback (most recent call last):") == 2
    for line in ("in application", "in inner", "KeyError: 'inner'", "was the direct cause of"):
        assert text.count(line) >= 1, text
    assert text.count("KeyError: 'inner'") == 1


def test_an_exception_whose_text_has_several_lines_is_logged_with_all_of_them(httpd):
    httpd.app("lines.wsgi", """
def application(environ, start_response):
    raise ValueError("first\\nsecond\\nthird")
""")
    httpd.serve("lines.wsgi")
    assert httpd.get("/").status == 500
    httpd.error_log.allow("WSGI0174", "Traceback", "File ", "raise ValueError", "first", "second")
    httpd.error_log.expect("third")


@pytest.mark.differs("short-bodies-are-broken")
def test_a_body_shorter_than_its_length_is_broken_for_the_client(httpd):
    httpd.app("short.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "50")])
    return [b"abc"]
""")
    httpd.serve("short.wsgi")
    httpd.error_log.allow("Content-Length", "shorter|short of", r"WSGI0\d+")
    with httpd.connect(timeout=14) as connection:
        connection.send_request("GET", "/")
        connection.send_request("GET", "/")
        answer = connection.response()
    assert (answer.body, answer.complete) == (b"abc", False)
    assert answer.ending in ("eof", "reset")


def test_a_body_longer_than_its_length_is_cut(httpd):
    httpd.app("long.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"abc", b"def"]
""")
    httpd.serve("long.wsgi")
    httpd.error_log.allow("Content-Length", "longer|beyond")
    with httpd.connect() as connection:
        for _ in range(2):
            connection.send_request("GET", "/")
            answer = connection.response()
            assert (answer.body, answer.complete) == (b"abc", True)


@pytest.mark.parametrize("value", ["abc", "-1", "1e3"])
def test_a_content_length_that_is_no_number_is_500(httpd, value):
    httpd.app("wrong.wsgi", f"""
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "{value}")])
    return [b"abc"]
""")
    httpd.serve("wrong.wsgi")
    assert httpd.get("/").status == 500
    httpd.error_log.allow("WSGI0", "Traceback", "ValueError", r"\]\s+\S", "Content-Length")


@pytest.mark.differs("truncation-is-visible", sometimes=True)
def test_the_connection_ends_at_once_when_an_answer_is_broken(httpd):
    httpd.app("dying.wsgi", DYING.replace("{headers}", FRAMINGS["length"]).replace("{way}", WAYS_TO_DIE["SIGKILL"]))
    httpd.serve("dying.wsgi")
    httpd.error_log.allow(*DEATHS)
    with httpd.connect(timeout=14) as connection:
        connection.send_request("GET", "/")
        answer = connection.response()
        start = time.monotonic()
        assert connection.at_end(within=14)
    assert not answer.complete and time.monotonic() - start < 0.5 + SLACK
