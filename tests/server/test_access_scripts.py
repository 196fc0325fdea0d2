"""WSGIAccessScript: a script says whether a client may enter. It is asked for everything that Apache serves, and
whatever is no proper answer denies."""

import base64
import json
import os
import signal
import time

import pytest

import h2client
import hooks
import waiting
from fakeworker import ANSWER, FakeWorker, data, end, fail, frame, head, log, retry

SCRIPT = '''
import json, os, time
COUNT = [0]

class Odd(Exception):
    pass

def allow_access(environ, host):
    COUNT[0] += 1
    answer = environ["QUERY_STRING"]
    if "deny" in environ["SCRIPT_NAME"] + answer:
        return False
    if answer == "none":
        return None
    if answer == "raise":
        raise Odd("no answer")
    if answer == "exit":
        raise SystemExit(3)
    if answer == "print":
        print("printed by the hook")
        environ["wsgi.errors"].write("written by the hook\\n")
    if answer == "sleep":
        time.sleep(30)
    if answer == "die":
        os._exit(7)
    odd = {"str": "True", "one": 1, "zero": 0, "list": [True], "empty": "", "bytes": b"1"}
    if answer in odd:
        return odd[answer]
    return True
'''

DENIED = r"WSGI0057: Client denied by server configuration"


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("access.py", SCRIPT)
    for name in ("guarded", "open", "listed"):
        (httpd.root / "htdocs" / name).mkdir()
        (httpd.root / "htdocs" / name / "page.html").write_text(f"{name}\n")
    for name in ("deny-me.txt", "show-me.txt"):
        (httpd.root / "htdocs" / "listed" / name).write_text("x\n")
    (httpd.root / "htdocs" / "open" / "page.shtml").write_text(
        '[<!--#include virtual="/guarded/page.html" -->][<!--#include virtual="/guarded/page.html?raise" -->]')
    script = hooks.directive(httpd, "WSGIAccessScript {apps}/access.py")
    httpd.configure(
        hooks.GROUP, "WSGIDaemonProcess app threads=2",
        "WSGIScriptAlias /app {apps}/hello.wsgi process-group=app application-group=%{GLOBAL}",
        "ProxyPass /proxied/ http://127.0.0.1:{port}/open/",
        "RewriteEngine On", "RewriteRule ^/rewritten$ /guarded/page.html [PT]",
        "<Location /app>", script, "</Location>",
        "<Location /proxied>", script, "</Location>",
        "<Directory {root}/htdocs/guarded>", script, "</Directory>",
        "<Directory {root}/htdocs/listed>", "Options +Indexes", "ReadmeName none", "<Files *.txt>", script, "</Files>", "</Directory>",
        "<Directory {root}/htdocs/open>", "Options +Includes", "AddOutputFilter INCLUDES .shtml", "</Directory>",
        "<Location /conditional>", "<If \"%{QUERY_STRING} == 'raise'\">", script, "</If>", "</Location>",
        "Alias /conditional {root}/htdocs/open",
    )
    httpd.start()
    return httpd


@pytest.mark.parametrize("path, body", [
    ("/guarded/page.html", "guarded\n"), ("/app", "Hello"), ("/proxied/page.html", "open\n"), ("/rewritten", "guarded\n"),
])
def test_true_and_none_let_in_and_false_denies(site, path, body):
    for query in ("", "?none"):
        answer = site.get(path + query)
        assert (answer.status, answer.text[: len(body)]) == (200, body)
    answer = site.get(path + "?deny")
    assert answer.status == 403 and body not in answer.text
    site.error_log.expect(DENIED, level="error", count=1)


def test_a_place_without_the_directive_is_not_asked_about(site):
    assert site.get("/open/page.html?raise").text == "open\n"
    assert site.get("/conditional/page.html?deny").text == "open\n"


def test_the_section_if_holds_where_its_condition_does(site):
    assert site.get("/conditional/page.html?raise").status == 403
    site.error_log.expect_traceback("Odd: no answer")
    site.error_log.expect(DENIED, level="error", count=1)


@pytest.mark.parametrize("answer", ["str", "one", "zero", "list", "empty", "bytes"])
def test_nonsense_denies(site, answer):
    assert site.get(f"/guarded/page.html?{answer}").status == 403
    site.error_log.expect("WSGI0055: ", level="error", count=1)
    site.error_log.expect(DENIED, level="error", count=1)


