"""As whom a worker runs, and where (issue 2, points 2 and 3)."""

import grp
import os
import pty
import pwd
import signal
import socket
import subprocess

import pytest

from waiting import SLACK, until


@pytest.fixture
def probe(httpd):
    def start(options="", *lines):
        httpd.serve("probe.wsgi", *lines, options=f"threads=2 {options}")
        return httpd.ask("/")

    return start


def test_a_worker_runs_as_the_user_of_apache_when_none_is_named(probe):
    got = probe()
    www = pwd.getpwnam("www-data")
    assert got["uids"] == [www.pw_uid] * 3
    assert got["gids"] == [www.pw_gid] * 3


def test_a_worker_runs_as_the_user_and_group_of_its_process_group(probe, users, httpd):
    first, second = users
    got = probe(f"user={first.pw_name} group={second.pw_name}")
    assert got["uids"] == [first.pw_uid] * 3
    assert got["gids"] == [second.pw_gid] * 3
    worker, = httpd.workers()
    assert worker.pid == got["pid"]
    assert worker.uids == (first.pw_uid,) * 4
    assert worker.gids == (second.pw_gid,) * 4


def test_the_supplementary_groups_are_those_of_the_user(probe, users):
    first, second = users
    got = probe(f"user={first.pw_name} group={second.pw_name}")
    assert set(got["groups"]) == set(os.getgrouplist(first.pw_name, second.pw_gid))
    assert grp.getgrnam("wsgitestextra").gr_gid in got["groups"]


def test_a_worker_has_none_of_root_s_groups(probe, users):
    assert 0 not in probe(f"user={users[0].pw_name}")["groups"]


def test_supplementary_groups_replace_those_of_the_user(probe, users):
    first, second = users
    got = probe(f"user={first.pw_name} group={first.pw_name} supplementary-groups={second.pw_name}")
    assert set(got["groups"]) == {first.pw_gid, second.pw_gid}


def test_user_and_group_may_be_numbers(probe, users):
    first, second = users
    got = probe(f"user=#{first.pw_uid} group=#{second.pw_gid}")
    assert (got["uids"][0], got["gids"][0]) == (first.pw_uid, second.pw_gid)


def test_the_environment_names_the_user_of_the_worker(httpd, users):
    httpd.environ = {"HOME": "/root", "USER": "root", "LOGNAME": "root", "USERNAME": "root"}
    httpd.serve("probe.wsgi", options=f"threads=2 user={users[0].pw_name}")
    environ = httpd.ask("/")["environ"]
    assert environ["HOME"] == users[0].pw_dir
    for key in ("USER", "LOGNAME", "USERNAME"):
        assert environ[key] == users[0].pw_name


def test_home_user_and_logname_are_right_even_when_apache_had_none(probe, users):
    environ = probe(f"user={users[0].pw_name}")["environ"]
    assert environ["HOME"] == users[0].pw_dir
    assert environ.get("USER", users[0].pw_name) == users[0].pw_name
    assert environ.get("LOGNAME", users[0].pw_name) == users[0].pw_name


def test_a_user_other_than_apache_s_starts_in_its_home(probe, users):
    assert probe(f"user={users[0].pw_name}")["cwd"] == users[0].pw_dir


@pytest.mark.parametrize("way", ["-DFOREGROUND", "-X", "-k start"])
def test_a_worker_of_apache_s_own_user_starts_in_apache_s_directory(httpd, way):
    """That is where Apache was started, if it runs in the foreground, and the root directory if not."""
    httpd.serve("probe.wsgi", start=None)
    started = subprocess.Popen(httpd.command(*way.split()), env=httpd._environ(), cwd=httpd.root)
    pid_file = httpd.root / "run" / "apache2.pid"
    try:
        until(lambda: is_listened_at(httpd.port), 20, "Apache to be ready")
        assert httpd.ask("/")["cwd"] == ("/" if way == "-k start" else str(httpd.root))
    finally:
        os.kill(int(pid_file.read_text()) if pid_file.exists() else started.pid, signal.SIGTERM)
        started.wait(15)
        until(lambda: not httpd.family(), 15, lambda: f"these to end: {httpd.described()}")
        # With -X Apache leaves its file, and the C module its socket.
        pid_file.unlink(missing_ok=True)
        for path in httpd.sockets() if httpd.is_reference else ():
            path.unlink()


