"""Responses that end too early: whatever ended them, the client sees it, and soon (issue 3, point 3).

Each way to die, with each framing, over HTTP/1.1 and HTTP/2. The C module ends a chunked response
like a complete one.
"""

import time

import pytest

import h2client
from client import Broken

WAYS = {
    "raise": "raise ValueError('midway')",
    "_exit": "os._exit(3)",
    "KILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SEGV": "signal.raise_signal(signal.SIGSEGV)",
    # The worker leaves; what still runs when its time is over is cut.
    "TERM": "os.kill(os.getpid(), signal.SIGTERM)\n    while True: time.sleep(0.01)",
}
FRAMINGS = {"chunked": "[]", "length": "[('Content-Length', '5014')]"}

APP = """
import os, resource, signal, sys, time

# A dump of the whole process would take longer than what is measured.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

def application(environ, start_response):
    start_response("200 OK", {headers})
    if environ["PATH_INFO"] == "/well":
        yield b"w" * 5014
        return
    yield b"x" * 2505
    with open({stamp!r}, "w") as file:
        file.write(str(time.monotonic()))
    {way}
    yield b"y" * 2509
"""

# What either module says when a worker dies; the tests on messages are elsewhere.
DEATHS = [r"WSGI0\d\d\d", "Traceback", r"\]\s+\S", "ValueError: midway", r"exit signal|killed by|exited|signal", "AH0"]


@pytest.fixture
def dying(httpd, tmp_path):
    def serve(way, framing, *lines):
        stamp = httpd.root / "stamp"
        stamp.write_text("")
        stamp.chmod(0o666)
        source = APP.replace("{headers}", FRAMINGS[framing]).replace("{way}", WAYS[way]).replace("{stamp!r}", repr(str(stamp)))
        httpd.app("dying.wsgi", source)
        # SIGTERM is not intercepted by Python; the process has a second to end.
        httpd.error_log.allow(*DEATHS)
        httpd.serve("dying.wsgi", *lines, options="threads=2 shutdown-timeout=1 graceful-timeout=1")
        return lambda: float(stamp.read_text())

    return serve


def judge(way, delays):
    """The delay from death to the client's knowledge: some noise of the machine is let pass."""
    if way != "TERM":
        assert min(delays) < 0.05 and max(delays) < 1, delays


@pytest.mark.differs("truncation-is-visible", run=False)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", WAYS)
def test_over_http_1_1_the_response_is_broken_and_the_connection_closed_at_once(httpd, dying, way, framing):
    died = dying(way, framing)
    delays = []
    for _ in range(1 if way == "TERM" else 3):
        with httpd.connect(timeout=15) as connection:
            connection.send_request("GET", "/")
            try:
                answer = connection.response()
            except Broken:
                continue
            delays.append(time.monotonic() - died())
            assert not answer.complete and answer.ending in ("eof", "reset")
            assert set(answer.body) <= {ord("x")}
            assert connection.at_end()
    assert delays
    judge(way, delays)
    well = httpd.get("/well")
    assert well.complete and well.body == b"w" * 5014


@pytest.mark.differs("truncation-is-visible", run=False)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", WAYS)
def test_over_http_2_the_stream_is_reset_at_once(httpd, dying, way, framing):
    died = dying(way, framing, "Protocols h2c http/1.1")
    delays = []
    for _ in range(1 if way == "TERM" else 3):
        with h2client.Connection(httpd.port) as connection:
            answer = connection.get("/")
            delays.append(time.monotonic() - died())
            # Where the client had got nothing yet, an error page is the better answer.
            assert not answer.complete or (answer.status == 502 and b"x" * 100 not in answer.body), answer
    judge(way, delays)
    with h2client.Connection(httpd.port) as connection:
        well = connection.get("/well")
        assert well.complete and well.body == b"w" * 5014


@pytest.mark.differs("short-bodies-are-broken", run=False)
@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
def test_a_short_body_is_broken(httpd, protocol):
    httpd.app("short.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "100000")])
    yield b"x" * 70000
""")
    httpd.serve("short.wsgi", "Protocols h2c http/1.1")
    httpd.error_log.allow("WSGI0301", "WSGI0362", "WSGI0361", "AH0")
    if protocol == "HTTP/2":
        with h2client.Connection(httpd.port) as connection:
            answer = connection.get("/")
    else:
        answer = httpd.get("/")
    assert not answer.complete or answer.status == 502, answer.status


def test_an_http_1_0_client_sees_a_broken_length(httpd, dying):
    dying("raise", "length")
    answer = httpd.get("/", version="HTTP/1.0")
    assert not answer.complete


@pytest.mark.differs("truncation-is-visible")
def test_a_proxy_cannot_keep_a_broken_response(httpd, dying):
    dying("raise", "chunked")
    answers = [httpd.get("/") for _ in range(2)]
    assert not any(answer.complete for answer in answers)
    assert httpd.get("/well").complete


@pytest.mark.differs("truncation-is-visible")
def test_a_compressed_response_that_breaks_is_broken(httpd, dying):
    dying("raise", "chunked", "SetOutputFilter DEFLATE")
    answer = httpd.get("/", headers={"Accept-Encoding": "gzip"})
    assert not answer.complete or answer.status >= 500
