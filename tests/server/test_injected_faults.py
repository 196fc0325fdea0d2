"""A worker becomes its user in steps, and any of them may fail, or claim to have succeeded (issue 4,
point 6; reliability G9, G22; threat T8). What fails then is the worker and nothing else: requests
get 503 at once, nothing runs as anybody else, and all is well within five seconds of the end.

CVE-2014-0240 and CVE-2014-8583 are what became of such failures in mod_wsgi."""

import os
import signal
import subprocess

import pytest

import waiting
from outages import turned_away, well_again
from processes import send_signal

pytestmark = pytest.mark.differs("bad-days", run=False)

# System calls of the supervisor and of what it becomes, through libc. While a file of a call's name
# is in the directory FAULTS, the call fails with the number in it; with 0 it claims to have succeeded.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fault(const char *call, int *result) {
    char path[512], text[16] = "";
    snprintf(path, sizeof path, "%s/%s", getenv("FAULTS"), call);
    int file = open(path, O_RDONLY);
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    errno = atoi(text);
    *result = errno ? -1 : 0;
    return 1;
}

#define CALL(name, declared, passed) \
    int name declared { \
        int result; \
        if (fault(#name, &result)) return result; \
        return ((int (*) declared)dlsym(RTLD_NEXT, #name)) passed; \
    }

CALL(setgroups, (size_t count, const void *list), (count, list))
CALL(setresgid, (unsigned real, unsigned effective, unsigned saved), (real, effective, saved))
CALL(setresuid, (unsigned real, unsigned effective, unsigned saved), (real, effective, saved))
CALL(chroot, (const char *path), (path))
CALL(chdir, (const char *path), (path))
CALL(setrlimit, (int what, const void *limit), (what, limit))
CALL(setrlimit64, (int what, const void *limit), (what, limit))
CALL(setpriority, (int which, unsigned who, int value), (which, who, value))

/* Calls that libc has no name for: what kernels before 5.3 and 5.9 lack. */
long syscall(long number, ...) {
    long passed[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++) passed[i] = va_arg(rest, long);
    va_end(rest);
    int is_new = number == SYS_pidfd_open || number == SYS_pidfd_send_signal || number == SYS_close_range, result;
    if (is_new && fault("new", &result)) return result;
    return ((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))
        (number, passed[0], passed[1], passed[2], passed[3], passed[4], passed[5]);
}

/* The error is what is returned; and as many calls of a process as a second file says succeed. */
int pthread_create(void *thread, const void *how, void *(*run)(void *), void *with) {
    static int calls;
    int result, spared = fault("spared", &result) ? errno : 0;
    if (fault("pthread_create", &result) && calls++ >= spared) return errno;
    return ((int (*)(void *, const void *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create"))(thread, how, run, with);
}
"""


@pytest.fixture
def faults(httpd):
    """Starts a server whose supervisor and workers have faults that can be switched on and off."""
    place, shim = httpd.root / "faults", httpd.root / "shim.so"
    place.mkdir(mode=0o755)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, "-x", "c", "-", "-ldl"], input=SHIM.encode(), check=True)
    httpd.start_supervisor_with(f"env LD_PRELOAD={shim} FAULTS={place}")
    witness = httpd.root / "witness"
    witness.touch()
    witness.chmod(0o666)
    httpd.app("witness.wsgi", f"""
import os
def application(environ, start_response):
    with open({str(witness)!r}, "a") as file:
        file.write(f"{{os.getresuid()}} {{os.getresgid()}} {{sorted(os.getgroups())}} {{os.getcwd()}}\\n")
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
""")

    class Faults:
        def serve(self, options):
            httpd.serve("witness.wsgi", options=f"threads=2 {options}")
            return httpd

        def on(self, call, number):
            (place / call).write_text(str(number))

        def off(self):
            for path in place.iterdir():
                path.unlink()

        def ran_as(self):
            return set(witness.read_text().splitlines())

    return Faults()


EPERM, EAGAIN, EINVAL, ENOSYS = 1, 11, 22, 38
LIE = 0


@pytest.mark.parametrize("call, number, options, step", [
    ("setgroups", EPERM, "", "set its supplementary groups: Operation not permitted"),
    ("setgroups", LIE, "", "set its supplementary groups: Operation not permitted"),
    ("setresgid", EAGAIN, "", "change its group: Resource temporarily unavailable"),
    ("setresgid", LIE, "", "change its group: Operation not permitted"),
    ("setresuid", EAGAIN, "", "change its user: Resource temporarily unavailable"),
    ("setresuid", LIE, "", "change its user: Operation not permitted"),
    ("chdir", EPERM, "home=/tmp", "enter its working directory: Operation not permitted"),
    ("setrlimit", EINVAL, "memory-limit=4000000000", "set its resource limits: Invalid argument"),
    ("setpriority", EPERM, "cpu-priority=5", "set its priority: Operation not permitted"),
])
def test_a_step_that_fails_or_lies_serves_nobody_until_it_works(faults, users, call, number, options, step):
    httpd = faults.serve(f"user={users[0].pw_name} supplementary-groups={users[0].pw_name} {options}")
    pid = int(httpd.get("/").text)
    right = faults.ran_as()
    assert len(right) == 1
    faults.on(call, number)
    if call == "setrlimit":
        faults.on("setrlimit64", number)
    httpd.error_log.allow(r"WSGI0(333|339|340|341|345|146)")
    send_signal(pid, signal.SIGKILL)
    turned_away(httpd)
    httpd.error_log.expect(f"cannot {step}", level="error")
    turned_away(httpd)
    faults.off()
    well_again(httpd)
    assert faults.ran_as() == right


def test_a_chroot_that_fails_serves_nobody_from_outside_of_it(faults, users):
    """It is the root that was asked for, or none."""
    httpd = faults.serve(f"user={users[0].pw_name} chroot=/ home=/tmp")
    pid = int(httpd.get("/").text)
    right = faults.ran_as()
    faults.on("chroot", EPERM)
    httpd.error_log.allow(r"WSGI0(333|339|345|146)")
    send_signal(pid, signal.SIGKILL)
    turned_away(httpd)
    httpd.error_log.expect("cannot change its root directory: Operation not permitted")
    faults.off()
    well_again(httpd)
    assert faults.ran_as() == right


def test_cve_2014_0240_a_setuid_that_fails_with_eagain_leaves_nobody_running_as_apache_s_user_or_root(faults, users):
    """In mod_wsgi before 3.5 the worker went on as root, because setuid() was not expected to fail for a
    user at the limit of its processes. The kernel may also refuse the exec that follows, which
    test_unstartable_workers has."""
    faults.on("setresuid", EAGAIN)
    httpd = faults.serve(f"user={users[0].pw_name}")
    httpd.error_log.allow(r"WSGI0(333|341|345)")
    turned_away(httpd)
    httpd.error_log.expect("cannot change its user: Resource temporarily unavailable")
    assert faults.ran_as() == set() and httpd.workers() == []
    faults.off()
    well_again(httpd)
    user = users[0].pw_uid
    assert all(line.startswith(f"({user}, {user}, {user}) ") for line in faults.ran_as())


@pytest.mark.parametrize("call", ["setgroups", "setresgid"])
def test_cve_2014_8583_groups_that_cannot_be_dropped_leave_nobody_running_with_root_s(faults, users, call):
    """In mod_wsgi before 4.2.4 a worker went on with root's group and groups where they could not be
    changed."""
    faults.on(call, EPERM)
    httpd = faults.serve(f"user={users[0].pw_name} group={users[1].pw_name}")
    httpd.error_log.allow(r"WSGI0(333|341|345)")
    turned_away(httpd)
    assert faults.ran_as() == set() and httpd.workers() == []
    faults.off()
    well_again(httpd)
    group = users[1].pw_gid
    assert all(f"({group}, {group}, {group})" in line and " 0" not in line.split(")")[1] for line in faults.ran_as())


# -- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spared", [0, 1, 3, 5])
def test_threads_that_cannot_be_made_are_told_and_made_up_for(faults, users, spared):
    """RLIMIT_NPROC or pids.max counts threads, too."""
    httpd = faults.serve(f"user={users[0].pw_name} threads=5 request-timeout=20")
    pid = int(httpd.get("/").text)
    faults.on("spared", spared)
    faults.on("pthread_create", EAGAIN)
    httpd.error_log.allow(r"WSGI0(333|335|339|303|341|345|146)")
    send_signal(pid, signal.SIGKILL)
    turned_away(httpd)
    httpd.error_log.expect("WSGI0335.*can't be started: Resource temporarily unavailable", level="error")
    faults.off()
    well_again(httpd)


def test_a_worker_that_can_make_no_thread_any_more_goes_on_and_leaves_as_ever(faults, users):
    httpd = faults.serve(f"user={users[0].pw_name} request-timeout=20 maximum-requests=100")
    pid = int(httpd.get("/").text)
    faults.on("pthread_create", EAGAIN)
    httpd.error_log.allow(r"WSGI0(333|335|303|338)")
    # No successor comes up, so the one there is does not leave.
    send_signal(pid, signal.SIGUSR1)
    httpd.error_log.expect("WSGI0335.*can't be started")
    for _ in range(20):
        assert httpd.get("/").text == str(pid)
    assert httpd.stop() < 5 + waiting.SLACK
    assert not httpd.error_log.records("did not leave in time")


# -- old kernels -----------------------------------------------------------------------------------


def test_a_kernel_without_pidfds_has_deaths_seen_and_replaced_as_well(faults, users):
    faults.on("new", ENOSYS)
    httpd = faults.serve(f"user={users[0].pw_name} processes=2")
    assert not [kind for kind in httpd.supervisor.descriptors.values() if "pidfd" in kind], "the fault is not in place"
    first, second = httpd.workers(count=2)
    assert set(first.descriptors) >= {0, 1, 2} and not [d for d in first.descriptors.values() if d.startswith("/") and d != "/dev/null"]
    httpd.error_log.allow("WSGI0(339|146)")
    first.signal(signal.SIGKILL)
    httpd.error_log.expect("WSGI0339.*killed by SIGKILL")
    waiting.until(lambda: {w.pid for w in httpd.workers()} & {second.pid} and len(httpd.workers()) == 2, 10, "a successor")
    with httpd.load(clients=4) as load:
        for _ in range(3):
            httpd.graceful()
            load.more(100)
        httpd.workers()[0].signal(signal.SIGUSR1, may_have_gone=True)
        load.more(200)
    assert not load.failures, load.failures[:3]
    # What a killed supervisor costs, and says, is another test's matter.
    httpd.error_log.allow("WSGI0", "exit signal")
    httpd.supervisor.signal(signal.SIGKILL)
    well_again(httpd)
    httpd.workers(count=2)
    assert httpd.stop() < 5 + waiting.SLACK