def is_listened_at(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_home_is_the_working_directory_and_first_on_the_path(probe, httpd):
    got = probe("home={root}/htdocs".replace("{root}", str(httpd.root)))
    assert got["cwd"] == f"{httpd.root}/htdocs"
    assert got["path"][0] == f"{httpd.root}/htdocs"


def test_python_path_comes_after_home_and_before_the_rest(probe, httpd):
    for name in ("one", "two"):
        (httpd.root / name).mkdir()
    got = probe(f"home={httpd.root}/htdocs python-path={httpd.root}/one:{httpd.root}/two")
    assert got["path"][:3] == [f"{httpd.root}/htdocs", f"{httpd.root}/one", f"{httpd.root}/two"]


def test_pth_files_of_the_python_path_are_honoured(probe, httpd):
    (httpd.root / "packages").mkdir()
    (httpd.root / "elsewhere").mkdir()
    (httpd.root / "packages" / "more.pth").write_text(f"{httpd.root}/elsewhere\n")
    got = probe(f"python-path={httpd.root}/packages")
    assert got["path"][:2] == [f"{httpd.root}/packages", f"{httpd.root}/elsewhere"]


@pytest.mark.parametrize("mask", ["0002", "0077", "027"])
def test_the_umask_is_set(probe, mask):
    assert probe(f"umask={mask}")["umask"] == int(mask, 8)


def test_lang_and_locale_are_set_before_python_starts(probe):
    got = probe("lang=C.UTF-8 locale=C.UTF-8")
    assert got["environ"]["LANG"] == "C.UTF-8"
    assert got["environ"]["LC_ALL"] == "C.UTF-8"
    assert got["filesystem_encoding"] == "utf-8"
    assert "C.UTF-8" in got["locale"]


def test_a_locale_the_machine_lacks_is_warned_about_and_the_group_serves(httpd):
    httpd.serve("hello.wsgi", options="locale=xx_XX.UTF-8")
    assert httpd.get("/").status == 200
    httpd.error_log.expect(r"WSGI0079.*xx_XX")


def test_the_title_is_the_group_s_name_where_that_is_asked_for(httpd, users):
    httpd.configure(
        "WSGIDaemonProcess shop display-name=%{GROUP} threads=1", "WSGIDaemonProcess blog display-name=my-blog threads=1",
    )
    httpd.start()
    titles_come_to_hold(httpd, "(wsgi:shop)", "my-blog")


@pytest.mark.differs("titles-name-the-group")
def test_the_title_is_the_group_s_name_where_nothing_is_said(httpd):
    httpd.configure("WSGIDaemonProcess plain threads=1")
    httpd.start()
    titles_come_to_hold(httpd, "(wsgi:plain)")


def titles_come_to_hold(httpd, *wanted):
    def titles():
        return {process.title.split()[0] for process in httpd.family()}
    until(lambda: set(wanted) <= titles(), 5, lambda: f"the titles: {httpd.described()}")


def test_several_processes_are_started(httpd):
    httpd.serve("probe.wsgi", options="processes=3 threads=2")
    workers = {process.pid for process in httpd.workers(count=3)}
    assert httpd.ask("/")["pid"] in workers


def test_groups_of_different_users_run_side_by_side(httpd, users):
    first, second = users
    httpd.configure(
        f"WSGIDaemonProcess one user={first.pw_name} threads=2", f"WSGIDaemonProcess two user={second.pw_name} threads=2",
        "WSGIScriptAlias /one {apps}/probe.wsgi process-group=one", "WSGIScriptAlias /two {apps}/probe.wsgi process-group=two",
    )
    httpd.start()
    assert httpd.ask("/one")["uids"][0] == first.pw_uid
    assert httpd.ask("/two")["uids"][0] == second.pw_uid
    assert httpd.ask("/one")["uids"][0] == first.pw_uid


def test_the_module_in_the_application_knows_its_group(probe):
    got = probe()
    assert (got["process_group"], got["application_group"]) == ("app", "")


def test_the_script_has_a_module_name_of_its_own_and_its_file(probe, httpd):
    got = probe()
    assert got["file"] == f"{httpd.apps}/probe.wsgi"
    assert got["name"].startswith("_mod_wsgi_") and len(got["name"]) == len("_mod_wsgi_") + 32
    assert got["argv"] == ["mod_wsgi"]


def test_a_home_that_is_missing_stops_the_group_and_nothing_else(httpd):
    httpd.configure(
        "WSGIDaemonProcess broken home=/nonexistent/place threads=2", "WSGIDaemonProcess app threads=2",
        "WSGIScriptAlias /broken {apps}/hello.wsgi process-group=broken", "WSGIScriptAlias /app {apps}/hello.wsgi process-group=app",
    )
    httpd.error_log.allow("/nonexistent/place", "broken", "WSGI0025")
    httpd.start()
    httpd.error_log.expect("/nonexistent/place")
    assert httpd.get("/app").status == 200
    if not httpd.is_reference:  # there the client waits for as long as Timeout says
        answer = httpd.get("/broken")
        assert answer.status == 503 and answer.elapsed < 1 + SLACK


@pytest.mark.differs("workers-leave-the-terminal", run=False)
def test_processes_leave_apache_s_terminal_and_share_the_processor_like_its_children(httpd):
    """In a session of their own they would do so, too, but the kernel would then weigh them against all
    of Apache's children together."""
    httpd.configure("WSGIDaemonProcess app processes=2 threads=2", "WSGIProcessGroup app", "WSGIScriptAlias / {apps}/hello.wsgi")
    own, terminal = pty.openpty()
    try:
        httpd.start(terminal=terminal)
        child, = httpd.children()
        assert httpd.parent.has_terminal and child.has_terminal
        theirs = [httpd.supervisor, *httpd.workers(count=2)]
        assert not any(process.has_terminal for process in theirs)
        # Ctrl-C reaches Apache, which stops them in order.
        assert [process.process_group for process in theirs] == [process.pid for process in theirs]
        assert {process.autogroup for process in theirs} == {child.autogroup}
        os.write(own, b"\x03")
        until(lambda: not httpd.is_running and not httpd.family(), 10, "Apache to stop at Ctrl-C")
    finally:
        os.close(own)
        os.close(terminal)