def test_an_exception_denies_and_is_in_the_log(site):
    assert site.get("/guarded/page.html?raise").status == 403
    site.error_log.expect_traceback("Odd: no answer")
    site.error_log.expect(DENIED, level="error", count=1)


@pytest.mark.differs("hooks-in-workers")
def test_sys_exit_denies_too(site):
    # The C module denies and says nothing.
    assert site.get("/guarded/page.html?exit").status == 403
    site.error_log.expect_traceback("SystemExit: 3")
    site.error_log.expect(DENIED, level="error", count=1)
    site.error_log.expect("WSGI0175: SystemExit raised by .*access.py", level="error", count=1)


def test_what_the_script_prints_is_in_the_error_log(site):
    assert site.get("/guarded/page.html?print").status == 200
    site.error_log.expect("printed by the hook", level="error", count=1)
    site.error_log.expect("written by the hook", level="error", count=1)


def test_a_listing_asks_for_each_of_its_files(site):
    page = site.get("/listed/")
    assert page.status == 200 and "show-me.txt" in page.text and "deny-me.txt" not in page.text
    site.error_log.allow(DENIED)


def test_a_page_within_a_page_is_asked_about(site):
    page = site.get("/open/page.shtml")
    assert page.text.startswith("[guarded\n]") and page.text.count("guarded") == 1
    site.error_log.expect_traceback("Odd: no answer")
    site.error_log.allow(DENIED, "unable to include", "AH01276")


def test_every_request_of_a_connection_is_asked_about(site):
    with site.connect() as connection:
        for query, status in (("", 200), ("?deny", 403), ("?none", 200), ("?deny", 403), ("", 200)):
            connection.send_request("GET", f"/guarded/page.html{query}")
            assert connection.response().status == status
    site.error_log.expect(DENIED, level="error", count=2)


