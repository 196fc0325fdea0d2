"""Time limits: what a worker does about requests, loads and locks that take too long."""

import time
from pathlib import Path

import pytest
import wire
from harness import eventually

STUCK = """
    import re, time
    def application(environ, start_response):
        how = environ["PATH_INFO"]
        start_response("200 OK", [])
        if how == "/quick":
            return [b"quick"]
        if how == "/held":
            # Runs in C for hours, with the lock.
            re.match("(a+)+$", 60 * "a" + "b")
        if how == "/python":
            while True:
                pass
        if how == "/read":
            environ["wsgi.input"].read()
        if how == "/begun":
            return begun()
        if how == "/hidden":
            # The thread does not show its stack.
            import signal
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if how in ("/file", "/hidden"):
            return [b"x" * 50_000_000]
        time.sleep(30)
        return [b"late"]
    def begun():
        yield b"some"
        time.sleep(30)
"""


def timed(worker, path, where, **more):
    start = time.monotonic()
    answer = worker.get(path, where, **more)
    return answer, time.monotonic() - start


@pytest.mark.parametrize("where", ["/sleep", "/python", "/held", "/read"])
def test_a_request_that_takes_too_long_is_answered_for_and_the_worker_asks_to_be_replaced(worker, script, where):
    path = script(STUCK)
    w = worker(threads=2, request_limit=600)
    more = {"flags": 0, "content_length": 5} if where == "/read" else {}
    answer, took = timed(w, path, where, environ={"REQUEST_URI": where + "?secret=1"}, **more)
    assert 0.6 <= took < 1.6
    status, text = answer.fail
    assert status == 504
    assert f"WSGI0323: GET {where} has taken longer than request-timeout=0" in text
    assert "secret" not in text
    assert "of 2 threads" in text and f" application ({path}:" in text
    assert f'File "{path}", line' in answer.log
    assert w.hear() == ("leaving", wire.TIME_LIMIT)
    if where != "/held":
        # The other thread goes on until a successor is there.
        assert w.get(path, "/quick").body == b"quick"
    start = time.monotonic()
    w.control.send(wire.drain(15_000))
    # The thread that hangs is not waited for; hooks can't run while it holds the lock.
    assert w.wait() == 0
    assert time.monotonic() - start < (6 if where == "/held" else 1)


def test_a_response_that_has_begun_is_broken_off(worker, script):
    path = script(STUCK)
    w = worker(request_limit=500)
    answer, took = timed(w, path, "/begun")
    assert 0.5 <= took < 1.5
    assert (answer.body, answer.end["broken"]) == (b"some", True)
    assert "WSGI0323" in answer.log and "begun (" in answer.log


@pytest.mark.parametrize("where", ["/file", "/hidden"])
def test_a_thread_that_is_sending_is_answered_for_when_it_is_not(worker, script, where):
    path = script(STUCK)
    w = worker(request_limit=400)
    with w.send(path, where) as connection:
        assert w.hear() == ("leaving", wire.TIME_LIMIT)
        eventually(lambda: "WSGI0323" in w.log)
        w.control.send(wire.drain(15_000))
        assert w.wait() == 0
        # What it had sent can be had, and is not whole.
        got = 0
        while piece := connection.recv(1 << 20):
            got += len(piece)
        assert 0 < got < 50_000_000


def test_a_request_within_its_limit_is_left_alone(worker, script):
    path = script("""
    import time
    def application(environ, start_response):
        time.sleep(0.3)
        start_response("200 OK", [])
        return [b"done"]
    """)
    w = worker(threads=1, request_limit=500)
    for _ in range(4):
        assert w.get(path).body == b"done"
    assert "WSGI0" not in w.log


def test_loading_does_not_count(worker, script):
    path = script("""
    import time
    time.sleep(0.8)
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"loaded"]
    """)
    assert worker(request_limit=300).get(path).body == b"loaded"


