"""WSGIAuthUserScript and WSGIAuthGroupScript: scripts check passwords, know hashes for Digest, and say in which groups a
user is. Whatever is no proper answer lets nobody in."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

import h2client
import hooks
from fakeworker import ANSWER, FakeWorker, end, fail, frame

SCRIPT = '''
import hashlib, os, time

class Odd(Exception):
    pass

PASSWORDS = {"ann": "secret-of-ann", "b\\xf6b": "p\\xe4ss", "carl": "x:y"}

def odd(user):
    if user == "raise":
        raise Odd("no answer")
    if user == "exit":
        raise SystemExit(3)
    if user == "sleep":
        time.sleep(30)
    if user == "die":
        os._exit(7)
    return {"str": "", "one": 1, "zero": 0, "list": ["x"], "bytes": b"x", "float": 1.0}[user]

def check_password(environ, user, password):
    assert "secret" not in repr(sorted(environ.items())), "the environ has the password"
    if user == "unknown":
        return None
    if user == "alias":
        return "J\\xe4ne"
    if user in PASSWORDS:
        return PASSWORDS[user] == password
    return odd(user)

def get_realm_hash(environ, user, realm):
    if user == "unknown":
        return None
    value = hashlib.md5(f"{user}:{realm}:secret".encode()).hexdigest()
    if user == "ann":
        return value
    if user == "bytes":
        return value.encode()
    return odd(user)

def groups_for_user(environ, user):
    groups = {
        "ann": ["Staff", b"editors"], "b\\xf6b": [], "carl": (name for name in ["other"]), "J\\xe4ne": {"staff"},
        "none": None, "number": 7, "item": ["staff", 7], "wide": ["\\u20ac"],
    }
    if user in groups:
        return groups[user]
    return odd(user)
'''


def basic(user, password="secret"):
    return [("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode("latin-1")).decode())]


def digest(httpd, path, user, password="secret", realm="place"):
    """A request with the credentials that the server asks for."""
    challenge = httpd.get(path)
    assert challenge.status == 401
    fields = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge["WWW-Authenticate"]))
    assert fields["realm"] == realm
    md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
    a1, a2 = md5(f"{user}:{realm}:{password}"), md5(f"GET:{path}")
    response = md5(f"{a1}:{fields['nonce']}:00000001:abc:auth:{a2}")
    return httpd.get(path, [("Authorization",
        f'Digest username="{user}", realm="{realm}", nonce="{fields["nonce"]}", uri="{path}", algorithm=MD5, qop=auth, '
        f'nc=00000001, cnonce="abc", response="{response}"')])


def place(name, *lines, kind="Basic"):
    return [f"Alias /{name} {{root}}/htdocs", f"<Location /{name}>", f"AuthType {kind}", "AuthName place", *lines, "</Location>"]


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("auth.py", SCRIPT)
    httpd.app("groups.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    (httpd.root / "users").write_text("file:{SHA}" + base64.b64encode(hashlib.sha1(b"secret").digest()).decode() + "\n")
    httpd.app("who.wsgi", """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(environ.get("REMOTE_USER")).encode(), b" ", repr("secret" in repr(environ)).encode()]
