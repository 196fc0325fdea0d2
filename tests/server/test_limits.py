"""Limits and surroundings of workers: each option of WSGIDaemonProcess that the supervisor or the
kernel keeps (issue 4, point 1)."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

import waiting
from processes import send_signal

NEW = pytest.mark.differs("options-of-ours", run=False)


@pytest.fixture
def probe(httpd):
    def start(options="", *lines):
        httpd.serve("probe.wsgi", *lines, options=f"threads=2 {options}")
        return httpd.ask("/")

    return start


def holding(httpd):
    """An application whose `/hold` answers when the file `go` is there, and that notes its end."""
    httpd.app("hold.wsgi", """
import os, time
HERE = os.path.dirname(__file__)
def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        print("HOLDS")
        while not os.path.exists(HERE + "/go"):
            time.sleep(0.01)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    return "hold.wsgi"


class Held:
    """A request that is under way while the test does something."""

    def __init__(self, httpd):
        self.answer = None
        self.begun = time.monotonic()

        def run():
            self.answer = httpd.get("/hold", timeout=60)
            self.ended = time.monotonic()

        self.thread = threading.Thread(target=run)
        self.thread.start()
        httpd.error_log.expect("HOLDS")

    def done(self, within=30):
        self.thread.join(within)
        assert not self.thread.is_alive(), "the request still waits"
        return self.answer


# -- environment ---------------------------------------------------------------------------


@NEW
def test_env_sets_variables_of_the_process(probe):
    environ = probe("env=DJANGO_SETTINGS_MODULE=shop.settings env='GREETING=hello, world=1' env=EMPTY=")["environ"]
    assert environ["DJANGO_SETTINGS_MODULE"] == "shop.settings"
    assert environ["GREETING"] == "hello, world=1"
    assert environ["EMPTY"] == ""


@NEW
def test_env_file_may_be_readable_for_root_alone_and_env_wins(probe, httpd, users):
    secrets = httpd.root / "secrets.env"
    secrets.write_text("# of the shop\nSECRET='a b'\nexport BOTH=file\n")
    secrets.chmod(0o600)
    httpd.app("secret.wsgi", f"""
import os
def application(environ, start_response):
    try:
        open({str(secrets)!r})
        readable = "readable"
    except PermissionError:
        readable = "not readable"
    held = [os.readlink(f"/proc/self/fd/{{n}}") for n in os.listdir("/proc/self/fd") if n != "6" and os.path.lexists(f"/proc/self/fd/{{n}}")]
    start_response("200 OK", [])
    return [f"{{os.environ['SECRET']}}|{{os.environ['BOTH']}}|{{readable}}|{{any('secrets' in h for h in held)}}".encode()]
""")
    httpd.serve("secret.wsgi", options=f"threads=2 user={users[0].pw_name} env-file={secrets} env=BOTH=option")
    assert httpd.get("/").text == "a b|option|not readable|False"


@NEW
@pytest.mark.parametrize("prepare, reason", [
    (lambda path: None, "No such file"),
    (lambda path: path.write_text("A=1\nnonsense\n"), "line 2 is not NAME=value"),
    (lambda path: (path.write_text("A=1"), path.chmod(0o666)), "others could change it; chmod go-w"),
    (lambda path: (path.write_text("A=1"), os.chown(path, 12345, 0)), "belongs to uid 12345, who could change it"),
    (lambda path: path.mkdir(), "it is not a file"),
    (lambda path: os.mkfifo(path), "it is not a file"),
])
def test_an_env_file_that_cannot_be_trusted_is_refused(httpd, prepare, reason):
    path = httpd.root / "some.env"
    prepare(path)
    httpd.configure(f"WSGIDaemonProcess app env-file={path}")
    said = httpd.refusal()
    assert "WSGI0394" in said and reason in said and str(path) in said


@NEW
def test_an_env_file_that_is_a_link_of_the_user_s_into_root_s_files_is_refused(httpd, users):
    user = users[0]
    link = httpd.root / "mine" / "env"
    link.parent.mkdir()
    os.chown(link.parent, user.pw_uid, 0)
    target = httpd.root / "mine" / "root-s"
    target.write_text("ROOT_SECRET=1")
    link.symlink_to(target)
    httpd.configure(f"WSGIDaemonProcess app user={user.pw_name} env-file={link}")
    assert f"belongs to uid {user.pw_uid}" in httpd.refusal()


