"""The server's own group: what embedded mode is elsewhere. A configuration that names no process group is
served by one that needs no definition, which runs as Apache's user. `%{GLOBAL}` is its name."""

import os
import signal
import threading
import time

import pytest

import pythons
import waiting

INFO = """
import json, os, sys
import mod_wsgi

def application(environ, start_response):
    body = json.dumps({
        "pid": os.getpid(),
        "uid": os.getuid(),
        "process_group": mod_wsgi.process_group,
        "application_group": mod_wsgi.application_group,
        "environ_group": environ["mod_wsgi.process_group"],
        "multiprocess": environ["wsgi.multiprocess"],
        "multithread": environ["wsgi.multithread"],
        "path": sys.path,
        "eggs": os.environ.get("PYTHON_EGG_CACHE"),
        "argv": sys.argv,
    }).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""

# Waits until the file `go` is there; says first that it runs.
WAITS = """
import os, time

def application(environ, start_response):
    folder = environ["QUERY_STRING"]
    name = f"{folder}/{os.getpid()}-{time.monotonic_ns()}"
    open(name, "w").close()
    while not os.path.exists(f"{folder}.go"):
        time.sleep(0.005)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""

ALIAS = "WSGIScriptAlias / {apps}/info.wsgi"


def start(httpd, *lines, **options):
    httpd.app("info.wsgi", INFO)
    httpd.configure(*lines, **options)
    return httpd.start()


def own_workers(httpd, count=None, within=10.0):
    return httpd.workers("%{GLOBAL}", count, within)


# -- what is served ------------------------------------------------------------------------------


def test_a_script_that_nobody_gives_to_a_group_is_served(httpd):
    start(httpd, ALIAS)
    said = httpd.ask("/")
    assert (said["process_group"], said["environ_group"]) == ("", "")
    assert said["application_group"] == f"localhost:{httpd.port}|"
    assert said["multiprocess"] is True
    assert said["multithread"] is (httpd.mpm != "prefork")


def test_it_is_reached_by_its_name_where_another_group_holds(httpd):
    start(
        httpd,
        "WSGIDaemonProcess app display-name=%{GROUP}",
        "WSGIProcessGroup app",
        "WSGIScriptAlias /own {apps}/info.wsgi process-group=%{GLOBAL}",
        "WSGIScriptAlias /app {apps}/info.wsgi",
        "<Location /place>",
        "    WSGIProcessGroup %{GLOBAL}",
        "</Location>",
        "WSGIScriptAlias /place {apps}/info.wsgi",
    )
    assert [httpd.ask(path)["process_group"] for path in ("/own", "/app", "/place")] == ["", "app", ""]


@pytest.mark.parametrize("line", ["SetHandler wsgi-script", "AddHandler wsgi-script .wsgi"])
def test_files_are_served_by_their_handler(httpd, line):
    start(httpd, 'Alias /files "{apps}"', '<Directory "{apps}">', "    Options ExecCGI", f"    {line}", "</Directory>")
    assert httpd.ask("/files/info.wsgi")["process_group"] == ""


def test_files_are_served_where_htaccess_says_so(httpd):
    httpd.app(".htaccess", "AddHandler wsgi-script .wsgi\n")
    start(httpd, 'Alias /files "{apps}"', '<Directory "{apps}">', "    Options ExecCGI", "    AllowOverride FileInfo", "</Directory>")
    assert httpd.ask("/files/info.wsgi")["process_group"] == ""


def test_two_mounts_have_two_interpreters(httpd):
    start(httpd, "WSGIScriptAlias /one {apps}/info.wsgi", "WSGIScriptAlias /two {apps}/info.wsgi")
    names = [httpd.ask(path)["application_group"] for path in ("/one", "/two")]
    assert names == [f"localhost:{httpd.port}|/one", f"localhost:{httpd.port}|/two"]


def test_it_runs_as_apaches_user_with_the_settings_of_the_server(httpd, folder):
    (folder / "lib").mkdir()
    start(httpd, ALIAS, f"WSGIPythonPath {folder}/lib", f"WSGIPythonEggs {folder}")
    said = httpd.ask("/")
    assert f"{folder}/lib" in said["path"] and said["eggs"] == str(folder)
    assert said["uid"] == httpd.children()[0].uids[0]


@pytest.mark.differs("own-group", run=False)
def test_it_has_the_python_of_the_server(httpd):
    venv = pythons.debian().virtualenv(httpd.root / "venv", only_here="ANSWER = 42")
    httpd.app("here.wsgi", """
import only_here

def application(environ, start_response):
    start_response("200 OK", [])
    return [str(only_here.ANSWER).encode()]
""")
    start(httpd, "WSGIScriptAlias / {apps}/here.wsgi", f"WSGIPythonHome {venv}")
    assert httpd.get("/").text == "42"


