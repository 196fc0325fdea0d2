"""Connections between Apache's children and workers outlive a request (issue 5, point 3): they cost
nobody a place in the queue, and whatever becomes of the worker at their other end no request is lost."""

import os
import resource
import signal
import subprocess
import threading

import pytest

import waiting
from processes import send_signal

# Requests for /wait are held until the file of that name is there.
HOLDING = """
import ctypes, os, time
def application(environ, start_response):
    name = environ["QUERY_STRING"]
    if environ["PATH_INFO"] == "/wait":
        open(name + ".begun", "w").close()
        while not os.path.exists(name):
            time.sleep(0.002)
    if environ["PATH_INFO"] == "/lock":
        open(name + ".begun", "w").close()
        # Called so, a function keeps Python's lock. This one waits for who opens the other end.
        ctypes.PyDLL(None).open(name.encode(), os.O_RDONLY)
    if environ["PATH_INFO"] == "/fork":
        pid = os.fork()
        if pid == 0:
            while not os.path.exists(name):
                time.sleep(0.01)
            os._exit(0)
    start_response("200 OK", [("Content-Length", str(len(str(os.getpid()))))])
    return [str(os.getpid()).encode()]
"""

ours = pytest.mark.differs("connections-are-kept", run=False)


@ours
def test_requests_follow_each_other_over_one_connection(httpd):
    httpd.serve("hello.wsgi", options="threads=5")
    assert httpd.get("/").status == 200
    worker, = httpd.workers(count=1)
    seen = set()
    for _ in range(100):
        assert httpd.get("/").status == 200
        seen |= waiting.until(lambda: worker.kept_connections, what="a kept connection")
    # Some more than one: a client may ask again before the child has put the connection away.
    assert len(seen) < 50, seen


@ours
@pytest.mark.parametrize("processes", [2, 4])
def test_no_request_waits_behind_a_busy_process_while_another_idles(httpd, folder, processes):
    httpd.app("holding.wsgi", HOLDING)
    httpd.serve("holding.wsgi", options=f"processes={processes} threads=1")
    workers = {worker.pid for worker in httpd.workers(count=processes)}
    # Every child has connections to all of them.
    with httpd.load(clients=2 * processes) as load:
        load.more(100)
    assert not load.failures
    slow = []
    for number in range(processes - 1):
        name = folder / f"slow{number}"
        slow.append((name, httpd.begin("/wait", name)))
    # One process is left: with kept connections to all of them, each of these finds it.
    with httpd.load(clients=2) as load:
        load.more(300, within=30)
    assert not load.failures, load.failures[:3]
    answers = set()
    for name, connection in slow:
        name.touch()
        answers.add(connection.response().text)
        connection.close()
    assert len(answers) == processes - 1 and {int(pid) for pid in answers} < workers


@ours
@pytest.mark.parametrize("processes", [2, 4])
def test_no_request_waits_behind_a_process_whose_lock_is_held(httpd, folder, processes):
    httpd.app("holding.wsgi", HOLDING)
    httpd.serve("holding.wsgi", options=f"processes={processes} threads=3 deadlock-timeout=0")
    httpd.workers(count=processes)
    with httpd.load(clients=4 * processes) as load:
        load.more(200)
    assert not load.failures
    locked = []
    for number in range(processes - 1):
        name = folder / f"locked{number}"
        os.mkfifo(name, 0o666)
        locked.append((name, httpd.begin("/lock", name)))
    # Their other threads are idle and of no use.
    with httpd.load(clients=2) as load:
        load.more(300, within=30)
    assert not load.failures, load.failures[:3]
    answers = set()
    for name, connection in locked:
        os.close(os.open(name, os.O_WRONLY))
        answers.add(connection.response().text)
        connection.close()
    assert len(answers) == processes - 1


@ours
def test_many_requests_wait_for_one_thread_and_are_served(httpd, folder):
    httpd.app("holding.wsgi", HOLDING)
    httpd.serve("holding.wsgi", "<Location /wsgi-status>\nSetHandler wsgi-status\n</Location>", options="threads=1")
    name = folder / "slow"
    with httpd.load(clients=4) as load:
        load.more(20)
    held = httpd.begin("/wait", name)
    statuses = []

    def ask():
        with httpd.connect(timeout=60) as connection:
            connection.send_request("GET", "/", close=True)
            statuses.append(connection.response().status)

    # The MPM takes so many clients and a few more.
    count = 8 if httpd.mpm == "prefork" else 20
    clients = [threading.Thread(target=ask) for _ in range(count)]
    for client in clients:
        client.start()
    # All but the one that runs are in the queue, wherever they were sent first.
    waiting.until(lambda: waits(httpd) in (count, None), what=lambda: f"{count} in the queue, not {waits(httpd)}")
    name.touch()
    assert held.response().status == 200
    held.close()
    for client in clients:
        client.join(30)
    assert statuses == [200] * count


def waits(httpd):
    """Requests in the group's queue; None where the kernel does not say."""
    return httpd.get("/wsgi-status?json").json["groups"][0]["waiting"]


