"""Responses that end too early: whatever ended them, the client sees it, and soon (issue 3, point 3).

Each way to die, with each framing, over HTTP/1.1 and HTTP/2. The C module ends a chunked response
like a complete one.
"""

import threading
import time

import pytest

import h2client
import waiting

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
import os, resource, signal, sys, threading, time

# A dump of the whole process would take longer than what is measured.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
go = threading.Event()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/die":
        go.set()
        start_response("204 No Content", [])
        return
    start_response("200 OK", {headers})
    if environ["PATH_INFO"] == "/well":
        yield b"w" * 5014
        return
    yield b"x" * 2505
    if environ["PATH_INFO"] != "/at-once":
        assert go.wait(30)
        go.clear()
    with open({stamp!r}, "w") as file:
        file.write(str(time.monotonic()))
    {way}
    yield b"y" * 2509
"""

# What either module says when a worker dies; the tests on messages are elsewhere.
DEATHS = [r"WSGI0\d\d\d", "Traceback", r"\]\s+\S", "ValueError: midway", r"exit signal|killed by|exited|signal", "AH0"]


class Death:
    """The death of an application that has sent half of its response."""

    def __init__(self, httpd, way, stamp):
        self.httpd = httpd
        self.way = way
        self.stamp = stamp
        self.ended = None

    def bring_about(self):
        """Ask for it. Who asks may be cut off with the rest."""
        self.stamp.write_text("")
        if self.way == "TERM":
            worker, = self.httpd.workers(count=1)
            self._watcher = threading.Thread(target=self._watch, args=(worker.pid,))
            self._watcher.start()
        with self.httpd.connect() as connection:
            connection.send_request("GET", "/die")
            # What is closed unsent would be no request.
            waiting.until(lambda: self.stamp.read_text(), 20, "the application to die")

    def _watch(self, pid):
        waiting.for_exit(pid, 20)
        self.ended = time.monotonic()

    def when(self):
        """The moment before it, of the monotonic clock; with TERM the end of the process."""
        if self.way == "TERM":
            self._watcher.join(20)
            return self.ended
        return float(self.stamp.read_text())


@pytest.fixture
def dying(httpd):
    def serve(way, framing, *lines):
        stamp = httpd.root / "stamp"
        stamp.write_text("")
        stamp.chmod(0o666)
        source = APP.replace("{headers}", FRAMINGS[framing]).replace("{way}", WAYS[way]).replace("{stamp!r}", repr(str(stamp)))
        httpd.app("dying.wsgi", source)
        # SIGTERM is not intercepted by Python; the process has a second to end.
        httpd.error_log.allow(*DEATHS)
        httpd.serve("dying.wsgi", *lines, options="threads=3 shutdown-timeout=1 graceful-timeout=1")
        return Death(httpd, way, stamp)

    return serve


def judge(delays):
    """From the death to the client's knowledge it should be less than 50 ms, and is a few on a quiet
    machine. A noisy one is let pass: what is to be told from it are time-outs, which are 15 s."""
    shown = ", ".join(f"{delay * 1000:.1f} ms" for delay in delays)
    print(f"known to the client after {shown}")
    assert min(delays) < 1 and max(delays) < 5, f"known to the client after {shown}"


@pytest.mark.differs("truncation-is-visible", run=False)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", WAYS)
def test_over_http_1_1_the_response_is_broken_and_the_connection_closed_at_once(httpd, dying, way, framing):
    death = dying(way, framing)
    delays = []
    for _ in range(1 if way == "TERM" else 3):
        with httpd.connect(timeout=15) as connection:
            connection.send_request("GET", "/")
            answer = connection.head()
            assert answer.status == 200
            if framing == "chunked":
                assert connection.line() == b"9c9"
            while len(connection.buffer) < 2505:
                connection.buffer += connection.socket.recv(65536)
            seen = threading.Thread(target=death.bring_about)
            seen.start()
            # Read on from where the reading was interrupted: the rest of the first part, then nothing.
            connection.socket.settimeout(15)
            rest = connection.buffer
            ending = "eof"
            try:
                while piece := connection.socket.recv(65536):
                    rest += piece
            except ConnectionResetError:
                ending = "reset"
            now = time.monotonic()
            seen.join(20)
            delays.append(now - death.when())
            # No byte of a second part, and no end of the chunks.
            assert rest.rstrip(b"\r\n") == b"x" * 2505, (ending, rest[-50:])
    judge(delays)
    well = httpd.get("/well")
    assert well.complete and well.body == b"w" * 5014


@pytest.mark.differs("truncation-is-visible", run=False)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", WAYS)
def test_over_http_2_the_stream_is_reset_at_once(httpd, dying, way, framing):
    death = dying(way, framing, "Protocols h2c http/1.1")
    delays = []
    for _ in range(1 if way == "TERM" else 3):
        with h2client.Connection(httpd.port) as connection:
            stream = connection.begin("GET", "/")
            answer = connection.answers[stream]
            while len(answer.body) < 2505:
                assert connection.pump()
            seen = threading.Thread(target=death.bring_about)
            seen.start()
            connection.answer(stream)
            now = time.monotonic()
            seen.join(20)
            delays.append(now - death.when())
            assert (answer.status, answer.body) == (200, b"x" * 2505)
            assert not answer.complete and answer.ending in ("reset", "eof")
    judge(delays)
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
        with httpd.connect() as connection:
            # A second request is there already: no answer to it may follow on this connection.
            connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            answer = connection.response()
            assert connection.buffer == b"" and connection.at_end()
    assert not answer.complete or answer.status == 502, answer.status


def test_an_http_1_0_client_sees_a_broken_length(httpd, dying):
    dying("raise", "length")
    answer = httpd.get("/at-once", version="HTTP/1.0")
    assert not answer.complete


@pytest.mark.differs("truncation-is-visible")
def test_a_proxy_cannot_keep_a_broken_response(httpd, dying):
    dying("raise", "chunked")
    answers = [httpd.get("/at-once") for _ in range(2)]
    assert not any(answer.complete for answer in answers)
    assert httpd.get("/well").complete


@pytest.mark.differs("truncation-is-visible")
def test_a_compressed_response_that_breaks_is_broken(httpd, dying):
    dying("raise", "chunked", "SetOutputFilter DEFLATE")
    answer = httpd.get("/at-once", headers={"Accept-Encoding": "gzip"})
    assert not answer.complete or answer.status >= 500
