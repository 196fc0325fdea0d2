"""Nothing more to be had: processes, descriptors, memory, room on the disk (issue 4, points 6 and 7;
reliability G8 to G13; threats T6 to T14).

What is asserted throughout: nothing is ever served as the wrong user, who cannot be served gets an
answer at once, and all is well within five seconds of the cause's end."""

import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import processes
import waiting
from outages import limit, turned_away, well_again
from processes import send_signal

pytestmark = pytest.mark.differs("bad-days", run=False)

PIDS = Path("/sys/fs/cgroup/pids")
MEMORY = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def cgroup():
    """Puts processes into a control group of their own: `cgroup(PIDS, processes)`."""
    made = []

    def make(kind, members):
        if not os.access(kind / "cgroup.procs", os.W_OK):
            pytest.skip(f"no {kind}")
        place = kind / f"wsgi-test-{os.getpid()}-{len(made)}"
        place.mkdir()
        made.append((kind, place))
        for process in members:
            (place / "cgroup.procs").write_text(str(process.pid))
        return place

    yield make
    for kind, place in made:
        for line in (place / "cgroup.procs").read_text().split():
            try:
                (kind / "cgroup.procs").write_text(line)
            except ProcessLookupError:
                continue
        waiting.until(lambda place=place: _removed(place), 10, "the control group to be removed")


def _removed(place):
    try:
        place.rmdir()
    except OSError:
        return not place.exists()
    return True


def test_a_fork_that_fails_loses_no_group_and_signals_nobody(httpd, cgroup):
    httpd.configure(
        "WSGIDaemonProcess app display-name=%{GROUP} threads=2", "WSGIDaemonProcess other display-name=%{GROUP} threads=2",
        "WSGIScriptAlias /other {apps}/probe.wsgi process-group=other", "WSGIScriptAlias / {apps}/probe.wsgi process-group=app",
    )
    httpd.start()
    httpd.ask("/")
    httpd.ask("/other")
    app, = httpd.workers("app", count=1)
    other, = httpd.workers("other", count=1)
    place = cgroup(PIDS, [httpd.supervisor])
    (place / "pids.max").write_text("1")
    httpd.error_log.allow(r"WSGI0(339|340|345|146)")
    app.signal(signal.SIGKILL)
    turned_away(httpd)
    httpd.error_log.expect("WSGI0340: process group 'app': no process could be made: Resource temporarily unavailable")
    assert len(httpd.error_log.records("WSGI0340: process group")) == 1
    # Nobody else notices, and a graceful restart meanwhile ends nobody.
    assert httpd.ask("/other")["pid"] == other.pid
    httpd.graceful()
    assert httpd.ask("/other")["pid"] == other.pid
    assert httpd.is_running
    (place / "pids.max").write_text("max")
    well_again(httpd)
    waiting.until(lambda: httpd.get("/other").status == 200, 5, "the other group")


def test_a_supervisor_without_descriptors_recovers(httpd):
    httpd.serve("probe.wsgi", options="threads=2")
    worker = httpd.ask("/")["pid"]
    supervisor = httpd.supervisor
    limit(supervisor, resource.RLIMIT_NOFILE, max(supervisor.descriptors) + 1)
    httpd.error_log.allow(r"WSGI0(339|333|340|345|146|116)")
    send_signal(worker, signal.SIGKILL)
    httpd.error_log.expect("WSGI03(33|40): .*Too many open files")
    limit(supervisor, resource.RLIMIT_NOFILE)
    well_again(httpd)
    assert httpd.supervisor.pid == supervisor.pid


