"""Processes as /proc shows them: the tree below a server, and what one of them holds."""

import ctypes
import os
import re
import signal
import stat
from dataclasses import dataclass
from pathlib import Path

import waiting

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Make this process the parent of every orphan of its servers, so that none can hide."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def reap_orphans(keep=()):
    """Collect ended children that were adopted; those in `keep` belong to somebody's Popen."""
    for child in children_of(os.getpid()):
        if child.pid in keep or child.state != "Z":
            continue
        try:
            os.waitpid(child.pid, os.WNOHANG)
        except ChildProcessError:
            pass


def is_descendant(pid):
    """Whether `pid` is below this process, which adopts the orphans of its servers."""
    while pid > 1:
        pid = Process(pid).parent
        if pid == os.getpid():
            return True
    return False


def send_signal(pid, number, may_have_gone=False):
    """Signal a process of this suite's. Return whether it was there; with `may_have_gone` it need not be.

    A number that was read from a list may by now be another process's, somebody else's even. So the process is
    held by a descriptor first, and then looked at. SIGSTOP has stopped every thread when this returns: they
    run on until each sees it.
    """
    try:
        descriptor = os.pidfd_open(pid)
        try:
            if not is_descendant(pid):
                raise ProcessLookupError(f"{pid} is no process of this suite's")
            signal.pidfd_send_signal(descriptor, number)
            if number == signal.SIGSTOP:
                waiting.until(Process(pid).is_stopped, what=f"{pid} to stop")
        finally:
            os.close(descriptor)
    except ProcessLookupError:
        if not may_have_gone:
            raise
        return False
    return True