""")
    user = hooks.directive(httpd, "WSGIAuthUserScript {apps}/auth.py")
    group = hooks.directive(httpd, "WSGIAuthGroupScript {apps}/groups.py")
    provider = ["AuthBasicProvider wsgi", user]
    httpd.configure(
        hooks.GROUP, "WSGIDaemonProcess app threads=2",
        "WSGIScriptAlias /who {apps}/who.wsgi process-group=app application-group=%{GLOBAL}",
        "<AuthnProviderAlias wsgi aliased>", user, "</AuthnProviderAlias>",
        *place("basic", *provider, "Require valid-user"),
        *place("who", *provider, "Require valid-user")[1:],
        *place("both", "AuthBasicProvider wsgi file", user, "AuthUserFile {root}/users", "Require valid-user"),
        *place("alias", "AuthBasicProvider aliased", "Require valid-user"),
        *place("digest", "AuthDigestProvider wsgi", user, "Require valid-user", kind="Digest"),
        *place("nothing", "AuthBasicProvider wsgi", "Require valid-user"),
        *place("group", *provider, group, "Require wsgi-group Staff"),
        *place("groups", *provider, group, 'Require wsgi-group nobody "eDitors"'),
        *place("not", *provider, group, "<RequireAll>", "Require valid-user", "Require not wsgi-group staff", "</RequireAll>"),
        *place("any", *provider, group, "<RequireAny>", "Require wsgi-group staff", "Require user carl", "</RequireAny>"),
        *place("none", *provider, group, "<RequireAll>", "Require valid-user", "<RequireNone>", "Require wsgi-group staff",
               "</RequireNone>", "</RequireAll>"),
        *place("no-group-script", *provider, "Require wsgi-group staff"),
        *place("not-no-script", *provider, "<RequireAll>", "Require valid-user", "Require not wsgi-group x", "</RequireAll>"),
    )
    httpd.start()
    return httpd


DENIED = r"AH0161[78]: |AH01631: |AH0179[0-9]: |WSGI0(059|060): "


def ask(site, path, *credentials):
    answer = site.get(f"/{path}/page.html", *credentials)
    assert (answer.status == 200) == (answer.text == "page\n")
    return answer.status


def test_passwords_are_checked(site):
    site.error_log.allow(DENIED)
    assert ask(site, "basic") == 401
    assert ask(site, "basic", basic("ann", "secret-of-ann")) == 200
    assert ask(site, "basic", basic("ann", "wrong")) == 401
    assert ask(site, "basic", basic("unknown")) == 401
    assert ask(site, "basic", basic("carl", "x:y")) == 200
    assert ask(site, "basic", basic("böb", "päss")) == 200


def test_the_application_sees_the_user_and_not_the_password(site):
    assert site.get("/who", basic("ann", "secret-of-ann")).text == "'ann' False"


def test_a_script_may_name_the_user(site):
    # UTF-8 to httpd, which an environ has as latin-1.
    assert site.get("/who", basic("alias")).text == "'J\u00c3\u00a4ne' False"


def test_another_provider_is_asked_about_users_that_the_script_does_not_know(httpd):
    httpd.app("auth.py", "def check_password(environ, user, password):\n    return True if user == 'ann' else None\n")
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    (httpd.root / "users").write_text("file:{SHA}" + base64.b64encode(hashlib.sha1(b"secret").digest()).decode() + "\n")
    httpd.configure(hooks.GROUP, *place(
        "both", "AuthBasicProvider wsgi file", hooks.directive(httpd, "WSGIAuthUserScript {apps}/auth.py"),
        "AuthUserFile {root}/users", "Require valid-user"))
    httpd.start()
    httpd.error_log.allow(DENIED)
    assert ask(httpd, "both", basic("ann", "x")) == 200
    assert ask(httpd, "both", basic("file")) == 200
    assert ask(httpd, "both", basic("file", "wrong")) == 401


def test_an_alias_of_the_provider_has_its_own_script(site):
    site.error_log.allow(DENIED)
    assert ask(site, "alias", basic("ann", "secret-of-ann")) == 200
    assert ask(site, "alias", basic("ann", "wrong")) == 401


@pytest.mark.parametrize("user, number", [
    ("str", "WSGI0176: "), ("one", "WSGI0177: "), ("zero", "WSGI0177: "), ("list", "WSGI0177: "), ("bytes", "WSGI0177: "),
])
def test_nonsense_is_500(site, user, number):
    assert ask(site, "basic", basic(user)) == 500
    site.error_log.expect(number, level="error", count=1)


@pytest.mark.parametrize("path", ["basic", "alias"])
def test_an_exception_is_500(site, path):
    assert ask(site, path, basic("raise")) == 500
    site.error_log.expect_traceback("Odd: no answer")


def test_no_script_is_500(site):
    assert ask(site, "nothing", basic("ann", "secret-of-ann")) == 500
    site.error_log.expect("WSGI0041: ", level="error", count=1)


def test_digest(site):
    site.error_log.allow(DENIED)
    for user in ("ann", "bytes"):
        assert digest(site, "/digest/page.html", user).text == "page\n"
    assert digest(site, "/digest/page.html", "ann", "wrong").status == 401
    assert digest(site, "/digest/page.html", "unknown").status == 401


@pytest.mark.parametrize("user, number", [("str", "WSGI0178: "), ("one", "WSGI0179: "), ("list", "WSGI0179: ")])
def test_nonsense_for_digest_lets_nobody_in(site, user, number):
    assert digest(site, "/digest/page.html", user).status in (401, 500)
    site.error_log.expect(number, level="error", count=1)
    site.error_log.allow(DENIED)


def test_groups_are_compared_without_regard_to_case(site):
    site.error_log.allow(DENIED)
    ann = basic("ann", "secret-of-ann")
    assert ask(site, "group", ann) == 200
    assert ask(site, "groups", ann) == 200
    assert ask(site, "group") == 401
    assert ask(site, "group", basic("böb", "päss")) == 401
    assert ask(site, "group", basic("carl", "x:y")) == 401


def test_containers_judge_what_scripts_say(site):
    site.error_log.allow(DENIED)
    ann, carl, bob = basic("ann", "secret-of-ann"), basic("carl", "x:y"), basic("böb", "päss")
    assert [ask(site, "not", who) for who in (ann, carl, bob)] == [401, 200, 200]
    assert [ask(site, "any", who) for who in (ann, carl, bob)] == [200, 200, 401]
    assert [ask(site, "none", who) for who in (ann, carl, bob)] == [401, 200, 200]


ODD_GROUPS = [("none", "WSGI0051: "), ("number", "WSGI0051: "), ("item", "WSGI0050: "), ("wide", "WSGI0049: "), ("one", "WSGI0051: ")]


@pytest.fixture(scope="module")
def anybody(servers):
    """Every password is right, so that only groups matter."""
    httpd = servers()
    httpd.app("auth.py", "def check_password(environ, user, password):\n    return True\n")
    httpd.app("groups.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    lines = ["AuthBasicProvider wsgi", hooks.directive(httpd, "WSGIAuthUserScript {apps}/auth.py"),
             hooks.directive(httpd, "WSGIAuthGroupScript {apps}/groups.py")]
    httpd.configure(
        hooks.GROUP, *place("group", *lines, "Require wsgi-group staff"),
        *place("not", *lines, "<RequireAll>", "Require valid-user", "Require not wsgi-group staff", "</RequireAll>"),
        *place("no-script", *lines[:2], "Require wsgi-group staff"),
        *place("not-no-script", *lines[:2], "<RequireAll>", "Require valid-user", "Require not wsgi-group x", "</RequireAll>"),
    )
    return httpd.start()


@pytest.mark.parametrize("user, number", ODD_GROUPS)
def test_nonsense_about_groups_lets_nobody_in(anybody, user, number):
    assert ask(anybody, "group", basic(user)) in (401, 500)
    anybody.error_log.expect(number, level="error", count=1)
    anybody.error_log.allow(DENIED)


def test_an_exception_about_groups_lets_nobody_in(anybody):
    assert ask(anybody, "group", basic("raise")) in (401, 500)
    anybody.error_log.expect_traceback("Odd: no answer")
    anybody.error_log.allow(DENIED)


@pytest.mark.differs("hooks-in-workers")
@pytest.mark.parametrize("user, number", ODD_GROUPS)
def test_nonsense_does_not_let_anybody_in_behind_not(anybody, user, number):
    """The C module takes it for no membership, and lets everybody in who is not to be one."""
    assert ask(anybody, "not", basic(user)) == 500
    anybody.error_log.expect(number, level="error", count=1)


@pytest.mark.differs("hooks-in-workers")
def test_nor_does_a_missing_script(anybody):
    for path in ("no-script", "not-no-script"):
        assert ask(anybody, path, basic("x")) == 500
    anybody.error_log.expect("WSGI0058: ", level="error", count=2)


@pytest.mark.parametrize("line, number", [
    ("AuthBasicProvider wsgi", "WSGI0043: "), ("Require wsgi-group x", "WSGI0052: "),
])
def test_a_script_without_its_function_lets_nobody_in(httpd, line, number):
    httpd.app("empty.py", "pass\n")
    httpd.app("auth.py", "def check_password(environ, user, password):\n    return True\n")
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    group = "Require" in line
    httpd.configure(hooks.GROUP, *place(
        "x", "AuthBasicProvider wsgi", hooks.directive(httpd, f"WSGIAuthUserScript {{apps}}/{'auth' if group else 'empty'}.py"),
        *([hooks.directive(httpd, "WSGIAuthGroupScript {apps}/empty.py"), line] if group else ["Require valid-user"])))
    httpd.start()
    assert ask(httpd, "x", basic("ann")) in (401, 500)
    httpd.error_log.expect(number, level="error", count=1)
    httpd.error_log.allow(DENIED)


# What follows is about workers.

ours = pytest.mark.differs("hooks-in-workers", run=False)


@ours
@pytest.mark.parametrize("level", ["info", "debug", "trace8"])
def test_passwords_are_in_no_log_and_on_no_status_page(httpd, level):
    httpd.app("auth.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        "WSGIDaemonProcess hooks threads=4 socket-timeout=1",
        f"LogLevel warn wsgi:{level}", "<Location /state>", "SetHandler wsgi-status", "</Location>",
        *place("x", "AuthBasicProvider wsgi", "WSGIAuthUserScript {apps}/auth.py process-group=hooks", "Require valid-user"),
    )
    httpd.start()
    password = "very-particular-words"
    for user, status in (("ann", 401), ("raise", 500), ("one", 500), ("unknown", 401), ("die", 500), ("sleep", 500)):
        assert ask(httpd, "x", basic(user, password)) == status
        page = httpd.get("/state").text
        assert password not in page and base64.b64encode(f"{user}:{password}".encode()).decode() not in page
    log = httpd.error_log.text()
    assert password not in log and "very-particular" not in log
    httpd.error_log.allow("WSGI0", "AH016", "AH017", "Traceback|File|Odd|raise|check_password|return odd|  ")


@ours
def test_a_password_stays_in_no_memory_of_apache_and_of_the_worker_s_own(httpd, users):
    httpd.app("auth.py", "def check_password(environ, user, password):\n    return user == 'ann'\n")
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(hooks.GROUP, *place(
        "x", "AuthBasicProvider wsgi", "WSGIAuthUserScript {apps}/auth.py process-group=hooks", "Require valid-user"))
    httpd.start()
    # Spelled so that nothing but the message between the two holds it as it stands there.
    password = "wiped-out-" + "q" * 40
    assert ask(httpd, "x", basic("ann", password)) == 200
    # The message: the name, and behind two bytes the password.
    wanted = b"ann" + len(password).to_bytes(2, "little") + password.encode()
    assert not [pid for pid in (child.pid for child in httpd.children()) if holds(pid, wanted)], "Apache"
    (worker,) = httpd.workers("hooks", count=1)
    assert not holds(worker.pid, wanted), "the worker"


def holds(pid, wanted):
    """Whether the memory of a process holds these bytes."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            fields = line.split()
            begin, finish = (int(part, 16) for part in fields[0].split("-"))
            if "w" not in fields[1] or fields[-1] in ("[vvar]", "[vsyscall]"):
                continue
            try:
                memory.seek(begin)
                if wanted in memory.read(finish - begin):
                    return True
            except (OSError, ValueError, OverflowError):
                continue
    return False


