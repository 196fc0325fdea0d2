"""The module that a script becomes (issue 10, B 6): libraries find files by it, and must find those beside the script."""

import pytest

import pythons

# What libraries ask of a module, and what they make of it. Each question is answered for the script and for an
# ordinary module that the import system has loaded from the same file.
PROBES = """
import importlib.util, inspect, json, os, pickle, pkgutil, sys
from importlib import resources
from importlib.machinery import SourceFileLoader

class Item:
    def __eq__(self, other):
        return type(self) is type(other)

def answers(module):
    spec = importlib.util.find_spec(module.__name__)
    def files():
        return (resources.files(module.__name__) / "data.txt").read_text()
    probes = {
        "file": lambda: module.__file__,
        "spec": lambda: [spec is module.__spec__, spec.name == module.__name__, spec.origin, spec.has_location, spec.cached, spec.submodule_search_locations],
        "loader": lambda: [module.__loader__ is spec.loader, type(module.__loader__) is SourceFileLoader, module.__loader__.path],
        "source": lambda: [inspect.getsource(module) == open(module.__file__).read(), inspect.getsource(module.Item).startswith("class Item"),
                           module.__loader__.get_source(module.__name__) == open(module.__file__).read()],
        "getmodule": lambda: inspect.getmodule(module.answers) is module,
        "data": lambda: pkgutil.get_data(module.__name__, "data.txt").decode(),
        "resources": files,
        "reader": lambda: module.__loader__.get_resource_reader(module.__name__).open_resource("data.txt").read().decode(),
        "pickle": lambda: pickle.loads(pickle.dumps(module.Item())) == module.Item(),
        "import": lambda: importlib.import_module(module.__name__) is module,
        "package": lambda: module.__package__ or "",
        "cached": lambda: getattr(module, "__cached__", None),
    }
    found = {}
    for name, probe in probes.items():
        try:
            found[name] = probe()
        except Exception as error:
            found[name] = f"{type(error).__name__}"
    return found
"""

SCRIPT = PROBES + """
def ordinary():
    name = "loaded_the_usual_way"
    spec = importlib.util.spec_from_file_location(name, __file__, loader=SourceFileLoader(name, __file__))
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def facts():
    sys.dont_write_bytecode = True
    return {"script": answers(sys.modules[__name__]), "ordinary": answers(ordinary())}

def application(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps(facts()).encode()]
"""


def as_ordinary(httpd, facts):
    script, ordinary = facts["script"], facts["ordinary"]
    if httpd.is_reference:
        # It names no cache file.
        del script["cached"], ordinary["cached"]
    assert script == ordinary
    assert script["data"] == script["reader"] == "beside" and script["pickle"] is script["import"] is True
    assert script["source"] == [True, True, True] and script["spec"][0] is True


@pytest.mark.parametrize("name", ["case.wsgi", "case.py"])
def test_a_script_is_to_libraries_what_a_module_of_that_file_is(httpd, name):
    httpd.app("data.txt", "beside")
    httpd.app(name, SCRIPT)
    httpd.serve(name)
    as_ordinary(httpd, httpd.ask("/"))


def test_so_is_an_import_script(httpd):
    httpd.app("data.txt", "beside")
    httpd.app("early.py", SCRIPT + """
if __name__.startswith("_mod_wsgi_"):
    import builtins
    builtins.found_early = facts()
""")
    httpd.app("case.wsgi", 'import json\n\ndef application(environ, start_response):\n'
              '    start_response("200 OK", [])\n    return [json.dumps(found_early).encode()]\n')
    group = " process-group=app application-group=%{GLOBAL}"
    httpd.configure("WSGIDaemonProcess app threads=2", "WSGIImportScript {apps}/early.py" + group,
                    "WSGIScriptAlias / {apps}/case.wsgi" + group).start()
    as_ordinary(httpd, httpd.ask("/"))


def test_the_module_has_all_that_before_its_first_line_runs(httpd):
    httpd.app("data.txt", "beside")
    httpd.app("case.wsgi", """
import pkgutil
found = pkgutil.get_data(__name__, "data.txt")
names = sorted(name for name in globals() if name.startswith("__"))

def application(environ, start_response):
    start_response("200 OK", [])
    return [found, " ".join(names).encode()]
""")
    httpd.serve("case.wsgi")
    text = httpd.get("/").text
    assert text.startswith("beside")
    assert {"__name__", "__file__", "__spec__", "__loader__", "__cached__", "__package__", "__doc__"} <= set(text[6:].split())


FLASK = """
import flask, os, jinja2

app = application = flask.Flask(__name__)

@app.get("/")
def facts():
    return {
        "instance": app.instance_path, "root": app.root_path, "page": flask.render_template("page.html", word="flask"),
        "loaded": jinja2.Environment(loader=jinja2.PackageLoader(__name__)).get_template("page.html").render(word="jinja"),
    }
"""


def test_flask_and_jinja_find_what_is_beside_the_script(httpd):
    (httpd.apps / "templates").mkdir()
    httpd.app("templates/page.html", "by {{ word }}")
    httpd.app("shop.wsgi", FLASK)
    httpd.serve("shop.wsgi", options=f"threads=2 python-home={pythons.environment('flask')}")
    assert httpd.ask("/") == {
        "instance": f"{httpd.apps}/instance", "root": str(httpd.apps), "page": "by flask", "loaded": "by jinja",
    }


def test_a_touched_script_gets_a_module_of_what_it_is_now(httpd):
    httpd.app("data.txt", "beside")
    httpd.app("case.wsgi", SCRIPT)
    httpd.serve("case.wsgi")
    as_ordinary(httpd, httpd.ask("/"))
    httpd.app("case.wsgi", SCRIPT.replace("class Item:", "class Item:\n    mended = True\n"))
    facts = httpd.ask("/")
    as_ordinary(httpd, facts)


def test_a_load_is_said_at_level_info(httpd):
    httpd.app("case.wsgi", "import time\ntime.sleep(0.3)\n\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n")
    httpd.app("early.wsgi", "")
    httpd.configure("LogLevel info", "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias /one {apps}/case.wsgi application-group=%{GLOBAL}",
                    "WSGIScriptAlias /two {apps}/case.wsgi application-group=other",
                    "WSGIImportScript {apps}/early.wsgi process-group=app application-group=other").start()
    for path in ("/one", "/two", "/two"):
        assert httpd.get(path).status == 200
    if httpd.is_reference:
        httpd.error_log.expect(r"Loading WSGI script '.*case\.wsgi' into", level="info", count=2)
        return
    said = httpd.error_log.expect(r"WSGI0450: .*case\.wsgi was loaded in [3-9]\d\d ms, in ", level="info", count=2)
    assert all("of process group 'app'" in record.text for record in said)
    assert "main interpreter" in said[0].text and "sub-interpreter 'other'" in said[1].text
    httpd.error_log.expect(r"WSGI0450: .*early\.wsgi was loaded in \d+ ms, in sub-interpreter 'other'", level="info", count=1)


def test_a_load_is_not_said_at_the_usual_level(httpd):
    httpd.app("case.wsgi", "def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n")
    httpd.configure("LogLevel warn", "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias / {apps}/case.wsgi").start()
    assert httpd.get("/").status == 200
    assert not httpd.error_log.records("case.wsgi")