@dataclass(frozen=True)
class Process:
    """One process. Every property is read when asked for; a process that has gone reads empty."""

    pid: int

    def _read(self, name):
        try:
            return Path(f"/proc/{self.pid}/{name}").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return b""

    def __str__(self):
        return f"{self.pid} [{self.state}] {self.title}"

    def signal(self, number, may_have_gone=False):
        return send_signal(self.pid, number, may_have_gone)

    @property
    def exists(self):
        """True while the process runs; a zombie no longer does."""
        return self.state not in ("", "Z", "X")

    @property
    def state(self):
        fields = self._stat()
        return fields[0] if fields else ""

    def is_stopped(self):
        """Whether every thread has stopped, or the process has gone."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        try:
            return all(thread.read_bytes().rpartition(b")")[2].split()[0] in b"tTZX" for thread in threads)
        except (FileNotFoundError, ProcessLookupError):
            return not self.exists

    @property
    def parent(self):
        fields = self._stat()
        return int(fields[1]) if fields else 0

    @property
    def identity(self):
        """Its id and when it was started: an id alone is soon somebody else's on a busy machine."""
        fields = self._stat()
        return (self.pid, fields[19] if len(fields) > 19 else "")

    def _stat(self):
        # The name may hold blanks and brackets: what follows the last ")" is regular.
        return self._read("stat").rpartition(b")")[2].decode().split()

    @property
    def process_group(self):
        return int(self._stat()[2])

    @property
    def has_terminal(self):
        """It has a controlling terminal, which it can open as /dev/tty and type into."""
        return self._stat()[4] != "0"

    @property
    def autogroup(self):
        """Those it shares the processor with as one, where the kernel groups by sessions: see sched(7)."""
        return self._read("autogroup")

    @property
    def title(self):
        """What `ps` shows: the argument vector, or the kernel's name for a zombie."""
        line = self._read("cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
        return line or self._read("comm").decode(errors="replace").strip()

    @property
    def status(self):
        """The rows of /proc/PID/status as a dict of strings."""
        rows = self._read("status").decode(errors="replace").splitlines()
        return {key: value.strip() for key, _, value in (row.partition(":") for row in rows)}

    @property
    def uids(self):
        """Real, effective, saved and file system user ids."""
        return tuple(int(word) for word in self.status.get("Uid", "").split())

    @property
    def gids(self):
        return tuple(int(word) for word in self.status.get("Gid", "").split())

    @property
    def groups(self):
        """Supplementary group ids."""
        return {int(word) for word in self.status.get("Groups", "").split()}

    @property
    def no_new_privs(self):
        return self.status.get("NoNewPrivs") == "1"

    @property
    def environ(self):
        """The environment the process was started with."""
        pairs = (row.partition(b"=") for row in self._read("environ").split(b"\0") if row)
        return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}

    @property
    def cwd(self):
        return os.readlink(f"/proc/{self.pid}/cwd")

    @property
    def executable(self):
        return os.readlink(f"/proc/{self.pid}/exe")

    @property
    def descriptors(self):
        """Open descriptors: number to what it is (`/path`, `socket:[n]`, `pipe:[n]`, ...)."""
        found = {}
        try:
            numbers = os.listdir(f"/proc/{self.pid}/fd")
        except (FileNotFoundError, ProcessLookupError):
            return found
        for number in numbers:
            try:
                found[int(number)] = os.readlink(f"/proc/{self.pid}/fd/{number}")
            except FileNotFoundError:
                continue
        return found

    @property
    def kept_connections(self):
        """Connections between Apache's children and workers that this process has an end of."""
        stream, listening = "0001", 0x10000
        rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        unix = {row[6] for row in rows if row[4] == stream and not int(row[3], 16) & listening}
        return {kind for kind in self.descriptors.values() if kind.removeprefix("socket:[").rstrip("]") in unix}

    def is_writable(self, descriptor):
        """Whether `descriptor` was opened for writing."""
        flags = re.search(rb"flags:\s*(\d+)", self._read(f"fdinfo/{descriptor}"))
        return bool(flags) and (int(flags.group(1), 8) & os.O_ACCMODE) != os.O_RDONLY

    @property
    def maps(self):
        """Rows of the memory map as (permissions, path)."""
        rows = (row.split(None, 5) for row in self._read("maps").decode(errors="replace").splitlines())
        return [(row[1], row[5] if len(row) > 5 else "") for row in rows]

    def _resident(self, key):
        """A row of /proc/PID/status that is in kB, in bytes."""
        return int(re.search(rf"^{key}:\s+(\d+) kB", self._read("status").decode(), re.M)[1]) * 1024

    def begin_peak(self):
        """Start `peak_memory` anew; return the resident memory of now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self._resident("VmRSS")

    @property
    def peak_memory(self):
        """The most resident memory it had since `begin_peak`."""
        return self._resident("VmHWM")

    @property
    def private_memory(self):
        """Private memory in bytes."""
        return 1024 * sum(int(n) for n in re.findall(rb"Private_\w+:\s+(\d+) kB", self._read("smaps_rollup")))

    @property
    def resident_memory(self):
        """Resident memory in bytes."""
        return 1024 * int(self.status.get("VmRSS", "0 kB").split()[0])

    @property
    def threads(self):
        return int(self.status.get("Threads", "0"))

    def children(self):
        return children_of(self.pid)

    def descendants(self):
        """Every process below this one, parents before their children."""
        found = []
        for child in self.children():
            found.append(child)
            found.extend(child.descendants())
        return found


def all_processes():
    return [Process(int(name)) for name in os.listdir("/proc") if name.isdigit()]


def children_of(pid):
    """The children of `pid`, whichever of its threads started them."""
    found = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for thread in threads:
        try:
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.extend(Process(int(word)) for word in text.split())
    return found


def sockets_under(directory):
    """Socket files below `directory`."""
    return sorted(
        path for path in Path(directory).rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)
    )


def shared_segments_of(pids):
    """System V shared segments made by one of `pids`, which is all the kernel remembers."""
    rows = Path("/proc/sysvipc/shm").read_text().splitlines()
    columns = rows[0].split()
    creator = columns.index("cpid")
    return [row for row in rows[1:] if int(row.split()[creator]) in pids]
