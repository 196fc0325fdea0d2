"""What others were found vulnerable to, where processes are concerned: one test for each (issue 4;
reliability G29). Whoever runs code in a worker is taken to be hostile. Of mod_wsgi's own,
CVE-2014-0240 and CVE-2014-8583 are in test_injected_faults; what a response may do to a client is in
a module of its own."""

import json
import os
import re
import secrets
import signal
import time

import pytest

import waiting
import wire
from processes import Process

ours = pytest.mark.differs("worker-descriptors", run=False)


def shared_memory(process):
    """What others may map as well and this process can write to: (device, inode) of each."""
    rows = (row.split(None, 5) for row in process._read("maps").decode(errors="replace").splitlines())
    return {(row[3], row[4]) for row in rows if row[1][1] == "w" and row[1][3] == "s"}


def of_apache(httpd):
    return [httpd.parent, httpd.supervisor, *httpd.children()]


@pytest.fixture
def two_users(httpd, users):
    """A group that does what it is told in Python, another one, and the status handler."""
    httpd.app("told.wsgi", """
import ctypes, json, os, re, signal, socket
def application(environ, start_response):
    said = {}
    try:
        exec(environ["wsgi.input"].read().decode(), globals(), said)
        answer = said.get("answer")
    except BaseException as error:
        answer = type(error).__name__
    start_response("200 OK", [])
    return [json.dumps(answer).encode()]
""")
    httpd.configure(
        f"WSGIDaemonProcess app user={users[0].pw_name} threads=2 display-name=%{{GROUP}}",
        f"WSGIDaemonProcess other user={users[1].pw_name} threads=2 display-name=%{{GROUP}}",
        "<Location /status>", "SetHandler wsgi-status", "Require all granted", "</Location>",
        "WSGIScriptAlias /other {apps}/probe.wsgi process-group=other application-group=%{GLOBAL}",
        "WSGIScriptAlias / {apps}/told.wsgi process-group=app application-group=%{GLOBAL}",
    )
    httpd.start()
    httpd.ask("/other")
    return httpd


def told(httpd, program):
    """What the application of group `app` answers when it has run this."""
    return json.loads(httpd.post("/", body=program.encode()).body)


@ours
def test_cve_2019_0211_a_worker_has_no_memory_in_common_with_apache(two_users):
    """httpd's scoreboard was mapped by children that ran applications' code; what they wrote there the
    parent followed, as root."""
    httpd = two_users
    app, = httpd.workers("app", count=1)
    assert len(shared_memory(app)) == 1, "its own board, and nothing else"
    others = set().union(*(shared_memory(process) for process in [*of_apache(httpd), *httpd.workers("other", count=1)]))
    assert not shared_memory(app) & others
    # Nor can it get at any: it holds no descriptor of such memory, and may open none of /proc.
    assert not [kind for kind in app.descriptors.values() if re.search("shm|memfd|scoreboard", kind)]
    for process in of_apache(httpd):
        for name in ("mem", "maps", "environ", "fd/0"):
            assert told(httpd, f"answer = open('/proc/{process.pid}/{name}').read(1)") == "PermissionError"


@ours
def test_cve_2007_3303_a_worker_can_signal_nobody_of_apache_and_have_nobody_signalled(two_users):
    """Children of httpd could have its parent send signals to any process, by the pids in the scoreboard."""
    httpd = two_users
    app, = httpd.workers("app", count=1)
    other, = httpd.workers("other", count=1)
    for process in [*of_apache(httpd), other]:
        for number in ("SIGKILL", "SIGSTOP", "SIGUSR1", "SIGTERM", "SIGUSR2"):
            assert told(httpd, f"os.kill({process.pid}, signal.{number}); answer = 'sent'") == "PermissionError"
    # A pid never comes from it: who is signalled is known by a descriptor of the supervisor's own. A process
    # of its own that outlives it is not taken for it.
    httpd.error_log.allow("WSGI0(339|146)")
    left = Process(told(httpd, """
child = os.fork()
if child == 0:
    signal.pause()
answer = child
"""))
    try:
        app.signal(signal.SIGKILL)
        waiting.until(lambda: [w.pid for w in httpd.workers("app") if w.pid not in (app.pid, left.pid)], 10, "a successor")
        assert httpd.ask("/other")["pid"] == other.pid
    finally:
        left.signal(signal.SIGKILL)


