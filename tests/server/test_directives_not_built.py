"""A directive that restricts who may enter, or decides what runs, is never ignored: one that is not built would be
refused by Apache, and none is any more. That every such directive works is the table's own test,
`no_directive_that_restricts_or_decides_is_without_effect`."""

import re

from httpd import CHECKOUT


def refused_by_the_pages():
    """The directives whose page says that Apache does not start with them."""
    pages = (CHECKOUT / "docs" / "directives").glob("WSGI*.md")
    return {page.stem for page in pages if re.search(r"^- \*\*Effect:\*\* none yet: Apache does not start", page.read_text(), re.M)}


def test_no_page_says_that_apache_does_not_start():
    assert refused_by_the_pages() == set()
