"""Users and groups of the tests, which are made once and stay."""

import fcntl
import grp
import pwd
import subprocess
from contextlib import contextmanager

LOCK = "/run/lock/wsgi-test-accounts"


@contextmanager
def locked():
    """Only one process of any suite changes accounts: the tools fail where another one is at it."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def add_group(name):
    run("groupadd", "--force", "--system", name)


def add_user(name):
    """A system user with a home and a group of its own, if there is none."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        run("useradd", "--system", "--user-group", "--create-home", "--home-dir", f"/var/lib/{name}",
            "--shell", "/usr/sbin/nologin", name)


def add_member(group, user):
    if user not in grp.getgrnam(group).gr_mem:
        run("usermod", "--append", "--groups", group, user)
