"""Supervisor and workers leave with the module: `a2dismod wsgi` and a reload or a restart (issue 10, part B, 18)."""

import os
import re
import signal
import subprocess

import pytest

import waiting

# What Apache says of the supervisor's end, when nobody in it knows it any more.
LOST_CHILD = "AH00488: long lost child came home"


# Loaded before anything of ours: its constructor reads from GATE, where that is there, and so holds
# the reading of the configuration up.
GATE = """
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void wait_at_gate(void)
{
    char byte;
    int gate = open(getenv("GATE"), O_RDONLY);
    if (gate >= 0) { while (read(gate, &byte, 1) > 0) { } close(gate); }
}
"""


def without_module(httpd):
    """Takes the module and its directives out of the configuration; returns what the file held before."""
    config = httpd.root / "httpd.conf"
    text = config.read_text()
    ours = re.compile(r"^\s*(WSGI|Define WSGI|Include .*/wsgi\.(load|conf))")
    config.write_text("".join(line + "\n" for line in text.splitlines() if not ours.match(line)))
    return text


def ours(httpd):
    """What the module has started. The C module's processes are children of Apache's."""
    supervisor = [process for process in httpd.family() if "mod_wsgi-supervisor" in process.title]
    return httpd.workers() + supervisor


@pytest.mark.parametrize("order", ["graceful", "restart"])
def test_they_leave_with_the_module(httpd, order):
    httpd.serve()
    assert httpd.get("/").status == 200
    assert ours(httpd)
    httpd.error_log.allow(LOST_CHILD)
    whole = without_module(httpd)
    getattr(httpd, order)()
    waiting.until(lambda: not ours(httpd), 10, lambda: f"these to end: {httpd.described()}")
    assert not httpd.sockets()
    assert httpd.get("/").status != 200
    # And come again with it.
    (httpd.root / "httpd.conf").write_text(whole)
    getattr(httpd, order)()
    waiting.until(lambda: httpd.get("/").status == 200, 10, "the group to serve")


@pytest.mark.differs("graceful-restarts-lose-nothing", run=False)
def test_a_request_that_runs_is_finished_after_the_module_has_gone(httpd):
    httpd.app("waits.wsgi", """
def application(environ, start_response):
    name = environ["QUERY_STRING"]
    open(f"{name}.begun", "w").close()
    with open(f"{name}.pipe") as pipe:
        pipe.read()
    start_response("200 OK", [])
    return [b"finished"]
""")
    shared = httpd.root / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    os.mkfifo(shared / "one.pipe")
    httpd.serve("waits.wsgi")
    httpd.error_log.allow(LOST_CHILD)
    connection = httpd.begin("/", f"{shared}/one")
    without_module(httpd)
    httpd.graceful()
    httpd.error_log.expect("WSGI0461", level="notice")
    assert ours(httpd)
    with open(shared / "one.pipe", "w"):
        pass
    answer = connection.response()
    assert (answer.status, answer.text) == (200, "finished")
    connection.close()
    waiting.until(lambda: not ours(httpd), 10, lambda: f"these to end: {httpd.described()}")


@pytest.mark.differs("graceful-restarts-lose-nothing", run=False)
def test_a_configuration_that_takes_long_to_read_is_waited_for(httpd):
    source, library, gate = (httpd.root / name for name in ("gate.c", "gate.so", "gate"))
    source.write_text(GATE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    httpd.environ["GATE"] = str(gate)
    httpd.serve("probe.wsgi")
    config = httpd.root / "httpd.conf"
    first = 'LoadModule mpm_'
    config.write_text(config.read_text().replace(first, f"LoadFile {library}\n{first}", 1))
    supervisor, worker = httpd.supervisor.pid, httpd.ask("/")["pid"]
    os.mkfifo(gate)
    httpd.signal_parent(signal.SIGUSR1)
    # Opens when the parent has come to read it.
    descriptor = os.open(gate, os.O_WRONLY)
    try:
        with pytest.raises(waiting.TooLate):
            waiting.until(lambda: httpd.error_log.records("WSGI0461") or httpd.supervisor.pid != supervisor, 3.5)
        assert worker in {process.pid for process in httpd.workers()}
    finally:
        gate.unlink()
        os.close(descriptor)
    waiting.until(lambda: httpd.ask("/")["pid"] != worker, 10, "the new generation")
    assert httpd.supervisor.pid == supervisor