@ours
def test_a_stopped_process_keeps_no_request_that_it_has_not_begun(httpd):
    httpd.serve("probe.wsgi", options="processes=2 threads=2 deadlock-timeout=0")
    workers = httpd.workers(count=2)
    with httpd.load(clients=8) as load:
        load.more(50)
    stopped = workers[0].pid
    send_signal(stopped, signal.SIGSTOP)
    try:
        for _ in range(20):
            assert httpd.ask("/")["pid"] != stopped
    finally:
        send_signal(stopped, signal.SIGCONT)
    # It serves again, once there is more than the other has a thread for.
    seen = set()

    def note(answer):
        seen.add(answer.json["pid"])
        return answer.status == 200

    with httpd.load(clients=8, accept=note) as load:
        waiting.until(lambda: stopped in seen, 30, "the process that was stopped")
    assert not load.failures, load.failures[:3]


@ours
def test_what_an_application_forks_holds_no_connection(httpd, folder):
    httpd.app("holding.wsgi", HOLDING)
    httpd.serve("holding.wsgi", options="threads=3")
    name = folder / "end"
    with httpd.load(clients=3) as load:
        load.more(20)
    pid = int(httpd.get(f"/fork?{name}").text)
    send_signal(pid, signal.SIGKILL)
    try:
        waiting.for_exit(pid)
        # The dead worker's connections are closed although a process that it forked lives on.
        for _ in range(5):
            assert int(httpd.get("/", timeout=15).text) != pid
        httpd.error_log.expect("ended by SIGKILL|SIGKILL", level=None)
    finally:
        name.touch()


@ours
def test_a_killed_worker_costs_no_request_that_it_had_not_begun(httpd):
    httpd.serve("hello.wsgi", options="processes=2 threads=3")
    httpd.error_log.allow("SIGKILL", "WSGI0")
    with httpd.load(clients=6) as load:
        load.more(50)
    for _ in range(5):
        worker = httpd.workers(count=2)[0]
        worker.signal(signal.SIGKILL, may_have_gone=True)
        waiting.for_exit(worker.pid)
        # Kept connections of the dead one are all that the children have of it.
        for _ in range(10):
            assert httpd.get("/").status == 200


# A child that shuts its side of a connection down waits then for as long as the file PAUSE is there.
SHUTDOWN_PAUSES = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int shutdown(int fd, int how) {
    int result = ((int (*)(int, int))dlsym(RTLD_NEXT, "shutdown"))(fd, how);
    struct sockaddr address;
    socklen_t length = sizeof address;
    const char *pause = getenv("PAUSE");
    if (how == SHUT_WR && getpeername(fd, &address, &length) == 0 && address.sa_family == AF_UNIX && access(pause, F_OK) == 0) {
        char shut[512];
        snprintf(shut, sizeof shut, "%s.shut", pause);
        close(open(shut, O_CREAT | O_WRONLY, 0666));
        while (access(pause, F_OK) == 0) usleep(1000);
    }
    return result;
}
"""


@ours
def test_a_request_that_is_taken_while_it_is_withdrawn_is_sent_again(httpd, folder):
    if httpd.mpm == "prefork":
        pytest.skip("the other child would be asked, which has no kept connection")
    shim, pause = folder / "shim.so", folder / "pause"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, "-x", "c", "-", "-ldl"], input=SHUTDOWN_PAUSES.encode(), check=True)
    httpd.environ.update(LD_PRELOAD=str(shim), PAUSE=str(pause))
    httpd.serve("hello.wsgi", options="threads=1 deadlock-timeout=0")
    assert httpd.get("/").status == 200
    worker, = httpd.workers(count=1)
    kept = waiting.until(lambda: worker.kept_connections, what="a kept connection")
    worker.signal(signal.SIGSTOP, may_have_gone=True)
    pause.touch()
    with httpd.connect() as connection:
        try:
            connection.send_request("GET", "/")
            waiting.until((folder / "pause.shut").exists, what="the child to withdraw the request")
        finally:
            worker.signal(signal.SIGCONT, may_have_gone=True)
        # The worker takes the request out of the socket before the child looks whether it is there.
        waiting.until(lambda: kept - worker.kept_connections, what="the worker to close the connection")
        pause.unlink()
        assert connection.response().status == 200


@ours
def test_a_child_keeps_connections_to_many_groups_within_a_quarter_of_its_descriptors(httpd):
    groups, descriptors = 24, 64
    httpd.start_supervisor_with("prlimit --nofile=1024")
    lines = []
    for number in range(groups):
        lines += [f"WSGIDaemonProcess g{number} threads=1", f"WSGIScriptAlias /{number} {{apps}}/hello.wsgi process-group=g{number}"]
    httpd.configure(*lines)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, before[1]))
    try:
        httpd.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    children = httpd.children()
    own = [len(child.kept_connections) for child in children]
    for _ in range(2):
        for number in range(groups):
            assert httpd.get(f"/{number}").status == 200


    def kept():
        return [len(child.kept_connections) - had for child, had in zip(children, own)]

    # The client has its answer a moment before the connection that makes room is closed.
    waiting.until(lambda: max(kept()) <= descriptors // 4, 5, lambda: f"the bound on idle connections: {kept()}")
    assert sum(kept()) > 0
