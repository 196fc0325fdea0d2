"""Generations of workers: successors come up warm, a broken deploy changes nothing, a refused
configuration leaves those of before in service (issue 4, points 2 and 3; reliability G27, G28)."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

import waiting
import wire
from httpd import SUPERVISOR, Server

SLOW = """
import time
time.sleep({pause})
def application(environ, start_response):
    start_response("200 OK", [("X-Waited", str(time.time() - environ["mod_wsgi.request_start"]))])
    return [b"{text}"]
"""


def was_quick(answer):
    """From the child's side: Apache itself takes up to a second to have a new child at a restart."""
    return answer.status == 200 and float(answer.get("X-Waited")) < 0.5 + waiting.SLACK

ours = pytest.mark.differs("graceful-restarts-lose-nothing", run=False)


def slow(httpd, text, pause=6.0):
    return httpd.app("slow.wsgi", SLOW.replace("{pause}", str(pause)).replace("{text}", text))


@ours
def test_no_request_waits_for_the_import_of_a_new_generation(httpd):
    slow(httpd, "old")
    # Not a script of the configuration's own list: what the workers were asked for is remembered.
    httpd.serve("slow.wsgi", "WSGIScriptReloading Off", options="processes=1 threads=4")
    assert httpd.get("/").text == "old"
    slow(httpd, "new")
    with httpd.load(clients=4, accept=was_quick) as load:
        load.more(20)
        httpd.graceful()
        waiting.until(lambda: httpd.get("/").text == "new", 30, "the new generation")
        load.more(20)
    assert not load.failures, load.failures[:5]


@ours
def test_a_successor_of_a_worker_that_has_served_enough_comes_up_with_its_scripts(httpd):
    slow(httpd, "text")
    httpd.serve("slow.wsgi", options="threads=4 maximum-requests=50")
    assert httpd.get("/").text == "text"
    with httpd.load(clients=2, accept=was_quick) as load:
        load.more(10)
        first = httpd.workers(count=1)[0].pid
        waiting.until(lambda: first not in {w.pid for w in httpd.workers()}, 30, "the first worker to go")
        load.more(20)
    assert not load.failures, load.failures[:5]


@ours
@pytest.mark.parametrize("lines", ["", "WSGIScriptReloading Off"])
def test_a_broken_deploy_leaves_the_old_generation_in_service(httpd, lines):
    httpd.app("shop/__init__.py", "TEXT = b'old'")
    httpd.app("deploy.wsgi", """
import sys
sys.path.insert(0, {apps!r})
import shop
def application(environ, start_response):
    start_response("200 OK", [])
    return [shop.TEXT]
""".replace("{apps!r}", repr(str(httpd.apps))))
    httpd.serve("deploy.wsgi", lines, options="threads=2")
    assert httpd.get("/").text == "old"
    before = {worker.pid for worker in httpd.workers(count=1)}
    httpd.app("shop/__init__.py", "raise RuntimeError('half deployed')")
    httpd.graceful()
    httpd.error_log.expect("WSGI0347.*the workers of before go on", level="error")
    httpd.error_log.allow("Traceback", r"\]\s+\S", "RuntimeError: half deployed", "WSGI0")
    httpd.error_log.expect("RuntimeError: half deployed")
    begin = time.monotonic()
    while time.monotonic() - begin < 2:
        assert httpd.get("/").text == "old"
    assert before <= {worker.pid for worker in httpd.workers()}
    # Several attempts later it has been said once.
    assert len(httpd.error_log.records("WSGI0347")) == 1
    assert len(httpd.error_log.records("RuntimeError: half deployed")) == 1
    httpd.app("shop/__init__.py", "TEXT = b'mended'")
    waiting.until(lambda: httpd.get("/").text == "mended", 8, "the mended deploy")
    waiting.until(lambda: not before & {w.pid for w in httpd.workers()}, 8, "the old workers to go")


@ours
def test_a_script_that_is_gone_keeps_no_successor_out_of_service(httpd):
    shutil.copy(httpd.apps / "hello.wsgi", httpd.apps / "gone.wsgi")
    httpd.serve("hello.wsgi", "WSGIScriptAlias /gone {apps}/gone.wsgi")
    httpd.configure(
        "WSGIDaemonProcess app display-name=%{GROUP} threads=2", "WSGIScriptAlias /gone {apps}/gone.wsgi",
        "WSGIScriptAlias / {apps}/hello.wsgi", "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}",
    )
    httpd.graceful()
    assert httpd.get("/gone").status == httpd.get("/").status == 200
    first = httpd.workers(count=1)[0].pid
    (httpd.apps / "gone.wsgi").unlink()
    httpd.graceful()
    waiting.until(lambda: [w.pid for w in httpd.workers()] not in ([], [first]) and len(httpd.workers()) == 1, 10, "the successor")
    assert httpd.get("/").status == 200


