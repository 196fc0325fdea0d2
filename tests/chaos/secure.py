"""Connections of the chaos run over TLS: HTTP/1.1, and HTTP/2 with the face of client.Connection."""

import ssl
import subprocess

import h2.events
import h2.exceptions

import client
import h2client
from client import Broken

GOAWAY = 7
# What a client does to itself, and limits of HTTP/1.1, have other endings in HTTP/2.
NOT_OVER_HTTP2 = ("slow-read", "slow-send", "abort-download", "abort-upload", "fat-request", "raise-middle", "unread")


def certificate(directory):
    """Files of a certificate that signs itself and of its key, made below `directory`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
        check=True, capture_output=True, timeout=60,
    )
    return directory / "cert.pem", directory / "key.pem"


def wrapped(socket, *protocols):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    made = context.wrap_socket(socket, server_hostname="localhost")
    assert made.selected_alpn_protocol() == protocols[0]
    return made


class Http1(client.Connection):
    def __init__(self, port, timeout):
        super().__init__(port, timeout=timeout)
        self.socket = wrapped(self.socket, "http/1.1")

    def _more(self):
        try:
            return super()._more()
        except ssl.SSLError as fault:
            # A connection that was cut has other names in TLS.
            raise ConnectionResetError(str(fault)) from None


class Http2(h2client.Connection):
    """One stream at a time, asked for and answered as client.Connection does."""

    def __init__(self, port, timeout):
        super().__init__(port, timeout=timeout, wrap=lambda socket: wrapped(socket, "h2"))
        self.stream = None
        self.going_away = False
        self._bytes = b""

    def close(self):
        self.socket.close()

    def received(self, data):
        """Whole frames but GOAWAY: the library takes nothing for a stream after it, though its answer still comes."""
        self._bytes += data
        frames = b""
        while len(self._bytes) >= 9 and len(self._bytes) >= (size := 9 + int.from_bytes(self._bytes[:3], "big")):
            frame, self._bytes = self._bytes[:size], self._bytes[size:]
            if frame[3] == GOAWAY:
                self.going_away = True
            else:
                frames += frame
        return frames

    def send_request(self, method, target, headers=(), body=None):
        self.stream = None
        pieces = None if body is None or isinstance(body, bytes) else body
        try:
            self.stream = self.begin(method, target, headers, None if pieces else body, more=pieces is not None)
            for piece in pieces or ():
                self.send(self.stream, piece)
            if pieces is not None:
                self.send(self.stream, b"", end=True)
        except h2.exceptions.ProtocolError as fault:
            # The server said that it takes no more streams, or has done with this one.
            if self.stream is None:
                raise OSError(f"no stream: {fault}") from None

    def response(self, method="GET"):
        if self.stream is None:
            raise Broken("goaway", b"")
        answer = self.answer(self.stream)
        if not answer.status:
            raise Broken(answer.ending, b"")
        return answer