def test_requests_are_kept_from_it_where_groups_are_listed(httpd):
    start(
        httpd, ALIAS, "WSGIScriptAlias /listed {apps}/info.wsgi",
        '<Location "/">', "    WSGIRestrictProcess shop", "</Location>",
        '<Location "/listed">', "    WSGIRestrictProcess shop %{GLOBAL}", "</Location>",
    )
    assert httpd.get("/").status == 500
    httpd.error_log.expect("WSGI0149", level="error", count=1)
    assert httpd.get("/listed").status == 200


def test_it_is_refused_where_embedded_mode_is(httpd):
    start(httpd, ALIAS, "WSGIRestrictEmbedded On")
    assert httpd.get("/").status == 500
    httpd.error_log.expect("WSGI0143: Embedded mode of mod_wsgi disabled by runtime configuration", level="error", count=1)
    assert not own_workers(httpd) and httpd.supervisor is None


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.differs("own-group", run=False)
@pytest.mark.parametrize("lines", [
    [],
    ["WSGIPythonHome /usr", "<Directory /srv>", "    AllowOverride Options Limit", "</Directory>"],
    ["WSGIRestrictEmbedded On", "WSGIScriptAlias / {apps}/info.wsgi"],
])
def test_nothing_is_started_for_a_configuration_that_cannot_reach_it(httpd, lines):
    start(httpd, *lines)
    assert httpd.supervisor is None and not httpd.sockets()


@pytest.mark.differs("own-group", run=False)
def test_beside_groups_it_costs_nothing_where_nothing_can_reach_it(httpd):
    httpd.serve()
    assert len(httpd.sockets()) == 2, "the group's, and that of the status"
    assert httpd.get("/").status == 200


@pytest.mark.differs("own-group", run=False)
def test_no_worker_runs_before_the_first_request_and_that_is_served_at_once(httpd):
    start(httpd, "WSGIScriptAlias / {apps}/hello.wsgi")
    assert httpd.supervisor is not None and not own_workers(httpd)
    with httpd.connect() as connection:
        began = time.monotonic()
        connection.send_request("GET", "/")
        answer = connection.response()
        took = time.monotonic() - began
    assert answer.text == "Hello, World!\n"
    assert took < 0.06 + waiting.SLACK
    own_workers(httpd, count=1)
    httpd.error_log.expect(r"process group '%\{GLOBAL\}': worker \d+ is ready", level="info", count=1)


@pytest.mark.differs("own-group", run=False)
def test_scripts_to_import_start_it_at_once(httpd, folder):
    httpd.app("imported.py", f"open('{folder}/imported', 'w').close()\n")
    start(httpd, "WSGIImportScript {apps}/imported.py process-group=%{GLOBAL} application-group=%{GLOBAL}", ALIAS)
    waiting.until((folder / "imported").exists, what="the script to be imported")
    own_workers(httpd, count=1)


def waiters(httpd, folder, count):
    """Starts requests that run until they may end; returns a function that ends them and gives their answers."""
    httpd.app("waits.wsgi", WAITS)
    folder = folder / "wait"
    folder.mkdir()
    folder.chmod(0o777)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(httpd.get(f"/?{folder}", timeout=60)), daemon=True)
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()

    def end():
        folder.with_suffix(".go").touch()
        for thread in threads:
            thread.join(60)
        return answers

    return folder, end


@pytest.mark.differs("own-group", run=False)
def test_it_grows_while_requests_wait_and_no_further_than_it_may(httpd, folder):
    threads = 1 if httpd.mpm == "prefork" else 2
    start(
        httpd, f"WSGIDaemonProcess %{{GLOBAL}} processes=3 threads={threads}",
        "WSGIScriptAlias / {apps}/waits.wsgi",
    )
    begun, end = waiters(httpd, folder, 4 * threads)
    waiting.until(lambda: len(os.listdir(begun)) == 3 * threads, 20, "as many to run as there are threads")
    own_workers(httpd, count=3)
    answers = end()
    assert [answer.status for answer in answers] == [200] * 4 * threads
    assert len(own_workers(httpd)) == 3
    httpd.error_log.expect(r"process group '%\{GLOBAL\}': requests wait for the", level="info", count=2)


@pytest.mark.differs("own-group", run=False)
def test_it_does_not_grow_for_requests_that_are_taken(httpd):
    start(httpd, "WSGIScriptAlias / {apps}/hello.wsgi")
    assert httpd.get("/").status == 200
    for _ in range(3):
        # httpd ends a connection after a hundred.
        with httpd.connect() as connection:
            for _ in range(90):
                connection.send_request("GET", "/")
                assert connection.response().status == 200
    assert len(own_workers(httpd)) == 1


