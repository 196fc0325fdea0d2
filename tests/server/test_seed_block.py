"""The virtual host of Flask's page, unchanged, with the script of that page (issue 2, point 2).

These tests need /var/www/yourapplication, user1 and group1, because the block names them. What
`scripts/demo` left there is moved aside meanwhile; what is somebody else's is left alone, and
the tests are skipped.
"""

import fcntl
import grp
import os
import pwd
import shutil
from pathlib import Path

import pytest

import accounts
import pythons
import waiting
from httpd import APACHE_CONF

SITE = Path("/var/www/yourapplication")
MARK = SITE / ".made-by-the-tests"
LOCK = "/run/lock/wsgi-yourapplication"  # scripts/demo holds it while it runs
BLOCK = APACHE_CONF / "examples" / "yourapplication.conf"
EXAMPLE = APACHE_CONF / "examples" / "yourapplication"

PROBE = """
import json, os, sys

def app(environ, start_response):
    facts = {
        "uids": os.getresuid(), "gids": os.getresgid(), "groups": sorted(os.getgroups()),
        "environ": {key: os.environ.get(key) for key in ("HOME", "USER", "LOGNAME")},
        "process_group": environ["mod_wsgi.process_group"],
        "application_group": environ["mod_wsgi.application_group"],
        "threads": sys.modules["mod_wsgi"].threads_per_process,
        "multithread": environ["wsgi.multithread"],
    }
    print("printed by the application")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(facts).encode()]
"""

SCRIPT = "from yourapplication import app as application\n"
SCRIPT_WITH_PATH = f"import sys\nsys.path.insert(0, {str(SITE)!r})\n{SCRIPT}"


@pytest.fixture(scope="module")
def people():
    """user1, a member of a further group, and group1; made when they do not exist."""
    with accounts.locked():
        accounts.add_group("group1")
        accounts.add_user("user1")
        accounts.add_group("wsgitestextra")
        accounts.add_member("wsgitestextra", "user1")
    return pwd.getpwnam("user1"), grp.getgrnam("group1")


