"""The judge of chaos excuses one kind of crash, httpd's own at a restart, and only with all evidence."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

import crashes

RESTART = "[core:notice] [pid 7:tid 7] AH00494: SIGHUP received.  Attempting to restart"
CRASH = "[core:notice] [pid 7:tid 7] AH00052: child pid 42 exit signal Segmentation fault (11)"
DUMPED = "[core:notice] [pid 7:tid 7] AH00051: child pid 42 exit signal Segmentation fault (11), possible coredump in /c"
FRAMES = "#0  apr_socket_close () from libapr-1.so.0\n#1  child_main () from mod_mpm_event.so\n#2  ap_run_mpm ()"


def judged(lines, frames):
    return crashes.missing_evidence(lines, len(lines) - 1, lambda pid: frames if pid == 42 else None)


@pytest.mark.parametrize("crash", [CRASH, DUMPED])
def test_a_crash_of_the_mpm_right_behind_a_restart_is_httpd_s_own(crash):
    assert judged([RESTART, crash], FRAMES) is None
    assert judged([RESTART, "[wsgi:info] [pid 9:tid 9] WSGI0450: a load", CRASH, crash], FRAMES) is None


@pytest.mark.parametrize("lines, frames, missing", [
    ([CRASH], FRAMES, "no restart"),
    (["AH00493: SIGUSR1 received.  Doing graceful restart", CRASH], FRAMES, "no restart"),
    ([RESTART, "AH00163: Apache configured -- resuming normal operations", CRASH], FRAMES, "no restart"),
    ([RESTART, CRASH.replace("Segmentation fault (11)", "Aborted (6)")], FRAMES, "another signal"),
    ([RESTART, CRASH], None, "no core"),
    ([RESTART, CRASH], FRAMES + "\n#3  mod_wsgi::child () from libmod_wsgi.so", "a frame of this module"),
    ([RESTART, CRASH], "#0  memcpy () from libc.so.6\n#1  worker () from other.so", "not the MPM's"),
])
def test_without_all_of_the_evidence_it_is_a_fault(lines, frames, missing):
    assert missing in judged(lines, frames)
