"""A real apache2 for one test or one module of tests.

    httpd.configure("WSGIDaemonProcess app", "WSGIScriptAlias / {apps}/hello.wsgi", ...)
    httpd.start()
    assert httpd.get("/").text == "Hello, World!\\n"

A server has a root of its own below /tmp, a free port, and as few modules as its lines need.
When it is closed its log must hold nothing the test has not declared, and no process, socket
file or shared segment of it may be left. See CONTRIBUTING.md for how to write a test.
"""

import fcntl
import functools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import termios
from pathlib import Path

import client
import processes
import waiting
from errorlog import ErrorLog
from load import Load
from processes import Process

CHECKOUT = Path(__file__).resolve().parents[2]
APPS = CHECKOUT / "tests" / "apps"
APACHE_CONF = CHECKOUT / "apache-conf"
APACHE = "/usr/sbin/apache2"
MODULES = Path("/usr/lib/apache2/modules")
MARK = "WSGI_TEST_SERVER"
SUPERVISOR = "mod_wsgi-supervisor"
# What our module needs beside it.
COMPANIONS = (SUPERVISOR, "libwsgi_runtime.so")

# Modules every server has; `configure` adds what its lines name (see NEEDED_BY).
BASE_MODULES = ["authz_core", "authz_host", "env", "setenvif", "alias", "dir", "mime"]
NEEDED_BY = {
    "actions": r"^\s*Action\s",
    "access_compat": r"^\s*(Order|Allow|Deny|Satisfy)\s",
    "auth_basic": r"^\s*Auth(Type|Basic)",
    "auth_digest": r"^\s*AuthDigest",
    "autoindex": r"^\s*(HeaderName|ReadmeName)",
    "authn_core": r"^\s*Auth(Type|Name)",
    "authn_file": r"^\s*AuthUserFile",
    "authz_user": r"^\s*Require\s+(user|valid-user)",
    "deflate": r"\bDEFLATE\b",
    "filter": r"^\s*(AddOutputFilterByType|FilterProvider|FilterChain)",
    "headers": r"^\s*(RequestHeader|Header)\s",
    "include": r"\bINCLUDES\b",
    "macro": r"^\s*<Macro\s",
    "negotiation": r"\bMultiViews\b",
    "http2": r"^\s*(H2|Protocols\s.*h2)",
    "proxy": r"^\s*Proxy",
    "proxy_http": r"^\s*ProxyPass.*http://",
    "remoteip": r"^\s*RemoteIP",
    "reqtimeout": r"^\s*RequestReadTimeout",
    "rewrite": r"^\s*Rewrite",
    "ssl": r"^\s*SSL",
    "status": r"server-status",
    "unique_id": r"UNIQUE_ID",
    "vhost_alias": r"^\s*Virtual(DocumentRoot|ScriptAlias)",
}

BASE = """\
ServerRoot "{root}"
DefaultRuntimeDir "{root}/run"
PidFile "{root}/run/apache2.pid"
ServerName localhost
Listen 127.0.0.1:{port}
User www-data
Group www-data
ErrorLog "{root}/logs/error.log"
LogLevel info
Timeout 20
KeepAliveTimeout 15
DocumentRoot "{root}/htdocs"
LoadModule mpm_{mpm}_module "{modules}/mod_mpm_{mpm}.so"
{load_modules}
TypesConfig /dev/null
Define WSGI_MODULE "{module}"
Include "{conf}/wsgi.load"
Include "{conf}/wsgi.conf"
{reference}
<Directory "{root}">
    Require all granted
    Options +FollowSymLinks
</Directory>
"""

# Small and quick to start and to stop: two children at most, whichever the MPM.
SIZES = {
    "event": "StartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 50\nMinSpareThreads 5\nMaxSpareThreads 50",
    "worker": "StartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 50\nMinSpareThreads 5\nMaxSpareThreads 50",
    "prefork": "StartServers 2\nMinSpareServers 2\nMaxSpareServers 8\nMaxRequestWorkers 12",
}


class StartFailed(AssertionError):
    """Apache would not start; the text is what it said."""


@functools.cache
def is_c_module(module):
    """Ours names its runtime; the C module has none."""
    return b"libwsgi_runtime" not in Path(module).read_bytes()


