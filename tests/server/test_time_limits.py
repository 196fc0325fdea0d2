"""Limits of time and number: they fire when they say, tell where the request was, and cost nobody
else anything (issue 4, point 5)."""

import os
import re
import subprocess
import threading
import time

import pytest

import waiting
from processes import send_signal

SLOW = """
import os, re, time
import mod_wsgi

def note(name, **event):
    if name == "process_stopping":
        with open({reasons!r}, "a") as file:
            file.write(event["shutdown_reason"] + "\\n")

mod_wsgi.subscribe_shutdown(note)

def application(environ, start_response):
    where = environ["PATH_INFO"]
    if where.startswith("/sleep/"):
        with open({hints!r}, "a") as file:
            file.write(where + "\\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    if where == "/begun":
        return begun()
    if where == "/held":
        # Runs in C for hours, with Python's lock.
        re.match("(a+)+$", 60 * "a" + "b")
    if where.startswith("/sleep/"):
        hang(float(where[7:]))
    if where == "/epoch":
        return [repr(time.time()).encode()]
    if where == "/loop":
        while True:
            time.sleep(0.01)
    return [str(os.getpid()).encode()]

def hang(seconds):
    time.sleep(seconds)

def begun():
    yield b"some"
    time.sleep(60)
"""

# A number of ours, and what may stand below such a line: a traceback or a stack.
BELOW = (r"\]\s+File \"", r"\]\s+\S", "Traceback", "RequestTimeout", "hread 0x")


@pytest.fixture
def served(httpd):
    def serve(options, *lines):
        # Why processes ended, and which slow requests have begun.
        httpd.reasons, httpd.hints = httpd.apps / "reasons", httpd.apps / "hints"
        for path in (httpd.reasons, httpd.hints):
            path.touch()
            path.chmod(0o666)
        httpd.app("slow.wsgi", SLOW.format(reasons=str(httpd.reasons), hints=str(httpd.hints)))
        httpd.serve("slow.wsgi", *lines, options=options)
        return httpd

    return serve


