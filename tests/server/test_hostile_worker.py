"""A worker that was taken over cannot hurt Apache, nor what Apache says to others (issue 3, "Hostile
input"; threats T1 to T5).

Whatever it sends: 502 (or a broken response, where the head had gone), one line in the log, no
crash, no growth, and nothing on the client's connection that looks like a second response.
"""

import array
import contextlib
import os
import random
import resource
import socket
import struct

import pytest

import waiting
from client import Broken
from fakeworker import (
    BODY, DATA, END, FAIL, FILE, HEAD, INTERIM, LOG, PULL, REQUEST, RETRY, VERSION, FakeWorker, data, end, fail, fields, file,
    frame, head, interim, log, retry,
)

GOOD = head(200, (b"Content-Type", b"text/plain"), (b"Content-Length", b"5")) + data(b"hello") + end()
MARK = "the mark, and nothing else\n"


# So that it is known whose memory grows.
ONE_CHILD = {
    "threads": "StartServers 1\nServerLimit 1\nThreadsPerChild 25\nMaxRequestWorkers 25\nMinSpareThreads 1\nMaxSpareThreads 25",
    "prefork": "StartServers 1\nServerLimit 1\nMaxRequestWorkers 1\nMinSpareServers 1\nMaxSpareServers 1",
}


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    if httpd.is_reference:
        pytest.skip("the workers of the C module speak another protocol")
    httpd.configure(
        "WSGIDaemonProcess app display-name=%{GROUP} threads=2 socket-timeout=2",
        'Alias /mark "{root}/htdocs/mark"',
        "WSGIScriptAlias / {apps}/hello.wsgi",
        "WSGIProcessGroup app",
        "LogLevel warn",
        size=ONE_CHILD["prefork" if httpd.mpm == "prefork" else "threads"],
    )
    (httpd.root / "htdocs" / "mark").write_text(MARK)
    return httpd.start()


@pytest.fixture
def worker(site):
    # Of prefork with its one child.
    site.error_log.allow("AH00161: server reached MaxRequestWorkers")
    with FakeWorker(site) as worker:
        yield worker


def ask(site, method="GET", headers=(), body=None):
    """One request and then another on the same connection, which is answered properly or not at all.

    Returns the first answer, None where the connection was closed without one.
    """
    with site.connect() as connection:
        connection.send_request(method, "/", headers, body)
        try:
            answer = connection.response(method)
        except Broken as fault:
            assert fault.how in ("eof", "reset"), fault
            return None
        if not answer.complete:
            assert answer.ending in ("eof", "reset"), answer.ending
            assert connection.at_end()
            return answer
        try:
            connection.send_request("GET", "/mark", close=True)
            second = connection.response()
        except (Broken, ConnectionError) as fault:
            assert getattr(fault, "how", "reset") in ("eof", "reset") and connection.buffer == b"", fault
            return answer
        assert (second.status, second.text) == (200, MARK)
        return answer


def lines(site):
    return [record for record in site.error_log.records("wsgi:error")]


def judged(site, answer):
    """502 or broken, and one line."""
    assert answer is None or answer.status == 502 or not answer.complete, (answer.status, answer.body[:200])
    site.error_log.expect("WSGI0", level="error", count=1)


def test_the_fake_worker_can_answer(site, worker):
    worker.reply = GOOD
    answer = ask(site)
    assert (answer.status, answer.body, answer.complete) == (200, b"hello", True)


