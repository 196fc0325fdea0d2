"""A directive that restricts who may enter, or decides what runs, is never ignored: as long as this version cannot do
it, Apache refuses it wherever it stands (issue 10, B2). That every such directive is refused is the table's own test,
`no_directive_that_restricts_or_decides_is_without_effect`."""

import re

import pytest

from httpd import CHECKOUT

LINES = {
    "WSGIHandlerScript": "WSGIHandlerScript report {apps}/hook.py process-group=app",
    "WSGIDispatchScript": "WSGIDispatchScript {apps}/hook.py process-group=app",
}
SECTIONS = [
    ["<Directory {root}>", "</Directory>"], ["<Location />", "</Location>"], ["<LocationMatch .>", "</LocationMatch>"],
    ["<Files x>", "</Files>"], ["<If true>", "</If>"],
    ["<VirtualHost *>", "<Location /x>", "</Location>", "</VirtualHost>"],
    ["<Proxy http://127.0.0.1:1/>", "</Proxy>"],
]

ours = pytest.mark.differs("no-scripts-of-apache-yet")


def refused_by_the_pages():
    """The directives whose page says that Apache does not start with them."""
    pages = (CHECKOUT / "docs" / "directives").glob("WSGI*.md")
    return {page.stem for page in pages if re.search(r"^- \*\*Effect:\*\* none yet: Apache does not start", page.read_text(), re.M)}


def test_the_lines_here_are_those_of_the_table():
    assert set(LINES) == refused_by_the_pages()


@ours
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section[0])
@pytest.mark.parametrize("directive", LINES)
def test_apache_does_not_start_and_says_why(httpd, directive, section):
    middle = len(section) // 2
    httpd.configure("WSGIDaemonProcess app", "ProxyRequests Off", *section[:middle], LINES[directive], *section[middle:])
    said = httpd.refusal()
    assert re.search(rf"WSGI0420: {directive}: this version cannot do that yet.* Take it out\b", said), said
    assert f"line {httpd.line_of(LINES[directive].split(' {')[0])} of" in said


@ours
@pytest.mark.parametrize("directive", ["WSGIHandlerScript", "WSGIDispatchScript"])
@pytest.mark.parametrize("section", [[], ["<VirtualHost *>", "</VirtualHost>"]], ids=["server", "virtual-host"])
def test_nor_with_one_outside_of_sections(httpd, directive, section):
    httpd.configure("WSGIDaemonProcess app", *section[:1], LINES[directive], *section[1:])
    assert f"WSGI0420: {directive}: " in httpd.refusal()
