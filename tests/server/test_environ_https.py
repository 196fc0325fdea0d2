"""The environ over TLS, with the variables of mod_ssl (issue 3, point 1)."""

import json
import socket
import ssl
import subprocess

import pytest

from httpd import Port


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that signs itself: (file of the certificate, file of its key)."""
    place = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", place / "key.pem", "-out", place / "cert.pem"],
        check=True, capture_output=True,
    )
    return place / "cert.pem", place / "key.pem"


class Secure:
    """A server with a port for TLS beside the plain one."""

    def __init__(self, httpd, certificate, *lines):
        self.httpd = httpd
        self._port = Port()
        self.port = self._port.number
        cert, key = certificate
        # Of the machine's packages, not of this server.
        httpd.error_log.allow("AH01882: Init: this version of mod_ssl was compiled against", "AH01873: Init: Session Cache")
        httpd.serve(
            "environ.wsgi", f"Listen 127.0.0.1:{self.port}", f"<VirtualHost 127.0.0.1:{self.port}>", "SSLEngine On",
            f"SSLCertificateFile {cert}", f"SSLCertificateKeyFile {key}", "WSGIScriptAlias / {apps}/environ.wsgi",
            *lines, "</VirtualHost>",
        )

    def connect(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 20), server_hostname="localhost")

    def ask(self):
        with self.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            got = b""
            while piece := connection.recv(65536):
                got += piece
        return {key: tuple(value) for key, value in json.loads(got.partition(b"\r\n\r\n")[2]).items()}


def test_the_scheme_is_https_and_the_key_https_is_not_there(httpd, certificate):
    secure = Secure(httpd, certificate)
    got = secure.ask()
    assert got["wsgi.url_scheme"] == ("str", "https")
    assert got["REQUEST_SCHEME"] == ("str", "https")
    assert got["SERVER_PORT"] == ("str", str(secure.port))
    assert "HTTPS" not in got
    assert [key for key in got if key.startswith("SSL_") and key != "SSL_TLS_SNI"] == []
    # The plain port beside it stays plain.
    assert httpd.ask("/")["wsgi.url_scheme"] == ["str", "http"]


def test_the_variables_of_mod_ssl_arrive_where_it_gives_them(httpd, certificate):
    got = Secure(httpd, certificate, "SSLOptions +StdEnvVars").ask()
    assert got["SSL_PROTOCOL"][1].startswith("TLSv1.")
    assert got["SSL_CIPHER"][0] == "str" and got["SSL_CIPHER"][1]
    assert got["SSL_SERVER_S_DN_CN"] == ("str", "localhost")
    assert {kind for key, (kind, _) in got.items() if key.startswith("SSL_")} == {"str"}
    assert "HTTPS" not in got


def test_a_certificate_in_the_environ_keeps_its_lines(httpd, certificate):
    got = Secure(httpd, certificate, "SSLOptions +StdEnvVars +ExportCertData").ask()
    assert got["SSL_SERVER_CERT"][1].strip() == certificate[0].read_text().strip()


def test_the_scheme_is_https_over_http_2_too(httpd, certificate):
    secure = Secure(httpd, certificate, "Protocols h2 http/1.1")
    done = subprocess.run(
        ["curl", "-s", "-k", "--http2", "--max-time", "10", "-w", "\n%{http_version}", f"https://localhost:{secure.port}/"],
        capture_output=True, check=True, text=True,
    )
    body, _, version = done.stdout.rpartition("\n")
    got = json.loads(body)
    assert version == "2" and got["SERVER_PROTOCOL"] == ["str", "HTTP/2.0"]
    assert got["wsgi.url_scheme"] == ["str", "https"] and "HTTPS" not in got