def in_background(httpd, target):
    """Ask on a thread; return a list that gets the answer, and the thread."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(httpd.get(target)))
    thread.start()
    return answers, thread


def replaced(httpd, pid, within=5.0):
    """Wait until process `pid` has gone and another one answers."""
    waiting.for_exit(pid, within)
    assert int(httpd.get("/").text) != pid


# -- request-timeout and interrupt-timeout ------------------------------------------------------


@pytest.mark.differs("limits-fire-when-they-say", run=False)
def test_a_stuck_request_is_answered_at_its_limit_and_costs_nobody_else_anything(served):
    httpd = served("threads=5 request-timeout=3")
    pid = int(httpd.get("/").text)
    with httpd.load(clients=4) as load:
        answer = httpd.get("/sleep/60")
        assert answer.status == 504
        print(f"answered after {answer.elapsed:.2f} s")
        assert 3 <= answer.elapsed < 4 + waiting.SLACK
        load.more(100)
        waiting.for_exit(pid, 5 + waiting.SLACK)
        load.more(100)
    assert not load.failures, load.failures[:3]
    said, *_ = httpd.error_log.expect("WSGI0323: GET /sleep/60 has taken longer than request-timeout=3")
    # Which limit, how long in the queue, how long in the application, where, and how busy.
    assert re.search(r"0\.\d s in the queue, 3\.\d s in the application", said.text)
    assert "now in hang (" in said.text and "called by application (" in said.text
    assert re.search(r"\d of 5 threads of the process are busy, \d+ requests? waits? for the group", said.text)
    assert said.client == "127.0.0.1" or said.client.startswith("127.0.0.1:")
    httpd.error_log.allow(*BELOW)
    httpd.error_log.expect("in hang$|in hang\\\\n")
    assert httpd.reasons.read_text() == "request_timeout\n"


@pytest.mark.differs("limits-fire-when-they-say", run=False)
def test_a_request_that_holds_the_lock_is_answered_as_well(served):
    httpd = served("processes=2 threads=2 request-timeout=1 deadlock-timeout=60 shutdown-timeout=1")
    httpd.workers("app", count=2)
    answer = httpd.get("/held")
    assert answer.status == 504
    assert 1 <= answer.elapsed < 2 + waiting.SLACK
    httpd.error_log.allow("WSGI0", *BELOW)
    httpd.error_log.expect("WSGI0323.*GET /held.*called by application")
    for _ in range(10):
        assert httpd.get("/").status == 200


@pytest.mark.differs("truncation-is-visible", run=False)
def test_a_response_that_had_begun_is_seen_to_be_broken(served):
    httpd = served("threads=2 request-timeout=1")
    answer = httpd.get("/begun")
    assert (answer.status, answer.complete, answer.body) == (200, False, b"some")
    assert answer.elapsed < 2 + waiting.SLACK
    httpd.error_log.allow("WSGI0", *BELOW)
    httpd.error_log.expect("WSGI0323")


def test_a_limit_that_is_not_reached_does_nothing(served):
    httpd = served("threads=1 request-timeout=2")
    pid = httpd.get("/").text
    assert httpd.get("/sleep/1").text == pid
    assert httpd.get("/sleep/1").text == pid


def test_request_timeout_is_raised_in_the_application(served):
    # One thread: with more, mod_wsgi multiplies the limit.
    httpd = served("threads=1 request-timeout=1 interrupt-timeout=20")
    pid = httpd.get("/").text
    answer = httpd.get("/loop")
    assert answer.status == 504
    # mod_wsgi looks once a second.
    assert 1 <= answer.elapsed < (4 if httpd.is_reference else 2) + waiting.SLACK
    httpd.error_log.allow("WSGI0", *BELOW)
    httpd.error_log.expect("RequestTimeout")
    assert httpd.get("/").text == pid


@pytest.mark.differs("limits-fire-when-they-say", run=False)
def test_only_the_late_request_is_interrupted(served):
    httpd = served("threads=6 request-timeout=2 interrupt-timeout=20")
    pid = httpd.get("/").text
    with httpd.load(clients=3) as load:
        others = []
        for _ in range(2):
            others.append(in_background(httpd, "/sleep/1.5"))
        assert httpd.get("/loop").status == 504
        load.more(50)
        for answers, thread in others:
            thread.join()
            assert answers[0].text == pid
    assert not load.failures, load.failures[:3]
    httpd.error_log.allow("WSGI0", *BELOW)
    ended, = httpd.error_log.expect("WSGI0324: GET /loop has taken longer than request-timeout=2, and RequestTimeout has ended it")
    assert ended.level == "info"
    # Where it was has been said at level info, when RequestTimeout was raised.
    httpd.error_log.expect("RequestTimeout is raised in its thread", level="info")
    assert not httpd.error_log.records("Traceback")
    assert httpd.get("/").text == pid


@pytest.mark.differs("limits-fire-when-they-say", run=False)
def test_a_request_that_cannot_be_interrupted_is_given_up(served):
    httpd = served("threads=2 request-timeout=1 interrupt-timeout=1")
    pid = int(httpd.get("/").text)
    answer = httpd.get("/sleep/60")
    assert answer.status == 504
    assert 2 <= answer.elapsed < 3 + waiting.SLACK
    replaced(httpd, pid)
    httpd.error_log.allow("WSGI0", *BELOW)
    httpd.error_log.expect("WSGI0323.*request-timeout=1 and interrupt-timeout=1")


# -- deadlock-timeout ---------------------------------------------------------------------------


@pytest.mark.differs("limits-fire-when-they-say", run=False)
def test_a_held_lock_is_found_and_costs_only_its_own_request(served):
    httpd = served("threads=3 deadlock-timeout=2")
    pid = int(httpd.get("/").text)
    held, thread = in_background(httpd, "/held")
    start = time.monotonic()
    # Clients that come meanwhile wait for the successor.
    waiting_answers = [in_background(httpd, "/") for _ in range(3)]
    waiting.for_exit(pid, 10)
    print(f"gone after {time.monotonic() - start:.2f} s")
    assert time.monotonic() - start < 3.3 + waiting.SLACK
    thread.join()
    assert held[0].status == 504
    for answers, other in waiting_answers:
        other.join()
        assert answers[0].status == 200
    httpd.error_log.allow(*BELOW)
    found = httpd.error_log.expect("WSGI0325")
    assert any("deadlock-timeout=2 in process group 'app'" in record.text for record in found)
    assert any("GET /held was ended" in record.text and "shows where its threads were" in record.text for record in found)
    httpd.error_log.expect(r'File ".*", line \d+ in application')


# -- startup-timeout ----------------------------------------------------------------------------


@pytest.mark.differs("limits-fire-when-they-say", run=False)
def test_a_load_that_hangs_is_answered_with_where_it_is(httpd):
    gate = httpd.apps / "gate"
    httpd.app("hangs.wsgi", f"""
