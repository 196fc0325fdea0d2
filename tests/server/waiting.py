"""Waiting for an event, with a limit; the suite never sleeps to let something happen."""

import os
import select
import time

# What a machine that is busy with other things may add to a promised time, in seconds. With
# WSGI_TEST_SLACK=0 the tests hold the server to its promises; docs/reliability.md has what they found.
SLACK = float(os.environ.get("WSGI_TEST_SLACK", "4"))


class TooLate(AssertionError):
    """The event did not come within its limit."""


def until(condition, within=10.0, what="the condition"):
    """Return the first true value of `condition()`, or raise TooLate after `within` seconds.

    The look-ups between events are 5 ms apart: the state looked at (a file's growth, a row of
    /proc) has no descriptor to wait on. The pause is no synchronisation; only the answer is.
    """
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            described = what() if callable(what) else what
            raise TooLate(f"waited {within:g} s for {described}")
        time.sleep(0.005)


def for_exit(pid, within=10.0):
    """Wait until process `pid` has ended (a zombie has ended). Return the seconds it took."""
    start = time.monotonic()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0.0
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(within * 1000):
            raise TooLate(f"process {pid} still runs after {within:g} s")
    finally:
        os.close(descriptor)
    return time.monotonic() - start
