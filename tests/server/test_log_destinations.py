"""Error logs that are no files: the system's log, and programs at the end of a pipe, which may read
slowly or not at all (issue 4, point 7). Records of the supervisor and what workers print outside of
requests get there as those of Apache do."""

import os
import re
import signal
import socket
import threading
import time

import pytest

import waiting
from processes import send_signal

NOISY = """
import os, sys
print("said at import")
def application(environ, start_response):
    print("said in a request")
    os.write(2, b"written raw\\n")
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def syslog(httpd):
    """Takes the place of the system's log and writes what it is sent into the usual file, in Apache's
    format; the raw records are in the list it gives."""
    if os.path.exists("/dev/log"):
        pytest.skip("this system has a log of its own at /dev/log")
    records = []
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader.bind("/dev/log")

    def read():
        with open(httpd.error_log.path, "a") as log:
            while record := reader.recv(65536).decode():
                records.append(record)
                text = re.sub(r"^<\d+>\w+ [ \d]\d [\d:]+ \S+\[\d+\]: ", "", record).rstrip("\n")
                log.write(f"[{time.strftime('%a %b %d %H:%M:%S %Y')}] {text}\n")
                log.flush()

    thread = threading.Thread(target=read)
    thread.start()
    yield records
    httpd.kill_all()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
        last.connect("/dev/log")
        last.send(b"")
    thread.join(10)
    reader.close()
    os.unlink("/dev/log")


def lived_through(httpd):
    """A life with all that is logged: imports, requests, raw output, a death, a restart, a stop."""
    pid = int(httpd.get("/").text)
    httpd.error_log.expect("said at import", level="error", count=1)
    httpd.error_log.expect("said in a request", level="error", count=1)
    httpd.error_log.expect("written raw", level="error", count=1)
    send_signal(pid, signal.SIGKILL)
    httpd.error_log.expect("WSGI0339.*SIGKILL", level="error")
    httpd.error_log.allow("said|written")
    assert httpd.get("/").status == 200
    httpd.graceful()
    before = len(httpd.error_log.records("said in a request"))
    waiting.until(lambda: httpd.get("/").status == 200 and len(httpd.error_log.records("said in a request")) > before, 5, "a record")


@pytest.mark.differs("bad-days", run=False)
def test_everything_reaches_the_system_s_log(httpd, syslog):
    httpd.app("noisy.wsgi", NOISY)
    httpd.serve("noisy.wsgi", "ErrorLog syslog:local3:shop")
    lived_through(httpd)
    assert all(" shop[" in record for record in syslog)
    death, = (record for record in syslog if "WSGI0339" in record)
    # local3, error.
    assert death.startswith(f"<{19 * 8 + 3}>")
    httpd.stop()


PROGRAM = 'ErrorLog "|/usr/bin/tee -a {root}/logs/error.log"'


def loggers(httpd):
    return [process for process in httpd.family() if "tee -a" in process.title]


@pytest.mark.differs("bad-days", run=False)
def test_everything_reaches_a_program(httpd):
    httpd.app("noisy.wsgi", NOISY)
    httpd.serve("noisy.wsgi", PROGRAM)
    lived_through(httpd)
    # The program of before a restart ends: nobody of ours holds its pipe.
    waiting.until(lambda: len(loggers(httpd)) == 1, 10, lambda: f"one logger: {httpd.described()}")
    httpd.stop()


@pytest.mark.differs("bad-days", run=False)
def test_a_program_that_does_not_read_holds_up_neither_requests_nor_successors(httpd):
    httpd.app("flood.wsgi", """