@NEW
def test_clear_env_leaves_nothing_of_apache_s_environment(httpd, users):
    httpd.environ = {"AWS_SECRET": "of root", "LD_LIBRARY_PATH": "/nowhere"}
    httpd.serve("probe.wsgi", options=f"threads=2 clear-env=On user={users[0].pw_name} env=MINE=1 lang=C.UTF-8")
    environ = httpd.ask("/")["environ"]
    assert set(environ) <= {"PATH", "HOME", "USER", "LOGNAME", "LANG", "MINE", "TZ", "LC_CTYPE"}, environ
    assert (environ["MINE"], environ["HOME"], environ["LANG"]) == ("1", users[0].pw_dir, "C.UTF-8")
    worker, = httpd.workers(count=1)
    assert "AWS_SECRET" not in worker.environ


def test_without_clear_env_the_environment_is_apache_s(httpd):
    httpd.environ = {"SETTING": "of the service"}
    httpd.serve("probe.wsgi")
    assert httpd.ask("/")["environ"]["SETTING"] == "of the service"


# -- privileges ----------------------------------------------------------------------------


@NEW
def test_no_new_privs_leaves_no_way_to_gain_any(httpd, users):
    httpd.serve("probe.wsgi", options=f"threads=2 user={users[0].pw_name} no-new-privs=On")
    httpd.ask("/")
    worker, = httpd.workers(count=1)
    assert worker.no_new_privs
    for key in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert int(worker.status[key], 16) == 0, key


@NEW
def test_new_privileges_are_possible_when_nothing_is_said(httpd, users):
    httpd.serve("probe.wsgi", options=f"threads=2 user={users[0].pw_name}")
    httpd.ask("/")
    worker, = httpd.workers(count=1)
    assert not worker.no_new_privs
    assert int(worker.status["CapEff"], 16) == 0 and int(worker.status["CapBnd"], 16) != 0


