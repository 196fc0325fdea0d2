"""The servers that the benchmark compares. Each is a process tree on a port of its own.

Runs in: the benchmark. What it starts is pinned to the server's core, and ended with it.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from app import FILE
from figures import memory_kib, tree, wait_for
from workloads import Client

HERE = Path(__file__).resolve().parent
MODULES = "/usr/lib/apache2/modules"
USER = "www-data"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


class Contestant:
    """A server that can be started, measured and ended."""

    #: Workloads that make no sense here (a static file does not run Flask), or that it cannot serve.
    only = None
    unable = {}

    def __init__(self, name, title, bench):
        self.name, self.title, self.bench = name, title, bench
        self.folder = Path(tempfile.mkdtemp(prefix=f"wsgi-bench-{name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.processes = []

    def run(self, *command, env=None):
        log = open(self.folder / "output", "ab")
        process = subprocess.Popen(
            ["taskset", "-c", self.bench.server_cpu, *map(str, command)], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, cwd="/", env={**os.environ, **(env or {})})
        log.close()
        self.processes.append(process)
        return process

    def start(self):
        """Starts it, and returns the seconds until the first right answer."""
        began = time.monotonic()
        self.launch()
        self.wait_until(lambda: accepts(self.port))
        with self.client() as client:
            client.get("hello")
        return time.monotonic() - began

    def wait_until(self, test):
        def or_died():
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError(f"{self.name} ended while it started\n{self.log_tail()}")
            return test()

        try:
            wait_for(or_died, f"start of {self.name}", 60, pause=0.001)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.log_tail()}") from None

    def log_tail(self):
        """The end of what it logged, for somebody who asks why it failed."""
        lines = []
        for name in ("output", "error.log"):
            if (self.folder / name).exists():
                text = (self.folder / name).read_text(errors="replace")
                lines += [f"{name}: {line}" for line in text.splitlines()[-15:]]
        return "\n".join(lines)

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self):
        return [pid for process in self.processes for pid in tree(process.pid)]

    def memory(self):
        """(role, private KiB, PSS KiB) of each process."""
        return [(self.role(pid), *memory_kib(pid)) for pid in self.pids()]

    def role(self, pid):
        if pid == self.processes[-1].pid:
            return "Apache parent"
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"(wsgi:" in title:
            return "worker"
        if b"mod_wsgi-supervisor" in title:
            return "supervisor"
        if Path(f"/proc/{pid}/exe").resolve().name == "apache2":
            return "Apache child"
        return "backend, first process" if pid == self.processes[0].pid else "backend"

    def path(self, workload):
        return "/" + workload

    def client(self):
        return Client(self)


class Apache(Contestant):
    """Debian's httpd with the event MPM and `lines` in its configuration."""

    modules = ()
    env = {}
    #: Two children as Debian has them, with threads enough for 64 clients in one of them.
    children, threads_per_child, more_lines = 2, 64, ""

    def launch(self):
        modules = ["mpm_event", "authz_core", "dir", "mime", *self.modules]
        loads = "\n".join(f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in modules)
        (self.folder / "htdocs").mkdir(exist_ok=True)
        (self.folder / "httpd.conf").write_text(f"""
ServerRoot {self.folder}
ServerName localhost
Listen 127.0.0.1:{self.port}
PidFile {self.folder}/httpd.pid
ErrorLog {self.folder}/error.log
DefaultRuntimeDir {self.folder}
User {USER}
Group {USER}
{loads}
TypesConfig /etc/mime.types
DocumentRoot {self.folder}/htdocs
KeepAlive On
KeepAliveTimeout 600
MaxKeepAliveRequests 0
LimitRequestFields 400
ServerLimit {self.children}
StartServers {self.children}
ThreadLimit {self.threads_per_child}
ThreadsPerChild {self.threads_per_child}
MaxRequestWorkers {self.children * self.threads_per_child}
MinSpareThreads 1
MaxSpareThreads {self.children * self.threads_per_child}
{self.more_lines}
<Directory />
    AllowOverride None
    Require all granted
</Directory>
{self.configuration()}
""")
        self.run("/usr/sbin/apache2", "-d", self.folder, "-f", self.folder / "httpd.conf",
                 "-DFOREGROUND", env=self.env)

    def configuration(self):
        return ""


class Module(Apache):
    """A mod_wsgi: ours, or the C one that pip built. With several groups, each has a path."""

    def __init__(self, name, title, bench, module, processes=1, threads=5, groups=1, options="",
                 **settings):
        super().__init__(name, title, bench)
        self.module, self.count, self.threads = module, processes, threads
        self.groups, self.options = groups, options
        #: The number of the group that is asked: the one whose lines come last.
        self.asked = groups - 1
        vars(self).update(settings)

    def configuration(self):
        processes = f"processes={self.count} " if self.count > 1 else ""
        lines = [f"LoadModule wsgi_module {self.module}", "WSGIRestrictEmbedded On",
                 f"WSGISocketPrefix {self.folder}/wsgi"]
        for number in range(self.groups):
            mount = f"/{number}" if self.groups > 1 else "/"
            lines += [
                f"WSGIDaemonProcess bench{number} {processes}threads={self.threads} "
                f"python-home={self.bench.venv} display-name=%{{GROUP}} {self.options}",
                f"WSGIScriptAlias {mount} {HERE}/app.py process-group=bench{number} "
                f"application-group=%{{GLOBAL}}"]
        return "\n".join(lines)

    def path(self, workload):
        return f"/{self.asked}/{workload}" if self.groups > 1 else f"/{workload}"


