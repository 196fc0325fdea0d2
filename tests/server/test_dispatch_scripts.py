"""WSGIDispatchScript: a script chooses process group, application group and callable of each request."""

import pytest

APP = """
def answer(name, environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{name} {environ['mod_wsgi.process_group']} {environ['mod_wsgi.application_group']}".encode()]

def application(environ, start_response):
    return answer("application", environ, start_response)

def other(environ, start_response):
    return answer("other", environ, start_response)
"""

SCRIPT = """
class Odd(Exception):
    pass

def choice(environ, name):
    for word in environ["QUERY_STRING"].split("&"):
        key, _, value = word.partition("=")
        if key == name:
            if value == "raise":
                raise Odd("no choice")
            return {"none": None, "int": 7, "list": ["app"], "wide": "\\u20ac", "bytes": b"one", "env": "%{ENV:CHOSEN}"}.get(value, value)
    return None

def process_group(environ):
    assert environ["SET"] == "by the configuration" and "wsgi.input" not in environ
    environ["wsgi.errors"].write("")
    return choice(environ, "process")

def application_group(environ):
    return choice(environ, "application")

def callable_object(environ):
    return choice(environ, "callable")
"""


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("app.wsgi", APP)
    httpd.app("dispatch.py", SCRIPT)
    httpd.app("broken.py", "raise KeyError('x')\n")
    httpd.app("little.py", "def callable_object(environ):\n    return 'other'\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIDaemonProcess one threads=2", "WSGIDaemonProcess two threads=2",
        "SetEnv SET 'by the configuration'", "SetEnv CHOSEN two",
        "WSGIProcessGroup app", "WSGIApplicationGroup fixed", "WSGIScriptAlias /app {apps}/app.wsgi",
        "WSGIScriptAlias /broken {apps}/app.wsgi", "WSGIScriptAlias /little {apps}/app.wsgi", "WSGIScriptAlias /gone {apps}/app.wsgi",
        "<Location /app>", "WSGIDispatchScript {apps}/dispatch.py", "WSGIRestrictProcess app one", "</Location>",
        "<Location /broken>", "WSGIDispatchScript {apps}/broken.py", "</Location>",
        "<Location /gone>", "WSGIDispatchScript {apps}/gone.py", "</Location>",
        "<Location /little>", "WSGIDispatchScript {apps}/little.py", "</Location>",
    )
    return httpd.start()


@pytest.mark.parametrize("query, body", [
    ("", "application app fixed"), ("process=none&application=none&callable=none", "application app fixed"),
    ("process=one", "application one fixed"), ("process=bytes", "application one fixed"),
    ("application=own", "application app own"), ("callable=other", "other app fixed"),
    ("process=one&application=own&callable=other", "other one own"),
])
def test_the_script_chooses(site, query, body):
    answer = site.get(f"/app?{query}")
    assert (answer.status, answer.text) == (200, body)


def test_functions_that_are_not_there_leave_what_the_configuration_says(site):
    assert site.get("/little").text == "other app fixed"


@pytest.mark.parametrize("query", ["process=two", "process=env"])
def test_restrict_process_holds_for_what_the_script_says(site, query):
    assert site.get(f"/app?{query}").status == 500
    site.error_log.expect("WSGI0149: ", level="error", count=1)


@pytest.mark.parametrize("query", ["process=int", "application=list", "callable=int"])
def test_nonsense_is_500(site, query):
    answer = site.get(f"/app?{query}")
    assert answer.status == 500 and "app fixed" not in answer.text
    site.error_log.allow("WSGI0", "Error|Traceback|File|  ")


@pytest.mark.parametrize("query", ["process=raise", "callable=raise"])
def test_an_exception_is_500(site, query):
    assert site.get(f"/app?{query}").status == 500
    site.error_log.expect_traceback("Odd: no choice")


@pytest.mark.differs("hooks-in-workers")
@pytest.mark.parametrize("path", ["/broken", "/gone"])
def test_a_script_that_cannot_be_loaded_is_500(site, path):
    """The C module serves the request as if there were no such line."""
    assert site.get(path).status == 500
    site.error_log.expect("WSGI01", level="error")
    site.error_log.allow("WSGI0", "Error|Traceback|File|raise|  ")