@ours
def test_a_refused_configuration_leaves_groups_and_their_requests_as_they_were(httpd):
    httpd.serve("probe.wsgi", options="processes=1 threads=4")
    httpd.workers(count=1)
    pid = httpd.ask("/")["pid"]
    config = httpd.root / "httpd.conf"
    good = config.read_text()
    # The prefix is no directory's any more: at a start that is refused, at a restart it is too late.
    config.write_text(good + f"\nWSGISocketPrefix {httpd.root}/nowhere/wsgi\nWSGIDaemonProcess more\n")
    httpd.error_log.allow("WSGI0346", "WSGI0117")
    with httpd.load(clients=4) as load:
        load.more(20)
        httpd.graceful()
        load.more(200)
    assert not load.failures, load.failures[:5]
    httpd.error_log.expect(r"WSGI0388.*nowhere.*Those that ran before go on as they were", level="error")
    assert httpd.ask("/")["pid"] == pid
    config.write_text(good)
    httpd.graceful()
    waiting.until(lambda: httpd.ask("/")["pid"] != pid, 10, "a new generation")


@pytest.mark.differs("socket-directory-checked", run=False)
@pytest.mark.parametrize("make, reason", [
    (None, "No such file or directory"),
    (lambda path: path.write_text(""), "Not a directory"),
    (lambda path: (path.mkdir(), path.chmod(0o777)), "others could replace the socket; chmod go-w"),
    (lambda path: (path.mkdir(), path.chmod(0o775)), "has mode 0775: others could replace the socket; chmod go-w"),
    (lambda path: (path.mkdir(), os.chown(path, 12345, 0)), "belongs to uid 12345, who could replace"),
    # Who can replace a directory above it, or a link on the way, can replace the socket as well.
    (lambda path: (path.mkdir(), os.chown(path.parent, 12345, 0)), "{root} belongs to uid 12345, who could replace"),
    (lambda path: (path.mkdir(), path.parent.chmod(0o777)), "others could replace the socket; chmod go-w {root}."),
    (lambda path: (path.symlink_to("run"), os.lchown(path, 12345, 0)), "link {root}/place belongs to uid 12345"),
])
def test_an_unusable_socket_directory_is_refused_with_the_reason(httpd, make, reason):
    place = httpd.root / "place"
    if make:
        make(place)
    httpd.configure(f"WSGISocketPrefix {place}/wsgi", "WSGIDaemonProcess app")
    said = httpd.refusal()
    assert "WSGI0393" in said and reason.format(root=httpd.root) in said and "WSGISocketPrefix" in said
    with pytest.raises(AssertionError, match="WSGI0393"):
        httpd.start()


@pytest.mark.differs("socket-directory-checked", run=False)
def test_a_socket_path_that_is_too_long_is_refused_with_the_reason(httpd):
    httpd.configure(f"WSGISocketPrefix {httpd.root}/run/{'s' * 80}", "WSGIDaemonProcess app")
    said = httpd.refusal()
    assert "WSGI0381" in said and f"{httpd.root}/run/s" in said and "Choose a shorter path with WSGISocketPrefix" in said
    with pytest.raises(AssertionError, match="WSGI0381"):
        httpd.start()