INTERRUPTED = """
    import time, mod_wsgi
    def application(environ, start_response):
        start_response("200 OK", [])
        where = environ["PATH_INFO"]
        if where == "/quick":
            return [b"quick"]
        if where == "/begun":
            return begun()
        try:
            while True:
                time.sleep(0.01)
        except mod_wsgi.RequestTimeout:
            if where == "/handled":
                return [b"handled"]
            if where == "/ignored":
                time.sleep(30)
            raise
    def begun():
        yield b"some"
        while True:
            time.sleep(0.01)
"""


@pytest.mark.parametrize("group", ["", "other"])
def test_request_timeout_is_raised_in_that_thread_alone(worker, script, group):
    path = script(INTERRUPTED)
    w = worker(threads=2, request_limit=500, interrupt=5000, global_reachable=True)
    with w.send(path, "/slow", group=group) as connection:
        start = time.monotonic()
        while time.monotonic() < start + 0.4:
            assert w.get(path, "/quick", group=group).body == b"quick"
        answer = w.answer(connection)
    assert time.monotonic() - start < 1.5
    assert answer.fail[0] == 504
    # What ended it is one line; where it was has been said when that was raised.
    ended, = [(level, text) for level, text in answer.logs if "has ended it" in text]
    assert ended[0] == 6 and ended[1].startswith("WSGI0324: GET ") and "\n" not in ended[1]
    assert "Traceback" not in answer.log and "is raised in its thread" in answer.log
    levels = {level for level, text in answer.logs if "is raised in its thread" in text}
    assert levels == {6}
    # The process goes on, and its threads with it.
    for _ in range(6):
        assert w.get(path, "/quick", group=group).body == b"quick"
    assert w.get(path, "/handled", group=group).body == b"handled"
    answer = w.get(path, "/begun", group=group)
    assert (answer.body, answer.end["broken"]) == (b"some", True)
    with pytest.raises(TimeoutError):
        w.hear(0.05)


def test_a_thread_that_does_not_heed_it_is_given_up(worker, script):
    path = script(INTERRUPTED)
    w = worker(threads=1, request_limit=300, interrupt=400)
    answer, took = timed(w, path, "/ignored")
    assert 0.7 <= took < 1.7
    assert answer.fail[0] == 504 and "interrupt-timeout" in answer.fail[1]
    assert w.hear() == ("leaving", wire.TIME_LIMIT)


def test_an_exception_that_comes_too_late_does_not_hit_the_next_request(worker, script):
    # The call returns at about the moment of the limit, sometimes just before, sometimes just after
    # the exception was set.
    path = script("""
    import ctypes
    hold = ctypes.CDLL(None).usleep
    def application(environ, start_response):
        start_response("200 OK", [])
        hold(int(environ["QUERY_STRING"]))
        return [b"x"]
    """)
    w = worker(threads=1, request_limit=50, interrupt=5000)
    w.get(path, environ={"QUERY_STRING": "0"})
    interrupted = 0
    for step in range(60):
        answer = w.get(path, environ={"QUERY_STRING": str(49_000 + step * 50)})
        interrupted += answer.ending == "last" and not answer.of(wire.HEAD)
        assert w.get(path, environ={"QUERY_STRING": "0"}).body == b"x"
    assert interrupted > 0


def test_a_held_lock_is_found(worker, script):
    path = script(STUCK)
    quick = script("""
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]
    """, "quick.wsgi")
    w = worker(threads=3, deadlock=1000)
    assert w.get(quick).body == b"x"
    start = time.monotonic()
    with w.send(path, "/held") as held:
        time.sleep(0.2)
        with w.send(quick) as waiting:
            assert w.hear() == ("leaving", wire.TIME_LIMIT)
            found = time.monotonic() - start
            # A second after the limit, and what a busy machine adds.
            assert 1 <= found <= 3
            answer = w.answer(held)
            assert answer.fail[0] == 504 and "deadlock-timeout=1" in answer.fail[1]
            # Answered before the stacks are looked at.
            assert "The log of the process group shows where" in answer.fail[1]
            assert w.wait() == 0
            assert time.monotonic() - start < found + 1
            # This one has not begun, and comes again.
            other = w.answer(waiting)
            assert other.ending == "reset" or other.retry
    assert w.log.count("WSGI0325") == 1 and f'File "{path}", line' in w.log


