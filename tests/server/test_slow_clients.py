"""Clients that send or read slowly take no thread away from others (issue 3, point 7).

The bounds are options: `request-buffer-size=`, `response-buffer-size=` and `response-spool-size=`.
"""

import contextlib
import hashlib
import os
import signal
import threading
import time

import pytest

import h2client
from waiting import SLACK, for_exit, until

APP = """
import os, sys

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/quick":
        start_response("200 OK", [("Content-Length", "5")])
        return [b"quick"]
    if path.startswith("/down"):
        size = int(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Length", str(size))] if path == "/down/length" else [])
        return Down(size)
    got = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [str(len(got)).encode()]

class Down:
    def __init__(self, size):
        self.left = size
    def __iter__(self):
        return self
    def __next__(self):
        if self.left == 0:
            raise StopIteration
        piece = b"x" * min(self.left, 50000)
        self.left -= len(piece)
        return piece
    def close(self):
        print("response taken", file=sys.stderr)
"""

MEGABYTE = 1 << 20


@pytest.fixture
def serve(httpd):
    httpd.app("slow.wsgi", APP)
    httpd.error_log.allow("response taken", "WSGI0371", "WSGI0126")

    # A slow client takes a process of prefork, as it takes a thread of the others.
    size = "StartServers 25\nMinSpareServers 5\nMaxSpareServers 25\nMaxRequestWorkers 40" if httpd.mpm == "prefork" else None

    def start(*lines, options="threads=5"):
        return httpd.serve("slow.wsgi", *lines, options=options, size=size)

    return start


def quick(httpd, times=20):
    """The longest of some answers."""
    answers = [httpd.get("/quick", timeout=10) for _ in range(times)]
    assert all(answer.body == b"quick" for answer in answers)
    return max(answer.elapsed for answer in answers)


@contextlib.contextmanager
def senders(httpd, count, head, pace=1.0):
    """Clients that send `head` and then a byte each `pace` seconds."""
    over = threading.Event()
    connections = [httpd.connect() for _ in range(count)]
    for connection in connections:
        connection.send(head)

    def drip():
        while not over.wait(pace):
            for connection in connections:
                connection.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield connections
    finally:
        over.set()
        thread.join(20)
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def readers(httpd, count, target):
    """Clients that ask and do not read; their receive buffers are small."""
    import socket

    sockets = []
    try:
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", httpd.port))
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            sockets.append(client)
        yield sockets
    finally:
        for client in sockets:
            client.close()


def taken(httpd, count):
    httpd.error_log.expect("response taken", count=count)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_steady_client_gets_a_response_that_is_larger_than_its_file(serve):
    """At its pace the client needs two seconds for a full file; the worker waits for one."""
    httpd = serve("Timeout 5", options="threads=2 socket-timeout=1 response-spool-size=2097152 response-buffer-size=65536")
    with readers(httpd, 1, f"/down?{8 * MEGABYTE}") as (client,):
        got, begun = 0, time.monotonic()
        while piece := client.recv(65536):
            got += len(piece)
            while got > (time.monotonic() - begun) * MEGABYTE and got < 7 * MEGABYTE:
                time.sleep(0.01)
    assert got > 8 * MEGABYTE
    taken(httpd, 1)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("length", [100, 60_000, 10 * MEGABYTE])
def test_ten_clients_that_send_a_byte_a_second_hold_nobody_up(serve, length):
    httpd = serve()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length
    with senders(httpd, 10, head):
        assert quick(httpd) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_ten_clients_that_do_not_read_a_megabyte_hold_nobody_up(serve, framing):
    httpd = serve()
    with readers(httpd, 10, f"/down/{framing}?{MEGABYTE}") as clients:
        taken(httpd, 10)
        assert quick(httpd) < 1 + SLACK
        # Who reads in the end gets all of it.
        for client in clients:
            client.settimeout(20)
            got = b""
            while piece := client.recv(1 << 20):
                got += piece
            body = got.partition(b"\r\n\r\n")[2]
            assert body.count(b"x") == MEGABYTE
            assert framing == "length" or body.endswith(b"0\r\n\r\n")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_both_kinds_at_once_hold_nobody_up(serve):
    httpd = serve()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with senders(httpd, 10, head), readers(httpd, 10, f"/down/length?{MEGABYTE}"):
        taken(httpd, 10)
        assert quick(httpd) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_streams_of_http_2_that_do_not_read_hold_nobody_up(serve):
    httpd = serve("Protocols h2c http/1.1")
    with contextlib.ExitStack() as open_ones:
        for _ in range(10):
            connection = open_ones.enter_context(h2client.Connection(httpd.port, window=1000))
            connection.begin("GET", f"/down/length?{MEGABYTE}")
        taken(httpd, 10)
        assert quick(httpd) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("option, held", [("", MEGABYTE), ("response-buffer-size=65536", 65536), ("response-buffer-size=4000000", 4_000_000)])
