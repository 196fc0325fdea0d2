"""What a worker holds, and what it must not (issue 2, point 8; reliability G8)."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

import waiting


@pytest.fixture
def worker(httpd, users):
    httpd.serve("probe.wsgi", options=f"threads=2 user={users[0].pw_name}")
    httpd.ask("/")
    found, = httpd.workers()
    return found


@pytest.mark.differs("worker-descriptors", run=False)
def test_a_worker_has_exactly_the_descriptors_it_needs(worker, httpd):
    """Standard input, the log pipe, the listener, the control socket, and the log pipe once more for
    writes that do not wait. The board has been closed."""
    found = worker.descriptors
    assert found[0] == "/dev/null"
    assert found[1] == found[2] and re.match(r"(pipe|socket):", found[1])
    assert found[3].startswith("socket:")
    assert found[4].startswith("socket:")
    assert found[6] == found[2]
    # Beyond these: what it opened for itself, wake-up pipes and what it waits for requests with, and
    # connections of Apache's children that it keeps.
    own = {kind for number, kind in found.items() if number > 4 and number != 6}
    assert not [kind for kind in own if kind.startswith("/")], own
    pipes = {kind for kind in own if kind.startswith("pipe:")}
    kept = worker.kept_connections
    assert len(pipes) <= 4 and len(kept) <= 1, own
    assert own - pipes - kept == {"anon_inode:[eventpoll]"}
    assert not [kind for kind in own if "memfd" in kind], own
    others = [process for process in httpd.family() if process.pid != worker.pid]
    shared = own & {kind for process in others for kind in process.descriptors.values()} - {"anon_inode:[eventpoll]"}
    assert not shared, shared


@pytest.mark.differs("worker-descriptors", run=False)
def test_a_worker_holds_no_log_file_and_no_listener_of_apache(worker, httpd):
    theirs = set(httpd.parent.descriptors.values()) - {"/dev/null"}
    shared = theirs & set(worker.descriptors.values())
    assert not shared, shared
    assert not [kind for kind in worker.descriptors.values() if "/logs/" in kind]


@pytest.mark.differs("worker-descriptors", run=False)
def test_a_worker_maps_nothing_of_apache_and_can_write_no_memory_of_others_but_its_own_board(worker, httpd):
    assert not [path for _, path in worker.maps if re.search(r"apache2|httpd|libapr|mod_wsgi\.so|libmod_", path)]
    shared = [row for row in worker.maps if row[0].startswith("rw") and row[0].endswith("s")]
    assert [path for _, path in shared] == ["/memfd:wsgi-board (deleted)"]
    # The supervisor copies it and maps nothing; nobody else has it at all.
    for process in httpd.family():
        assert process.pid == worker.pid or not [path for _, path in process.maps if "wsgi-board" in path]
    assert [kind for kind in httpd.supervisor.descriptors.values() if "wsgi-board" in kind]
    for process in [httpd.parent, *httpd.children()]:
        assert not [kind for kind in process.descriptors.values() if "wsgi-board" in kind]


@pytest.mark.differs("worker-descriptors", run=False)
def test_a_child_of_a_worker_inherits_only_the_standard_streams(httpd):
    httpd.app("spawn.wsgi", """
import subprocess

def application(environ, start_response):
    listing = subprocess.run(["/bin/ls", "/proc/self/fd"], close_fds=False, capture_output=True, text=True).stdout
    start_response("200 OK", [])
    return [listing.encode()]
""")
    httpd.serve("spawn.wsgi")
    # 3 is the directory `ls` reads.
    assert httpd.get("/").text.split() == ["0", "1", "2", "3"]


@pytest.mark.differs("supervisor", run=False)
def test_the_supervisor_links_no_python_and_maps_nothing_of_apache(httpd):
    httpd.serve()
    paths = [path for _, path in httpd.supervisor.maps]
    assert not [path for path in paths if re.search(r"libpython|apache2/|libapr", path)]
    assert httpd.supervisor.threads == 1


@pytest.mark.differs("supervisor", run=False)
def test_an_apache_child_maps_no_python(httpd):
    httpd.serve()
    httpd.get("/")
    for child in [httpd.parent, *httpd.children()]:
        assert not [path for _, path in child.maps if "libpython" in path]


def test_the_sockets_of_groups_are_closed_to_other_users(httpd, users):
    httpd.configure(f"WSGIDaemonProcess one user={users[0].pw_name}", f"WSGIDaemonProcess two user={users[1].pw_name}")
    httpd.start()
    assert len(httpd.sockets()) >= 2
    for path in httpd.sockets():
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.differs("supervisor", run=False)
def test_an_application_of_another_user_cannot_connect_to_a_group(httpd, users):
    httpd.app("connect.wsgi", """
import socket

def application(environ, start_response):
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(environ["QUERY_STRING"])
        answer = b"connected"
    except OSError as error:
        answer = type(error).__name__.encode()
    start_response("200 OK", [])
    return [answer]