def test_a_process_that_was_stopped_is_not_taken_for_deadlocked(worker, script):
    import signal

    path = script(STUCK)
    w = worker(deadlock=600)
    assert w.get(path, "/quick").body == b"quick"
    for _ in range(3):
        w.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        w.process.send_signal(signal.SIGCONT)
        assert w.get(path, "/quick").body == b"quick"
    assert "WSGI0325" not in w.log


def test_a_load_that_hangs_is_answered_with_where_it_is(worker, script):
    path = script("""
    import time
    def hang():
        time.sleep(30)
    open(__file__ + ".begun", "w").close()
    hang()
    """)
    w = worker(threads=3, startup=600)
    with w.send(path, environ={"REQUEST_URI": "/first"}) as one:
        eventually(Path(f"{path}.begun").exists)
        with w.send(path) as other:
            first, second = w.answer(one), w.answer(other)
    status, text = first.fail
    assert status == 504 and "WSGI0326" in text and "startup-timeout" in text
    assert f"now in hang ({path}:4), called by <module>" in text
    assert second.retry == 2
    assert w.hear() == ("leaving", wire.TIME_LIMIT)
    w.control.send(wire.drain(15_000))
    assert w.wait(2) == 0


def test_a_first_load_in_time_ends_the_watch_on_loads(worker, script):
    path = script(STUCK)
    slow = script("""
    import time
    time.sleep(0.8)
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"slow"]
    """, "slow.wsgi")
    w = worker(startup=500)
    assert w.get(path, "/quick").body == b"quick"
    assert w.get(slow).body == b"slow"


def test_a_request_that_waited_too_long_is_not_run(worker, script):
    path = script(STUCK)
    w = worker(queue=1000)
    now = int(time.monotonic() * 1e6)
    # A wall clock that was set changes nothing.
    for epoch in (0, int(time.time() * 1e6), int((time.time() + 3600) * 1e6)):
        answer = w.get(path, "/quick", sent=now - 1_500_000, queue_start=epoch)
        status, text = answer.fail
        assert status == 504
        assert "WSGI0084" in text and "queue-timeout=1" in text and "process group 'shop'" in text
        assert w.get(path, "/quick", queue_start=epoch).body == b"quick"
    waited = float(text.split(" waited ")[1].split(" s ")[0])
    assert 1.5 <= waited < 3


def test_inactivity(worker, script):
    path = script(STUCK)
    w = worker(inactivity=500)
    w.control.settimeout(1)
    # Not before the first request.
    with pytest.raises(TimeoutError):
        w.control.recv(1)
    assert w.get(path, "/quick").body == b"quick"
    start = time.monotonic()
    assert w.hear() == ("leaving", wire.INACTIVE)
    assert 0.4 <= time.monotonic() - start < 1.2
    eventually(lambda: "WSGI0327" in w.log)


def test_requests_keep_it_active_unless_they_are_not_to(worker, script):
    path = script(STUCK)
    w = worker(inactivity=600)
    assert w.get(path, "/quick").body == b"quick"
    for _ in range(8):
        time.sleep(0.1)
        assert w.get(path, "/quick").body == b"quick"
    start = time.monotonic()
    ignored = wire.BODY_WHOLE | wire.RELOAD | wire.IGNORE_ACTIVITY
    while True:
        assert w.get(path, "/quick", flags=ignored).body == b"quick"
        w.control.settimeout(0.05)
        try:
            w.control.recv(100)
            break
        except TimeoutError:
            assert time.monotonic() - start < 2


def test_a_request_that_runs_is_activity(worker, script):
    path = script("""
    import time
    def application(environ, start_response):
        time.sleep(1)
        start_response("200 OK", [])
        return [b"x"]
    """)
    w = worker(inactivity=300)
    start = time.monotonic()
    assert w.get(path).body == b"x"
    assert w.hear() == ("leaving", wire.INACTIVE)
    assert time.monotonic() - start >= 1.2
