"""Who serves a request is decided by what is configured now: after a graceful restart workers of before go
on only where they are the same users, in the same place, under the same limits (issue 10, part B, 17)."""

import json
import os
import signal
import threading

import pytest

import waiting
from processes import send_signal

# The C module ends its processes at each graceful restart.
ours = pytest.mark.differs("graceful-restarts-lose-nothing", run=False)

BROKEN = "python-home=/nonexistent/venv"
CHANGES = {
    "user": "user=wsgitest2 group=wsgitest1 supplementary-groups=wsgitest1",
    "group": "user=wsgitest1 group=wsgitest2 supplementary-groups=wsgitest1",
    "supplementary-groups": "user=wsgitest1 group=wsgitest1 supplementary-groups=wsgitest1,wsgitest2",
    "no-new-privs": "{same} no-new-privs=On",
    "home": "{same} home={root}/htdocs",
    "chroot": "{same} chroot={root}",
    "umask": "{same} umask=0077",
    "cpu-time-limit": "{same} cpu-time-limit=1000",
    "cpu-priority": "{same} cpu-priority=5",
    "memory-limit": "{same} memory-limit=2000000000",
    "virtual-memory-limit": "{same} virtual-memory-limit=8000000000",
    "script-user": "{same} script-user=root",
    "script-group": "{same} script-group=root",
}
SAME = "user=wsgitest1 group=wsgitest1 supplementary-groups=wsgitest1"


@pytest.fixture
def group(httpd, users):
    """Configures the group with these options, and starts or gracefully restarts."""
    # What is said each time a worker cannot be started, and each time a request is turned away.
    httpd.error_log.allow("WSGI03(33|34|38|41|45)", "WSGI0304")

    def configured(options, script="probe.wsgi"):
        options = options.replace("{same}", SAME).replace("{root}", str(httpd.root))
        httpd.configure(
            f"WSGIDaemonProcess app display-name=%{{GROUP}} threads=2 {options}",
            f"WSGIScriptAlias / {{apps}}/{script}", "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}",
        )
        httpd.graceful() if httpd.is_running else httpd.start()

    return configured


def is_turned_away(httpd):
    answer = httpd.get("/")
    assert answer.status == 503, answer
    return answer.elapsed < 1 + waiting.SLACK


@ours
@pytest.mark.parametrize("option", CHANGES)
def test_workers_that_are_not_as_configured_serve_nothing(httpd, group, option):
    group("{same}")
    assert httpd.ask("/")["uids"][0]
    group(f"{CHANGES[option]} {BROKEN}")
    assert is_turned_away(httpd)
    # As logrotate does.
    httpd.graceful()
    assert is_turned_away(httpd)
    httpd.error_log.expect(rf"WSGI0460.*'app': .*\b{option}\b.* changed", level="notice", count=1)
    httpd.workers(count=0)
    if option != "chroot":
        group(CHANGES[option])
        assert httpd.get("/").status == (403 if option.startswith("script-") and os.stat(httpd.apps).st_uid else 200)


@ours
def test_workers_of_before_go_on_where_only_the_environment_is_broken(httpd, group):
    group("{same}")
    before = httpd.ask("/")["pid"]
    group(f"{{same}} {BROKEN}")
    httpd.error_log.expect("WSGI0341.*/nonexistent/venv")
    assert {httpd.ask("/")["pid"] for _ in range(5)} == {before}
    httpd.graceful()
    assert {httpd.ask("/")["pid"] for _ in range(5)} == {before}
    # Those that went on so are not to serve for another user either.
    group(f"{CHANGES['user']} {BROKEN}")
    assert is_turned_away(httpd)


@ours
def test_a_supervisor_that_starts_again_keeps_to_what_is_configured(httpd, group):
    group("{same}")
    assert httpd.get("/").status == 200
    group(f"{CHANGES['user']} {BROKEN}")
    assert is_turned_away(httpd)
    httpd.error_log.allow("WSGI0384", "WSGI0117", "supervisor", "exit signal")
    before = httpd.supervisor.pid
    send_signal(before, signal.SIGKILL)
    waiting.until(lambda: (found := httpd.supervisor) and found.pid != before, 5, "a new supervisor")
    waiting.until(lambda: httpd.get("/").status == 503 and httpd.error_log.records("WSGI0341"), 5, "the refusal")
    httpd.workers(count=0)


@ours
def test_requests_wait_for_successors_that_are_slow_to_start_and_are_served_by_them_alone(httpd, group):
    httpd.app("slow.wsgi", "import time\ntime.sleep(2)\n" + (httpd.apps / "probe.wsgi").read_text())
    group("{same}", "slow.wsgi")
    first = httpd.ask("/")["uids"][0]
    group(CHANGES["user"], "slow.wsgi")
    answer = httpd.get("/")
    assert answer.status == 200 and answer.elapsed > 1
    assert json.loads(answer.body)["uids"][0] != first


@ours
def test_what_has_begun_is_finished_by_who_began_it(httpd, group):
    httpd.app("waits.wsgi", """
import os
def application(environ, start_response):
    name = environ["QUERY_STRING"]
    open(f"{name}.begun", "w").close()
    with open(f"{name}.pipe") as pipe:
        pipe.read()
    start_response("200 OK", [])
    return [str(os.getuid()).encode()]
""")
    (httpd.root / "shared").mkdir(mode=0o777)
    (httpd.root / "shared").chmod(0o777)
    os.mkfifo(httpd.root / "shared" / "one.pipe")
    group("{same}", "waits.wsgi")
    uid = httpd.workers(count=1)[0].uids[0]
    connection = httpd.begin("/", f"{httpd.root}/shared/one")
    group(f"{CHANGES['user']} {BROKEN}", "waits.wsgi")
    assert is_turned_away(httpd)
    threading.Thread(target=lambda: open(httpd.root / "shared" / "one.pipe", "w").close()).start()
    answer = connection.response()
    assert (answer.status, answer.text) == (200, str(uid))


@ours
def test_workers_that_listen_where_nobody_asks_count_for_nothing(httpd, group):
    group("{same}")
    assert httpd.get("/").status == 200
    (httpd.root / "place").mkdir(mode=0o755)
    config = httpd.root / "httpd.conf"
    text = config.read_text().replace(SAME, f"{SAME} {BROKEN}")
    config.write_text(f"{text}\nWSGISocketPrefix {httpd.root}/place/wsgi\n")
    httpd.graceful()
    assert is_turned_away(httpd)
    httpd.error_log.expect("WSGI0460.*WSGISocketPrefix changed", level="notice")
