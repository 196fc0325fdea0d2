"""WSGIHandlerScript: a script whose handle_request answers what SetHandler and AddHandler give to it."""

import json

import pytest

SCRIPT = """
import json

def handle_request(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    keys = ("SCRIPT_FILENAME", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "mod_wsgi.handler_script", "mod_wsgi.request_handler",
            "mod_wsgi.process_group", "mod_wsgi.application_group", "mod_wsgi.callable_object", "HTTP_AUTHORIZATION")
    said = {key: environ.get(key) for key in keys}
    said["body"] = environ["wsgi.input"].read().decode("latin-1")
    return [json.dumps(said).encode()]
"""


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("handler.py", SCRIPT)
    httpd.app("empty.py", "pass\n")
    for name in ("one.report", "two.report", "plain.html"):
        (httpd.root / "htdocs" / name).write_text("the text of a file\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIDaemonProcess other threads=2", "WSGIProcessGroup other",
        "WSGIHandlerScript report {apps}/handler.py process-group=app application-group=%{GLOBAL}",
        "WSGIHandlerScript plain {apps}/handler.py",
        "WSGIHandlerScript trusted {apps}/handler.py process-group=app pass-authorization=On",
        "WSGIHandlerScript empty {apps}/empty.py process-group=app", "WSGIHandlerScript gone {apps}/gone.py process-group=app",
        "WSGIHandlerScript virtual {apps}/handler.py process-group=app application-group=own",
        "AddHandler report .report",
        "<Location /plain>", "SetHandler plain", "</Location>", "<Location /trusted>", "SetHandler trusted", "</Location>",
        "<Location /empty>", "SetHandler empty", "</Location>", "<Location /gone>", "SetHandler gone", "</Location>",
        "<Location /virtual>", "SetHandler virtual", "</Location>",
    )
    return httpd.start()


def test_a_file_is_answered_by_the_handler_s_script(site):
    said = site.ask("/one.report/info?a=b")
    assert said == {
        "SCRIPT_FILENAME": f"{site.root}/htdocs/one.report", "SCRIPT_NAME": "/one.report", "PATH_INFO": "/info", "QUERY_STRING": "a=b",
        "mod_wsgi.handler_script": f"{site.apps}/handler.py", "mod_wsgi.request_handler": "report", "mod_wsgi.process_group": "app",
        "mod_wsgi.application_group": "", "mod_wsgi.callable_object": "handle_request", "HTTP_AUTHORIZATION": None, "body": "",
    }
    assert site.get("/plain.html").text == "the text of a file\n"


def test_the_body_reaches_the_script(site):
    assert json.loads(site.post("/two.report", b"body").text)["body"] == "body"


def test_the_options_win_and_what_they_leave_open_the_place_says(site):
    said = site.ask("/plain")
    assert said["mod_wsgi.process_group"] == "other" and said["mod_wsgi.application_group"] == f"127.0.0.1:{site.port}|/plain" \
        or said["mod_wsgi.application_group"].endswith("|/plain")
    assert site.ask("/virtual")["mod_wsgi.application_group"] == "own"


def test_the_file_need_not_be_there(site):
    said = site.ask("/virtual/a/b")
    assert said["mod_wsgi.request_handler"] == "virtual"


def test_authorization_is_passed_where_the_option_says_so(site):
    headers = [("Authorization", "Basic eDp5")]
    assert json.loads(site.get("/trusted", headers).text)["HTTP_AUTHORIZATION"] == "Basic eDp5"
    assert json.loads(site.get("/virtual", headers).text)["HTTP_AUTHORIZATION"] is None


def test_a_script_without_the_function_is_an_error_and_never_the_text_of_a_file(site):
    for path in ("/empty", "/gone"):
        answer = site.get(path)
        assert answer.status in (404, 500) and "the text" not in answer.text
    site.error_log.expect("WSGI0089: ", level="error")
    site.error_log.allow("WSGI0", "Traceback|File|Error|  ")


def test_the_own_group_serves_where_no_group_is_named(httpd):
    httpd.app("handler.py", SCRIPT)
    (httpd.root / "htdocs" / "one.report").write_text("text\n")
    httpd.configure("WSGIHandlerScript report {apps}/handler.py", "AddHandler report .report")
    httpd.start()
    assert httpd.ask("/one.report")["mod_wsgi.process_group"] == ""