import os, time
def wait():
    while not os.path.exists({str(gate)!r}):
        time.sleep(0.01)
wait()
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"up"]
""")
    httpd.configure(
        "WSGIDaemonProcess app threads=2 startup-timeout=1 display-name=%{GROUP}",
        "WSGIScriptAlias / {apps}/hangs.wsgi", "WSGIProcessGroup app",
        "WSGIApplicationGroup %{GLOBAL}",
    )
    httpd.start()
    answer = httpd.get("/")
    assert answer.status == 504
    assert 1 <= answer.elapsed < 2 + waiting.SLACK
    httpd.error_log.allow("WSGI0", *BELOW)
    httpd.error_log.expect(r"WSGI0326: .*hangs\.wsgi is still being loaded after 1\.\d s .startup-timeout=1. "
                           r"for GET /, now in wait \(.*hangs\.wsgi:5\), called by <module>")
    gate.touch()
    waiting.until(lambda: httpd.get("/").text == "up", 10, "a process that has loaded it")


@pytest.mark.differs("limits-fire-when-they-say", run=False)
def test_a_preloaded_script_that_hangs_is_told_with_where_it_is(httpd):
    httpd.app("hangs.wsgi", "import time\ndef wait():\n    time.sleep(60)\nwait()\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=2 startup-timeout=1 shutdown-timeout=2 display-name=%{GROUP}",
        "WSGIScriptAlias / {apps}/hangs.wsgi process-group=app application-group=%{GLOBAL}",
    )
    httpd.start()
    httpd.error_log.allow("WSGI0", *BELOW)
    httpd.error_log.expect(r"WSGI0326.*hangs\.wsgi.*now in wait \(.*hangs\.wsgi:3\), called by <module>")
    # The next worker leaves the script out, and is ready.
    httpd.error_log.expect("WSGI0431.*was not ready within 1 s while it loaded .*hangs.wsgi")


# -- queue-timeout ------------------------------------------------------------------------------


def test_a_request_that_waited_too_long_is_not_run(served):
    httpd = served("threads=1 queue-timeout=1")
    httpd.get("/")
    first, thread = in_background(httpd, "/sleep/2.5")
    # It has the one thread.
    waiting.until(lambda: httpd.hints.read_text() == "/sleep/2.5\n", 5)
    late = httpd.get("/late")
    thread.join()
    assert first[0].status == 200
    assert late.status == 504
    said, *_ = httpd.error_log.expect("WSGI0084")
    if not httpd.is_reference:
        waited = float(re.search(r"GET /late waited ([\d.]+) s", said.text)[1])
        assert 1.5 <= waited < 3
        assert "queue-timeout=1" in said.text and "1 of 1 threads" in said.text
        assert late["Retry-After"].isdigit()
    assert httpd.get("/").status == 200


# -- inactivity-timeout and WSGIIgnoreActivity --------------------------------------------------


def test_a_process_without_requests_is_replaced(served):
    httpd = served("threads=2 inactivity-timeout=1")
    pid = int(httpd.get("/").text)
    # mod_wsgi looks once a second.
    waiting.for_exit(pid, (6 if httpd.is_reference else 2.5) + waiting.SLACK)
    assert httpd.reasons.read_text() == "inactivity_timeout\n"
    assert int(httpd.get("/").text) != pid


def test_a_request_that_runs_is_not_inactivity(served):
    httpd = served("threads=2 inactivity-timeout=1")
    assert httpd.get("/sleep/2.5").status == 200


@pytest.mark.parametrize("ignored", [False, True])
def test_requests_count_as_activity_unless_they_are_not_to(served, ignored):
    httpd = served("threads=2 inactivity-timeout=2", f"<Location /ping>\nWSGIIgnoreActivity {'On' if ignored else 'Off'}\n</Location>")
    pid = httpd.get("/").text
    end = time.monotonic() + 5
    seen = {pid}
    while time.monotonic() < end:
        seen.add(httpd.get("/ping").text)
    assert (len(seen) > 1) == ignored


# -- maximum-requests ---------------------------------------------------------------------------


def test_a_process_is_replaced_after_its_number_of_requests(served):
    httpd = served("threads=1 maximum-requests=5")
    pids = [httpd.get("/").text for _ in range(5)]
    assert len(set(pids)) == 1
    waiting.until(lambda: httpd.get("/").text != pids[0], 5, "another process")
    waiting.until(lambda: httpd.reasons.read_text().startswith("maximum_requests\n"), 5, "the event")


@pytest.mark.differs("start-before-stop", run=False)
def test_maximum_requests_under_load_costs_no_request(served):
    httpd = served("processes=2 threads=4 maximum-requests=100 maximum-requests-jitter=50")
    seen = set()

    def accept(answer):
        seen.add(answer.text)
        return answer.status == 200 and answer.complete

    with httpd.load(clients=8, accept=accept) as load:
        waiting.until(lambda: len(seen) >= 8 or load.failures, 30, lambda: f"8 processes, {len(seen)} seen")
    assert not load.failures, load.failures[:3]
    assert load.longest < 1 + waiting.SLACK


# -- graceful-timeout and shutdown-timeout --------------------------------------------------------


def test_a_request_that_runs_when_its_process_is_replaced_may_end(served):
    httpd = served("threads=2 maximum-requests=2 graceful-timeout=10")
    httpd.get("/")
    running, thread = in_background(httpd, "/sleep/1.5")
    waiting.until(httpd.hints.read_text, 5)
    httpd.get("/")
    thread.join()
    assert running[0].status == 200


@pytest.mark.differs("limits-fire-when-they-say", run=False)
def test_a_request_that_takes_longer_than_that_ends_with_its_process(served):
    httpd = served("threads=2 maximum-requests=2 graceful-timeout=1 shutdown-timeout=1")
    httpd.get("/")
    running, thread = in_background(httpd, "/sleep/60")
    waiting.until(httpd.hints.read_text, 5)
    start = time.monotonic()
    httpd.get("/")
    thread.join()
    assert running[0].status == 502
    assert 0.9 <= time.monotonic() - start < 3 + waiting.SLACK
    httpd.error_log.allow("WSGI0")
    assert httpd.get("/").status == 200


def test_a_hook_that_hangs_is_ended_by_shutdown_timeout(httpd):
    httpd.app("hook.wsgi", """