@pytest.mark.differs("own-group", run=False)
def test_it_goes_when_it_has_no_requests_and_comes_with_the_next(httpd):
    start(httpd, "WSGIDaemonProcess %{GLOBAL} inactivity-timeout=1", ALIAS)
    first = httpd.ask("/")["pid"]
    own_workers(httpd, count=0, within=10 + waiting.SLACK)
    assert httpd.ask("/")["pid"] != first
    own_workers(httpd, count=1)


@pytest.mark.differs("own-group", run=False)
def test_a_server_that_may_use_it_starts_also_where_it_cannot_be(httpd):
    place = httpd.own_copy()
    (place / "libwsgi_runtime.so").unlink()
    start(httpd, '<Directory "{apps}">', "    AllowOverride All", "</Directory>")
    httpd.error_log.expect("WSGI0467: .* left out.*libwsgi_runtime.so is not beside the module", level="warn", count=1)
    assert httpd.supervisor is None
    httpd.stop()
    httpd.configure(ALIAS)
    assert "libwsgi_runtime.so is not beside the module" in httpd.refusal()


# -- life ----------------------------------------------------------------------------------------


def test_new_code_is_served_when_the_script_is_touched(httpd):
    start(httpd, ALIAS)
    assert httpd.ask("/")["process_group"] == ""
    httpd.app("info.wsgi", INFO.replace('"argv": sys.argv', '"version": 2'))
    assert httpd.ask("/")["version"] == 2


@pytest.mark.differs("own-group", run=False)
def test_a_graceful_restart_loses_no_request_whether_it_runs_or_not(httpd):
    start(httpd, ALIAS)
    httpd.graceful()
    assert not own_workers(httpd)
    with httpd.load(clients=4) as load:
        httpd.graceful()
        httpd.graceful()
    assert not load.failures
    assert httpd.ask("/")["process_group"] == ""


@pytest.mark.differs("own-group", run=False)
def test_a_worker_that_dies_has_a_successor(httpd):
    start(httpd, ALIAS)
    first = httpd.ask("/")["pid"]
    os.kill(first, signal.SIGKILL)
    waiting.for_exit(first)
    httpd.error_log.expect(r"WSGI0339: process group '%\{GLOBAL\}': worker", level="error", count=1)
    assert httpd.ask("/")["pid"] != first


@pytest.mark.differs("own-group", run=False)
def test_a_broken_python_is_said_and_answered_at_once(httpd):
    start(httpd, ALIAS, "WSGIPythonHome {root}/none")
    began = time.monotonic()
    assert httpd.get("/").status == 503
    assert time.monotonic() - began < 1 + waiting.SLACK
    httpd.error_log.expect(r"WSGI0341: process group '%\{GLOBAL\}': .*/none does not exist", level="error", count=1)
    httpd.error_log.expect(r"WSGI0345: process group '%\{GLOBAL\}' has no worker", level="error")


@pytest.mark.differs("own-group", run=False)
def test_the_status_has_it_once_it_has_run(httpd):
    status = ['<Location "/wsgi-status">', "    SetHandler wsgi-status", "</Location>"]
    start(httpd, "WSGIScriptAlias /app {apps}/info.wsgi", *status)
    assert httpd.ask("/wsgi-status?json")["groups"] == []
    httpd.ask("/app")
    [group] = waiting.until(lambda: httpd.ask("/wsgi-status?json")["groups"], what="the group to be shown")
    assert group["name"] == "%{GLOBAL}" and group["state"] == "ready"
    assert 'group="%{GLOBAL}"' in httpd.get("/wsgi-status?metrics").text


# -- options -------------------------------------------------------------------------------------


@pytest.mark.differs("own-group", run=False)
@pytest.mark.parametrize("option", ["user=www-data", "group=www-data", "supplementary-groups=www-data", "chroot=/srv", "threads=0"])
def test_what_the_own_group_cannot_have_is_refused(httpd, option):
    httpd.configure(f"WSGIDaemonProcess %{{GLOBAL}} {option}")
    said = httpd.refusal()
    assert option.split("=")[0] + "=" in said and "%{GLOBAL}" in said


@pytest.mark.differs("own-group", run=False)
def test_its_options_stand_outside_of_virtual_hosts(httpd):
    httpd.configure("<VirtualHost *:1>", "WSGIDaemonProcess %{GLOBAL} threads=1", "</VirtualHost>")
    assert "outside of <VirtualHost>" in httpd.refusal()
