"""Configurations that are refused, warned about, or accepted (issue 2, point 3)."""

import re

import pytest

from httpd import StartFailed

GROUP = "WSGIDaemonProcess app"

# Refused by both: the line, the value at fault, a word of what would be right.
WRONG_OPTIONS = [
    ("processes=0", "0", "1"),
    ("processes=many", "many", "1"),
    ("threads=-1", "-1", "0"),
    ("threads=65534", "65534", "65533|65534|less"),
    ("home=relative/path", "relative/path", "absolute"),
    ("umask=9", "9", "octal"),
    ("user=", "", "user"),
    ("user=nosuchuser", "nosuchuser", "user"),
    ("user=root", "root", "root|0"),
    ("user=#0", "#0", "root|0"),
    ("group=nosuchgroup", "nosuchgroup", "group"),
    ("stack-size=0", "0", "stack-size"),
    ("maximum-requests=-1", "-1", "maximum-requests"),
    ("deadlock-timeout=-1", "-1", "seconds"),
    ("inactivity-timeout=-1", "-1", "seconds"),
    ("request-timeout=-1", "-1", "seconds"),
    ("graceful-timeout=-1", "-1", "seconds"),
    ("shutdown-timeout=-1", "-1", "seconds"),
    ("connect-timeout=-1", "-1", "seconds"),
    ("socket-timeout=-1", "-1", "seconds"),
    ("queue-timeout=-1", "-1", "seconds"),
    ("response-buffer-size=100", "100", "65536"),
    ("header-buffer-size=100", "100", "8192"),
    ("send-buffer-size=100", "100", "512"),
    ("receive-buffer-size=100", "100", "512"),
    ("listen-backlog=-1", "-1", "listen-backlog"),
    ("socket-user=nosuchuser", "nosuchuser", "user"),
    ("switch-interval=0", "0", "switch-interval"),
    ("server-metrics=maybe", "maybe", "On"),
    ("supplementary-groups=nosuchgroup", "nosuchgroup", "group"),
    ("script-user=www-data script-group=www-data", "", "script-user"),
    ("proceses=2", "proceses", "processes"),
    ("threads", "threads", "="),
]

WRONG_LINES = [
    ("WSGIScriptReloading Maybe", "Maybe", "On"),
    ("WSGIPassAuthorization 1", "1", "On"),
    ("WSGIChunkedRequest maybe", "maybe", "On"),
    ("WSGIRestrictStdout maybe", "maybe", "On"),
    ("WSGIRestrictStdin maybe", "maybe", "On"),
    ("WSGIScriptAlias /x /tmp/x.wsgi process-grup=blue", "process-grup", "process-group"),
    ("WSGIScriptAlias /x /tmp/x.wsgi process-group=", "", "process-group"),
    ("WSGIScriptAlias /x /tmp/x.wsgi pass-authorization=maybe", "maybe", "On"),
    ("WSGIScriptAliasMatch ^/x( /tmp/x.wsgi", "^/x(", "regular expression|regex|compile"),
    ("WSGIDaemonProcess", "", "name"),
    ("WSGIScriptAlias /x /tmp/x.wsgi process-group=later application-group=%{GLOBAL}", "later", "configured|defined"),
    ("WSGITrustedProxies 10.0.0.0/99", "10.0.0.0/99", "WSGITrustedProxies"),
    ("WSGIPythonHashSeed sesame", "sesame", "random"),
]

WRONG = [(f"{GROUP} {option}", value, right) for option, value, right in WRONG_OPTIONS] + WRONG_LINES
IDS = [line for line, _, _ in WRONG]

@pytest.mark.parametrize("line, value, right", WRONG, ids=IDS)
def test_it_is_refused(httpd, line, value, right):
    httpd.configure(line)
    said = httpd.refusal()
    number = httpd.line_of(line)
    # The C module leaves unknown users and groups to httpd, which does not say where.
    assert f"line {number} of" in said or f"httpd.conf:{number}" in said or f"name {value}" in said