@pytest.fixture
def jail(httpd):
    """A directory with this system's programs and libraries mounted in, and the runtime."""
    root = httpd.root / "jail"
    mounted = []
    root.mkdir(mode=0o755)
    for name in ("dev", "srv", "tmp"):
        (root / name).mkdir(mode=0o755)
    os.mknod(root / "dev" / "null", 0o666 | 0o020000, os.makedev(1, 3))
    for name in ("bin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
    for source in ("/usr", str(httpd.module.parent)):
        place = root / source.lstrip("/")
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        done = subprocess.run(["mount", "--bind", "-o", "ro", source, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.decode()}")
        mounted.append(place)
    try:
        yield root
    finally:
        httpd.kill_all()
        for place in reversed(mounted):
            subprocess.run(["umount", place], check=True)


@NEW
@pytest.mark.parametrize("who", ["user", "apache"])
def test_chroot_shows_nothing_outside_and_has_no_way_out(httpd, users, jail, who):
    (httpd.root / "outside").write_text("secret")
    (jail / "srv" / "app.wsgi").write_text("""
import json, os
def application(environ, start_response):
    climbed = "../" * 40
    found = {
        "root": sorted(os.listdir("/")),
        "cwd": os.getcwd(),
        "above": sorted(os.listdir(climbed)),
        "cwd_inode": os.stat(climbed).st_ino == os.stat("/").st_ino,
        "file": __file__,
        "script": environ["SCRIPT_FILENAME"],
        "docroot": environ.get("DOCUMENT_ROOT"),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(found).encode()]
""")
    user = f"user={users[0].pw_name}" if who == "user" else ""
    httpd.app("outside.wsgi", "raise SystemError")
    httpd.configure(
        f"WSGIDaemonProcess app display-name=%{{GROUP}} threads=2 chroot={jail} home=/srv {user}",
        f"WSGIScriptAlias /outside {httpd.apps}/outside.wsgi",
        f"WSGIScriptAlias / {jail}/srv/app.wsgi", "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}",
    )
    httpd.start()
    found = httpd.ask("/")
    assert found["root"] == found["above"] and "srv" in found["root"] and "proc" not in found["root"]
    assert found["cwd_inode"] and found["cwd"] == "/srv"
    assert found["file"] == found["script"] == "/srv/app.wsgi"
    assert found["docroot"] is None
    # Without /proc it cannot change its title.
    worker, = httpd.supervisor.children()
    assert worker.cwd == f"{jail}/srv"
    assert httpd.get("/outside").status == 500
    httpd.error_log.expect("WSGI0372.*outside.wsgi does not lie below")
    httpd.stop()


# -- sockets -------------------------------------------------------------------------------


def listening(httpd, *options):
    """The row of `ss` of the group's socket."""
    path, = (path for path in httpd.sockets() if ".app." in path.name)
    rows = subprocess.run(["ss", "-xlnH", *options], capture_output=True, text=True, check=True).stdout
    # With memory the row goes on in the next line.
    return next(row for row in re.split(r"\n(?=u_)", rows) if path.name in row)


@NEW
@pytest.mark.parametrize("options, length", [("", 100), ("listen-backlog=7", 7)])
def test_the_queue_of_the_socket_has_its_length(httpd, options, length):
    httpd.serve("probe.wsgi", options=f"threads=2 {options}")
    assert int(listening(httpd).split()[3]) == length


@NEW
def test_the_queue_is_as_long_as_a_new_configuration_says(httpd):
    httpd.serve("probe.wsgi", options="threads=2 listen-backlog=7")
    config = httpd.root / "httpd.conf"
    config.write_text(config.read_text().replace("listen-backlog=7", "listen-backlog=9"))
    httpd.graceful()
    assert int(listening(httpd).split()[3]) == 9


@NEW
def test_the_buffers_of_the_socket_have_their_sizes(httpd):
    httpd.serve("probe.wsgi", options="threads=2 send-buffer-size=33333 receive-buffer-size=44444")
    row = listening(httpd, "-m")
    # The kernel doubles what it is asked for.
    assert "rb88888" in row and "tb66666" in row, row
    assert httpd.get("/").status == 200


def test_the_socket_belongs_to_socket_user(httpd, users):
    httpd.configure(f"WSGIDaemonProcess app threads=2 socket-user={users[1].pw_name}")
    httpd.start()
    path, = (path for path in httpd.sockets() if ".app." in path.name or httpd.is_reference)
    assert path.stat().st_uid == users[1].pw_uid and path.stat().st_mode & 0o777 == 0o700


def test_connect_timeout_is_how_long_a_full_queue_is_tried(httpd):
    """Also: a full backlog is 503, and nothing is lost that was in the queue."""
    httpd.serve(holding(httpd), options="threads=1 listen-backlog=1 connect-timeout=1")
    held = [Held(httpd)]
    results = []

    def ask():
        begun = time.monotonic()
        results.append((httpd.get("/", timeout=60).status, time.monotonic() - begun))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    waiting.until(lambda: len(results) >= 5, 15, "those that find no room to be turned away")
    httpd.error_log.expect("WSGI0116")
    (httpd.apps / "go").write_text("")
    assert held[0].done().status == 200
    for thread in threads:
        thread.join(30)
    turned_away = [seconds for status, seconds in results if status == 503]
    assert len(turned_away) >= 5 and all(0.8 < seconds < 3 + waiting.SLACK for seconds in turned_away), results
    assert {status for status, _ in results} <= {200, 503} and 200 in {status for status, _ in results}


# -- the kernel's limits -------------------------------------------------------------------


def test_memory_limit_makes_an_allocation_fail_and_the_process_lives(httpd):
    httpd.app("hungry.wsgi", """
import os
def application(environ, start_response):
    if environ["PATH_INFO"] == "/more":
        bytearray(600 << 20)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("hungry.wsgi", options="threads=2 memory-limit=400000000")
    pid = httpd.get("/").text
    assert httpd.get("/more").status == 500
    httpd.error_log.expect_traceback("MemoryError")
    assert httpd.get("/").text == pid
    httpd.stop()
    httpd.serve("hungry.wsgi", options="threads=2 virtual-memory-limit=600000000")
    assert httpd.get("/more").status == 500
    httpd.error_log.allow("MemoryError", "Traceback", r"\]\s+\S", "WSGI0")


@NEW
def test_memory_limits_are_those_of_the_process(probe, httpd):
    probe("memory-limit=500000000 virtual-memory-limit=4000000000")
    worker, = httpd.workers(count=1)
    limits = worker._read("limits").decode()
    assert re.search(r"Max data size\s+500000000\s+500000000", limits)
    assert re.search(r"Max address space\s+4000000000\s+4000000000", limits)


def test_header_buffer_size_is_the_longest_header(httpd):
    httpd.app("long.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [("X-Long", "x" * int(environ["QUERY_STRING"]))])
    return [b""]
""")
    httpd.serve("long.wsgi", options="header-buffer-size=8192")
    assert len(httpd.get("/?8000")["X-Long"]) == 8000
    assert httpd.get("/?9000").status == 500
    httpd.error_log.expect("WSGI0144", level="error", count=1)


def test_python_eggs_is_where_packages_are_unpacked(httpd):
    httpd.app("eggs.wsgi", """
import os
EARLY = os.environ["PYTHON_EGG_CACHE"]
def application(environ, start_response):
    start_response("200 OK", [])
    return [EARLY.encode()]
""")
    httpd.serve("eggs.wsgi", options="python-eggs=/tmp/eggs")
    assert httpd.get("/").text == "/tmp/eggs"


def test_cpu_priority_is_the_nice_value(httpd):
    httpd.app("nice.wsgi", """
import os
def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpriority(os.PRIO_PROCESS, os.getpid())).encode()]
""")
    httpd.serve("nice.wsgi", options="threads=2 cpu-priority=7")
    assert httpd.get("/").text == "7"
    httpd.stop()
    httpd.serve("nice.wsgi", options="threads=2 cpu-priority=-3")
    waiting.until(lambda: httpd.get("/").text == "-3", 5, "the nice value")


@NEW
def test_cpu_time_limit_replaces_the_process_and_loses_nothing(httpd):
    httpd.app("busy.wsgi", """
import os, time
def application(environ, start_response):
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("busy.wsgi", options="threads=2 cpu-time-limit=1")
    pid = httpd.get("/").text
    with httpd.load(clients=2) as load:
        waiting.until(lambda: httpd.get("/").text != pid, 20, "a successor")
        load.more(20)
    assert not load.failures, load.failures[:5]
    httpd.error_log.expect("WSGI0329", level="info")


def test_stack_size_is_that_of_the_threads(httpd):
    httpd.app("stack.wsgi", """
import ctypes
libc = ctypes.CDLL(None)
libc.pthread_self.restype = ctypes.c_ulong
def application(environ, start_response):
    attributes = ctypes.create_string_buffer(256)
    size = ctypes.c_size_t()
    assert libc.pthread_getattr_np(ctypes.c_ulong(libc.pthread_self()), attributes) == 0
    assert libc.pthread_attr_getstacksize(attributes, ctypes.byref(size)) == 0
    start_response("200 OK", [])
    return [str(size.value).encode()]
""")
    httpd.serve("stack.wsgi", options="threads=2 stack-size=3145728")
    assert abs(int(httpd.get("/").text) - 3145728) <= 65536


# -- replacement ---------------------------------------------------------------------------


@NEW
def test_max_rss_replaces_a_process_that_has_grown_and_loses_nothing(httpd):
    httpd.app("leak.wsgi", """
import os
KEPT = []
def application(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        KEPT.append(b"x" * (80 << 20))
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("leak.wsgi", options="processes=2 threads=2 max-rss=70000000")
    httpd.workers(count=2)
    with httpd.load(clients=2) as load:
        leaking = httpd.get("/leak").text
        waiting.until(lambda: leaking not in {str(w.pid) for w in httpd.workers()}, 20, "the large one to go")
        load.more(20)
    assert not load.failures, load.failures[:5]
    httpd.error_log.expect(f"worker {leaking} is to be replaced: its .* bytes of memory exceed max-rss=70000000")
    assert len(httpd.error_log.records("exceed max-rss")) == 1


@NEW
def test_restart_interval_replaces_processes_one_at_a_time_and_loses_nothing(httpd):
    httpd.serve("probe.wsgi", options="processes=2 threads=2 restart-interval=1")
    first = {worker.pid for worker in httpd.workers(count=2)}
    most = 0
    with httpd.load(clients=4) as load:
        def replaced():
            nonlocal most
            living = {worker.pid for worker in httpd.workers()}
            most = max(most, len(living))
            return not first & living

        waiting.until(replaced, 20, "both to be replaced")
        load.more(100)
    assert not load.failures, load.failures[:5]
    # Two that serve, a successor, and a predecessor on its way out.
    assert most <= 4
    httpd.error_log.expect("is to be replaced: it has run for restart-interval=1", level="info")


@NEW
def test_maximum_requests_loses_nothing_and_costs_little(httpd):
    """Reliability G17: 0 failed, p99 under 100 ms, at least 80 % of the rate without it."""
    def measure(options):
        took = []
        httpd.serve("probe.wsgi", options=f"processes=2 threads=4 {options}")
        httpd.workers(count=2)
        with httpd.load(clients=8, accept=lambda a: took.append(a.elapsed) or a.status == 200) as load:
            load.more(200)
            begun, before = time.monotonic(), load.answers
            load.more(10000, within=120)
            rate = (load.answers - before) / (time.monotonic() - begun)
        assert not load.failures, load.failures[:5]
        httpd.stop()
        return rate, sorted(took)[len(took) * 99 // 100]

    plain, _ = measure("")
    rate, p99 = measure("maximum-requests=200 maximum-requests-jitter=100")
    replaced = len(httpd.error_log.records("it has served maximum-requests"))
    print(f"{plain:.0f}/s without, {rate:.0f}/s with maximum-requests=200, p99 {p99 * 1000:.1f} ms, {replaced} replaced")
    assert replaced >= 5
    # The machine may be busy with other things; WSGI_TEST_SLACK=0 holds it to the goals.
    wanted, limit = (0.8, 0.1) if not waiting.SLACK else (0.2, 2)
    assert rate > wanted * plain and p99 < limit


@NEW
def test_a_request_has_graceful_timeout_to_finish(httpd):
    httpd.serve(holding(httpd), options="threads=2 graceful-timeout=1 shutdown-timeout=1")
    held = Held(httpd)
    begun = time.monotonic()
    httpd.graceful()
    httpd.error_log.allow("WSGI0146", "WSGI0339", "WSGI0304", "WSGI0343")
    assert held.done().status == 502
    assert 0.8 < held.ended - begun < 4
    (httpd.apps / "go").write_text("")
    assert httpd.get("/").status == 200


@NEW
def test_eviction_timeout_takes_the_place_of_graceful_timeout_after_sigusr1(httpd):
    httpd.serve(holding(httpd), options="threads=2 graceful-timeout=60 eviction-timeout=1 shutdown-timeout=1")
    held = Held(httpd)
    worker, = httpd.workers(count=1)
    begun = time.monotonic()
    worker.signal(signal.SIGUSR1)
    httpd.error_log.allow("WSGI0146", "WSGI0339", "WSGI0304", "WSGI0343")
    assert held.done().status == 502
    assert 0.8 < held.ended - begun < 4
    # Its successor was there before.
    assert httpd.get("/").status == 200


@NEW
def test_sigusr1_to_a_worker_under_load_loses_nothing(httpd):
    httpd.serve("probe.wsgi", options="processes=1 threads=4")
    with httpd.load(clients=4) as load:
        for _ in range(5):
            worker = httpd.workers(count=1)[0]
            load.more(20)
            worker.signal(signal.SIGUSR1)
            waiting.for_exit(worker.pid)
        load.more(20)
    assert not load.failures, load.failures[:5]


@NEW
def test_shutdown_timeout_is_how_long_exit_handlers_may_take(httpd):
    httpd.app("stuck.wsgi", """
import atexit, os, time
atexit.register(time.sleep, 60)
def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")
    httpd.serve("stuck.wsgi", options="threads=2 shutdown-timeout=1")
    pid = int(httpd.get("/").text)
    httpd.error_log.allow("WSGI0304", "WSGI0343")
    send_signal(pid, signal.SIGUSR1)
    assert 0.8 < waiting.for_exit(pid) < 3 + waiting.SLACK
    assert httpd.get("/").text != str(pid)
    assert httpd.stop() < 3


# -- scripts -------------------------------------------------------------------------------


@NEW
@pytest.mark.parametrize("option, owner, mode, directory_mode, status", [
    ("script-user", "right", 0o644, 0o755, 200),
    ("script-user", "wrong", 0o644, 0o755, 403),
    ("script-user", "right", 0o664, 0o755, 403),
    ("script-user", "right", 0o646, 0o755, 403),
    ("script-user", "right", 0o644, 0o775, 403),
    ("script-group", "right", 0o664, 0o775, 200),
    ("script-group", "wrong", 0o664, 0o775, 403),
    ("script-group", "right", 0o666, 0o775, 403),
    ("script-group", "right", 0o664, 0o777, 403),
])
def test_scripts_belong_to_whom_the_group_says(httpd, users, option, owner, mode, directory_mode, status):
    place = httpd.root / "site"
    place.mkdir()
    script = place / "hello.wsgi"
    shutil.copy(httpd.apps / "hello.wsgi", script)
    user = users[0] if owner == "right" else users[1]
    for path, bits in ((script, mode), (place, directory_mode)):
        os.chown(path, user.pw_uid, user.pw_gid)
        path.chmod(bits)
    httpd.configure(
        f"WSGIDaemonProcess app display-name=%{{GROUP}} threads=2 {option}={users[0].pw_name}",
        f"WSGIScriptAlias / {script}", "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}",
    )
    httpd.start()
    assert httpd.get("/").status == status
    if status == 403:
        httpd.error_log.expect(f"WSGI0328.*{option}= of process group 'app'", level="error")
        httpd.error_log.allow("WSGI0319")
