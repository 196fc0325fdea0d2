"""Crashes of Apache's children: which of them are httpd's own, and the evidence for it.

At a restart that is not graceful, the event MPM of httpd can crash in a child that is ending anyway:
its main thread closes a client's socket whose pool a worker thread has just cleared. It happens
without this module, too. A crash is taken for that one only with all of this evidence:

- the line of the crash stands right behind AH00494, the restart;
- its signal is 11;
- there is a core, and gdb shows the crashed thread in the MPM, with no frame of this module.
"""

import re
import shutil
import subprocess
from pathlib import Path

CRASH = re.compile(r"AH0005[12]: child pid (?P<pid>\d+) exit signal (?P<signal>[A-Z][\w ]*?\(\d+\))")
RESTART = "AH00494"
OURS = "libmod_wsgi"
MPM = re.compile(r"\bap_run_mpm\b|mod_mpm_event|\bevent_run\b")


def missing_evidence(lines, index, backtrace):
    """Why the crash that `lines[index]` tells of may not be taken for httpd's own; None if it may.

    `backtrace` gives, for a pid, the frames of the crashed thread, or None without a core."""
    crash = CRASH.search(lines[index])
    if not crash or crash["signal"] != "Segmentation fault (11)":
        return "another signal"
    before = next((line for line in reversed(lines[:index]) if re.search(r"\bAH\d{5}:", line) and not CRASH.search(line)), "")
    if RESTART not in before:
        return "no restart right before it"
    frames = backtrace(int(crash["pid"]))
    if not frames:
        return "no core to look at (--cores)"
    if OURS in frames:
        return "a frame of this module in the crashed thread"
    if not MPM.search(frames):
        return "the crashed thread is not the MPM's"
    return None


class Cores:
    """A directory in which children of Apache leave cores, and what gdb reads in them."""

    def __init__(self, directory, program):
        self.directory, self.program = Path(directory), program

    def backtrace(self, pid):
        """The frames of the thread that crashed in process `pid`, or None."""
        core = self.directory / f"core.{pid}"
        if not core.exists() or not shutil.which("gdb"):
            return None
        done = subprocess.run(
            ["gdb", "-batch", "-n", "-ex", "bt", self.program, str(core)], capture_output=True, text=True, timeout=60, check=False
        )
        frames = [line for line in done.stdout.splitlines() if line.startswith("#")]
        return "\n".join(frames) or None
