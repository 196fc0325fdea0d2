"""The files of apache-conf/ and the scripts that put them in place (issue 2, point 1)."""

import shutil
import subprocess

import pytest

import pythons
from httpd import APACHE_CONF, CHECKOUT

OURS = CHECKOUT / "target" / "release"
NAMES = ("mod_wsgi.so", "mod_wsgi-supervisor", "libwsgi_runtime.so")


def scripts(name, *arguments):
    return subprocess.run(
        [CHECKOUT / "scripts" / name, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def installed(tmp_path):
    if not (OURS / "mod_wsgi-supervisor").exists():
        pytest.skip("nothing to install: run scripts/build")
    done = scripts("install", "--destdir", tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_modern_example_serves(httpd):
    shop = httpd.root / "shop"
    (shop / "static").mkdir(parents=True)
    (shop / "static" / "a.txt").write_text("static\n")
    pythons.debian().virtualenv(shop / "venv", goods="NAME = b'goods'")
    (shop / "secret.py").write_text("")
    (shop / "wsgi.py").write_text(
        "from goods import NAME\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return [NAME]\n"
    )
    httpd.configure(
        f"Define SHOP {shop}", "Define SHOP_NAME shop.example", f"Include {APACHE_CONF}/examples/shop.conf",
    )
    httpd.start()
    assert httpd.get("/").text == "goods"
    assert httpd.get("/static/a.txt").text == "static\n"
    httpd.workers("shop", count=2)


@pytest.mark.parametrize("uncommented", [False, True])
def test_every_line_that_wsgi_conf_shows_is_right(httpd, uncommented):
    text = (APACHE_CONF / "wsgi.conf").read_text()
    if uncommented:
        text = "\n".join(line.replace("#WSGI", "WSGI") for line in text.splitlines())
        text = text.replace("/run/apache2/wsgi", f"{httpd.root}/run/wsgi")
    (httpd.root / "wsgi.conf").write_text(text)
    httpd.configure("Include {root}/wsgi.conf", "WSGIDaemonProcess app")
    assert httpd.check() == (0, "Syntax OK\n")


def test_install_puts_every_file_where_debian_expects_it(installed):
    modules = installed / "usr/lib/apache2/modules"
    assert sorted(path.name for path in modules.iterdir()) == sorted(NAMES)
    available = installed / "etc/apache2/mods-available"
    assert sorted(path.name for path in available.iterdir()) == ["wsgi.conf", "wsgi.load"]


def test_installing_again_replaces_files_by_rename(installed):
    module = installed / "usr/lib/apache2/modules/mod_wsgi.so"
    before = module.stat().st_ino
    with open(module, "rb") as mapped:
        assert scripts("install", "--destdir", installed).returncode == 0
        assert module.stat().st_ino != before
        assert mapped.read(4) == b"\x7fELF"


def test_an_edited_configuration_survives_install_and_uninstall(installed):
    conf = installed / "etc/apache2/mods-available/wsgi.conf"
    conf.write_text("# mine\n")
    assert scripts("install", "--destdir", installed).returncode == 0
    assert conf.read_text() == "# mine\n"
    assert conf.with_name("wsgi.conf.dist").exists()
    assert scripts("uninstall", "--destdir", installed).returncode == 0
    assert conf.read_text() == "# mine\n"


def test_uninstall_takes_everything_away(installed):
    assert scripts("uninstall", "--destdir", installed).returncode == 0
    assert [path for path in installed.rglob("*") if path.is_file()] == []


def test_uninstall_refuses_while_the_module_is_enabled(installed):
    enabled = installed / "etc/apache2/mods-enabled"
    enabled.mkdir()
    (enabled / "wsgi.load").symlink_to("../mods-available/wsgi.load")
    done = scripts("uninstall", "--destdir", installed)
    assert done.returncode == 1 and "a2dismod wsgi" in done.stderr
    assert (installed / "usr/lib/apache2/modules/mod_wsgi.so").exists()


def test_the_installed_files_serve(httpd, installed):
    if httpd.is_reference:
        pytest.skip("about our own files")
    place = httpd.root / "modules"
    shutil.copytree(installed / "usr/lib/apache2/modules", place)
    httpd.module = place / "mod_wsgi.so"
    httpd.serve()
    assert httpd.get("/").text == "Hello, World!\n"
    assert httpd.supervisor.executable == str(place / "mod_wsgi-supervisor")