def is_locked(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def site(people):
    """The directory the block names, empty, for this test alone."""
    with open(LOCK, "w", encoding="ascii") as lock:
        waiting.until(lambda: is_locked(lock), 300, f"scripts/demo or another run of the tests to leave {SITE}")
        aside = None
        if (SITE / ".made-by-scripts-demo").exists():
            aside = SITE.rename(SITE.with_name(f"{SITE.name}.aside"))
        elif MARK.exists():
            shutil.rmtree(SITE)
        elif SITE.exists():
            pytest.skip(f"{SITE} exists and is neither the suite's nor the demo's")
        SITE.mkdir(mode=0o755, parents=True)
        MARK.touch()
        yield SITE
        shutil.rmtree(SITE)
        if aside is not None:
            aside.rename(SITE)


def serve(httpd, *lines, script=SCRIPT_WITH_PATH, application=PROBE):
    (SITE / "yourapplication.wsgi").write_text(script)
    if application:
        (SITE / "yourapplication.py").write_text(application)
    httpd.configure(*lines, f"Include {BLOCK}")
    return httpd.start()


def test_the_block_loads_unchanged(httpd, people):
    httpd.configure(f"Include {BLOCK}")
    assert httpd.check() == (0, "Syntax OK\n")


def test_the_script_with_a_path_serves_as_user1_and_group1(httpd, site, people):
    user, group = people
    got = serve(httpd).ask("/")
    assert got["uids"] == [user.pw_uid] * 3
    assert got["gids"] == [group.gr_gid] * 3
    assert set(got["groups"]) == set(os.getgrouplist("user1", group.gr_gid))
    assert grp.getgrnam("wsgitestextra").gr_gid in got["groups"]
    assert got["environ"]["HOME"] == user.pw_dir
    assert got["environ"]["USER"] in (None, "user1") and got["environ"]["LOGNAME"] in (None, "user1")
    assert (got["process_group"], got["application_group"], got["threads"]) == ("yourapplication", "", 5)
    httpd.error_log.expect("printed by the application")


@pytest.mark.differs("user-and-logname-always-set")
def test_the_application_sees_its_user_s_name(httpd, site, people):
    got = serve(httpd).ask("/")
    assert got["environ"] == {"HOME": people[0].pw_dir, "USER": "user1", "LOGNAME": "user1"}
    httpd.error_log.expect("printed by the application")


def test_the_script_without_a_path_finds_what_its_virtual_environment_has(httpd, site):
    venv = pythons.debian().virtualenv(site / "venv", yourapplication=PROBE)
    got = serve(httpd, f"WSGIPythonHome {venv}", script=SCRIPT, application=None).ask("/")
    assert got["process_group"] == "yourapplication"
    httpd.error_log.expect("printed by the application")


def test_flask_runs_from_its_virtual_environment(httpd, site):
    venv = pythons.environment("flask")
    httpd_lines = [f"WSGIPythonHome {venv}"]
    example = (EXAMPLE / "yourapplication.py").read_text()
    script = (EXAMPLE / "yourapplication.wsgi").read_text()
    serve(httpd, *httpd_lines, script=script, application=example)
    assert httpd.get("/?name=Ann").text == "Hello from Flask, Ann!\n"
    got = httpd.ask("/whoami")
    assert (got["user"], got["group"], got["prefix"]) == ("user1", "group1", str(venv))
    assert httpd.get("/count/1000").text == "".join(f"{n}\n" for n in range(1, 1001))
    assert httpd.post("/upload", b"x" * 100_000).text == "100000 bytes\n"


@pytest.mark.parametrize("line", ["WSGIRestrictStdout Off", "WSGIScriptReloading On"])
def test_the_page_s_other_lines_go_with_it(httpd, site, line):
    got = serve(httpd, line).ask("/")
    assert got["process_group"] == "yourapplication"
    httpd.error_log.expect("printed by the application")


def test_restricting_stdout_makes_the_print_fail(httpd, site):
    serve(httpd, "WSGIRestrictStdout On")
    assert httpd.get("/").status == 500
    httpd.error_log.expect("OSError: .*sys.stdout")
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S", "Exception ignored", "OSError")


def test_the_page_s_cure_for_it_works(httpd, site):
    serve(httpd, "WSGIRestrictStdout On", script="import sys\nsys.stdout = sys.stderr\n" + SCRIPT_WITH_PATH)
    assert httpd.get("/").status == 200
    httpd.error_log.expect("printed by the application")
    if httpd.is_reference:
        httpd.error_log.allow("Exception ignored", "access restricted")


def test_touching_the_script_reloads_the_application(httpd, site):
    serve(httpd, "WSGIScriptReloading On")
    httpd.ask("/")
    (site / "yourapplication.py").write_text(PROBE.replace("printed by", "now printed by"))
    shutil.rmtree(site / "__pycache__", ignore_errors=True)
    os.utime(site / "yourapplication.wsgi", (1, 1))
    httpd.ask("/")
    httpd.error_log.expect("now printed by the application")
    httpd.error_log.allow("printed by the application")


def test_an_app_run_without_guard_is_explained_and_does_not_hang(httpd, site):
    """The page's first problem: the development server ends the import with SystemExit."""
    application = "import sys\n\ndef app(environ, start_response):\n    pass\n\ndef run():\n    sys.exit(1)\n\nrun()\n"
    serve(httpd, application=application)
    answer = httpd.get("/")
    assert answer.status == 500 and answer.elapsed < 5
    httpd.error_log.expect("SystemExit")
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S", r"app\.run", "__main__")


def test_a_site_the_user_cannot_read_is_a_permission_problem_in_the_log(httpd, site):
    """The page's second problem."""
    (site / "private").mkdir(mode=0o700)
    (site / "private" / "data").write_text("x")
    application = PROBE.replace("import json", f"open({str(site / 'private' / 'data')!r})\nimport json")
    serve(httpd, application=application)
    assert httpd.get("/").status == 500
    httpd.error_log.expect(r"PermissionError: .*/private/data")
    if not httpd.is_reference:
        httpd.error_log.expect(rf"user user1 may not enter {site}/private, which is mode 0700 owned by root:\w+\. Allow it \(chmod o\+x {site}/private\)")
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S")
