"""Names of process and application groups that stand for something (issue 2, point 3)."""

import pytest


def groups(httpd, path="/", **options):
    got = httpd.ask(path, **options)
    return got["mod_wsgi.process_group"][1], got["mod_wsgi.application_group"][1]


@pytest.fixture
def start(httpd):
    def run(*lines):
        httpd.configure("WSGIDaemonProcess app threads=2", "WSGIScriptAlias /mount {apps}/environ.wsgi",
                        "WSGIScriptAlias / {apps}/environ.wsgi", *lines)
        return httpd.start()

    return run


def test_global_is_the_main_interpreter_and_has_an_empty_name(start):
    assert groups(start("WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}")) == ("app", "")


def test_an_application_group_that_is_not_given_is_resource(start):
    httpd = start("WSGIProcessGroup app")
    assert groups(httpd) == ("app", f"localhost:{httpd.port}|")
    assert groups(httpd, "//mount/x") == ("app", f"localhost:{httpd.port}|/mount")


def test_resource_names_server_and_mount(start):
    httpd = start("WSGIProcessGroup app", "WSGIApplicationGroup %{RESOURCE}")
    assert groups(httpd, "/mount") == ("app", f"localhost:{httpd.port}|/mount")


def test_server_is_the_server_name_with_its_port(start):
    httpd = start("WSGIProcessGroup app", "WSGIApplicationGroup %{SERVER}")
    assert groups(httpd) == ("app", f"localhost:{httpd.port}")


@pytest.mark.parametrize("port", [80, 443])
def test_server_leaves_the_usual_ports_out(start, port):
    httpd = start("UseCanonicalName On", f"ServerName shop.example:{port}", "WSGIProcessGroup app",
                  "WSGIApplicationGroup %{SERVER}")
    assert groups(httpd) == ("app", "shop.example")


def test_host_is_the_host_header_with_its_port(start):
    httpd = start("WSGIProcessGroup app", "WSGIApplicationGroup %{HOST}")
    assert groups(httpd, headers={"Host": "shop.example:8123"}) == ("app", "shop.example:8123")
    assert groups(httpd, headers={"Host": "shop.example"}) == ("app", "shop.example")


def test_a_variable_names_the_application_group(start):
    httpd = start("WSGIProcessGroup app", "SetEnv GROUP blue", "WSGIApplicationGroup %{ENV:GROUP}")
    assert groups(httpd) == ("app", "blue")


def test_a_variable_may_hold_an_expansion_once(start):
    httpd = start("WSGIProcessGroup app", "SetEnv GROUP %{GLOBAL}", "WSGIApplicationGroup %{ENV:GROUP}")
    assert groups(httpd) == ("app", "")


def test_a_variable_names_the_process_group(start):
    httpd = start("WSGIDaemonProcess blue threads=2", "SetEnvIf X-Colour (.*) COLOUR=$1",
                  "WSGIProcessGroup %{ENV:COLOUR}", "WSGIApplicationGroup %{GLOBAL}")
    assert groups(httpd, headers={"X-Colour": "app"}) == ("app", "")
    assert groups(httpd, headers={"X-Colour": "blue"}) == ("blue", "")


def test_a_variable_that_is_not_set_names_no_group(start):
    httpd = start("WSGIProcessGroup %{ENV:MISSING}")
    assert httpd.get("/").status == 500
    httpd.error_log.expect(r"WSGI015[01].*ENV:MISSING")


def test_the_process_group_may_be_the_server_name(start):
    httpd = start("WSGIDaemonProcess shop.example threads=2", "ServerName shop.example:80", "UseCanonicalName On",
                  "WSGIProcessGroup %{SERVER}", "WSGIApplicationGroup %{GLOBAL}")
    assert groups(httpd) == ("shop.example", "")


def test_an_alias_may_carry_both_groups(start):
    httpd = start("<VirtualHost *>", "WSGIScriptAlias /x {apps}/environ.wsgi process-group=app application-group=%{GLOBAL}",
                  "</VirtualHost>")
    assert groups(httpd, "/x") == ("app", "")


def test_application_groups_of_one_process_group_do_not_share_modules(httpd):
    httpd.app("count.wsgi", """
import sys
sys.counted = getattr(sys, "counted", 0) + 1

def application(environ, start_response):
    start_response("200 OK", [])
    return [str(sys.counted).encode()]
""")
    httpd.configure("WSGIDaemonProcess app threads=2", "WSGIProcessGroup app",
                    "WSGIScriptAlias /a {apps}/count.wsgi", "WSGIScriptAlias /b {apps}/count.wsgi")
    httpd.start()
    assert httpd.get("/a").text == "1"
    assert httpd.get("/b").text == "1"


def test_application_groups_of_the_same_name_share_their_modules(httpd):
    httpd.app("count.wsgi", """
import sys
sys.counted = getattr(sys, "counted", 0) + 1

def application(environ, start_response):
    start_response("200 OK", [])
    return [str(sys.counted).encode()]
""")
    httpd.configure("WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIApplicationGroup shared",
                    "WSGIScriptAlias /a {apps}/count.wsgi", "WSGIScriptAlias /b {apps}/count.wsgi")
    httpd.start()
    assert httpd.get("/a").text == "1"
    assert httpd.get("/b").text == "1"
