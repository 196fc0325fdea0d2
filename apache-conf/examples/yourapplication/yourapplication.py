"""A small Flask application: what `scripts/demo` serves."""

import grp
import os
import pwd
import sys

from flask import Flask, Response, request

app = Flask(__name__)


@app.route("/")
def hello():
    return f"Hello from Flask, {request.args.get('name', 'World')}!\n"


@app.route("/whoami")
def whoami():
    """As whom, with which Python, and where this runs."""
    return {
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "group": grp.getgrgid(os.getgid()).gr_name,
        "groups": sorted(grp.getgrgid(gid).gr_name for gid in os.getgroups()),
        "HOME": os.environ.get("HOME"),
        "USER": os.environ.get("USER"),
        "LOGNAME": os.environ.get("LOGNAME"),
        "python": sys.version.split()[0],
        "prefix": sys.prefix,
        "process_group": request.environ["mod_wsgi.process_group"],
        "application_group": request.environ["mod_wsgi.application_group"],
    }


@app.route("/upload", methods=["POST"])
def upload():
    return f"{len(request.get_data())} bytes\n"


@app.route("/count/<int:last>")
def count(last):
    """A streamed answer."""
    return Response((f"{number}\n" for number in range(1, last + 1)), mimetype="text/plain")


@app.route("/print")
def printed():
    print("this line is in the error log")
    return "printed\n"


if __name__ == "__main__":
    app.run()