def test_other_rules_hold_beside_the_script(httpd):
    script = hooks.directive(httpd, "WSGIAccessScript {apps}/access.py")
    httpd.app("access.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    (httpd.root / "users").write_text("ann:{SHA}" + base64.b64encode(__import__("hashlib").sha1(b"pw").digest()).decode() + "\n")
    httpd.configure(
        hooks.GROUP,
        "Alias /denied {root}/htdocs", "Alias /user {root}/htdocs", "Alias /any {root}/htdocs", "Alias /none {root}/htdocs",
        "<Location /denied>", script, "Require all denied", "</Location>",
        "<Location /none>", script, "<RequireAll>", "Require all granted", "Require not ip 127.0.0.1", "</RequireAll>", "</Location>",
        "<Location /user>", script, 'AuthType Basic', 'AuthName x', 'AuthUserFile "{root}/users"', "Require valid-user",
        "</Location>",
        "<Location /any>", script, 'AuthType Basic', 'AuthName x', 'AuthUserFile "{root}/users"', "Require valid-user",
        "Satisfy Any", "</Location>",
    )
    httpd.start()
    ann = [("Authorization", "Basic " + base64.b64encode(b"ann:pw").decode())]
    assert httpd.get("/denied/page.html").status == 403
    assert httpd.get("/none/page.html").status == 403
    httpd.error_log.allow("AH01630", "AH01617|AH01618")
    assert httpd.get("/user/page.html").status == 401
    assert httpd.get("/user/page.html", ann).status == 200
    assert httpd.get("/user/page.html?deny", ann).status == 403
    httpd.error_log.expect(DENIED, level="error", count=1)
    # Satisfy Any: the script or a user, and no line where a user may yet be let in.
    assert httpd.get("/any/page.html").status == 200
    assert httpd.get("/any/page.html?deny").status == 401
    assert httpd.get("/any/page.html?deny", ann).status == 200


def test_the_environ_is_what_the_request_says(httpd):
    script = hooks.directive(httpd, "WSGIAccessScript {apps}/access.py")
    httpd.app("access.py", """
import json
def allow_access(environ, host):
    import os
    ssl = environ["mod_ssl.is_https"](), environ["mod_ssl.var_lookup"]("SSL_PROTOCOL")
    kinds = {key: value if isinstance(value, (str, int)) else type(value).__name__ for key, value in environ.items()}
    print("ENVIRON", json.dumps([host, ssl, kinds]))
    return True
""")
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        hooks.GROUP, "SetEnv SECRET x", "ServerSignature On", "ServerAdmin me@example.com",
        "<Location />", "CGIPassAuth On", script, "</Location>",
    )
    httpd.start()
    answer = httpd.get("/page.html/info?a=b", [
        ("Authorization", "Basic " + base64.b64encode(b"ann:pw").decode()), ("Proxy-Authorization", "Basic eDp5"),
        ("X-Own", "1"), ("X_Bad", "2"), ("Cookie", "c=1"), ("Content-Type", "text/x-own"),
    ])
    assert answer.status in (200, 404)
    httpd.error_log.expect("ENVIRON", level="error", count=1)
    line = httpd.error_log.text().split("ENVIRON ", 1)[1].split("\n", 1)[0]
    host, ssl, environ = json.loads(line)
    assert host == "127.0.0.1" and ssl == [0, None]
    expected = {
        "REQUEST_METHOD": "GET", "QUERY_STRING": "a=b", "REQUEST_URI": "/page.html/info?a=b", "SCRIPT_NAME": "/page.html",
        "PATH_INFO": "/info", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "127.0.0.1", "SERVER_PORT": str(httpd.port),
        "SERVER_ADDR": "127.0.0.1", "SERVER_ADMIN": "me@example.com", "REMOTE_ADDR": "127.0.0.1",
        "DOCUMENT_ROOT": f"{httpd.root}/htdocs", "HTTP_X_OWN": "1", "HTTP_COOKIE": "c=1", "CONTENT_TYPE": "text/x-own",
        "mod_wsgi.application_group": "",
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert environ["mod_wsgi.process_group"] == ("" if httpd.is_reference else "hooks")
    assert "Apache/" in environ["SERVER_SIGNATURE"] and environ["SERVER_SOFTWARE"].startswith("Apache/")
    assert {"REMOTE_PORT", "wsgi.errors", "apache.version", "mod_wsgi.version", "mod_ssl.is_https", "mod_ssl.var_lookup"} <= set(environ)
    for key in ("SECRET", "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_X_BAD", "wsgi.input", "REMOTE_USER", "PATH"):
        assert key not in environ, key


def test_application_group_names_the_interpreter(httpd):
    httpd.app("access.py", """
def allow_access(environ, host):
    print("GROUP", repr(environ["mod_wsgi.application_group"]))
    return True
""")
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        hooks.GROUP, "Alias /named {root}/htdocs", "Alias /server {root}/htdocs",
        "<Location /named>", hooks.directive(httpd, "WSGIAccessScript {apps}/access.py application-group=own"), "</Location>",
        "<Location /server>", hooks.directive(httpd, "WSGIAccessScript {apps}/access.py application-group=%{SERVER}"), "</Location>",
    )
    httpd.start()
    for path, group in (("/named", "own"), ("/server", f"localhost:{httpd.port}")):
        assert httpd.get(f"{path}/page.html").status == 200
        httpd.error_log.expect(f"GROUP '{group}'", level="error", count=1)


def test_a_changed_script_is_loaded_anew(httpd):
    source = "def allow_access(environ, host):\n    return {}\n"
    script = httpd.app("access.py", source.format("True"))
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        hooks.GROUP, "<Location />", hooks.directive(httpd, "WSGIAccessScript {apps}/access.py"), "</Location>",
    )
    httpd.start()
    assert httpd.get("/page.html").status == 200
    httpd.app("access.py", source.format("False"))
    os.utime(script, ns=(0, script.stat().st_mtime_ns + 10**9))
    assert httpd.get("/page.html").status == 403
    httpd.error_log.expect(DENIED, level="error", count=1)


