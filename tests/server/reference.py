"""The C module mod_wsgi 6.1.1, for tests that put it beside ours.

It is built from its package once, and kept below the cache of `pythons.py`. Where it cannot be built the tests
that need it fail: a comparison that is left out looks like one that was passed.
"""

import subprocess
import sys

from pythons import CACHE

VERSION = "6.1.1"


def c_module():
    """The path of its .so."""
    place = CACHE / f"mod_wsgi-{VERSION}-python{sys.version_info[0]}.{sys.version_info[1]}"
    pattern = "mod_wsgi/server/mod_wsgi-py*.so"
    if not list(place.glob(pattern)):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             f"--target={place}", f"mod_wsgi=={VERSION}"],
            capture_output=True, text=True, timeout=300, check=False,
        )
        assert done.returncode == 0, (
            f"mod_wsgi {VERSION} cannot be built; it needs the packages apache2-dev and python3-dev:\n"
            f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return next(place.glob(pattern))