@ours
@pytest.mark.parametrize("user, number", [("sleep", "WSGI0145: "), ("die", "WSGI0146: ")])
def test_a_script_that_does_not_answer_lets_nobody_in(httpd, user, number):
    httpd.app("auth.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure("WSGIDaemonProcess hooks threads=4 socket-timeout=1", *place(
        "x", "AuthBasicProvider wsgi", "WSGIAuthUserScript {apps}/auth.py process-group=hooks", "Require valid-user"))
    httpd.start()
    assert ask(httpd, "x", basic(user)) == 500
    httpd.error_log.expect(number, level="error", count=1)
    httpd.error_log.allow("WSGI03")


HOSTILE = {
    "no answer": end(), "a failure": fail(503), "names": frame(ANSWER, b"\x04\x00\x00") + end(),
    "an empty name": frame(ANSWER, b"\x03\x00\x00") + end(), "a NUL": frame(ANSWER, b"\x03\x02\x00a\x00") + end(),
    "choices": frame(ANSWER, b"\x05\x00\x00\x00") + end(), "nothing": b"", "two": frame(ANSWER, b"\x01") * 2 + end(),
}


@pytest.fixture(scope="module")
def alone(servers):
    httpd = servers()
    if httpd.is_reference:
        pytest.skip("the C module asks nobody")
    httpd.app("auth.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure("WSGIDaemonProcess app threads=2 socket-timeout=2", *place(
        "x", "AuthBasicProvider wsgi", "WSGIAuthUserScript {apps}/auth.py process-group=app", "Require valid-user"))
    return httpd.start()