@pytest.mark.parametrize("source, number", [
    ("pass\n", "WSGI0056: "), (None, "WSGI01(05|06|07|08|09|10)|WSGI0054"), ("raise KeyError('x')\n", "WSGI01(05|06|07|08|09|10)|WSGI0054"),
    ("def (:\n", "WSGI01(05|06|07|08|09|10)|WSGI0054"),
], ids=["no-function", "missing", "raises", "no-python"])
def test_a_script_that_cannot_be_asked_denies(httpd, source, number):
    if source is not None:
        httpd.app("access.py", source)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        hooks.GROUP, "<Location />", hooks.directive(httpd, "WSGIAccessScript {apps}/access.py"), "</Location>",
    )
    httpd.start()
    for _ in range(2):
        assert httpd.get("/page.html").status == 403
    httpd.error_log.expect(DENIED, level="error", count=2)
    httpd.error_log.expect(number)
    httpd.error_log.allow("WSGI0", "Error:|error:|Traceback|File|def|raise|\\^")


# What follows is about workers.

ours = pytest.mark.differs("hooks-in-workers", run=False)


@ours
def test_an_unreadable_script_is_503_and_the_line_says_what_to_allow(httpd):
    httpd.app("access.py", SCRIPT, mode=0o600)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(hooks.GROUP, "<Location />", "WSGIAccessScript {apps}/access.py process-group=hooks", "</Location>")
    httpd.start()
    assert httpd.get("/page.html").status == 503
    httpd.error_log.expect("WSGI0105: .*access.py can't be read, .*chmod o\\+r", level="error")


@ours
def test_a_script_that_never_returns_denies_within_the_limit_and_holds_up_nobody(httpd):
    httpd.app("access.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        "WSGIDaemonProcess hooks threads=4 socket-timeout=1", "<Location />",
        "WSGIAccessScript {apps}/access.py process-group=hooks", "</Location>",
    )
    httpd.start()
    with httpd.connect() as slow:
        begun = time.monotonic()
        slow.send_request("GET", "/page.html?sleep")
        assert httpd.get("/page.html").status == 200
        assert slow.response().status == 504
        assert time.monotonic() - begun < 1 + waiting.SLACK
    httpd.error_log.expect("WSGI0145: .* the application was running", level="error", count=1)
    # The script still sleeps when Apache stops.
    httpd.error_log.allow("WSGI0304")


