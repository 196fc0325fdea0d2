"""Workers that cannot become what they are to be: their user, their home, their root directory
(issue 4, points 6 and 7; reliability G8 to G13; threats T6 to T14).

What is asserted throughout: nothing is ever served as the wrong user, who cannot be served gets an
answer at once, and all is well within five seconds of the cause's end."""

import resource
import shutil
import signal
import subprocess
import time

import pytest

from outages import limit, turned_away, well_again

pytestmark = pytest.mark.differs("bad-days", run=False)


@pytest.fixture
def without(httpd):
    """Starts a server whose supervisor is root without one of root's capabilities."""
    def start(capability, options):
        httpd.start_supervisor_with(f"setpriv --bounding-set=-{capability}")
        httpd.app("witness.wsgi", f"""
import os
open({str(httpd.root / 'ran')!r}, "a").write(f"{{os.getresuid()}} {{os.getgroups()}}\\n")
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ran"]
""")
        httpd.root.chmod(0o1777)
        httpd.serve("witness.wsgi", options=f"processes=2 threads=2 {options}")
        return httpd

    return start


@pytest.mark.parametrize("capability, options, step", [
    ("setgid", "user={user}", "set its supplementary groups: Operation not permitted"),
    ("setuid", "user={user}", "change its user: Operation not permitted"),
    ("sys_chroot", "user={user} chroot=/tmp", "change its root directory: Operation not permitted"),
    ("setpcap", "user={user} no-new-privs=On", "drop its capability bounding set: Operation not permitted"),
    ("sys_nice", "user={user} cpu-priority=-5", "set its priority: Permission denied"),
])
def test_a_worker_that_cannot_become_its_user_never_runs(without, users, capability, options, step):
    httpd = without(capability, options.replace("{user}", users[0].pw_name))
    httpd.error_log.allow(r"WSGI0(333|340|345|341)")
    turned_away(httpd)
    httpd.error_log.expect(f"cannot {step}", level="error")
    assert not (httpd.root / "ran").exists()
    assert httpd.workers() == []


def test_a_user_with_too_many_processes_is_served_again_when_there_are_fewer(httpd, users):
    """The kernel refuses to run a program for a user who is over RLIMIT_NPROC (CVE-2014-0240's cause)."""
    user = users[0]
    # Somebody else's processes of that user, so that the limit is passed.
    others = [subprocess.Popen(["sleep", "600"], user=user.pw_uid) for _ in range(3)]
    try:
        httpd.serve("probe.wsgi", options=f"threads=2 user={user.pw_name}")
        assert httpd.ask("/")["uids"] == [user.pw_uid] * 3
        supervisor, (worker,) = httpd.supervisor, httpd.workers(count=1)
        limit(supervisor, resource.RLIMIT_NPROC, 2)
        httpd.error_log.allow(r"WSGI0(333|345|339|341|146)")
        worker.signal(signal.SIGKILL)
        turned_away(httpd)
        httpd.error_log.expect("cannot execute its program: Resource temporarily unavailable")
        limit(supervisor, resource.RLIMIT_NPROC)
        well_again(httpd)
        assert httpd.ask("/")["uids"] == [user.pw_uid] * 3
        httpd.error_log.expect("WSGI0334", level="notice")
    finally:
        for process in others:
            process.kill()
            process.wait()


def test_a_home_that_comes_late_is_served_when_it_is_there(httpd, users):
    place = httpd.root / "late"
    httpd.error_log.allow(r"WSGI0(341|345)")
    httpd.serve("hello.wsgi", options=f"threads=2 user={users[0].pw_name} home={place}")
    turned_away(httpd)
    place.mkdir()
    well_again(httpd)


def test_a_chroot_without_a_python_is_503_and_says_so_once(httpd, users):
    place = httpd.root / "jail"
    place.mkdir()
    shutil.copy(httpd.apps / "hello.wsgi", place)
    httpd.configure(
        f"WSGIDaemonProcess app threads=2 user={users[0].pw_name} chroot={place} home=/",
        f"WSGIScriptAlias / {place}/hello.wsgi process-group=app",
    )
    httpd.start()
    httpd.error_log.allow(r"WSGI0345")
    turned_away(httpd)
    httpd.error_log.expect("WSGI0333.*cannot execute its program: No such file or directory")
    begun = time.monotonic()
    while time.monotonic() - begun < 1:
        turned_away(httpd)
    assert len(httpd.error_log.records("WSGI0333: process group")) == 1


def test_a_home_that_its_user_may_not_enter_is_named_and_heals(httpd, users):
    place = httpd.root / "private" / "home"
    place.mkdir(parents=True)
    place.parent.chmod(0o700)
    httpd.error_log.allow(r"WSGI0(333|341|345)")
    httpd.serve("hello.wsgi", options=f"threads=2 user={users[0].pw_name} home={place}")
    turned_away(httpd)
    httpd.error_log.expect(f"{users[0].pw_name} may not enter {place.parent}, which is mode 0700 owned by root:root")
    place.parent.chmod(0o755)
    well_again(httpd)