LONG = b"x" * 70_000
NONSENSE = {
    "nothing": b"",
    "text": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "zeros": b"\0" * 4096,
    "noise": random.Random(1).randbytes(4096),
    "another version": frame(HEAD, fields(200), version=VERSION + 1) + end(),
    "a reserved field": frame(HEAD, fields(200), reserved=1) + end(),
    "an unknown kind": frame(99) + GOOD,
    "kind 0": frame(0) + GOOD,
    "a request": frame(REQUEST, b"x") + GOOD,
    "a body of a request": frame(BODY, b"x") + GOOD,
    "no head": data(b"hello") + end(),
    "only an end": end(),
    "a file without a head": file(0, 5) + end(),
    "a pull of no body": frame(PULL) + GOOD,
    "a pull with a payload": frame(PULL, b"x") + GOOD,
    "a head announced longer than heads are": frame(HEAD, length=1 << 30),
    "a log announced longer than logs are": frame(LOG, length=1 << 30),
    "an end announced longer than ends are": head(200) + frame(END, length=1 << 30),
    "more fields than announced": frame(HEAD, fields(200, [(b"X", b"1")], count=0)) + end(),
    "fewer fields than announced": frame(HEAD, fields(200, [(b"X", b"1")], count=9)) + end(),
    "too many fields": head(200, *[(b"X", b"1")] * 1001) + end(),
    "too long a field": frame(HEAD, fields(200, [(b"X", LONG)])) + end(),
    "endless fields": frame(HEAD, fields(200, [(b"X%d" % n, b"y" * 30_000) for n in range(40)])[: (1 << 20) + (64 << 10)]) + end(),
    "a status of 0": head(0) + end(),
    "a status of 101": head(101, (b"Upgrade", b"websocket")) + end(),
    "a status of 1000": head(1000) + end(),
    "a line break in the reason": head(200, reason=b"OK\r\nX: y") + end(),
    "a line break in a name": head(200, (b"X\r\nY", b"1")) + end(),
    "a line break in a value": head(200, (b"X", b"1\r\nSet-Cookie: evil=1")) + end(),
    "a second response in a value": head(200, (b"X", b"1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")) + end(),
    "a NUL in a value": head(200, (b"X", b"1\0")) + end(),
    "a name with a colon": head(200, (b"X:", b"1")) + end(),
    "no name": head(200, (b"", b"1")) + end(),
    "a length that is none": head(200, (b"Content-Length", b"many")) + data(b"hello") + end(),
    "a negative length": head(200, (b"Content-Length", b"-5")) + data(b"hello") + end(),
    "two lengths": head(200, (b"Content-Length", b"5"), (b"Content-Length", b"6")) + data(b"hello") + end(),
    "a list of lengths": head(200, (b"Content-Length", b"5, 5")) + data(b"hello") + end(),
    "a length too large": head(200, (b"Content-Length", b"18446744073709551616")) + data(b"hello") + end(),
    "a shorter body": head(200, (b"Content-Length", b"50000")) + data(b"hello") + end(),
    "two heads": head(200) + head(200) + data(b"hello") + end(),
    "a head behind data": head(200) + data(b"hello") + head(200) + end(),
    "an interim response behind the head": head(200) + interim(103) + end(),
    "an interim response of 200": interim(200) + GOOD,
    "an interim response of 101": interim(101) + GOOD,
    "a broken interim response": interim(103, (b"Link", b"a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")) + GOOD,
    "interim responses without end": interim(102) * 1100 + GOOD,
    "a retry behind the head": head(200) + retry(1),
    "an unknown retry": retry(9),
    "a failure behind the head": head(200) + fail(500),
    "a failure that is none": fail(200, b"fine"),
    "a failure too long": frame(FAIL, struct.pack("<H", 500) + b"x" * 9000),
    "a log of no level": frame(LOG, b"\x63text") + GOOD,
    "an empty log": frame(LOG) + GOOD,
    "a file without its descriptor": head(200) + file(0, 5) + end(),
    "a file beyond all numbers": head(200) + file((1 << 64) - 1, 1 << 63) + end(),
    "an end with unknown flags": head(200) + data(b"hello") + end(255),
    "a half end": head(200) + data(b"hello") + end()[:-3],
    "no end": head(200) + data(b"hello"),
    "data cut short": head(200) + frame(DATA, b"hello", length=1000),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_502_with_one_line(site, worker, what):
    worker.reply = NONSENSE[what]
    # A reply that was read to its end may have been longer than was listened to.
    answer = ask(site)
    assert worker.asked == 1, "a request that a worker has answered was sent again"
    judged(site, answer)
    assert answer is None or answer.status == 502 or answer.body in (b"", b"hello")


@pytest.mark.parametrize("value", [b"chunked", b"identity", b"gzip, chunked"])
def test_of_both_framings_only_the_length_counts(site, worker, value):
    worker.reply = head(200, (b"Transfer-Encoding", value), (b"Content-Length", b"5")) + data(b"hello, and more") + end()
    answer = ask(site)
    assert (answer.status, answer.body, answer.framing, answer.complete) == (200, b"hello", "length", True)
    worker.reply = head(200, (b"Transfer-Encoding", value)) + data(b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") + end()
    answer = ask(site)
    assert answer.complete and answer.body.startswith(b"5\r\nhello")


ENDLESS = {
    # What is sent again and again, after what.
    "fields": (struct.pack("<BBHI", HEAD, VERSION, 0, (1 << 20) - 8) + fields(200, count=60_000), b"\x01\x00X\x00\x10\x00\x00" + b"y" * 4096),
    "interim responses": (b"", interim(102, (b"X", b"y" * 30_000))),
    "logs": (b"", log(b"x" * 60_000)),
    "nothing but frames of no kind": (b"", frame(99, b"x" * 4000)),
    "a body without a head": (b"", data(b"x" * 60_000)),
    "noise": (b"", random.Random(2).randbytes(60_000)),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_does_not_end_costs_no_memory(site, worker, what):
    """Endless headers took 1.5 GB of an Apache child with the C module."""
    start, more = ENDLESS[what]
    sent = [0]

    def talk(connection):
        connection.sendall(start)
        # Until Apache hangs up; 200 MB are more than enough to see what it keeps.
        while sent[0] < 200 << 20:
            connection.sendall(more)
            sent[0] += len(more)

    (child,) = site.children()
    worker.reply = talk
    grown = []
    for _ in range(2 if what == "logs" else 3):
        # A thread that serves for the first time grows by what threads need: not every time.
        sent[0] = 0
        before = child.begin_peak()
        answer = ask(site)
        assert answer is None or answer.status in (502, 504), answer.status
        grown.append(child.peak_memory - before)
    site.error_log.allow("WSGI0", "x{100}")
    assert site.children()[0].pid == child.pid
    print(f"grown by {grown} bytes, {sent[0]} sent")
    assert min(grown) < 2 << 20, f"grown by {grown} bytes, {sent[0]} sent"


def test_a_worker_that_closes_early_is_seen_at_every_byte(site, worker):
    good = log(b"a line") + interim(103, (b"Link", b"</a>")) + GOOD
    body_at = len(good) - len(data(b"hello") + end())
    for cut in range(len(good)):
        site.forget_logs()
        site.error_log.allow("a line")
        worker.reply = good[:cut]
        answer = ask(site)
        judged_lines = [record for record in lines(site) if "WSGI0" in record.text]
        assert len(judged_lines) == 1, (cut, site.error_log.text())
        site.error_log.allow("WSGI0")
        # All bytes that were announced may arrive without the end behind them.
        whole = answer is not None and answer.body == b"hello"
        assert answer is None or answer.status == 502 or (cut >= body_at and (not answer.complete or whole)), cut
        assert answer is None or answer.status != 200 or b"hello".startswith(answer.body)


def test_a_worker_that_says_nothing_is_504(site, worker):
    worker.lingers = True
    assert site.get("/").status == 504
    site.error_log.expect("WSGI0145", count=1)


def test_a_worker_that_stops_in_a_response_is_broken_off(site, worker):
    worker.reply = head(200) + data(b"hello")
    worker.lingers = True
    answer = site.get("/")
    assert answer.body == b"hello" and not answer.complete
    site.error_log.expect("WSGI0118", count=1)


def test_a_worker_that_only_logs_is_504(site, worker):
    def talk(connection):
        while True:
            connection.sendall(log(b"still here"))
            worker._over.wait(0.05)

    worker.reply = talk
    assert site.get("/").status == 504
    site.error_log.allow("still here")
    site.error_log.expect("WSGI0145", count=1)


def test_logs_of_a_worker_cannot_forge_lines(site, worker):
    forged = b"one\n[Sat Nov 21 07:06:11.000000 2026] [core:emerg] [pid 1:tid 1] forged\r\x1b[2J\0end"
    worker.reply = log(forged) + GOOD
    assert ask(site).body == b"hello"
    found = site.error_log.expect("forged")
    assert [record.module for record in found] == ["wsgi"]
    site.error_log.allow("one", "end")
    assert "\x1b" not in site.error_log.text() and "\r" not in site.error_log.text()


@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "write-only"])
def test_only_readable_files_are_sent(site, worker, kind):
    worker.reply = head(200) + file(0, 5) + end()
    other = None
    if kind == "pipe":
        worker.descriptor, other = os.pipe()
    elif kind == "write-only":
        worker.descriptor = os.open(site.root / "htdocs" / "mark", os.O_WRONLY)
    else:
        worker.descriptor = os.open({"directory": "/", "device": "/dev/zero"}[kind], os.O_RDONLY)
    judged(site, ask(site))
    for descriptor in (worker.descriptor, other):
        if descriptor is not None:
            os.close(descriptor)


def test_a_file_shorter_than_announced_is_broken(site, worker):
    worker.descriptor = os.open(site.root / "htdocs" / "mark", os.O_RDONLY)
    worker.reply = head(200, (b"Content-Length", b"5000")) + file(0, 5000) + end()
    judged(site, ask(site))
    os.close(worker.descriptor)


def passing(descriptor):
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]


