"""The servers that the benchmark compares. Each is a process tree on a port of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
MODULES = "/usr/lib/apache2/modules"
USER = "www-data"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(test, what, seconds=20):
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


def tree(pid):
    """The process and all that descend from it."""
    found = []
    queue = [pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                queue += [int(child) for child in task.read_text().split()]
            except OSError:
                pass
    return found


class Contestant:
    """A server that can be started, measured and ended."""

    #: Workloads that make no sense here (a static file does not run Flask).
    only = None

    def __init__(self, name, venv, cpus):
        self.name = name
        self.venv = venv
        self.cpus = cpus
        self.folder = Path(tempfile.mkdtemp(prefix=f"wsgi-bench-{name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.processes = []

    def run(self, *command, env=None):
        log = open(self.folder / "output", "ab")
        process = subprocess.Popen(
            ["taskset", "-c", self.cpus, *map(str, command)], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, cwd="/", env={**os.environ, **(env or {})})
        self.processes.append(process)
        return process

    def start(self):
        self.launch()
        wait_for(lambda: accepts(self.port), f"start of {self.name}, see {self.folder}")

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

    def path(self, workload):
        return "/" + workload


class Apache(Contestant):
    """Debian's httpd with the event MPM and `lines` in its configuration."""

    modules = ()
    lines = ""
    env = {}

    def launch(self):
        modules = ["mpm_event", "authz_core", "dir", "mime", *self.modules]
        loads = "\n".join(
            f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in modules)
        (self.folder / "htdocs").mkdir()
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
MaxKeepAliveRequests 0
StartServers 2
ThreadsPerChild 64
MaxRequestWorkers 128
<Directory />
    AllowOverride None
    Require all granted
</Directory>
{self.configuration()}
""")
        self.run("/usr/sbin/apache2", "-d", self.folder, "-f", self.folder / "httpd.conf",
                 "-DFOREGROUND", env=self.env)

    def configuration(self):
        return self.lines


class Module(Apache):
    """A mod_wsgi: ours, or the C one that pip built."""

    def __init__(self, name, venv, cpus, module, processes=1, threads=5, extra=""):
        super().__init__(name, venv, cpus)
        self.module, self.count, self.threads, self.extra = module, processes, threads, extra

    def configuration(self):
        processes = f"processes={self.count} " if self.count > 1 else ""
        return f"""
LoadModule wsgi_module {self.module}
WSGIRestrictEmbedded On
WSGISocketPrefix {self.folder}/wsgi
WSGIDaemonProcess bench {processes}threads={self.threads} python-home={self.venv} {self.extra}
WSGIProcessGroup bench
WSGIApplicationGroup %{{GLOBAL}}
WSGIScriptAlias / {HERE}/app.py
"""


class Static(Apache):
    """Apache's own file, as a limit for what any module could reach."""

    only = {"hello", "hello-1", "hello-64", "hello-close", "body100k", "file100m"}

    def launch(self):
        super().launch()
        (self.folder / "htdocs/hello").write_bytes(b"Hello, World!")
        (self.folder / "htdocs/body100k").write_bytes(b"x" * 102400)
        os.symlink(Path(tempfile.gettempdir()) / "wsgi-bench-100m.bin",
                   self.folder / "htdocs/file100m")


class Limit(Apache):
    """A C content handler, with or without a round trip over a unix socket."""

    only = {"hello", "hello-1", "hello-64", "hello-close"}

    def __init__(self, name, venv, cpus, built, handler):
        super().__init__(name, venv, cpus)
        self.built, self.handler = built, handler

    def launch(self):
        path = self.folder / "peer.sock"
        if self.handler == "limit-rt":
            self.env = {"LIMIT_SOCKET": str(path)}
            self.run(self.built / "peer", path)
            wait_for(path.exists, "socket of the peer")
        super().launch()

    def configuration(self):
        return (f"LoadModule limit_module {self.built}/limit.so\n"
                f"<Location />\nSetHandler {self.handler}\n</Location>\n")


class Proxied(Apache):
    """A Python server of its own behind one of Apache's proxy modules."""

    def launch(self):
        self.backend_port = free_port()
        self.backend()
        wait_for(self.backend_up, f"backend of {self.name}, see {self.folder}")
        super().launch()

    def backend_up(self):
        return accepts(self.backend_port)


class Uwsgi(Proxied):
    modules = ("proxy", "proxy_uwsgi")

    def __init__(self, name, venv, cpus, processes=2, threads=1):
        super().__init__(name, venv, cpus)
        self.count, self.threads = processes, threads
        self.socket = self.folder / "uwsgi.sock"

    def backend(self):
        shutil.chown(self.folder, USER)
        threads = ["--threads", self.threads] if self.threads > 1 else []
        self.run(self.venv / "bin/uwsgi", "--master", "--uid", USER, "--gid", USER,
                 "--socket", self.socket, "--chmod-socket=666", "--processes", self.count,
                 *threads, "--enable-threads", "--wsgi-file", HERE / "app.py",
                 "--disable-logging", "--need-app", "--virtualenv", self.venv, "--die-on-term",
                 "--buffer-size", "65535")

    def backend_up(self):
        return self.socket.exists()

    def configuration(self):
        return f"ProxyPass / unix:{self.socket}|uwsgi://bench/\n"


class Gunicorn(Proxied):
    modules = ("proxy", "proxy_http")

    def backend(self):
        self.run(self.venv / "bin/gunicorn", "-w", 2, "-u", USER, "-g", USER, "--chdir", HERE,
                 "-b", f"127.0.0.1:{self.backend_port}", "app:application")

    def configuration(self):
        return f"ProxyPass / http://127.0.0.1:{self.backend_port}/\n"


class Granian(Gunicorn):
    def backend(self):
        self.run(self.venv / "bin/granian", "--interface", "wsgi", "--workers", 2, "--no-log",
                 "--working-dir", HERE, "--port", self.backend_port, "app:application")