def test_what_is_held_for_a_client_has_a_bound(serve, option, held):
    httpd = serve(options=f"threads=1 response-spool-size=0 {option}")
    # Beside the buffer there is what the kernel takes: of the client's socket and of the worker's.
    size = held + 16 * MEGABYTE
    child = httpd.children()[0]
    # One that has just begun has next to no memory of its own.
    quick(httpd)
    before = child.private_memory
    with readers(httpd, 1, f"/down/length?{size}"):
        settled = [0.0]

        def still():
            settled.append(child.private_memory)
            return len(settled) > 100 and len(set(settled[-50:])) == 1

        until(still, 20)
        # The thread waits for the client, which is what the bound says.
        assert "response taken" not in httpd.error_log.text()
        assert child.private_memory - before < held + 2 * MEGABYTE


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_client_that_reads_slowly_gets_everything(serve):
    httpd = serve(options="threads=1")
    size = 3 * MEGABYTE
    with readers(httpd, 1, f"/down/chunked?{size}") as clients:
        clients[0].settimeout(20)
        got = 0
        rounds = 0
        while piece := clients[0].recv(65536):
            got += piece.count(b"x")
            rounds += 1
            if rounds % 10 == 0:
                time.sleep(0.001)
        assert got == size
    assert quick(httpd, 3) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("timeout, options", [(1, ""), (20, "socket-timeout=1"), (20, "socket-timeout=20 response-socket-timeout=1")])
def test_a_client_that_takes_nothing_at_all_is_given_up(serve, timeout, options):
    httpd = serve(f"Timeout {timeout}", options=f"threads=1 response-buffer-size=65536 response-spool-size=0 {options}")
    with readers(httpd, 1, f"/down/length?{32 * MEGABYTE}") as clients:
        httpd.error_log.expect("WSGI0371", level="info")
        # The worker hears of it and is free.
        taken(httpd, 1)
        assert quick(httpd, 3) < 1 + SLACK
        clients[0].settimeout(20)
        got = 0
        try:
            while piece := clients[0].recv(1 << 20):
                got += len(piece)
        except ConnectionError:
            pass
        assert got < 32 * MEGABYTE


# 20 MB of which no two pieces are the same.
LARGE = """
import os, signal, time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/quick":
        start_response("200 OK", [("Content-Length", "5")])
        return [b"quick"]
    start_response("200 OK", [])
    return large(environ)

def large(environ):
    for number in range(20 << 8):
        yield b"%012d" % number * 341
    print("response taken", flush=True)
    while environ["PATH_INFO"] == "/stuck":
        time.sleep(0.01)
"""

LARGE_BODY = b"".join(b"%012d" % number * 341 for number in range(20 << 8))


@pytest.fixture
def large(httpd):
    httpd.app("large.wsgi", LARGE)
    httpd.error_log.allow("response taken", "WSGI0371", "WSGI0126")
    size = "StartServers 25\nMinSpareServers 5\nMaxSpareServers 25\nMaxRequestWorkers 40" if httpd.mpm == "prefork" else None
    return lambda *lines, options: httpd.serve("large.wsgi", *lines, options=options, size=size)


def spools(httpd):
    """The temporary files that Apache's children have open."""
    return [kind for child in httpd.children() for kind in child.descriptors.values() if kind.endswith("(deleted)") and "/spool/" in kind]


def whole(client):
    """All that a client gets until the server closes."""
    client.settimeout(30)
    got = []
    while piece := client.recv(1 << 20):
        got.append(piece)
    return b"".join(got)


def unchunked(body):
    out = []
    while True:
        size, _, body = body.partition(b"\r\n")
        size = int(size, 16)
        if size == 0:
            return b"".join(out)
        out.append(body[:size])
        assert body[size:size + 2] == b"\r\n"
        body = body[size + 2:]


