"""Any CPython from 3.10 on, chosen per process group (issue 2, point 4)."""

import pytest

import pythons

VERSIONS = [(3, 10), (3, 12), (3, 13)]

PROBE = """
import json, sys
try:
    import only_here
    package = only_here.NAME
except ImportError:
    package = None

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([sys.version_info[:2], sys.prefix, sys.base_prefix, sys.executable, package]).encode()]
"""


def python(version):
    found = pythons.readable(version)
    if found is None:
        pythons.missing(version)
    return found


@pytest.mark.differs("any-python", run=False)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda v: f"{v[0]}.{v[1]}")
def test_a_group_runs_the_python_of_its_virtual_environment(httpd, version):
    found = python(version)
    venv = found.virtualenv(httpd.root / "venv", only_here="NAME = 'mine'")
    httpd.app("probe2.wsgi", PROBE)
    httpd.serve("probe2.wsgi", options=f"threads=2 python-home={venv}")
    got = httpd.ask("/")
    assert tuple(got[0]) == version
    assert got[1:] == [str(venv), str(found.prefix), f"{venv}/bin/python", "mine"]


@pytest.mark.differs("any-python", run=False)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda v: f"{v[0]}.{v[1]}")
def test_python_home_may_be_the_prefix_of_an_installation(httpd, version):
    found = python(version)
    httpd.app("probe2.wsgi", PROBE)
    httpd.serve("probe2.wsgi", options=f"threads=2 python-home={found.prefix}")
    got = httpd.ask("/")
    assert (tuple(got[0]), got[1]) == (version, str(found.prefix))


def test_a_virtual_environment_of_debian_s_python_activates_itself(httpd):
    venv = pythons.debian().virtualenv(httpd.root / "venv", only_here="NAME = 'mine'")
    httpd.app("probe2.wsgi", PROBE)
    httpd.serve("probe2.wsgi", options=f"threads=2 python-home={venv}")
    got = httpd.ask("/")
    assert tuple(got[0]) == pythons.debian().version
    assert got[1] == str(venv) and got[4] == "mine"


def test_wsgi_python_home_is_the_default_of_every_group(httpd):
    venv = pythons.debian().virtualenv(httpd.root / "venv", only_here="NAME = 'server'")
    own = pythons.debian().virtualenv(httpd.root / "own", only_here="NAME = 'group'")
    httpd.app("probe2.wsgi", PROBE)
    httpd.configure(
        f"WSGIPythonHome {venv}", "WSGIDaemonProcess app threads=2", f"WSGIDaemonProcess own threads=2 python-home={own}",
        "WSGIScriptAlias /app {apps}/probe2.wsgi process-group=app", "WSGIScriptAlias /own {apps}/probe2.wsgi process-group=own",
    )
    httpd.start()
    assert (httpd.ask("/app")[1], httpd.ask("/app")[4]) == (str(venv), "server")
    assert (httpd.ask("/own")[1], httpd.ask("/own")[4]) == (str(own), "group")


def test_without_a_home_the_python_of_the_distribution_runs(httpd):
    httpd.app("probe2.wsgi", PROBE)
    httpd.serve("probe2.wsgi")
    got = httpd.ask("/")
    assert (tuple(got[0]), got[1], got[4]) == (pythons.debian().version, "/usr", None)


@pytest.mark.differs("any-python", run=False)
def test_the_path_is_never_searched_for_a_python(httpd):
    (httpd.root / "evil").mkdir()
    fake = httpd.root / "evil" / "python3"
    fake.write_text("#!/bin/sh\necho evil > " + str(httpd.root / "run" / "evil") + "\n")
    fake.chmod(0o755)
    httpd.environ = {"PATH": f"{httpd.root}/evil:/usr/bin:/bin"}
    httpd.serve("probe.wsgi")
    assert httpd.ask("/")["prefix"] == "/usr"
    assert not (httpd.root / "run" / "evil").exists()


@pytest.mark.differs("any-python", run=False)
def test_one_apache_serves_groups_on_several_pythons_at_once(httpd):
    homes = {"debian": (pythons.debian().version, None)}
    for version in VERSIONS:
        found = pythons.readable(version)
        if found is not None:
            name = "py" + str(found).replace(".", "")
            homes[name] = (version, found.virtualenv(httpd.root / name, only_here=f"NAME = {name!r}"))
    if len(homes) < 3:
        pythons.missing(*VERSIONS)
    httpd.app("probe2.wsgi", PROBE)
    lines = []
    for name, (_, home) in homes.items():
        option = f" python-home={home}" if home else ""
        lines += [
            f"WSGIDaemonProcess {name} threads=2 display-name=%{{GROUP}}{option}",
            f"WSGIScriptAlias /{name} {{apps}}/probe2.wsgi process-group={name}",
        ]
    httpd.configure(*lines)
    httpd.start()
    for _ in range(2):
        for name, (version, home) in homes.items():
            got = httpd.ask(f"/{name}")
            assert tuple(got[0]) == version
            if home:
                assert got[1] == str(home) and got[3].startswith(str(home)) and got[4] == name
    for name in homes:
        assert len(httpd.workers(name)) == 1


def test_activate_this_of_virtualenv_works_from_the_script(httpd):
    venv = pythons.environment("virtualenv")
    env = httpd.root / "env"
    pythons.run([venv / "bin" / "virtualenv", "--quiet", "--no-download", "--no-pip", "-p", pythons.DEBIAN, env])
    site = next(env.glob("lib/python3*/site-packages"))
    (site / "only_here.py").write_text("NAME = 'activated'\n")
    activate = env / "bin" / "activate_this.py"
    assert activate.exists()
    httpd.app("probe2.wsgi", f"activate_this = {str(activate)!r}\n"
              "exec(open(activate_this).read(), dict(__file__=activate_this))\n" + PROBE)
    httpd.serve("probe2.wsgi")
    got = httpd.ask("/")
    assert (got[1], got[4]) == (str(env), "activated")


@pytest.mark.differs("execfile-explained")
def test_execfile_of_the_seed_s_page_is_explained(httpd):
    httpd.app("old.wsgi", "activate_this = '/path/to/env/bin/activate_this.py'\n"
              "execfile(activate_this, dict(__file__=activate_this))\n")
    httpd.serve("old.wsgi")
    assert httpd.get("/").status == 500
    httpd.error_log.allow("WSGI0", "Traceback", r"\]\s+\S", "NameError")
    httpd.error_log.expect(r"exec\(open\(")


def test_the_main_thread_of_threading_is_never_a_request_s(httpd):
    httpd.serve("probe.wsgi", options="threads=1")
    got = httpd.ask("/")
    assert got["thread"] != got["main_thread"]