@pytest.mark.parametrize("option", ["display-name", "python-home", "python-path", "lang", "locale"])
def test_an_empty_value_is_as_good_as_none(httpd, option):
    httpd.configure(f"{GROUP} {option}=")
    assert httpd.check() == (0, "Syntax OK\n")


@pytest.mark.differs("refusals-name-the-value")
@pytest.mark.parametrize("line, value, right", WRONG, ids=IDS)
def test_the_refusal_names_the_directive_the_value_and_what_is_right(httpd, line, value, right):
    httpd.configure(line)
    # httpd's own part ends with the file's name; the sentence follows.
    sentence = httpd.refusal().partition("httpd.conf:")[2]
    directive = line.split()[0]
    assert directive in sentence
    assert value in sentence
    assert re.search(right, sentence), sentence


@pytest.mark.parametrize("line", [
    "WSGIPythonHome /usr", "WSGISocketPrefix run/wsgi", "WSGIRestrictEmbedded On", "WSGIPythonOptimize 1",
    "WSGIDaemonProcess b",
])
def test_a_directive_of_the_whole_server_is_refused_inside_a_virtual_host(httpd, line):
    httpd.configure("<VirtualHost *>", "ServerName a.example", line, "</VirtualHost>")
    code, said = httpd.check()
    if line.startswith("WSGIDaemonProcess"):
        assert code == 0, said
    else:
        assert code != 0 and line.split()[0] in said and "VirtualHost" in said


@pytest.mark.parametrize("line", ["WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}", "WSGIScriptAlias / /tmp/x.wsgi"])
def test_it_is_refused_where_it_cannot_stand(httpd, line):
    httpd.configure("<Directory {apps}>", line, "</Directory>")
    code, said = httpd.check()
    assert (code == 0) == (not line.startswith("WSGIScriptAlias")), said


def test_an_alias_needs_two_arguments(httpd):
    httpd.configure("WSGIScriptAlias /x")
    assert "WSGIScriptAlias" in httpd.refusal()


def test_a_second_definition_with_other_options_is_refused(httpd):
    httpd.configure("WSGIDaemonProcess app threads=5", "WSGIDaemonProcess app threads=7")
    said = httpd.refusal()
    assert re.search("defined twice|duplicates previous", said), said


@pytest.mark.differs("same-definition-twice")
def test_a_second_definition_with_the_same_options_is_the_same_group(httpd):
    httpd.configure(
        "<VirtualHost *>", "ServerName a.example", "WSGIDaemonProcess app threads=5", "</VirtualHost>",
        "<VirtualHost *>", "ServerName a.example", "WSGIDaemonProcess app threads=5", "</VirtualHost>",
    )
    code, said = httpd.check()
    assert code == 0, said


@pytest.mark.differs("refusals-name-the-value")
def test_a_second_definition_is_refused_with_both_places(httpd):
    httpd.configure("WSGIDaemonProcess app threads=5", "WSGIDaemonProcess app threads=7")
    said = httpd.refusal()
    assert f"httpd.conf:{httpd.line_of('threads=5')}" in said


@pytest.mark.differs("undefined-group-warned-about")
def test_an_undefined_process_group_is_warned_about_with_place_and_nearest_name(httpd):
    httpd.configure(
        "WSGIDaemonProcess shop", "WSGIDaemonProcess blog", "WSGIScriptAlias / {apps}/hello.wsgi",
        "<Directory {apps}>", "  WSGIProcessGroup shpo", "</Directory>",
    )
    code, said = httpd.check()
    assert code == 0, said
    place = f"httpd.conf:{httpd.line_of('shpo')}"
    for wanted in ('"shpo"', place, 'Did you mean "shop"?'):
        assert wanted in said