@pytest.mark.parametrize("what", ["with a head and no file", "with the end", "with data", "in the middle of data", "with a log record", "with a retry"])
def test_a_descriptor_that_comes_with_no_file_is_closed_at_once(site, worker, what):
    """And what came with it is no response, whether it is over with that or goes on."""
    child = site.children()[0]
    path = site.root / "stray"
    path.write_bytes(b"hello")
    descriptor = os.open(path, os.O_RDONLY)
    begin = head(200) + frame(DATA, b"hello", length=100_000)
    first, second = {
        "with a head and no file": (b"", head(200) + data(b"hello") + end()),
        "with the end": (head(200), end()),
        "with data": (head(200), data(b"hello")),
        "in the middle of data": (begin, b"hello"),
        "with a log record": (b"", log(b"a line")),
        "with a retry": (b"", retry(1)),
    }[what]
    seen = []

    def reply(connection):
        connection.sendall(first)
        connection.sendmsg([second], passing(descriptor))
        # The worker goes on as if nothing were wrong, and the client does not read it.
        more = b"" if "end" in what or "head" in what else data(b"x" * 50_000)
        try:
            waiting.until(lambda: not connection.sendall(more) and str(path) not in child.descriptors.values(), 1.5, "the descriptor to be closed")
        except ConnectionError:
            pass
        seen.append(str(path) in child.descriptors.values())

    worker.reply = reply
    answer = ask(site)
    assert answer is None or answer.status == 502 or not answer.complete, (answer.status, answer.body[:200])
    waiting.until(lambda: seen, 5, "the worker to be done")
    assert seen == [False]
    os.close(descriptor)
    site.error_log.allow("a line")
    site.error_log.expect("WSGI0360.*a descriptor that belongs to no file", level="error", count=1)
    assert worker.asked == 1
    worker.reply = GOOD
    assert ask(site).body == b"hello"