@ours
@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_that_a_hostile_worker_sends_lets_anybody_in(alone, reply):
    with FakeWorker(alone) as worker:
        worker.reply = reply
        assert ask(alone, "x", basic("ann", "secret-of-ann")) == 500
        assert worker.asked == 1
    alone.error_log.allow("WSGI0")


@ours
def test_http_2(httpd):
    httpd.app("auth.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(hooks.GROUP, "Protocols h2c http/1.1", *place(
        "x", "AuthBasicProvider wsgi", "WSGIAuthUserScript {apps}/auth.py process-group=hooks",
        "WSGIAuthGroupScript {apps}/auth.py process-group=hooks", "Require wsgi-group staff"))
    httpd.start()
    httpd.error_log.allow(DENIED)
    with h2client.Connection(httpd.port) as connection:
        headers = [(name.lower(), value) for name, value in basic("ann", "secret-of-ann")]
        assert connection.get("/x/page.html", headers).status == 200
        assert connection.get("/x/page.html").status == 401


@pytest.mark.parametrize("override", ["AuthConfig", "All"])
def test_htaccess(httpd, override):
    folder = httpd.root / "htdocs" / "guarded"
    folder.mkdir()
    (folder / "page.html").write_text("page\n")
    (folder / ".htaccess").write_text(httpd.fill("\n".join([
        "AuthType Basic", "AuthName x", "AuthBasicProvider wsgi", hooks.directive(httpd, "WSGIAuthUserScript {apps}/auth.py"),
        hooks.directive(httpd, "WSGIAuthGroupScript {apps}/auth.py"), "Require wsgi-group staff", ""])))
    httpd.app("auth.py", SCRIPT)
    httpd.configure(
        hooks.GROUP, f'LoadModule auth_basic_module "{hooks.MODULES}/mod_auth_basic.so"',
        f'LoadModule authn_core_module "{hooks.MODULES}/mod_authn_core.so"',
        "<Directory {root}/htdocs>", f"AllowOverride {override}", *hooks.only_ours(httpd, "WSGIRestrictProcess hooks"), "</Directory>",
    )
    httpd.start()
    httpd.error_log.allow(DENIED)
    assert ask(httpd, "guarded", basic("ann", "secret-of-ann")) == 200
    assert ask(httpd, "guarded", basic("carl", "x:y")) == 401
    assert ask(httpd, "guarded") == 401