@pytest.mark.differs("undefined-group-warned-about")
def test_an_undefined_process_group_is_warned_about_at_start(httpd):
    httpd.configure("WSGIDaemonProcess shop", "WSGIScriptAlias / {apps}/hello.wsgi", "WSGIProcessGroup shpo")
    httpd.start()
    httpd.error_log.expect(r"(?=.*httpd\.conf:\d+).*shpo.*shop", level="warn", count=1)


@pytest.mark.differs("undefined-group-warned-about")
def test_an_undefined_group_of_an_alias_is_warned_about(httpd):
    httpd.configure("WSGIDaemonProcess shop", "WSGIScriptAlias / {apps}/hello.wsgi process-group=shpo")
    code, said = httpd.check()
    assert code == 0 and "shpo" in said and "shop" in said


@pytest.mark.parametrize("group", ["shop", "%{GLOBAL}", "%{ENV:GROUP}", "%{SERVER}"])
def test_a_defined_or_computed_group_is_not_warned_about(httpd, group):
    httpd.configure(f"WSGIProcessGroup {group}", "WSGIScriptAlias / {apps}/hello.wsgi", "WSGIDaemonProcess shop")
    code, said = httpd.check()
    assert code == 0
    assert said.strip() == "Syntax OK"


ALL_OPTIONS = (
    "user=www-data group=www-data supplementary-groups=www-data umask=022 processes=1 threads=2 home=/tmp lang=C "
    "locale=C display-name=%{GROUP} python-path=/tmp python-eggs=/tmp switch-interval=0.01 stack-size=524288 "
    "maximum-requests=1000 startup-timeout=10 deadlock-timeout=60 inactivity-timeout=0 request-timeout=60 "
    "interrupt-timeout=0 graceful-timeout=15 eviction-timeout=0 shutdown-timeout=5 restart-interval=0 "
    "connect-timeout=15 socket-timeout=60 queue-timeout=45 response-socket-timeout=0 response-buffer-size=65536 "
    "response-flush-delay=5 header-buffer-size=32768 send-buffer-size=0 receive-buffer-size=0 "
    "socket-user=www-data listen-backlog=100 cpu-time-limit=0 cpu-priority=0 memory-limit=0 "
    "virtual-memory-limit=0 server-metrics=Off"
)


def test_every_option_of_a_process_group_is_accepted(httpd):
    httpd.configure(f"WSGIDaemonProcess app {ALL_OPTIONS}")
    code, said = httpd.check()
    assert code == 0, said


def test_a_group_with_every_option_serves(httpd):
    httpd.error_log.allow("without effect in this version|WSGI0331")
    httpd.configure(f"WSGIDaemonProcess app {ALL_OPTIONS}", "WSGIProcessGroup app", "WSGIScriptAlias / {apps}/hello.wsgi")
    httpd.start()
    assert httpd.get("/").text == "Hello, World!\n"


EVERY_DIRECTIVE = """\
WSGIPythonHome /usr
WSGIPythonPath /tmp
WSGIPythonEggs /tmp
WSGIPythonOptimize 0
WSGIPythonHashSeed random
WSGIPythonWarnings ignore
WSGIDontWriteBytecode Off
WSGISwitchInterval 0.005
WSGIPerInterpreterGIL Off
WSGIFreeThreading Off
WSGIRestrictEmbedded Off
WSGIRestrictStdin Off
WSGIRestrictStdout Off
WSGIRestrictSignal On
WSGICaseSensitivity On
WSGISocketRotation On
WSGIAcceptMutex Default
WSGIDestroyInterpreter On
WSGIServerMetrics Off
WSGIVerboseDebugging Off
WSGIPassApacheRequest Off
WSGIScriptReloading On
WSGIPassAuthorization Off
WSGIChunkedRequest On
WSGIMapHEADToGET Auto
WSGIErrorOverride Off
WSGIEnableSendfile Off
WSGIIgnoreActivity Off
WSGITrustedProxies 10.0.0.0/8 ::1
WSGITrustedProxyHeaders X-Forwarded-For
WSGICallableObject application
WSGIDaemonProcess app
WSGIProcessGroup app
WSGIApplicationGroup %{GLOBAL}
WSGIRestrictProcess app
WSGIImportScript {apps}/hello.wsgi process-group=app application-group=%{GLOBAL}
WSGIScriptAlias /x {apps}/hello.wsgi
WSGIScriptAliasMatch ^/y {apps}/hello.wsgi
"""