def test_the_files_of_all_responses_leave_the_child_descriptors(httpd):
    """Twenty clients that do not read their responses of four files each held eighty of 128 descriptors."""
    if httpd.is_reference:
        pytest.skip("the workers of the C module speak another protocol")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        httpd.serve("hello.wsgi", "Timeout 60", options="threads=2", size=ONE_CHILD["prefork" if httpd.mpm == "prefork" else "threads"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if httpd.mpm == "prefork":
        pytest.skip("a child of prefork has one client")
    child, = httpd.children()
    path = httpd.root / "part"
    path.write_bytes(b"hello")
    descriptor = os.open(path, os.O_RDONLY)
    rest = b"x" * 12_000_000

    def reply(connection):
        connection.sendall(head(200))
        for _ in range(4):
            connection.sendmsg([file(0, 5)], passing(descriptor))
        connection.sendall(data(rest) + end())

    def held():
        return sum(kind == str(path) or kind.endswith("(deleted)") for kind in child.descriptors.values())

    with FakeWorker(httpd) as worker, contextlib.ExitStack() as clients:
        worker.reply = reply
        slow = []
        for count in range(20):
            client = clients.enter_context(httpd.connect())
            client.send_request("GET", "/", close=True)
            slow.append(client)
            waiting.until(lambda: worker.asked > count, 10, "the request to be asked")
        # All that may be held is held, and nothing more comes.
        waiting.until(lambda: held() >= 30, 20, lambda: f"{held()} descriptors")
        worker.reply = GOOD
        answers = [httpd.get("/", timeout=10) for _ in range(20)]
        assert [answer.body for answer in answers] == [b"hello"] * 20
        assert max(answer.elapsed for answer in answers) < 1 + waiting.SLACK
        assert held() <= 128 // 4, child.descriptors
        httpd.error_log.expect("WSGI0424: .*32 descriptors", level="warn", count=1)
        # Each of them has its whole response, files included.
        for client in slow:
            answer = client.response()
            assert answer.complete and answer.body == b"hello" * 4 + rest
        waiting.until(lambda: held() == 0, 10, "the descriptors to be closed")
    os.close(descriptor)


def test_a_response_of_many_files_takes_few_descriptors(site, worker):
    child = site.children()[0]
    path = site.root / "part"
    path.write_bytes(b"hello")
    descriptor = os.open(path, os.O_RDONLY)
    most = []

    def reply(connection):
        connection.sendall(head(200))
        for _ in range(200):
            connection.sendmsg([file(0, 5)], passing(descriptor))
            most.append(sum(held == str(path) for held in child.descriptors.values()))
        connection.sendall(end())

    worker.reply = reply
    answer = ask(site)
    os.close(descriptor)
    assert not answer.complete and b"hello" * 5 not in answer.body
    # Four that are a part of it, and one that has just come.
    assert max(most) <= 5
    site.error_log.expect("WSGI0360.*more files than a response may have", count=1)
    waiting.until(lambda: str(path) not in child.descriptors.values(), 5, "the descriptors to be closed")
    worker.reply = GOOD
    assert ask(site).body == b"hello"


def test_a_worker_is_not_asked_again_once_it_has_said_anything(site, worker):
    worker.reply = interim(103) + retry(1)
    assert ask(site).status == 502
    assert worker.asked == 1
    site.error_log.expect("WSGI0360", count=1)


def test_a_worker_that_always_hands_back_is_503_in_the_end(httpd):
    if httpd.is_reference:
        pytest.skip("the workers of the C module speak another protocol")
    httpd.serve(options="threads=1 connect-timeout=1")
    with FakeWorker(httpd) as worker:
        worker.reply = retry(2)
        answer = httpd.get("/", timeout=30)
    assert answer.status == 503 and answer["Retry-After"]
    httpd.error_log.expect("WSGI0124", count=1)


def test_a_body_sent_to_a_worker_that_does_not_read_it_holds_nothing(site, worker):
    def deaf(connection):
        connection.sendall(frame(PULL) + GOOD)
        worker._over.wait(5)

    worker.reply = deaf
    answer = ask(site, "POST", body=b"x" * 3_000_000)
    assert answer.status == 200 and answer.body == b"hello"


def test_ten_thousand_mutated_replies_do_no_harm(site, worker):
    dice = random.Random(20260101)
    good = (
        log(b"text") + interim(103, (b"Link", b"</a>")) + head(200, (b"Content-Length", b"9"), (b"Set-Cookie", b"a=1"), (b"X", b"y"))
        + data(b"hello") + data(b"1234") + end()
    )
    plain = head(200, (b"X", b"y")) + data(b"hello") + data(b"1234") + end()

    def mutated():
        reply = bytearray(dice.choice([good, plain]))
        for _ in range(dice.randrange(1, 5)):
            at = dice.randrange(len(reply) or 1)
            match dice.randrange(6):
                case 0:
                    reply[at : at + 1] = dice.randbytes(1)
                case 1:
                    del reply[at : at + dice.randrange(1, 12)]
                case 2:
                    reply[at:at] = dice.randbytes(dice.randrange(1, 12))
                case 3:
                    del reply[at:]
                case 4:
                    other = dice.randrange(len(reply) or 1)
                    reply[at:at] = reply[other : other + 24]
                case 5:
                    reply[at : at + 4] = struct.pack("<I", dice.choice([0, 1, 255, 65536, 1 << 20, (1 << 31) - 1, (1 << 32) - 1]))
        return bytes(reply)

    (child,) = site.children()
    seen = {}
    before = None
    for round_ in range(10_000):
        worker.reply = mutated()
        answer = ask(site)
        outcome = "closed" if answer is None else f"{answer.status}" if answer.complete else "broken"
        seen[outcome] = seen.get(outcome, 0) + 1
        if round_ == 1000:
            # Pools, threads and buffers have their size by now.
            before = child.private_memory
    site.error_log.allow(".")
    assert child.exists and site.children()[0].pid == child.pid
    # AddressSanitizer keeps for a while what was freed.
    limit = (16 if "ASAN_OPTIONS" in os.environ.get("WSGI_TEST_ENVIRON", "") else 2) << 20
    assert child.private_memory - before < limit, child.private_memory - before
    # Not everything is noise.
    assert seen["200"] > 100 and seen["502"] > 1000 and seen["broken"] > 100, seen
    assert "panicked" not in site.error_log.text()
    worker.reply = GOOD
    assert ask(site).body == b"hello"