""")
    httpd.configure(
        f"WSGIDaemonProcess one user={users[0].pw_name}", f"WSGIDaemonProcess two user={users[1].pw_name}",
        "WSGIScriptAlias / {apps}/connect.wsgi process-group=one",
    )
    httpd.start()
    for path in httpd.sockets():
        assert httpd.get(f"/?{path}").text == "PermissionError"


def test_signals_of_a_worker_are_at_their_defaults_for_its_children(httpd):
    httpd.app("signals.wsgi", """
import subprocess

def application(environ, start_response):
    text = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, text=True, restore_signals=False).stdout
    start_response("200 OK", [])
    return [text.encode()]
""")
    httpd.serve("signals.wsgi")
    status = dict(row.split(":", 1) for row in httpd.get("/").text.splitlines())
    assert int(status["SigBlk"], 16) == 0
    # Python itself ignores SIGPIPE and SIGXFSZ.
    assert int(status["SigIgn"], 16) & ~((1 << 12) | (1 << 24)) == 0


@pytest.mark.differs("bad-days", run=False)
def test_two_groups_reach_nothing_of_each_other_or_of_apache(httpd, users):
    httpd.environ = {"ROOT_SECRET": "1"}
    httpd.configure(
        f"WSGIDaemonProcess app user={users[0].pw_name} threads=2 display-name=%{{GROUP}} clear-env=On no-new-privs=On",
        f"WSGIDaemonProcess other user={users[1].pw_name} threads=2 display-name=%{{GROUP}}",
        "WSGIScriptAlias /other {apps}/probe.wsgi process-group=other", "WSGIScriptAlias / {apps}/probe.wsgi process-group=app",
    )
    httpd.start()
    httpd.ask("/")
    httpd.ask("/other")
    app, = httpd.workers("app", count=1)
    other, = httpd.workers("other", count=1)
    ours = {kind for kind in app.descriptors.values() if kind != "/dev/null"}
    theirs = {kind for kind in other.descriptors.values() if kind != "/dev/null"}
    assert not {kind for kind in ours & theirs if not kind.startswith("anon_inode:")}
    apache = set(httpd.parent.descriptors.values()) | {k for c in httpd.children() for k in c.descriptors.values()}
    assert not {kind for kind in (ours | theirs) & apache if kind != "/dev/null" and not kind.startswith("anon_inode:")}
    # What it may write and others may read is its own board, which nobody maps but itself.
    shared = [path for permissions, path in app.maps if permissions.startswith("rw") and permissions.endswith("s")]
    assert shared in ([], ["/memfd:wsgi-board (deleted)"])
    for process in [httpd.parent, httpd.supervisor, *httpd.children(), other]:
        board = [row for row in process.maps if row[0].endswith("s") and "wsgi-board" in row[1]]
        assert process.pid == other.pid or not board
    assert "ROOT_SECRET" not in app.environ and "ROOT_SECRET" in other.environ
    assert app.no_new_privs and int(app.status["CapBnd"], 16) == 0
    # The identity is whole: real, effective, saved, file system.
    assert app.uids == (users[0].pw_uid,) * 4 and other.uids == (users[1].pw_uid,) * 4
    assert re.fullmatch("0+", app.status["CapEff"])


# What a worker shares with the others of its group, and those that follow: the group's listener.
MEDDLING = """
import os, socket

def listener():
    for number in range(3, 30):
        try:
            found = socket.socket(fileno=os.dup(number))
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return found
        except OSError:
            pass

def application(environ, start_response):
    wanted = environ["PATH_INFO"]
    if wanted == "/wait":
        listener().setblocking(True)
    elif wanted == "/shut":
        listener().shutdown(socket.SHUT_RDWR)
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
"""


@pytest.mark.differs("supervisor", run=False)
def test_an_application_that_has_its_listener_wait_does_not_stop_its_process(httpd):
    httpd.app("meddling.wsgi", MEDDLING)
    httpd.serve("meddling.wsgi", options="threads=3")
    assert httpd.get("/wait").status == 200
    worker, = httpd.workers(count=1)
    for _ in range(3):
        # Several connections at a time, so that some are new to the worker.
        with ThreadPoolExecutor(6) as clients:
            answers = list(clients.map(lambda _: httpd.get("/", timeout=10).text, range(6)))
        assert set(answers) == {str(worker.pid)}
    assert httpd.stop() < 4


@pytest.mark.parametrize("how", ["shut down", "removed"])
@pytest.mark.differs("supervisor", run=False)
def test_a_listener_that_is_out_of_reach_is_made_anew_by_a_graceful_restart(httpd, how):
    httpd.app("meddling.wsgi", MEDDLING)
    httpd.serve("meddling.wsgi", options="threads=2 connect-timeout=1")
    httpd.error_log.allow("WSGI0116", "WSGI0117", "WSGI0345", "its socket .it was shut down or removed. changed")
    assert httpd.get("/shut" if how == "shut down" else "/").status == 200
    worker, = httpd.workers(count=1)
    if how == "removed":
        path, = (httpd.root / "run").glob("wsgi.*.app.sock")
        path.unlink()
    httpd.graceful()
    waiting.until(lambda: httpd.get("/").status == 200, 10, lambda: "an answer")
    assert httpd.get("/").text != str(worker.pid)