@pytest.mark.parametrize("line", EVERY_DIRECTIVE.splitlines(), ids=lambda line: line.split()[0])
def test_every_directive_of_mod_wsgi_is_known(httpd, line):
    needs = ["WSGIDaemonProcess app"] if "process-group=" in line else []
    httpd.configure(*needs, line)
    code, said = httpd.check()
    assert code == 0, said


@pytest.mark.parametrize("section", ["mod_wsgi.c", "wsgi_module"])
def test_ifmodule_sees_the_module_by_both_names(httpd, section):
    httpd.configure(f"<IfModule {section}>", "Nonsense", "</IfModule>")
    assert "Nonsense" in httpd.refusal()


def test_the_log_level_of_the_module_can_be_set(httpd):
    httpd.configure("LogLevel warn wsgi:debug", "LogLevel warn wsgi_module:trace1", "WSGIDaemonProcess app")
    code, said = httpd.check()
    assert code == 0, said


def test_a_preloaded_script_is_loaded_before_the_first_request(httpd):
    httpd.app("early.wsgi", (httpd.apps / "hello.wsgi").read_text() + "\nprint('loaded early')\n")
    httpd.configure(
        "WSGIDaemonProcess app threads=2",
        "WSGIScriptAlias / {apps}/early.wsgi process-group=app application-group=%{GLOBAL}",
    )
    httpd.start()
    httpd.error_log.expect("loaded early", count=1)
    assert httpd.get("/").status == 200
    assert len(httpd.error_log.records("loaded early")) == 1


def test_an_alias_with_path_info_in_its_target_does_not_stop_its_group(httpd):
    options = "process-group=app application-group=%{GLOBAL}"
    httpd.configure(
        "WSGIDaemonProcess app threads=2",
        f"WSGIScriptAlias /below {{apps}}/environ.wsgi/extra {options}",
        f"WSGIScriptAlias / {{apps}}/hello.wsgi {options}",
    )
    httpd.start()
    assert httpd.get("/").status == 200
    assert httpd.ask("/below/more")["PATH_INFO"][1] == "/extra/more"
    assert not httpd.error_log.records("WSGI0341")
    if httpd.is_reference:
        httpd.error_log.allow("WSGI0106", "WSGI0174", "NotADirectoryError")


def test_a_preload_in_another_virtual_host_is_refused(httpd):
    httpd.configure(
        "<VirtualHost *>", "ServerName a.example", "WSGIDaemonProcess app", "</VirtualHost>",
        "<VirtualHost *>", "ServerName b.example",
        "WSGIScriptAlias / {apps}/hello.wsgi process-group=app application-group=%{GLOBAL}", "</VirtualHost>",
    )
    said = httpd.refusal()
    assert re.search("not accessible|cannot be used from b.example", said), said


def test_the_server_names_the_module_in_its_version(httpd):
    httpd.serve()
    assert "mod_wsgi/" in httpd.get("/")["Server"]


@pytest.mark.differs("socket-directory-checked")
def test_an_unusable_socket_prefix_is_refused_at_start_with_its_reason(httpd):
    httpd.configure("WSGISocketPrefix {root}/missing/wsgi", "WSGIDaemonProcess app")
    with pytest.raises(StartFailed, match="missing"):
        httpd.start()
    httpd.error_log.allow(f"{httpd.root}/missing", "AH00020")