import os
def application(environ, start_response):
    for _ in range(int(environ["QUERY_STRING"] or 0)):
        os.write(2, b"x" * 1000 + b"\\n")
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("flood.wsgi", PROGRAM)
    pid = int(httpd.get("/").text)
    logger, = loggers(httpd)
    logger.signal(signal.SIGSTOP)
    try:
        # Four times what the pipe and the supervisor's memory hold.
        for _ in range(20):
            answer = httpd.get("/?100")
            assert answer.status == 200 and answer.elapsed < 5
        memory = httpd.supervisor.private_memory
        for _ in range(20):
            assert httpd.get("/?100").status == 200
        assert httpd.supervisor.private_memory - memory < 1 << 20
        # Nor does it hold up a death, or a request that waits for a successor.
        send_signal(pid, signal.SIGKILL)
        assert waiting.until(lambda: int(httpd.get("/").text), 5, "an answer") != pid
        httpd.workers(count=1)
    finally:
        logger.signal(signal.SIGCONT)
    httpd.error_log.allow("xxx|WSGI0339|WSGI0146")
    waiting.until(lambda: httpd.get("/?1").status == 200 and "WSGI0330" in httpd.error_log.text(), 10, "what was lost to be told")
    httpd.error_log.expect(r"WSGI0330: \d+ lines were lost", level="warn")


@pytest.mark.differs("bad-days", run=False)
def test_a_supervisor_that_does_not_read_holds_up_no_request(httpd):
    """What a worker writes outside of requests goes through a pipe to the supervisor."""
    httpd.app("talks.wsgi", """
import sys, threading
told, done = threading.Event(), threading.Event()

def talk():
    told.wait()
    for _ in range(300):
        print("y" * 1000, file=sys.stderr)
    done.set()

threading.Thread(target=talk, daemon=True).start()

def application(environ, start_response):
    told.set()
    if environ["QUERY_STRING"]:
        threading.Thread(target=print, args=("said again",)).start()
    start_response("200 OK", [])
    return [b"done" if done.is_set() else b"talking"]
""")
    httpd.serve("talks.wsgi")
    httpd.error_log.expect("worker .* is ready", level="info")
    httpd.error_log.allow("yyy")
    supervisor = httpd.supervisor
    supervisor.signal(signal.SIGSTOP)
    try:
        # Five times what the pipe holds. It is waited for once, for a second.
        waiting.until(lambda: httpd.get("/").text == "done", 15, "the thread to have written or given up")
        answer = httpd.get("/")
        assert answer.status == 200 and answer.elapsed < 1 + waiting.SLACK
    finally:
        supervisor.signal(signal.SIGCONT)
    assert httpd.get("/").status == 200
    # The next record says what is missing.
    assert httpd.get("/?again").status == 200
    httpd.error_log.expect(r"WSGI0317: \d+ lines of log were left out", level="error")
    httpd.error_log.expect("said again")


@pytest.mark.differs("bad-days", run=False)
def test_threads_that_log_at_the_same_time_do_not_wait_for_a_supervisor_that_does_not_read(httpd):
    """Two threads may find room for one record: the one that comes second must not wait for ever."""
    httpd.app("together.wsgi", """
import sys, threading
told, done = threading.Event(), threading.Semaphore(0)

def talk():
    told.wait()
    for _ in range(20):
        print("y" * 4000, file=sys.stderr)
    done.release()

threads = [threading.Thread(target=talk, daemon=True) for _ in range(32)]
for thread in threads:
    thread.start()

def application(environ, start_response):
    told.set()
    ended = sum(not thread.is_alive() for thread in threads)
    start_response("200 OK", [])
    return [str(ended).encode()]
""")
    httpd.serve("together.wsgi")
    httpd.error_log.expect("worker .* is ready", level="info")
    httpd.error_log.allow("yyy", "WSGI0317")
    supervisor = httpd.supervisor
    supervisor.signal(signal.SIGSTOP)
    try:
        waiting.until(lambda: httpd.get("/").text == "32", 15, "all threads to have written or given up")
    finally:
        supervisor.signal(signal.SIGCONT)
    # What was lost is told although nothing else is logged.
    httpd.error_log.expect(r"WSGI0317: \d+ lines of log were left out", level="error")