@pytest.mark.differs("socket-directory-checked", run=False)
def test_a_configuration_may_be_checked_by_anybody_and_before_anything_is_made(httpd, users):
    """What is not to be seen by who checks, or is made by what starts Apache, is no fault."""
    def checked_by_a_user():
        done = subprocess.run(httpd.command("-t"), user=users[0].pw_uid, group=users[0].pw_gid, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    secret = httpd.root / "secret.env"
    secret.write_text("KEY=1\n")
    secret.chmod(0o600)
    hidden = httpd.root / "hidden"
    hidden.mkdir(mode=0o700)
    for lines in (["WSGIDaemonProcess app"], [f"WSGISocketPrefix {hidden}/wsgi", f"WSGIDaemonProcess app env-file={secret}"]):
        httpd.configure(*lines)
        assert checked_by_a_user() == (0, "Syntax OK\n")
        assert httpd.check()[0] == 0
    # But what is wrong for everybody is.
    (httpd.root / "open").mkdir()
    (httpd.root / "open").chmod(0o777)
    for prefix, why in (("{root}/nowhere/wsgi", "No such file"), ("{root}/open/wsgi", "others could replace the socket")):
        httpd.configure(f"WSGISocketPrefix {prefix}", "WSGIDaemonProcess app")
        code, said = checked_by_a_user()
        assert code and "WSGI0393" in said and why in said
    # The directory of Apache itself is there when Apache is started, and may not be there before.
    httpd.configure("WSGIDaemonProcess app")
    config = httpd.root / "httpd.conf"
    config.write_text(config.read_text().replace("DefaultRuntimeDir", "#"))
    built_in = Path("/var/run/apache2")
    if not built_in.exists():
        assert httpd.check()[0] == 0


@ours
def test_sockets_of_servers_that_were_killed_are_swept_and_no_others(httpd):
    httpd.configure("WSGIDaemonProcess app", "WSGIScriptAlias / {apps}/hello.wsgi process-group=app")
    httpd.start()
    httpd.error_log.allow(".")
    httpd.signal_parent(signal.SIGSTOP)
    for process in [httpd.supervisor, httpd.parent, *httpd.children()]:
        process.signal(signal.SIGKILL)
    httpd.kill_all()
    dead = httpd.sockets()
    assert dead
    (httpd.root / "run" / "apache2.pid").unlink(missing_ok=True)
    living = socket.socket(socket.AF_UNIX)
    living.bind(str(httpd.root / "run" / f"wsgi.{os.getpid()}.other.sock"))
    stranger = socket.socket(socket.AF_UNIX)
    stranger.bind(str(httpd.root / "run" / "wsgi.sock"))
    # Its process is gone, but somebody listens: in another container, say.
    elsewhere = socket.socket(socket.AF_UNIX)
    elsewhere.bind(str(httpd.root / "run" / "wsgi.4194303.other.sock"))
    elsewhere.listen()
    httpd.start()
    waiting.until(lambda: not set(httpd.sockets()) & set(dead), 10, "the dead server's sockets to go")
    waiting.until(lambda: httpd.get("/").status == 200, 10, "an answer")
    left = set(httpd.sockets())
    for kept in (living, stranger, elsewhere):
        path = Path(kept.getsockname())
        assert path in left
        path.unlink()
        kept.close()


STAND_IN = """#!/usr/bin/python3 -I
# Speaks as a supervisor of this version once, and then as one of another version.
import os, signal, socket, struct
control = socket.socket(fileno=3)
def over(*_):
    open({marker!r}, "w").write("made way")
    os._exit(0)
signal.signal(signal.SIGUSR2, over)
version = {version}
while True:
    packet = control.recv(1 << 17)
    if not packet:
        os._exit(1)
    if packet[8] == 3:
        control.send(struct.pack("<BBHI", packet[0] + 1, version, 0, 1) + b"\\1")
        version = 99
"""


@ours
def test_an_upgrade_followed_by_a_graceful_restart_starts_a_supervisor_of_the_new_version(httpd):
    program, marker = httpd.own_copy() / SUPERVISOR, httpd.root / "marker"
    real = program.rename(program.with_name("kept"))
    version = wire.VERSION
    program.write_text(STAND_IN.replace("{marker!r}", repr(str(marker))).replace("{version}", str(version)))
    program.chmod(0o755)
    httpd.serve("hello.wsgi")
    # Apache's words when a child ends that it was not told to watch any more.
    httpd.error_log.allow("AH00488: long lost child came home")
    program.unlink()
    real.rename(program)
    httpd.graceful()
    waiting.until(marker.exists, 5, "the old supervisor to make way")
    waiting.until(lambda: httpd.get("/").status == 200, 5, "the group to serve")
    assert len(httpd.workers(count=1)) == 1
    httpd.graceful()
    assert httpd.get("/").status == 200
    assert len(httpd.error_log.records("WSGI0392")) == 1


def test_the_supervisor_s_progress_is_in_the_log_as_loglevel_says(httpd):
    httpd.serve("hello.wsgi", "LogLevel warn wsgi:info")
    httpd.get("/")
    if httpd.is_reference:
        return
    waiting.until(lambda: httpd.error_log.records("worker .* is ready", level="info"), 5, "the line")
    httpd.configure(
        "WSGIDaemonProcess app display-name=%{GROUP}", "WSGIScriptAlias / {apps}/hello.wsgi process-group=app", "LogLevel notice",
    )
    httpd.graceful()
    httpd.error_log.forget()
    httpd.graceful()
    waiting.until(lambda: httpd.get("/").status == 200, 5, "an answer")
    assert not httpd.error_log.records(r"\[wsgi:info\]")


@pytest.mark.parametrize("options", ["threads=2", "processes=2 threads=1"])
def test_a_request_that_meets_a_change_of_processes_is_not_left_waiting(httpd, options):
    """The event of a connection may have gone to a thread of a process that leaves."""
    httpd.serve("hello.wsgi", options=options)
    slowest = 0
    for _ in range(150):
        for worker in httpd.workers():
            worker.signal(signal.SIGUSR1, may_have_gone=True)
        for _ in range(25):
            begin = time.monotonic()
            assert httpd.get("/").status == 200
            slowest = max(slowest, time.monotonic() - begin)
    assert slowest < 5