@pytest.fixture
def spool(folder):
    made = folder / "spool"
    made.mkdir()
    made.chmod(0o777)
    return made


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_ten_clients_that_do_not_read_twenty_megabytes_hold_nobody_up(large, httpd, spool):
    # The clients read one after the other: the last waits for long on a busy machine.
    large(options=f"threads=5 spool-directory={spool} response-socket-timeout=300")
    child = httpd.children()[0]
    quick(httpd, 3)
    memory = child.private_memory
    with readers(httpd, 10, "/large") as clients:
        taken(httpd, 10)
        assert quick(httpd) < 1 + SLACK
        assert len(spools(httpd)) == 10 and not list(spool.iterdir())
        # Twice what waits in memory, and what the memory allocator adds for a thread.
        assert child.private_memory - memory < 10 * 4 * MEGABYTE
        for client in clients:
            head, _, body = whole(client).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and unchunked(body) == LARGE_BODY
        assert child.private_memory - memory < 10 * 4 * MEGABYTE
    until(lambda: not spools(httpd), what="the temporary files to be closed")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_client_that_leaves_takes_its_temporary_file_along(large, httpd, spool):
    large(options=f"threads=5 spool-directory={spool}")
    with readers(httpd, 3, "/large"):
        taken(httpd, 3)
        assert len(spools(httpd)) == 3
    until(lambda: not spools(httpd), 30, "the temporary files to be closed")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_killed_worker_breaks_a_response_that_waits_in_a_file(large, httpd, spool):
    large(options=f"threads=2 spool-directory={spool}")
    httpd.error_log.allow("SIGKILL", "WSGI0119")
    worker, = httpd.workers(count=1)
    with readers(httpd, 1, "/stuck") as (client,):
        taken(httpd, 1)
        os.kill(worker.pid, signal.SIGKILL)
        for_exit(worker.pid)
        body = whole(client).partition(b"\r\n\r\n")[2]
        assert not body.endswith(b"0\r\n\r\n"), "the response looks complete"
    httpd.error_log.expect("WSGI0119")
    until(lambda: not spools(httpd), what="the temporary files to be closed")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_without_a_place_for_the_file_the_thread_waits_and_a_line_says_so(large, httpd):
    large(options="threads=1 spool-directory=/no/such/directory")
    with readers(httpd, 1, "/large") as (client,):
        httpd.error_log.expect("WSGI0440: .*'/no/such/directory': No such file", level="warn", count=1)
        assert "response taken" not in httpd.error_log.text()
        body = whole(client).partition(b"\r\n\r\n")[2]
        assert unchunked(body) == LARGE_BODY
    taken(httpd, 1)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_at_the_bound_of_its_file_the_thread_waits(large, httpd, spool):
    large(options=f"threads=1 response-spool-size=1048576 spool-directory={spool}")
    with readers(httpd, 1, "/large") as (client,):
        until(lambda: spools(httpd), what="a temporary file")
        assert "response taken" not in httpd.error_log.text()
        body = whole(client).partition(b"\r\n\r\n")[2]
        assert unchunked(body) == LARGE_BODY
    taken(httpd, 1)


# Says what it got of a body, and at once that it was asked.
SINK = """
import hashlib, sys

def application(environ, start_response):
    path = environ["PATH_INFO"]
    print("asked for", path, file=sys.stderr, flush=True)
    if path == "/some":
        environ["wsgi.input"].read(5)
    elif path not in ("/none", "/quick"):
        body = environ["wsgi.input"].read()
        print("read", len(body), hashlib.sha256(body).hexdigest(), file=sys.stderr, flush=True)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"quick"]
"""