@ours
def test_cve_2021_21703_the_supervisor_believes_nothing_that_a_worker_can_write(two_users):
    """Workers of PHP-FPM could have its parent, which is root, write where they liked, by what they put
    into the memory they share. A worker of ours has a board, a conversation, and a log."""
    httpd = two_users
    supervisor, other = httpd.supervisor.pid, httpd.ask("/other")["pid"]
    seed = secrets.token_hex(4)
    print(f"seed {seed}")
    httpd.error_log.allow(".")
    for round_ in range(25):
        body = f"""
import random
dice = random.Random("{seed}-{round_}")
for line in open("/proc/self/maps"):
    if "wsgi-board" in line:
        first, last = (int(number, 16) for number in re.match(r"(\\w+)-(\\w+)", line).groups())
        for _ in range(20):
            offset = dice.randrange(last - first)
            noise = dice.randbytes(last - first - offset)
            ctypes.memmove(first + offset, noise, len(noise))
for descriptor in range(3, 64):
    try:
        peer = socket.socket(fileno=os.dup(descriptor))
        kind = peer.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    except OSError:
        continue
    if kind == socket.SOCK_SEQPACKET:
        peer.setblocking(False)
        for _ in range(dice.randrange(40)):
            # Frames of the right shape with anything in them, and anything.
            noise = dice.randbytes(dice.randrange(1, 300))
            shaped = bytes([dice.randrange(16), {wire.VERSION}, 0, 0]) + len(noise).to_bytes(4, "little") + noise
            try:
                peer.send(dice.choice([noise, shaped, shaped[:8] + b"\\1"]))
            except OSError:
                break
    peer.close()
os.write(2, dice.randbytes(3000))
answer = "done"
"""
        # Its own life is all that it risks.
        answer = httpd.post("/", body=body.encode())
        assert answer.status in (200, 502, 503), answer.status
        assert httpd.get("/status").status == 200
        assert httpd.get("/status?metrics").status == 200
        assert httpd.get("/status?json").status == 200
    assert httpd.supervisor.pid == supervisor and httpd.ask("/other")["pid"] == other
    waiting.until(lambda: httpd.post("/", body=b"answer = 1").text == "1", 10, "the group to serve again")


@pytest.mark.differs("bad-days", run=False)
def test_cve_2015_9253_a_worker_that_dies_at_once_is_started_ever_more_seldom_and_fills_no_log(httpd):
    """PHP-FPM started a worker again without a pause, and its log filled the disk."""
    httpd.app("hello.wsgi", "")
    # Not the script: one that ends its worker is left out of the next start.
    httpd.app("lib/ends.pth", "import os; os._exit(3)\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=2 display-name=%{GROUP} python-path={apps}/lib", "WSGIProcessGroup app",
        "WSGIScriptAlias / {apps}/hello.wsgi application-group=%{GLOBAL} process-group=app",
    )
    begun = time.monotonic()
    httpd.start()
    httpd.error_log.allow("WSGI03")

    def starts():
        return httpd.error_log.records("of generation 1 started")

    waiting.until(lambda: len(starts()) >= 5, 10, "five attempts")
    # 0.1 s after the first, then 0.2, 0.4, 0.8.
    assert time.monotonic() - begun > 1.5
    waiting.until(lambda: len(starts()) >= 6, 10, "a sixth")
    assert time.monotonic() - begun > 3.1
    lines = httpd.error_log.records()
    assert len([record for record in lines if record.is_grave]) <= len(starts()) + 3
    assert sum(len(record.line) for record in lines) < 6000
    # And who comes meanwhile is told at once.
    answer = httpd.get("/")
    assert answer.status == 503 and answer.elapsed < 1 + waiting.SLACK and answer.get("Retry-After")
