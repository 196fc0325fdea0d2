"""A loaded server under random faults: scripts/chaos [minutes]. See CONTRIBUTING.md.

Clients ask a real Apache with two process groups for responses of which every byte is known, while
something is done to its processes every few seconds. In the end no body may have been wrong, nothing
run twice, hardly anything failed that no fault had hit, and nothing grown. What is done and asked
follows from the seed; when each thing happens, from the machine.
"""

import argparse
import random
import resource
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

import growth
import processes
import waiting
from crashes import Cores
from faults import WEIGHTS, Faults
from httpd import APACHE, CHECKOUT, Port, Server
from judge import Verdict
from ledger import Ledger
from visitors import Visitors

GROUPS = ("a", "b")
BUILT = CHECKOUT / "target" / "release"
# Memory a role may hold more at the end: successors come young, and every thread that has carried
# bodies of 1 MB keeps a heap, in httpd's children too. Slow growth is the matter of soak.py, where
# the processes stay the same.
MAY_GROW = {"parent": 1 << 20, "supervisor": 1 << 20, "child": 8 << 20, "worker": 12 << 20}
CONFIGURATION = [
    "MaxConnectionsPerChild 1000",
    "WSGIDaemonProcess a display-name=%{GROUP} processes=2 threads=3",
    # The second group is replaced by itself all the time.
    "WSGIDaemonProcess b display-name=%{GROUP} processes=2 threads=3 maximum-requests=500 user=nobody group=nogroup home=/",
    *(f"WSGIScriptAlias /{g} {{apps}}/{g}.wsgi process-group={g} application-group=%{{GLOBAL}}" for g in GROUPS),
]


def staged(directory):
    """A copy of the build, which the next build does not change in the middle of the run."""
    for name in ("libmod_wsgi.so", "mod_wsgi-supervisor", "libwsgi_runtime.so"):
        shutil.copy(BUILT / name, directory)
    directory.chmod(0o755)
    return directory / "libmod_wsgi.so"