# A megabyte of which no two pieces are the same.
UPLOAD = b"".join(b"%08d" % number for number in range(MEGABYTE // 8))


@pytest.fixture
def sink(httpd, spool):
    httpd.app("sink.wsgi", SINK)
    httpd.error_log.allow("asked for", "read [0-9]+ ")
    size = "StartServers 25\nMinSpareServers 5\nMaxSpareServers 25\nMaxRequestWorkers 40" if httpd.mpm == "prefork" else None

    def start(*lines, options="threads=5", directory=spool):
        return httpd.serve("sink.wsgi", *lines, options=f"{options} spool-directory={directory}", size=size)

    return start


class Uploader:
    """A client that sends the body `body` to `path`, as much of it as it is told."""

    def __init__(self, httpd, path="/", framing="length", body=UPLOAD, headers=b""):
        self.body, self.framing, self.sent = body, framing, 0
        self.lock = threading.Lock()
        self.connection = httpd.connect()
        length = b"Content-Length: %d" % len(body) if framing == "length" else b"Transfer-Encoding: chunked"
        self.connection.send(b"POST %s HTTP/1.1\r\nHost: x\r\n%s%s\r\n\r\n" % (path.encode(), headers, length))

    def send(self, size):
        """Sends so much more of the body, and its end behind all of it."""
        with self.lock:
            if self.sent == len(self.body):
                return
            piece = self.body[self.sent:self.sent + size]
            self.sent += len(piece)
            if self.framing == "length":
                self.connection.send(piece)
            else:
                self.connection.send_chunk(piece)
                if self.sent == len(self.body):
                    self.connection.send(b"0\r\n\r\n")

    def finish(self):
        """Sends the rest, and returns the answer."""
        self.send(len(self.body))
        answer = self.connection.response()
        self.connection.close()
        return answer


@contextlib.contextmanager
def uploaders(httpd, count, pace, **how):
    """Clients that send `pace` bytes a second each, a piece every tenth of a second."""
    over = threading.Event()
    clients = [Uploader(httpd, **how) for _ in range(count)]

    def drip():
        while not over.wait(0.1):
            for client in clients:
                client.send(pace // 10)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield clients
    finally:
        over.set()
        thread.join(20)
        for client in clients:
            client.connection.close()


def reads(httpd):
    """Size and hash of each body that the application has read."""
    return [record.text.split()[-2:] for record in httpd.error_log.records("read [0-9]+ ")]


def is_read(httpd, body=UPLOAD, count=1):
    expected = [str(len(body)), hashlib.sha256(body).hexdigest()]
    until(lambda: reads(httpd) == [expected] * count, 20, lambda: f"{count} bodies of {expected}: {reads(httpd)}")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_ten_clients_that_upload_a_megabyte_slowly_hold_nobody_up(sink, httpd, framing):
    sink()
    with uploaders(httpd, 10, 20_000, framing=framing) as clients:
        until(lambda: all(client.sent > 100_000 for client in clients), 30, "100 kB of each upload")
        assert quick(httpd) < 1 + SLACK
        assert len(spools(httpd)) == 10 and not httpd.error_log.records("asked for /$")
    # Those have left: no application has seen anything of them.
    until(lambda: not spools(httpd), what="the temporary files to be closed")
    assert not httpd.error_log.records("asked for /$")
    httpd.error_log.allow("WSGI0126")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_the_worker_gets_a_slow_upload_whole(sink, httpd, framing):
    sink(options="threads=1")
    with uploaders(httpd, 1, 100_000, framing=framing) as (client,):
        until(lambda: spools(httpd), what="a temporary file")
        assert quick(httpd) < 1 + SLACK
        until(lambda: client.sent > 300_000, what="300 kB of the upload")
        answer = client.finish()
    assert answer.status == 200 and answer.body == b"quick"
    is_read(httpd)
    until(lambda: not spools(httpd), what="the temporary file to be closed")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_an_upload_that_comes_quickly_goes_to_no_file(sink, httpd):
    # Where any attempt to make a file would be logged.
    sink(options="threads=1", directory="/no/such/directory")
    for framing in "length", "chunked":
        answer = Uploader(httpd, framing=framing, body=UPLOAD[:200_000]).finish()
        assert answer.status == 200
    is_read(httpd, UPLOAD[:200_000], 2)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_slow_upload_without_a_place_for_its_file_takes_a_thread_and_a_line_says_so(sink, httpd):
    sink(options="threads=1", directory="/no/such/directory")
    client = Uploader(httpd)
    client.send(100_000)
    httpd.error_log.expect("WSGI0440: .*'/no/such/directory': No such file", level="warn", count=1)
    httpd.error_log.expect("asked for /$")
    assert client.finish().status == 200
    is_read(httpd)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("bound", [0, MEGABYTE])
def test_an_upload_past_the_bound_of_its_file_takes_a_thread(sink, httpd, bound):
    sink(options=f"threads=1 request-spool-size={bound}")
    body = UPLOAD * 3
    for framing in "length", "chunked":
        client = Uploader(httpd, framing=framing, body=body)
        client.send(100_000)
        if framing == "chunked" and bound:
            until(lambda: spools(httpd), what="a temporary file")
            # More than fits into the file, as a client that may send no more for a while.
            client.send(bound)
        httpd.error_log.expect("asked for /$", count=1)
        assert client.finish().status == 200
        httpd.forget_logs()
    httpd.error_log.allow("read ")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("framing, quiet", [("length", 5), ("chunked", 1)])
def test_a_client_that_waits_for_the_response_before_it_sends_more_gets_it(sink, httpd, framing, quiet):
    sink()
    client = Uploader(httpd, path="/some", framing=framing)
    client.send(100_000)
    begun = time.monotonic()
    httpd.error_log.expect("asked for /some")
    assert time.monotonic() - begun < quiet + 1 + SLACK
    # The response does not wait for the rest.
    assert client.connection.head().status == 200
    client.connection.close()
    httpd.error_log.allow("WSGI0126")


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_a_client_that_waits_for_100_continue_gets_it_when_the_application_reads(sink, httpd):
    sink()
    client = Uploader(httpd, path="/none", headers=b"Expect: 100-continue\r\n")
    answer = client.connection.response()
    assert answer.status == 200 and not answer.interim
    client.connection.close()
    assert not spools(httpd)


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_the_application_hears_nothing_of_a_slow_upload_that_breaks_off(sink, httpd):
    sink()
    client = Uploader(httpd)
    client.send(100_000)
    until(lambda: spools(httpd), what="a temporary file")
    client.connection.close()
    httpd.error_log.expect("WSGI0126: .*the client closed the connection", level="info")
    until(lambda: not spools(httpd), what="the temporary file to be closed")
    assert not httpd.error_log.records("asked for")
    assert quick(httpd, 1) < 1 + SLACK


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("limit, framing, status", [("LimitRequestBody 300000", "chunked", 413), ("RequestReadTimeout body=3", "length", 408)])
def test_the_limits_of_httpd_hold_for_a_slow_upload(sink, httpd, limit, framing, status):
    sink(limit)
    client = Uploader(httpd, framing=framing)
    client.send(100_000)
    until(lambda: spools(httpd), what="a temporary file")
    if status == 413:
        client.send(250_000)
    answer = client.connection.response()
    assert answer.status == status and answer.elapsed < 4 + SLACK
    httpd.error_log.expect("WSGI0126", level="error", count=1)
    httpd.error_log.allow("AH01382", "AH01587", "AH01588", "AH00585")
    until(lambda: not spools(httpd), what="the temporary file to be closed")
    assert not httpd.error_log.records("asked for")
    client.connection.close()


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
def test_an_application_that_does_not_read_a_slow_upload_answers_and_the_connection_goes_on(sink, httpd):
    sink(options="threads=1")
    client = Uploader(httpd, path="/none")
    client.send(100_000)
    until(lambda: spools(httpd), what="a temporary file")
    client.send(MEGABYTE)
    for _ in range(3):
        assert client.connection.response().body == b"quick"
        client.connection.send_request("GET", "/quick")
    assert client.connection.response().body == b"quick"
    assert not spools(httpd)
    client.connection.close()


@pytest.mark.differs("slow-clients-hold-no-thread", run=False)
@pytest.mark.parametrize("framed", [True, False], ids=["length", "no length"])
def test_slow_uploads_over_http_2_hold_nobody_up(sink, httpd, framed):
    sink("Protocols h2c http/1.1", options="threads=1")
    headers = [("content-length", str(MEGABYTE))] if framed else []
    with h2client.Connection(httpd.port) as connection:
        stream = connection.begin("POST", "/", headers, more=True)
        answer, sent, spooled = connection.answers[stream], 0, 0
        # A piece every twentieth of a second, until others were served meanwhile.
        pause = threading.Event()
        while sent < MEGABYTE:
            room = min(connection.room(stream), MEGABYTE - sent, 5000 if spooled < 20 else MEGABYTE)
            if room == 0:
                assert connection.pump()
                continue
            connection.send(stream, UPLOAD[sent:sent + room], end=sent + room == MEGABYTE)
            sent += room
            if spooled < 20:
                pause.wait(0.05)
            if spools(httpd) and spooled < 20:
                spooled += 1
                assert quick(httpd, 1) < 1 + SLACK
        connection.answer(stream)
        assert spooled and answer.complete and answer.body == b"quick"
    is_read(httpd)


def test_a_slow_client_of_a_stream_gets_each_piece(httpd):
    httpd.app("stream.wsgi", """
import time

def application(environ, start_response):
    start_response("200 OK", [])
    for n in range(20):
        yield b"%d;" % n
        time.sleep(0.01)
""")
    httpd.serve("stream.wsgi")
    answer = httpd.get("/")
    assert answer.body == b"".join(b"%d;" % n for n in range(20)) and len(answer.chunks) >= 10