import mod_wsgi, os, time
mod_wsgi.subscribe_shutdown(lambda name, **event: time.sleep(60))
def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("hook.wsgi", options="threads=2 maximum-requests=1 shutdown-timeout=1")
    pid = int(httpd.get("/").text)
    httpd.error_log.allow("WSGI0", "Shutdown timeout")
    waiting.for_exit(pid, 4 + waiting.SLACK)


# -- what is left of the C module's options -----------------------------------------------------


def test_the_stack_of_threads_has_the_size_that_is_asked_for(httpd):
    httpd.app("stack.wsgi", """
import ctypes
def application(environ, start_response):
    libc = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(64)
    libc.pthread_self.restype = ctypes.c_ulong
    libc.pthread_getattr_np(ctypes.c_ulong(libc.pthread_self()), attributes)
    size = ctypes.c_size_t()
    libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
    start_response("200 OK", [])
    return [str(size.value).encode()]
""")
    httpd.serve("stack.wsgi", options="threads=2 stack-size=3145728")
    assert int(httpd.get("/").text) == 3145728


@pytest.mark.parametrize("group", ["%{GLOBAL}", "other"])
def test_the_switch_interval_is_set(httpd, group):
    httpd.app("interval.wsgi", """
import sys
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr(sys.getswitchinterval()).encode()]
""")
    httpd.serve("interval.wsgi", f"WSGIApplicationGroup {group}", options="threads=2 switch-interval=0.0125")
    assert float(httpd.get("/").text) == pytest.approx(0.0125)


@pytest.mark.parametrize("restricted", [True, False])
def test_handlers_of_signals_are_kept_out_unless_that_is_lifted(httpd, restricted):
    httpd.app("signals.wsgi", """
import signal
def mine(number, frame):
    pass
try:
    answer = signal.signal(signal.SIGALRM, mine) is mine
except ValueError:
    answer = "refused by Python"
def application(environ, start_response):
    start_response("200 OK", [])
    return [str(answer).encode()]
""")
    httpd.serve("signals.wsgi", f"WSGIRestrictSignal {'On' if restricted else 'Off'}")
    # Python allows it on its main thread only, and this is none.
    assert httpd.get("/").text == ("True" if restricted else "refused by Python")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR2"])
