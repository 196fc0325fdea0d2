"""A client of HTTP/2 with prior knowledge (h2c), as frank as `client.py` about how a stream ended.

    with h2client.Connection(httpd.port) as connection:
        answer = connection.get("/")
        assert answer.complete

The server needs `Protocols h2c http/1.1`.
"""

import socket
import ssl
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from client import Response


class Connection:
    """One connection; streams are asked for one after the other, or begun with `begin`."""

    def __init__(self, port, host="127.0.0.1", timeout=20.0, window=None, wrap=None):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # TLS, for one.
        self.socket, self.scheme = (wrap(self.socket), "https") if wrap else (self.socket, "http")
        self.authority = f"{host}:{port}"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.answers = {}
        self._send()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _send(self):
        self.socket.sendall(self.h2.data_to_send())

    def begin(self, method, target, headers=(), body=None, more=False):
        """Send a request; return the number of its stream. With `more` the stream stays open."""
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", self.scheme), (":authority", self.authority), (":path", target)]
        self.h2.send_headers(stream, fields + [(name.lower(), value) for name, value in headers], end_stream=body is None and not more)
        answer = Response(0, "", "HTTP/2", [], framing="stream")
        self.answers[stream] = answer
        self._send()
        if body is not None:
            self.send(stream, body, end=not more)
        return stream

    def room(self, stream):
        """Bytes that the server takes now; 0 too where it has done with the stream."""
        try:
            return min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
        except h2.exceptions.ProtocolError:
            return 0

    def send(self, stream, data, end=False):
        """Send body bytes as the server's windows allow."""
        while data:
            room = min(self.room(stream), len(data))
            if room == 0:
                if not self.pump() or self.answers[stream].ending:
                    return
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self._send()
        if end:
            self.h2.end_stream(stream)
            self._send()

    def received(self, data):
        """What the library gets to see of the bytes that came."""
        return data

    def pump(self):
        """Read once and deal with what came; False at the end of the connection."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        if not data:
            for answer in self.answers.values():
                answer.ending = answer.ending or ("" if answer.complete else "eof")
            return False
        for event in self.h2.receive_data(self.received(data)):
            answer = self.answers.get(getattr(event, "stream_id", None))
            if isinstance(event, h2.events.InformationalResponseReceived):
                fields = dict(event.headers)
                answer.interim.append(Response(int(fields[":status"]), "", "HTTP/2", list(event.headers)[1:]))
            elif isinstance(event, h2.events.ResponseReceived):
                answer.status = int(dict(event.headers)[":status"])
                answer.headers = [(name, value) for name, value in event.headers if not name.startswith(":")]
            elif isinstance(event, h2.events.DataReceived):
                answer.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                # RST_STREAM(NO_ERROR) after it only says that the rest of a body is not wanted.
                answer.complete = answer.ending == ""
                answer.elapsed = time.monotonic()
            elif isinstance(event, h2.events.StreamReset) and not answer.complete:
                answer.ending = "reset"
                answer.elapsed = time.monotonic()
        self._send()
        return True

    def answer(self, stream):
        """The whole answer of a stream. `elapsed` is the monotonic time of its end."""
        answer = self.answers[stream]
        while not (answer.complete or answer.ending):
            self.pump()
        return answer

    def request(self, method, target, headers=(), body=None):
        return self.answer(self.begin(method, target, headers, body))

    def get(self, target, headers=()):
        return self.request("GET", target, headers)