class Static(Apache):
    """Apache's own file, as a limit for what any module could reach."""

    only = {"hello", "hello-1", "hello-64", "hello-close", "headers200", "body100k", "file100m"}

    def launch(self):
        (self.folder / "htdocs").mkdir()
        (self.folder / "htdocs/hello").write_bytes(b"Hello, World!")
        (self.folder / "htdocs/body100k").write_bytes(b"x" * 102400)
        os.symlink(FILE, self.folder / "htdocs/file100m")
        super().launch()


class Limit(Apache):
    """A C content handler, with or without a round trip over a unix socket."""

    only = {"hello", "hello-1", "hello-64", "hello-close", "headers200"}

    def __init__(self, name, title, bench, handler):
        super().__init__(name, title, bench)
        self.handler = handler

    def launch(self):
        path = self.folder / "peer.sock"
        if self.handler == "limit-rt":
            self.env = {"LIMIT_SOCKET": str(path)}
            self.run(self.bench.built / "peer", path)
            self.wait_until(path.exists)
        super().launch()

    def configuration(self):
        return (f"LoadModule limit_module {self.bench.built}/limit.so\n"
                f"<Location />\nSetHandler {self.handler}\n</Location>\n")


class Proxied(Apache):
    """A Python server of its own behind one of Apache's proxy modules."""

    def launch(self):
        self.backend_port = free_port()
        self.backend()
        self.wait_until(self.backend_up)
        super().launch()

    def backend_up(self):
        return accepts(self.backend_port)


class Uwsgi(Proxied):
    """Two processes without threads, which is what it is fastest with."""

    modules = ("proxy", "proxy_uwsgi")

    def backend(self):
        self.socket = self.folder / "uwsgi.sock"
        shutil.chown(self.folder, USER)
        self.run(self.bench.venv / "bin/uwsgi", "--master", "--uid", USER, "--gid", USER,
                 "--socket", self.socket, "--chmod-socket=666", "--processes", 2,
                 "--enable-threads", "--wsgi-file", HERE / "app.py",
                 "--disable-logging", "--need-app", "--virtualenv", self.bench.venv,
                 "--die-on-term", "--buffer-size", "65535", "--max-vars", 1024)

    def backend_up(self):
        return self.socket.exists()

    def configuration(self):
        return f"ProxyPass / unix:{self.socket}|uwsgi://bench/\n"


class Gunicorn(Proxied):
    modules = ("proxy", "proxy_http")

    def backend(self):
        self.run(self.bench.venv / "bin/gunicorn", "-w", 2, "-u", USER, "-g", USER, "--chdir", HERE,
                 "--limit-request-fields", 400, "-b", f"127.0.0.1:{self.backend_port}",
                 "app:application")

    def configuration(self):
        return f"ProxyPass / http://127.0.0.1:{self.backend_port}/\n"


class Granian(Gunicorn):
    # More than 100 fields are refused, and nothing changes that.
    unable = {"headers200": "answers 431"}

    def backend(self):
        self.run(self.bench.venv / "bin/granian", "--interface", "wsgi", "--workers", 2, "--no-log",
                 "--working-dir", HERE, "--port", self.backend_port, "app:application")


def contestants(bench):
    """name: (title, how it is made)."""
    ours, theirs = bench.ours, bench.mod_wsgi
    table = {
        "ours": ("we, 1x5", lambda *a: Module(*a, ours)),
        "ours-2x15": ("we, 2x15", lambda *a: Module(*a, ours, 2, 15)),
        "mod_wsgi": ("mod_wsgi 6.1.1, 1x5", lambda *a: Module(*a, theirs)),
        "mod_wsgi-2x15": ("mod_wsgi 6.1.1, 2x15", lambda *a: Module(*a, theirs, 2, 15)),
        "uwsgi": ("uWSGI, mod_proxy_uwsgi", Uwsgi),
        "gunicorn": ("gunicorn, mod_proxy_http", Gunicorn),
        "granian": ("granian, mod_proxy_http", Granian),
        "static": ("Apache's static file", Static),
        "limit": ("C handler", lambda *a: Limit(*a, "limit")),
        "limit-rt": ("C handler with a round trip", lambda *a: Limit(*a, "limit-rt")),
    }
    return {name: (lambda name=name, title=title, make=make: make(name, title, bench))
            for name, (title, make) in table.items()}