def test_signals_are_told_to_those_who_subscribed(httpd, name):
    import signal

    told = httpd.apps / "told"
    told.touch()
    told.chmod(0o666)
    httpd.app("told.wsgi", f"""
import mod_wsgi, os
def note(event, **payload):
    with open({str(told)!r}, "a") as file:
        file.write(f"{{event}} {{payload['signame']}} {{payload['signum']}}\\n")
mod_wsgi.subscribe_signals(note)
def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("told.wsgi", "WSGIApplicationGroup other")
    pid = int(httpd.get("/").text)
    number = getattr(signal, name)
    send_signal(pid, number)
    line = f"process_signal {name} {int(number)}\n"
    # The C module says it twice now and then.
    wanted = [line, 2 * line] if httpd.is_reference else [line]
    waiting.until(lambda: told.read_text() in wanted, 5, told.read_text)
    assert int(httpd.get("/").text) == pid


@pytest.mark.parametrize("destroyed", [True, False])
def test_exit_functions_run_unless_the_interpreter_is_left_alone(httpd, destroyed):
    done = httpd.apps / "done"
    done.touch()
    done.chmod(0o666)
    httpd.app("exits.wsgi", f"""
import atexit, mod_wsgi
def note(text):
    with open({str(done)!r}, "a") as file:
        file.write(text + "\\n")
atexit.register(note, "atexit")
mod_wsgi.subscribe_shutdown(lambda name, **event: note("stopping"))
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"x"]
""")
    httpd.serve("exits.wsgi", f"WSGIDestroyInterpreter {'On' if destroyed else 'Off'}")
    httpd.get("/")
    httpd.stop()
    assert done.read_text() == ("stopping\natexit\n" if destroyed else "stopping\n")


# -- the clock ------------------------------------------------------------------------------------


SHIFTED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

/* Moves the wall clock of every process that loads this by the size of a file, in seconds, minus a
   million. */
static time_t shift(void) {
    struct stat facts;
    const char *path = getenv("CLOCK_SHIFT");
    return path && stat(path, &facts) == 0 ? (time_t)facts.st_size - 1000000 : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, now);
    if (done == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
"""


@pytest.fixture
def clock(httpd):
    """Sets the wall clock of the server's processes, for them alone."""
    shim = httpd.root / "shift.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, "-x", "c", "-", "-ldl"], input=SHIFTED.encode(), check=True)
    shifted = httpd.root / "shift"

    def shift(seconds):
        fresh = shifted.with_name("shift.new")
        with open(fresh, "wb") as file:
            file.truncate(1_000_000 + seconds)
        fresh.rename(shifted)

    shift(0)
    httpd.environ.update(LD_PRELOAD=str(shim), CLOCK_SHIFT=str(shifted))
    return shift


@pytest.mark.differs("limits-fire-when-they-say", run=False)
@pytest.mark.parametrize("step", [3600, -3600])
def test_a_clock_that_is_set_changes_nothing(served, clock, step):
    httpd = served("threads=2 request-timeout=2 queue-timeout=60 deadlock-timeout=10 inactivity-timeout=60 "
                   "startup-timeout=60 restart-interval=600 graceful-timeout=5")
    pid = httpd.get("/").text
    before = httpd.ask("/epoch")
    running, thread = in_background(httpd, "/sleep/1.5")
    late, other = in_background(httpd, "/sleep/60")
    waiting.until(lambda: len(httpd.hints.read_text().split()) == 2, 5)
    clock(step)
    thread.join()
    # The one in time is left alone, and the one that is late is not late or early because of it.
    assert running[0].text == pid
    other.join()
    assert late[0].status == 504
    assert 2 <= late[0].elapsed < 3 + waiting.SLACK
    after = httpd.ask("/epoch")
    assert abs(after - before - step) < 60, "the clock was not set"
    for _ in range(5):
        assert httpd.get("/").status == 200
    httpd.error_log.allow("WSGI0323", *BELOW)
    assert not httpd.error_log.records("WSGI0084|WSGI0325|WSGI0326|WSGI0327|WSGI0339")
    assert set(httpd.reasons.read_text().split()) <= {"request_timeout"}