class Chaos:
    """One run. `run` returns the Verdict; `say` hears of every fault when it is thrown."""

    def __init__(self, seed, seconds, every=4.0, clients=8, only=None, mpm="event", say=print, keep=None, tls=False, cores=False):
        self.seed, self.seconds, self.every, self.clients = seed, seconds, every, clients
        self.only, self.mpm, self.keep, self.tls, self.cores = only, mpm, keep, tls, cores
        self._say = say

    def run(self):
        self.since = time.monotonic()
        self._say(f"seed {self.seed}, {self.seconds:g} s, a fault every {self.every:g} s")
        with tempfile.TemporaryDirectory(prefix="wsgi-chaos-", dir="/tmp") as directory:
            Path(directory).chmod(0o755)
            build = Path(directory, "build")
            build.mkdir()
            self.server = Server(staged(build), self.mpm)
            try:
                return self._run(Ledger(Path(directory, "ledger")))
            finally:
                if self.keep:
                    shutil.copytree(self.server.root / "logs", self.keep, dirs_exist_ok=True)
                self.server.close(judge=False)

    def log(self, text):
        self._say(f"{time.monotonic() - self.since:8.3f}  {text}")

    def _run(self, ledger):
        server = self.server
        file = random.Random("file").randbytes(700_000)
        big = server.apps / "big.bin"
        big.write_bytes(file)
        server.environ = {"CHAOS_LEDGER": str(ledger.directory), "CHAOS_FILE": str(big)}
        application = Path(__file__).with_name("application.wsgi").read_text()
        for group in GROUPS:
            server.app(f"{group}.wsgi", application)
        port = self._secure(server) if self.tls else None
        cores = self._cores(server) if self.cores else None
        server.configure(*CONFIGURATION, *(port.lines if port else ()), *(cores.lines if cores else ()))
        server.start()
        secure = {"secure": port.number} if port else {}
        faults = Faults(server, GROUPS, random.Random(f"{self.seed} faults"), self.log, self.only)
        with Visitors(server.port, GROUPS, file, f"{self.seed} warm", self.clients, "warm-", **secure) as warm:
            warm.more(1500)
        before = self._at_rest()
        with Visitors(server.port, GROUPS, file, self.seed, self.clients, **secure) as visitors:
            visitors.more(self.clients)
            pause = random.Random(f"{self.seed} pauses")
            end = time.monotonic() + self.seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, pause.uniform(0, 2) * self.every))
                faults.throw()
            # The last fault may have been a moment ago: what it did is to be seen, too.
            visitors.more(300)
        after = self._at_rest(before)
        visitors.trouble += warm.trouble
        visitors.aborted |= warm.aborted
        verdict = Verdict(visitors, faults, ledger, server.error_log.text(), cores.backtrace if cores else lambda pid: None)
        verdict.broken += self._grown(before, after)
        server.stop()
        verdict.broken += [f"left behind: {thing}" for thing in server.leftovers()]
        self._say(growth.table(before, after))
        self._say(f"{faults.count} faults; the longest answer took {visitors.slowest.end - visitors.slowest.start:.2f} s:"
                  f" {visitors.slowest.ask}")
        for line in verdict.describe(self.since):
            self._say(line)
        return verdict

    def _secure(self, server):
        """A port for TLS, with the lines that configure it."""
        from secure import certificate  # its modules are not everywhere

        port = Port()
        cert, key = certificate(server.root)
        port.lines = [
            f"Listen 127.0.0.1:{port.number}", "Protocols h2 http/1.1", f"<VirtualHost 127.0.0.1:{port.number}>", "SSLEngine On",
            f"SSLCertificateFile {cert}", f"SSLCertificateKeyFile {key}",
            *(line for line in CONFIGURATION if line.startswith("WSGIScriptAlias")), "</VirtualHost>",
        ]
        return port

    def _cores(self, server):
        """Where Apache's children leave cores, with the lines that configure it."""
        if Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core.%p":
            raise SystemExit("--cores needs: sysctl kernel.core_pattern=core.%p")
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        directory = server.root / "cores"
        directory.mkdir()
        directory.chmod(0o1777)
        cores = Cores(directory, APACHE)
        cores.lines = [f"CoreDumpDirectory {directory}"]
        return cores

    def _at_rest(self, before=None):
        """Figures when the clients have gone and every process that was leaving has left."""
        server = self.server

        def settled():
            expected = 2 * len(GROUPS) + 2 + len(server.children())
            return server.supervisor and len(server.family()) == expected and all(
                len(server.workers(group)) == 2 for group in GROUPS
            )

        waiting.until(settled, 40, lambda: f"two workers of each group and nobody else: {server.described()}")
        return growth.take_again(server, GROUPS, before) if before else growth.take(server, GROUPS)

    def _grown(self, before, after):
        found = []
        first, last = growth.by_role(before), growth.by_role(after)
        for role, now in last.items():
            then, more = first.get(role), MAY_GROW[role.split()[0]]
            if then is None:
                found.append(f"a process that was not there before: {now}")
                continue
            if now.private > then.private + more:
                found.append(f"{role} grew from {then.private >> 10} to {now.private >> 10} KiB")
            if now.descriptors > then.descriptors:
                found.append(f"{role} has {now.descriptors} descriptors, {then.descriptors} before")
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("minutes", nargs="?", type=float, default=2.0)
    parser.add_argument("--seed", help="of an earlier run, to throw the same faults again")
    parser.add_argument("--every", type=float, default=4.0, metavar="SECONDS", help="mean time between faults")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=list(WEIGHTS), metavar="FAULT", help=" ".join(WEIGHTS))
    parser.add_argument("--mpm", default="event", choices=["event", "worker", "prefork"])
    parser.add_argument("--tls", action="store_true", help="over TLS, half of the clients with HTTP/2; needs Python's h2")
    parser.add_argument("--cores", action="store_true", help="look into cores of Apache's children with gdb")
    parser.add_argument("--keep", metavar="DIRECTORY", help="where to keep the server's logs")
    options = parser.parse_args()
    processes.adopt_orphans()
    chaos = Chaos(
        options.seed or secrets.token_hex(4), options.minutes * 60, options.every, options.clients,
        options.only, options.mpm, lambda text: print(text, flush=True), options.keep, options.tls, options.cores,
    )
    verdict = chaos.run()
    if verdict.broken:
        print(f"FAILED; again with --seed {chaos.seed}")
    return 1 if verdict.broken else 0


if __name__ == "__main__":
    sys.exit(main())
