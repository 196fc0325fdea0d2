"""Application groups whose names a client can choose: they have a bound of their own, take no place
from those that the configuration names, and a worker that has too many is replaced, but not at the
pace of the client."""

import pytest

import waiting

ours = pytest.mark.differs("interpreters-of-clients-are-bounded", run=False)

# As many as a worker has.
BOUND = 64

NAMED = """
import mod_wsgi, os
with open({seen!r}, "a") as seen:
    seen.write(f"{os.getpid()} {mod_wsgi.application_group}\\n")
def application(environ, start_response):
    start_response("200 OK", [("X-Pid", str(os.getpid())), ("X-Group", mod_wsgi.application_group)])
    return [b""]
"""


@pytest.fixture
def start(httpd):
    def run(*lines, options="threads=1"):
        httpd.seen = httpd.root / "seen"
        httpd.app("named.wsgi", NAMED.replace("{seen!r}", repr(str(httpd.seen))))
        httpd.seen.touch()
        httpd.seen.chmod(0o666)
        httpd.configure(f"WSGIDaemonProcess app display-name=%{{GROUP}} {options}", "WSGIProcessGroup app", *lines)
        return httpd.start()

    return run


def groups_loaded_by(httpd, pid):
    lines = (line.split(" ", 1) for line in httpd.seen.read_text().splitlines())
    return [group for process, group in lines if int(process) == pid]


def use_up(httpd, asks):
    """Ask until the worker refuses a name, which is logged once; return the answers before that."""
    answers = []
    for ask in asks:
        answer = ask()
        if answer.status == 503:
            assert answer.get("Retry-After")
            return answers
        assert answer.status == 200
        answers.append(answer)
    pytest.fail(f"{len(answers)} names, and all were served")


def ports(httpd, first=1000):
    """Requests that name the server with ports that it does not have."""
    for port in range(first, first + 2 * BOUND):
        yield lambda port=port: httpd.get("/", headers={"Host": f"localhost:{port}"})


@ours
def test_ports_that_clients_make_up_are_bounded_and_leave_the_configured_names_alone(start):
    httpd = start("WSGIScriptAlias /one {apps}/named.wsgi", "WSGIScriptAlias / {apps}/named.wsgi")
    assert httpd.get("/").get("X-Group") == f"localhost:{httpd.port}|"
    answers = use_up(httpd, ports(httpd))
    assert len(answers) == BOUND
    # Names that have an interpreter keep it, and the configuration's names get theirs.
    known = answers[0].get("X-Group").removesuffix("|")
    assert httpd.get("/", headers={"Host": known}).status == 200
    assert httpd.get("/one").get("X-Group") == f"localhost:{httpd.port}|/one"
    httpd.error_log.expect("WSGI0423.*application group 'localhost:1064|'.*UseCanonicalName On", count=1)


@ours
def test_a_worker_whose_names_are_used_up_is_replaced_once_and_its_successor_loads_none_of_them(start):
    httpd = start("WSGIScriptAlias / {apps}/named.wsgi")
    configured = f"localhost:{httpd.port}|"
    first = int(httpd.get("/").get("X-Pid"))
    use_up(httpd, ports(httpd))
    httpd.error_log.expect("WSGI0423")
    waiting.until(lambda: int(httpd.get("/").get("X-Pid")) != first, 10, "the successor")
    second = httpd.workers(count=1)[0].pid
    assert groups_loaded_by(httpd, second) == [configured]
    # A client that goes on finds no worker that is replaced again.
    use_up(httpd, ports(httpd, 3000))
    assert len(groups_loaded_by(httpd, second)) == 1 + BOUND
    for _ in range(20):
        assert httpd.get("/", headers={"Host": "localhost:1"}).status == 503
        assert int(httpd.get("/").get("X-Pid")) == second
    assert [worker.pid for worker in httpd.workers()] == [second]


@ours
@pytest.mark.parametrize("lines, in_main, ask", [
    (["WSGIApplicationGroup %{HOST}"], 1, lambda httpd, name: httpd.get("/", headers={"Host": f"{name}.example"})),
    (["SetEnvIf X-Name (.*) NAME=$1", "WSGIApplicationGroup %{ENV:NAME}"], 0,
     lambda httpd, name: httpd.get("/", headers={"X-Name": name})),
    (["WSGIScriptAliasMatch ^/[a-z0-9]+ {apps}/named.wsgi"], 1, lambda httpd, name: httpd.get(f"/{name}")),
], ids=["hosts", "variables", "paths"])
def test_whatever_a_client_chooses_is_bounded(start, lines, in_main, ask):
    httpd = start(*lines, "WSGIScriptAlias / {apps}/named.wsgi")
    answers = use_up(httpd, (lambda n=n: ask(httpd, f"name{n}") for n in range(2 * BOUND)))
    # The first name of a worker has its main interpreter, unless a variable could say %{GLOBAL}.
    assert len(answers) == in_main + BOUND
    httpd.error_log.expect("WSGI0423")


def test_what_the_configuration_names_has_no_such_bound(start):
    many = [f"shop{n}.example" for n in range(BOUND + 6)]
    httpd = start("<VirtualHost *:{port}>", "ServerName shop.example", "ServerAlias " + " ".join(many),
                  "WSGIApplicationGroup %{HOST}", "WSGIScriptAlias / {apps}/named.wsgi", "</VirtualHost>")
    for name in many:
        answer = httpd.get("/", headers={"Host": name.upper()})
        assert (answer.status, answer.get("X-Group")) == (200, name)


def test_scripts_that_are_files_of_a_folder_have_no_such_bound(start):
    httpd = start('Alias /files/ "{apps}/"', "<Directory {apps}>", "Options +ExecCGI",
                  "AddHandler wsgi-script .wsgi", "</Directory>")
    text = (httpd.apps / "named.wsgi").read_text()
    for n in range(BOUND + 6):
        httpd.app(f"n{n}.wsgi", text)
        answer = httpd.get(f"/files/n{n}.wsgi/more")
        assert (answer.status, answer.get("X-Group")) == (200, f"localhost:{httpd.port}|/files/n{n}.wsgi")


@ours
def test_use_canonical_name_gives_all_ports_one_interpreter(start):
    httpd = start("UseCanonicalName On", "WSGIScriptAlias / {apps}/named.wsgi")
    for ask in ports(httpd):
        assert ask().status == 200
    assert len(httpd.seen.read_text().splitlines()) == 1


@ours
def test_the_first_name_has_the_main_interpreter_in_the_successor_too(start):
    """As behind a forwarded port, where no client names a port that the server has."""
    httpd = start("WSGIScriptAlias / {apps}/named.wsgi", options="threads=1 maximum-requests=3")
    forwarded = {"Host": "localhost:1000"}
    first = int(httpd.get("/", headers=forwarded).get("X-Pid"))
    for _ in range(2):
        httpd.get("/", headers=forwarded)
    waiting.until(lambda: first not in {w.pid for w in httpd.workers()}, 10, "the first worker to go")
    second = httpd.workers(count=1)[0].pid
    assert groups_loaded_by(httpd, second) == ["localhost:1000|"]