def test_a_worker_without_descriptors_waits_for_some_and_lives(httpd, folder):
    httpd.app("gate.wsgi", """
import os, time
def application(environ, start_response):
    name = environ["QUERY_STRING"]
    if environ["PATH_INFO"] == "/wait":
        open(name + ".begun", "w").close()
        while not os.path.exists(name):
            time.sleep(0.01)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("gate.wsgi", options="threads=4")
    pid = int(httpd.get("/").text)
    worker = processes.Process(pid)
    # The request before it may have left a connection, or leave it a moment later. With all of them
    # in use another request needs another.
    held = []
    while len(held) < max(len(worker.kept_connections), 1):
        name = folder / str(len(held))
        held.append((name, httpd.begin("/wait", name)))
    limit(worker, resource.RLIMIT_NOFILE, max(worker.descriptors) + 1)
    answers = []
    client = threading.Thread(target=lambda: answers.append(httpd.get("/", timeout=30)))
    client.start()
    httpd.error_log.expect("WSGI0309.*Too many open files")
    begun = time.monotonic()
    limit(worker, resource.RLIMIT_NOFILE)
    client.join(30)
    assert answers[0].status == 200 and time.monotonic() - begun < 1 + waiting.SLACK
    for name, connection in held:
        name.touch()
        assert connection.response().text == str(pid)
        connection.close()
    assert httpd.get("/").text == str(pid)
    # Once a second, not more often.
    assert len(httpd.error_log.records("WSGI0309")) <= 3


def test_a_worker_whose_application_holds_all_descriptors_is_replaced(httpd, folder):
    httpd.app("leak.wsgi", """
import os, resource, socket, time
kept = []
def application(environ, start_response):
    name = environ["QUERY_STRING"]
    if name:
        begun = open(name + ".begun.open", "w")
        if environ["PATH_INFO"] == "/leak":
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            try:
                while True:
                    kept.append(socket.socket())
            except OSError:
                pass
        os.rename(begun.name, name + ".begun")
        while not os.path.exists(name):
            time.sleep(0.01)
        kept.append(begun)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("leak.wsgi", options="threads=4")
    pid = int(httpd.get("/").text)
    worker = processes.Process(pid)
    # With all connections that were kept in use, another request needs another.
    held = []
    while len(held) < max(len(worker.kept_connections), 1):
        name = folder / str(len(held))
        held.append((name, httpd.begin("/wait", name)))
    name = folder / "leak"
    held.append((name, httpd.begin("/leak", name)))
    httpd.error_log.allow("WSGI0309")
    answer = httpd.get("/", timeout=30)
    assert answer.status == 200 and int(answer.text) != pid
    assert answer.elapsed < 5 + waiting.SLACK
    httpd.error_log.expect(rf"WSGI0451: .*Too many open files .*limit of open files is 64\. {len(held)} of 4 threads", level="error")
    # What ran there is finished there.
    for name, connection in held:
        name.touch()
        assert connection.response().text == str(pid)
        connection.close()
    waiting.until(lambda: not worker.exists, what="the worker without descriptors to be gone")
    assert len(httpd.error_log.records("WSGI0451")) == 1


def test_a_child_without_descriptors_answers_and_lives(httpd):
    httpd.serve("probe.wsgi", options="threads=2")
    httpd.ask("/")
    child, = httpd.children()
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        assert connection.response().status == 200
        # The client is connected: what is missing is the socket towards the worker.
        limit(child, resource.RLIMIT_NOFILE, 3)
        httpd.error_log.allow("WSGI0117", "Too many open files", "AH000")
        connection.send_request("GET", "/")
        # 403 where httpd itself wants one first, to look at the file system.
        assert connection.response().status in (403, 503)
        limit(child, resource.RLIMIT_NOFILE)
    assert httpd.get("/").status == 200
    assert [p.pid for p in httpd.children()] == [child.pid]


def test_a_worker_killed_for_want_of_memory_costs_its_requests_alone(httpd, cgroup):
    httpd.app("hungry.wsgi", """
import os
def application(environ, start_response):
    if environ["PATH_INFO"] == "/more":
        KEPT = [bytearray(os.urandom(1 << 20)) for _ in range(400)]
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("hungry.wsgi", options="processes=2 threads=2")
    workers = httpd.workers(count=2)
    place = cgroup(MEMORY, workers)
    (place / "memory.limit_in_bytes").write_text("150M")
    httpd.error_log.allow(r"WSGI0(146|339)")
    assert httpd.get("/more").status == 502
    # Whether it was the system's doing the kernel tells by a number; others may be killed as well.
    httpd.error_log.expect(r"WSGI0339.*killed by SIGKILL \(signal 9\), probably for want of memory: the kernel has "
                           r"killed .* within the last \d+ s; it was running GET /more for \d\.\d s")
    assert httpd.get("/").status == 200
    httpd.workers(count=2)


def test_a_full_disk_under_the_error_log_stops_nothing(httpd):
    mounted = httpd.root / "logs"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "wsgi-test", mounted], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("cannot mount here")
    try:
        httpd.app("chatty.wsgi", """
import os, sys
def application(environ, start_response):
    sys.stderr.write("x" * 500 + "\\n")
    os.write(2, b"raw " * 100 + b"\\n")
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
        httpd.serve("chatty.wsgi", options="threads=2")
        pid = httpd.get("/").text
        for _ in range(400):
            assert httpd.get("/").text == pid
        assert os.statvfs(mounted).f_bavail == 0
        # A worker that dies meanwhile is replaced, and a restart works.
        send_signal(int(pid), signal.SIGKILL)
        assert waiting.until(lambda: httpd.get("/").text, 5, "an answer") != pid
        with open(mounted / "error.log", "r+") as log:
            log.truncate(0)
        httpd.error_log.forget()
        httpd.error_log.allow(".")
        waiting.until(lambda: httpd.get("/") and "WSGI0330" in httpd.error_log.text(), 10, "what was lost to be told")
    finally:
        httpd.kill_all()
        subprocess.run(["umount", "-l", mounted], check=True)
        (httpd.root / "run" / "apache2.pid").unlink(missing_ok=True)
        for path in httpd.sockets():
            path.unlink()
