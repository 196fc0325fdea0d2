"""A script that cannot be loaded before its workers are ready stops nothing but itself: the group's other
scripts are served, whatever is wrong with it, and the log names it."""

import os
import shutil
import signal

import pytest
import waiting

pytestmark = pytest.mark.differs("unloadable-scripts-stop-nothing-else", run=False)

GOOD = """
import os
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"good"]
"""

#: What is wrong with a script, and what the log says: as it is loaded, and of its requests.
FAULTS = {
    "it raises": ("raise RuntimeError('broken')", "WSGI0110: RuntimeError raised while {script}"),
    "it exits": ("raise SystemExit(1)", r"WSGI0108: SystemExit\(1\) raised at {script}"),
    "it is interrupted": ("raise KeyboardInterrupt", "WSGI0110: KeyboardInterrupt raised while {script}"),
    "it is no Python": ("def application(:", "WSGI0106: {script} can't be compiled"),
    "it recurses": ("def f(): f()\nf()", "WSGI0110: RecursionError raised while {script}"),
    "it ends the process": ("import os\nos._exit(3)", "WSGI0431: .* exited with status 3 while it loaded {script}"),
    "it crashes": ("import ctypes\nctypes.string_at(0)", r"WSGI0431: .* was killed by SIGSEGV .* while it loaded {script}"),
    "it takes the worker's descriptors": ("import os, threading\nos.closerange(3, 200)\nthreading.Event().wait()", "WSGI0431: .* while it loaded {script}"),
    "it does not end": ("import threading\nthreading.Event().wait()", "WSGI0431: .* was not ready within 2 s while it loaded {script}"),
}


def configure(httpd, options="", bad="{apps}/bad.wsgi"):
    httpd.app("good.wsgi", GOOD)
    httpd.configure(
        f"WSGIDaemonProcess app threads=3 display-name=%{{GROUP}} startup-timeout=2 shutdown-timeout=1 {options}",
        f"WSGIScriptAlias /bad {bad} process-group=app application-group=%{{GLOBAL}}",
        "WSGIScriptAlias /good {apps}/good.wsgi process-group=app application-group=%{GLOBAL}",
        "WSGIScriptAlias /late {apps}/good.wsgi process-group=app",
    )
    return httpd


def good(httpd):
    for path in ("/good", "/late"):
        answer = httpd.get(path, timeout=30)
        assert (answer.status, answer.text) == (200, "good"), httpd.error_log.text()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_script_that_cannot_be_loaded_leaves_the_others_served(httpd, fault):
    source, told = FAULTS[fault]
    script = httpd.app("bad.wsgi", source)
    configure(httpd).start()
    good(httpd)
    # Tracebacks come once for each worker that tries.
    httpd.error_log.allow(".")
    httpd.error_log.expect(told.format(script=script), level="error")
    # 503 where the request has cost several workers, and a pause before the next one.
    assert httpd.get("/bad", timeout=30).status in (500, 502, 503, 504)
    waiting.until(lambda: httpd.get("/good", timeout=30).status == 200, 10, "the other scripts")
    good(httpd)
    httpd.graceful()
    good(httpd)
    # Once it is mended, it is served as well.
    httpd.app("bad.wsgi", GOOD)
    waiting.until(lambda: httpd.get("/bad", timeout=30).status == 200, 10, "the mended script")
    good(httpd)


@pytest.mark.parametrize("closed", ["the script", "its directory"])
def test_a_script_that_the_user_may_not_read_leaves_the_others_served(httpd, users, closed):
    folder = httpd.apps / "closed"
    script = httpd.app("closed/bad.wsgi", GOOD)
    # Apache's children see it, the worker does not.
    if closed == "the script":
        script.chmod(0o600)
    else:
        shutil.chown(folder, "www-data", "root")
        folder.chmod(0o700)
    configure(httpd, f"user={users[0].pw_name}", str(script)).start()
    good(httpd)
    httpd.error_log.allow("WSGI0347")
    what = script if closed == "the script" else folder
    record, = httpd.error_log.expect(f"WSGI0106: {script} can't be read, in the main interpreter of process group 'app': ", count=1)
    assert f"user {users[0].pw_name} may not " in record.text and str(what) in record.text
    # 503: the server's trouble, which ends with a change of modes.
    assert httpd.get("/bad").status == 503
    httpd.error_log.expect(f"WSGI0[0-9]+: {script} could not be loaded before", level="error")
    good(httpd)
    script.chmod(0o644)
    folder.chmod(0o755)
    waiting.until(lambda: httpd.get("/bad").status == 200, 10, "the script that may be read")
    good(httpd)


def test_a_script_that_is_not_trusted_leaves_the_others_served(httpd):
    script = httpd.app("bad.wsgi", GOOD)
    shutil.chown(script, "www-data")
    configure(httpd, "script-user=root").start()
    good(httpd)
    told = "bad.wsgi (is not run|could not be loaded before)"
    httpd.error_log.expect(told, level="error")
    assert [httpd.get("/bad").status for _ in range(3)] == [403] * 3
    good(httpd)
    shutil.chown(script, "root")
    waiting.until(lambda: httpd.get("/bad").status == 200, 10, "the script that is trusted")
    good(httpd)


def test_an_import_script_that_ends_the_process_is_left_out_and_the_group_served(httpd):
    script = httpd.app("bad.wsgi", "import os\nos._exit(3)\n")
    httpd.app("good.wsgi", GOOD)
    httpd.configure(
        "WSGIDaemonProcess app processes=2 threads=2 display-name=%{GROUP}",
        "WSGIImportScript {apps}/bad.wsgi process-group=app application-group=%{GLOBAL}",
        "WSGIScriptAlias / {apps}/good.wsgi process-group=app",
    ).start()
    assert httpd.get("/").text == "good"
    httpd.error_log.expect(f"WSGI0431: process group 'app': worker .* exited with status 3 while it loaded {script}", level="error")
    assert len(httpd.workers(count=2)) == 2
    assert httpd.get("/").text == "good"


def test_workers_that_serve_go_on_where_a_successor_dies_while_it_loads(httpd):
    script = httpd.app("bad.wsgi", GOOD)
    configure(httpd).start()
    good(httpd)
    assert httpd.get("/bad").text == "good"
    [serves] = httpd.workers(count=1)
    httpd.app("bad.wsgi", "import os\nos._exit(3)\n")
    httpd.error_log.allow("WSGI0333", "WSGI0431")
    serves.signal(signal.SIGUSR1)
    httpd.error_log.expect("exited with status 3")
    good(httpd)
    assert [worker.pid for worker in httpd.workers() if worker.pid == serves.pid]
    httpd.app("bad.wsgi", GOOD)
    waiting.for_exit(serves.pid, 10 + waiting.SLACK)
    good(httpd)
    assert httpd.get("/bad").text == "good"
    assert script.exists() and os.access(script, os.R_OK)
