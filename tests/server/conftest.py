"""Fixtures and marks of the server suite. See CONTRIBUTING.md."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

import accounts
import processes
from httpd import CHECKOUT, COMPANIONS, Server, is_c_module

OURS = CHECKOUT / "target" / "release" / "libmod_wsgi.so"
MODULE = Path(os.environ.get("MOD_WSGI_SO", OURS)).resolve()

# The suite's own copy, when workers' users cannot reach the checkout.
staged = None

servers_alive = []


def pytest_addoption(parser):
    parser.addoption("--mpm", default=os.environ.get("MPM", "event"), choices=["event", "worker", "prefork"])


def pytest_configure(config):
    if os.geteuid() != 0:
        raise pytest.UsageError("the server suite starts Apache as root: run it as root")
    if not MODULE.exists():
        raise pytest.UsageError(f"{MODULE} is not there: run scripts/build, or set MOD_WSGI_SO")
    config.addinivalue_line("markers", "differs(name): the C module is known to answer otherwise; a row of DIFFERENCES.md")
    processes.adopt_orphans()


def world_can_enter(path):
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in path.parents)


def module_under_test():
    """MODULE, or a copy of it and its companions where every user can read it."""
    global staged
    if world_can_enter(MODULE):
        return MODULE
    if staged is None:
        staged = tempfile.TemporaryDirectory(prefix="wsgi-test-module-", dir="/tmp")
        os.chmod(staged.name, 0o755)
        for name in (MODULE.name, *COMPANIONS):
            if (MODULE.parent / name).exists():
                shutil.copy(MODULE.parent / name, staged.name)
    return Path(staged.name) / MODULE.name


def is_reference():
    return is_c_module(MODULE)


def pytest_report_header(config):
    return f"module under test: {MODULE}{' (the C module)' if is_reference() else ''}, MPM {config.getoption('--mpm')}"


def pytest_collection_modifyitems(items):
    """Against the C module a marked test must fail, or the mark is out of date. With `sometimes=True` it may
    pass as well: what the C module does there is a matter of luck."""
    for item in items:
        mark = item.get_closest_marker("differs")
        if mark is None or not is_reference():
            continue
        run = mark.kwargs.get("run", True)
        strict = run and not mark.kwargs.get("sometimes", False)
        item.add_marker(pytest.mark.xfail(reason=f"DIFFERENCES.md: {mark.args[0]}", strict=strict, run=run))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, f"report_{report.when}", report)
    if report.failed:
        for server in servers_alive:
            report.sections.append((f"error log of port {server.port}", server.error_log.text()[-8000:]))


def has_failed(node):
    return any(getattr(getattr(node, f"report_{when}", None), "failed", False) for when in ("setup", "call")) or (
        getattr(getattr(node, "report_call", None), "outcome", "") == "skipped"  # xfail
    )


def _open(request):
    server = Server(module_under_test(), request.config.getoption("--mpm"))
    servers_alive.append(server)
    return server


def _close(server, judge):
    servers_alive.remove(server)
    server.close(judge)


@pytest.fixture(autouse=True)
def declared_logs(request):
    """Around every test: the logs of servers that outlive it hold nothing undeclared."""
    for server in servers_alive:
        server.forget_logs()
    yield
    if not has_failed(request.node):
        for server in servers_alive:
            server.check_logs()


@pytest.fixture
def httpd(request):
    """A server of the test's own."""
    server = _open(request)
    yield server
    _close(server, judge=not has_failed(request.node))


@pytest.fixture
def folder(httpd):
    """A directory of the test's server that every application may write to."""
    made = httpd.root / "shared"
    made.mkdir()
    made.chmod(0o777)
    return made


@pytest.fixture(scope="module")
def servers(request):
    """Makes servers that live as long as the module of tests."""
    made = []

    def make():
        made.append(_open(request))
        return made[-1]

    yield make
    for server in made:
        server.forget_logs()
    for server in made:
        _close(server, judge=True)


@pytest.fixture(scope="session")
def users():
    """Two system users for workers, each with a home and a group of its own; the first is also a member of
    `wsgitestextra`. They are made once and stay. Each process of a parallel run has two of its own:
    `wsgitest1` and `wsgitest2`, or `wsgitest3` and `wsgitest4`, and so on."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = [f"wsgitest{2 * number + 1}", f"wsgitest{2 * number + 2}"]
    # The tools that write these files do not wait for each other.
    with accounts.locked():
        accounts.add_group("wsgitestextra")
        # Some tests need no users of their own, only two that are there.
        for name in dict.fromkeys(["wsgitest1", "wsgitest2", *own]):
            accounts.add_user(name)
        accounts.add_member("wsgitestextra", own[0])
    return [pwd.getpwnam(name) for name in own]
