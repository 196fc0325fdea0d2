"""Scripts that answer hooks of httpd, for both modules: ours runs them in the process group `hooks`, the C module in
Apache's children."""

from httpd import MODULES  # noqa: F401

GROUP = "WSGIDaemonProcess hooks display-name=%{GROUP} threads=4 processes=1 socket-timeout=3"


def directive(httpd, line, group="hooks"):
    """The line of a directive, with our option where it is ours."""
    return line if httpd.is_reference else f"{line} process-group={group}"


def only_ours(httpd, *lines):
    return [] if httpd.is_reference else list(lines)