class Port:
    """A port of 127.0.0.1 that no other server of any suite on this machine has until it is closed.

    The kernel's free ports are no use: another process, or a client's own end, may get the same one before
    Apache binds it. These are below the kernel's range, and each is reserved by a name that one process at
    a time can bind; the kernel gives it up when that process ends.
    """

    FIRST, COUNT = 20_000, 10_000
    _next = random.randrange(COUNT)

    def __init__(self):
        for _ in range(self.COUNT):
            Port._next = (Port._next + 1) % self.COUNT
            self.number = self.FIRST + Port._next
            self._name = socket.socket(socket.AF_UNIX)
            try:
                self._name.bind(f"\0wsgi-test-port-{self.number}")
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", self.number))
                return
            except OSError:
                self._name.close()
        raise AssertionError("no port is free")

    def close(self):
        self._name.close()


class Server:
    """One Apache. `module` is the mod_wsgi.so under test."""

    def __init__(self, module, mpm="event"):
        self.module = Path(module)
        self.mpm = mpm
        self.root = Path(tempfile.mkdtemp(prefix="wsgi-test-", dir="/tmp"))
        self.root.chmod(0o755)
        self.apps = self.root / "apps"
        for name in ("apps", "htdocs", "logs", "run"):
            (self.root / name).mkdir(mode=0o755)
        shutil.copytree(APPS, self.apps, dirs_exist_ok=True)
        self._port = Port()
        self.port = self._port.number
        self.error_log = ErrorLog(self.root / "logs" / "error.log")
        self.logs = [self.error_log]
        self.environ = {}
        self._process = None
        self._known = set()
        self.configure()

    @property
    def is_reference(self):
        """True for the C module, which the same tests judge."""
        return is_c_module(self.module)

    # -- configuration ---------------------------------------------------------------------

    def fill(self, text):
        """Put this server's own values in; other braces (`%{GLOBAL}`) stay as they are."""
        values = {"root": self.root, "apps": self.apps, "port": self.port, "conf": APACHE_CONF}
        return re.sub(r"\{(root|apps|port|conf)\}", lambda match: str(values[match[1]]), text)

    def configure(self, *lines, size=None):
        """Write the configuration: the base, then `lines`. `size` replaces the MPM's numbers."""
        text = self.fill("\n".join(lines))
        wanted = BASE_MODULES + [
            name for name, pattern in NEEDED_BY.items() if re.search(pattern, self._with_includes(text), re.M)
        ]
        base = BASE
        for key, value in {
            "modules": MODULES,
            "mpm": self.mpm,
            "module": self.module,
            "load_modules": "\n".join(f'LoadModule {name}_module "{MODULES}/mod_{name}.so"' for name in wanted),
            # The C module's default socket directory is compiled in and does not exist here.
            "reference": f"WSGISocketPrefix {self.root}/run/wsgi" if self.is_reference and "WSGISocketPrefix" not in text else "",
        }.items():
            base = base.replace("{" + key + "}", str(value))
        config = self.root / "httpd.conf"
        config.write_text(f"{self.fill(base)}\n{size or SIZES[self.mpm]}\n{text}\n")
        self.first_line = config.read_text()[: -len(text) - 1].count("\n") + 1
        return self

    def _with_includes(self, text):
        """`text` and the files it includes, one level deep."""
        included = re.findall(r"^\s*Include(?:Optional)?\s+\"?([^\"\n]+)", text, re.M)
        return "\n".join([text] + [Path(name).read_text() for name in included if Path(name).is_file()])

    def line_of(self, fragment):
        """The number of the line in httpd.conf that holds `fragment`."""
        for number, line in enumerate((self.root / "httpd.conf").read_text().splitlines(), 1):
            if fragment in line:
                return number
        raise AssertionError(f"no line with {fragment!r}")

    def serve(self, script="hello.wsgi", *lines, options="threads=2", start=(), **configure):
        """Configure the usual thing and start: one group `app`, one script at `/`. `start` are further
        arguments for Apache; with None it is not started."""
        self.configure(
            f"WSGIDaemonProcess app display-name=%{{GROUP}} {options}",
            f"WSGIScriptAlias / {self.apps}/{script}",
            "WSGIProcessGroup app",
            "WSGIApplicationGroup %{GLOBAL}",
            *lines,
            **configure,
        )
        return self.start(*start) if start is not None else self

    def own_copy(self):
        """Serves from a copy of the module and its parts, which the test may change: their directory."""
        place = self.root / "lib"
        place.mkdir()
        for name in (self.module.name, *COMPANIONS):
            shutil.copy(self.module.parent / name, place)
        self.module = place / self.module.name
        return place

    def start_supervisor_with(self, command):
        """Has the supervisor started by a command, such as `setpriv ...`, that starts what follows it."""
        program = self.own_copy() / SUPERVISOR
        real = program.rename(program.with_name("real"))
        program.write_text(f'#!/bin/sh\nexec {command} {real} "$@"\n')
        program.chmod(0o755)

    def app(self, name, source, mode=0o644):
        """Write a script (or any file) into the applications' directory; by rename."""
        path = self.apps / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(source)
        fresh.chmod(mode)
        fresh.rename(path)
        return path

    def vhost_log(self, name):
        """An error log of a virtual host's own, watched like the main one."""
        log = ErrorLog(self.root / "logs" / name)
        self.logs.append(log)
        return log

    # -- life --------------------------------------------------------------------------------

    def _environ(self):
        environ = {key: value for key, value in os.environ.items() if key in ("PATH", "TZ")}
        # What scripts/sanitize has every server started with.
        more = dict(pair.split("=", 1) for pair in os.environ.get("WSGI_TEST_ENVIRON", "").split())
        return {**environ, "LANG": "C", MARK: self.root.name, **more, **self.environ}

    def command(self, *arguments):
        return [APACHE, "-d", str(self.root), "-f", str(self.root / "httpd.conf"), *arguments]

    def check(self, *arguments):
        """`apache2 -t`: return (exit code, everything it said)."""
        done = subprocess.run(
            self.command("-t", *arguments),
            env=self._environ(), capture_output=True, text=True, timeout=60, check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def refusal(self):
        """What `apache2 -t` says to a configuration it must refuse."""
        code, said = self.check()
        assert code != 0, f"accepted: {said}"
        return said

    def start(self, *arguments, terminal=None):
        """Start in the foreground of this process; return when Apache is ready. `terminal` is a descriptor
        of the one it is started from."""
        assert self._process is None, "already started"
        before = self._ready_lines()
        self._process = subprocess.Popen(
            self.command("-DFOREGROUND", *arguments),
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            stdout=open(self.root / "logs" / "stdout", "wb"),
            stderr=open(self.root / "logs" / "stderr", "wb"),
            start_new_session=True,
            preexec_fn=terminal and (lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)),
        )
        self._until_ready(before)
        return self

    def _ready_lines(self):
        return len(re.findall(r"resuming normal operations", self.error_log.path.read_text("utf-8", "replace"))) if self.error_log.path.exists() else 0

    def _until_ready(self, before):
        def ready():
            if self._process.poll() is not None:
                code, self._process = self._process.returncode, None
                raise StartFailed(f"apache2 ended with {code}: {self.start_errors()}\n{self.error_log.text()}")
            return self._ready_lines() > before

        waiting.until(ready, 30, lambda: f"Apache to be ready:\n{self.error_log.text()}")
        self.family()

    def start_errors(self):
        """What Apache wrote to its stderr before it had a log."""
        return (self.root / "logs" / "stderr").read_text("utf-8", "replace")

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def parent(self):
        """Apache's parent process."""
        return Process(self._process.pid)

    def signal_parent(self, number):
        processes.send_signal(self._process.pid, number)

    def graceful(self):
        """`apachectl graceful`; return when the new generation is there."""
        self._restart(signal.SIGUSR1)

    def restart(self):
        """`apachectl restart`; return when the new generation is there."""
        self._restart(signal.SIGHUP)

    def _restart(self, number):
        before = self._ready_lines()
        self.family()
        self.signal_parent(number)
        self._until_ready(before)

    def stop(self, within=15.0):
        """`apachectl stop`; return the seconds it took until all processes had gone."""
        return self._end(signal.SIGTERM, within)

    def graceful_stop(self, within=15.0):
        """`apachectl graceful-stop`."""
        return self._end(signal.SIGWINCH, within)

    def _end(self, number, within):
        self.family()
        start = waiting.time.monotonic()
        self.signal_parent(number)
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise waiting.TooLate(f"Apache still runs {within:g} s after signal {number}") from None
        self._process = None
        waiting.until(lambda: not self.family(), within, lambda: f"these to end: {self.described()}")
        return waiting.time.monotonic() - start

    def described(self):
        return "; ".join(map(str, self.family()))

    # -- processes ---------------------------------------------------------------------------

    def family(self):
        """Every living process of this server: below its parent, or started with its mark."""
        found = {}
        if self._process is not None:
            found = {p.pid: p for p in [self.parent, *self.parent.descendants()]}
        mark = f"{MARK}={self.root.name}".encode()
        for process in processes.all_processes():
            if process.pid in found or (process.identity not in self._known and mark not in process._read("environ").split(b"\0")):
                continue
            found[process.pid] = process
        keep = {self._process.pid} if self._process is not None else set()
        processes.reap_orphans(keep)
        living = [process for process in found.values() if process.exists]
        self._known = {process.identity for process in living}
        self._ever = getattr(self, "_ever", set()) | {process.pid for process in living}
        return living

    @property
    def supervisor(self):
        """The supervisor process; None with the C module, which has none."""
        found = [p for p in self.parent.children() if "mod_wsgi-supervisor" in p.title]
        assert len(found) <= 1, f"{len(found)} supervisors: {found}"
        return found[0] if found else None

    def workers(self, group="app", count=None, within=10.0):
        """Worker processes of `group`, which needs `display-name=%{GROUP}`; waits for `count`."""
        def found():
            return [p for p in self.family() if p.title.startswith(f"(wsgi:{group})")]

        if count is not None:
            waiting.until(
                lambda: len(found()) == count, within, lambda: f"{count} workers of {group}: {self.described()}"
            )
        return found()

    def children(self):
        """Apache's own children, which carry requests."""
        return [
            p for p in self.parent.children()
            if p.exists and "apache2" in p.title and "mod_wsgi-supervisor" not in p.title
        ]

    def sockets(self):
        """Socket files below the server's root."""
        return processes.sockets_under(self.root)

    def kill_all(self):
        """End whatever is left, by process id."""
        for process in self.family():
            process.signal(signal.SIGKILL, may_have_gone=True)
        if self._process is not None:
            self._process.wait(10)
            self._process = None
        waiting.until(lambda: not self.family(), 10, lambda: f"killed processes: {self.described()}")

    # -- clients -----------------------------------------------------------------------------

    def connect(self, timeout=20.0):
        """A connection for raw bytes or several requests."""
        return client.Connection(self.port, timeout=timeout)

    def begin(self, path, name):
        """Ask for `path?name`, whose application makes the file `name`.begun as soon as it runs; return the
        connection when it does."""
        connection = self.connect(timeout=60)
        connection.send_request("GET", f"{path}?{name}")
        waiting.until(Path(f"{name}.begun").exists, what=f"the application to run for {path}?{name}")
        return connection

    def request(self, method, target="/", headers=(), body=None, **options):
        return client.request(self.port, method, target, headers, body, **options)

    def get(self, target="/", headers=(), **options):
        return self.request("GET", target, headers, **options)

    def post(self, target="/", body=b"", headers=(), **options):
        return self.request("POST", target, headers, body, **options)

    def raw(self, data, timeout=20.0):
        """Send bytes, return every byte that comes until the server closes."""
        with self.connect(timeout) as connection:
            connection.send(data)
            got = b""
            while piece := connection.socket.recv(65536):
                got += piece
            return got

    def load(self, **options):
        """Clients that go on asking for the length of a `with` block."""
        return Load(self, **options)

    def ask(self, target="/", **options):
        """GET an answer in JSON."""
        answer = self.get(target, **options)
        assert answer.status == 200, f"{answer.status}: {answer.text}\n{self.error_log.text()}"
        return json.loads(answer.body)

    # -- the end of a test -------------------------------------------------------------------

    def forget_logs(self):
        for log in self.logs:
            log.forget()

    def check_logs(self):
        """Fail when a log holds something grave that was not declared. The C module's lines are not judged: many
        of its tests provoke some, and when they come is a matter of luck."""
        if self.is_reference:
            return
        for log in self.logs:
            found = log.unexpected()
            assert not found, "not declared by the test, in " + log.path.name + ":\n" + "\n".join(map(str, found))

    def leftovers(self):
        """What a stopped server must not leave: processes, socket files, shared segments."""
        left = [f"process {process}" for process in self.family()]
        left += [f"socket {path}" for path in self.sockets()]
        left += [f"shared segment {row}" for row in processes.shared_segments_of(getattr(self, "_ever", set()))]
        pid_file = self.root / "run" / "apache2.pid"
        left += [f"pid file {pid_file}"] if pid_file.exists() else []
        return left

    def close(self, judge=True):
        """Stop, check (unless the test has failed already), and remove the root."""
        try:
            if self.is_running:
                self.stop()
            if judge:
                assert not self.leftovers(), "left behind: " + "; ".join(self.leftovers())
                self.check_logs()
        finally:
            self.kill_all()
            for path in self.sockets():
                path.unlink()
            shutil.rmtree(self.root, ignore_errors=True)
            self._port.close()