@ours
def test_a_worker_that_dies_of_a_question_denies(httpd):
    httpd.app("access.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(hooks.GROUP, "<Location />", "WSGIAccessScript {apps}/access.py process-group=hooks", "</Location>")
    httpd.start()
    assert httpd.get("/page.html?die").status == 502
    httpd.error_log.expect("WSGI0146: ", level="error", count=1)
    httpd.error_log.allow("WSGI03")
    assert httpd.get("/page.html").status == 200


@ours
def test_a_question_that_no_script_has_seen_is_asked_again(httpd):
    httpd.app("access.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(hooks.GROUP, "<Location />", "WSGIAccessScript {apps}/access.py process-group=hooks", "</Location>")
    httpd.start()
    assert httpd.get("/page.html").status == 200
    (worker,) = httpd.workers("hooks", count=1)
    worker.signal(signal.SIGKILL)
    httpd.error_log.allow("WSGI0339")
    assert httpd.get("/page.html").status == 200


HOSTILE = {
    "a response": head(200) + data(b"hello") + end(),
    "a body": data(b"hello") + end(),
    "no answer": end(),
    "an empty answer": frame(ANSWER) + end(),
    "an unknown answer": frame(ANSWER, b"\x09") + end(),
    "more than an answer": frame(ANSWER, b"\x01\x00") + end(),
    "two answers": frame(ANSWER, b"\x01") * 2 + end(),
    "an answer that breaks off": frame(ANSWER, b"\x01"),
    "an answer that is taken back": frame(ANSWER, b"\x01") + fail(500),
    "an answer that ends broken": frame(ANSWER, b"\x01") + end(1),
    "an answer and a response": frame(ANSWER, b"\x01") + head(200) + end(),
    "an answer to another question": frame(ANSWER, b"\x03\x01\x00x") + end(),
    "a failure": fail(500, b"WSGI0000: no"),
    "a redirect": head(200, (b"Location", b"/x")) + end(),
    "nothing": b"",
    "a long answer": frame(ANSWER, b"", length=1 << 20),
    "noise": bytes(range(256)) * 8,
    "an answer handed back": frame(ANSWER, b"\x01") + retry(1),
}


@pytest.fixture(scope="module")
def alone(servers):
    httpd = servers()
    if httpd.is_reference:
        pytest.skip("the C module asks nobody")
    httpd.app("access.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=2 socket-timeout=2", "<Location />",
        "WSGIAccessScript {apps}/access.py process-group=app", "</Location>",
    )
    return httpd.start()


@ours
@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_that_a_hostile_worker_sends_lets_anybody_in(alone, reply):
    with FakeWorker(alone) as worker:
        worker.reply = reply
        answer = alone.get("/page.html")
        assert answer.status in (403, 500, 502, 503, 504) and "page" not in answer.text.split("</title>")[-1][:5]
        assert worker.asked == 1
    alone.error_log.expect("WSGI0", level="error")
    alone.error_log.allow("WSGI0")


@ours
def test_what_a_worker_logs_is_logged_and_its_answer_counts(alone):
    with FakeWorker(alone) as worker:
        worker.reply = log(b"a record of the script") + frame(ANSWER, b"\x01") + end()
        assert alone.get("/page.html").status == 200
    alone.error_log.expect(r"\[script .*access.py\] a record of the script", level="error", count=1)


@ours
def test_http_2(httpd):
    httpd.app("access.py", SCRIPT)
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        hooks.GROUP, "Protocols h2c http/1.1", "<Location />", "WSGIAccessScript {apps}/access.py process-group=hooks", "</Location>",
    )
    httpd.start()
    with h2client.Connection(httpd.port) as connection:
        assert connection.get("/page.html").status == 200
        assert connection.get("/page.html?deny").status == 403
    httpd.error_log.expect(DENIED, level="error", count=1)


def htaccess(httpd, line, *rules):
    place = httpd.root / "htdocs" / "guarded"
    place.mkdir()
    (place / "page.html").write_text("guarded\n")
    (place / ".htaccess").write_text(httpd.fill(line) + "\n")
    httpd.app("access.py", SCRIPT)
    httpd.configure(
        hooks.GROUP, "<Directory {root}/htdocs>", "AllowOverride AuthConfig", *rules, "</Directory>",
    )
    return httpd.start()


def test_an_htaccess_has_a_group_asked_that_the_configuration_lists(httpd):
    rules = hooks.only_ours(httpd, "WSGIRestrictProcess hooks")
    htaccess(httpd, hooks.directive(httpd, "WSGIAccessScript {apps}/access.py"), *rules)
    assert httpd.get("/guarded/page.html").status == 200
    assert httpd.get("/guarded/page.html?deny").status == 403
    httpd.error_log.expect(DENIED, level="error", count=1)


@ours
@pytest.mark.parametrize("rules", [[], ["WSGIRestrictProcess other %{GLOBAL}"]], ids=["no-list", "another"])
def test_an_htaccess_cannot_run_code_in_just_any_group(httpd, rules):
    htaccess(httpd, "WSGIAccessScript {apps}/access.py process-group=hooks", *rules)
    assert httpd.get("/guarded/page.html").status in (403, 500)
    httpd.error_log.expect("WSGI0407: an .htaccess has a script run in process group 'hooks'", level="error", count=1)
    httpd.error_log.allow(DENIED)


@ours
@pytest.mark.parametrize("option", ["", " process-group=%{GLOBAL}"])
def test_nor_in_the_server_s_own_where_the_list_lacks_it(httpd, option):
    htaccess(httpd, "WSGIAccessScript {apps}/access.py" + option, "WSGIRestrictProcess hooks")
    assert httpd.get("/guarded/page.html").status == 403
    httpd.error_log.expect("WSGI0407: an .htaccess has a script run in process group '%{GLOBAL}'", level="error", count=1)
    httpd.error_log.allow(DENIED)


@ours
def test_a_script_of_an_htaccess_shares_no_interpreter_with_an_application(httpd):
    httpd.app("app.wsgi", """
import sys
def application(environ, start_response):
    start_response("200 OK", [])
    return [str(hasattr(sys, "hook_was_here")).encode()]
""")
    place = httpd.root / "htdocs" / "guarded"
    place.mkdir()
    (place / "page.html").write_text("guarded\n")
    (place / ".htaccess").write_text(httpd.fill("WSGIAccessScript {apps}/access.py process-group=hooks\n"))
    httpd.app("access.py", SCRIPT + "\nimport sys; sys.hook_was_here = True\n")
    httpd.configure(
        hooks.GROUP, "<Directory {root}/htdocs>", "AllowOverride AuthConfig", "WSGIRestrictProcess hooks", "</Directory>",
        "WSGIScriptAlias /named {apps}/app.wsgi process-group=hooks application-group=shop",
        "WSGIScriptAlias /own {apps}/app.wsgi",
    )
    httpd.start()
    assert httpd.get("/named").text == "False"
    assert httpd.get("/guarded/page.html").status == 200
    assert (httpd.get("/named").text, httpd.get("/own").text) == ("False", "False")
    (place / ".htaccess").write_text(httpd.fill("WSGIAccessScript {apps}/access.py\n"))
    assert httpd.get("/guarded/page.html").status == 403
    httpd.error_log.expect("WSGI0407", level="error", count=1)
    httpd.error_log.allow(DENIED)


@ours
def test_an_htaccess_with_an_unknown_group_denies(httpd):
    htaccess(httpd, "WSGIAccessScript {apps}/access.py process-group=hoosk", "WSGIRestrictProcess hoosk")
    assert httpd.get("/guarded/page.html").status in (403, 500)
    httpd.error_log.expect('WSGI0150: process group "hoosk" is not defined.*Did you mean "hooks"', level="error", count=1)
    httpd.error_log.allow(DENIED)


@ours
def test_an_unknown_group_is_a_configuration_error(httpd):
    httpd.configure(
        hooks.GROUP, "<Location />", "WSGIAccessScript {apps}/access.py process-group=hoosk", "</Location>",
    )
    assert 'WSGIAccessScript: process group "hoosk" is not defined.' in httpd.refusal()


@pytest.mark.parametrize("restrict", [[], ["WSGIRestrictEmbedded On"]], ids=["", "restricted"])
def test_a_script_without_a_group_runs_in_the_server_s_own(httpd, restrict):
    httpd.app("access.py", SCRIPT.replace("COUNT[0] += 1", "COUNT[0] += 1; print('IN', repr(environ['mod_wsgi.process_group']))"))
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(*restrict, "<Location />", "WSGIAccessScript {apps}/access.py", "</Location>")
    httpd.start()
    assert httpd.get("/page.html").status == 200
    httpd.error_log.expect("IN ''", level="error", count=1)
    assert httpd.get("/page.html?deny").status == 403
    httpd.error_log.allow(DENIED, "IN ''")


@pytest.mark.parametrize("override", ["AuthConfig", "All"])
def test_so_does_one_of_an_htaccess(httpd, override):
    place = httpd.root / "htdocs" / "guarded"
    place.mkdir()
    (place / "page.html").write_text("guarded\n")
    (place / ".htaccess").write_text(httpd.fill("WSGIAccessScript {apps}/access.py\n"))
    httpd.app("access.py", SCRIPT)
    httpd.configure("<Directory {root}/htdocs>", f"AllowOverride {override}", "</Directory>")
    httpd.start()
    assert httpd.get("/guarded/page.html").status == 200
    assert httpd.get("/guarded/page.html?deny").status == 403
    httpd.error_log.allow(DENIED)


@ours
def test_a_client_behind_a_proxy_has_its_own_name(httpd):
    """A name that was found for the proxy's address is not the client's."""
    httpd.app("access.py", "def allow_access(environ, host):\n    print('HOST', host, environ.get('REMOTE_HOST'))\n    return True\n")
    (httpd.root / "htdocs" / "page.html").write_text("page\n")
    httpd.configure(
        hooks.GROUP, "HostnameLookups On", "RemoteIPHeader X-Forwarded-For", "RemoteIPInternalProxy 127.0.0.1",
        "<Location />", "WSGIAccessScript {apps}/access.py process-group=hooks", "</Location>",
    )
    httpd.start()
    assert httpd.get("/page.html").status == 200
    httpd.error_log.expect("HOST localhost localhost", level="error", count=1)
    assert httpd.get("/page.html", [("X-Forwarded-For", "192.0.2.7")]).status == 200
    httpd.error_log.expect("HOST 192.0.2.7 None", level="error", count=1)
