"""tests/integration/resp.py -- a client of the Redis protocol that hides nothing.

Why not a library: tests look at bytes, at half requests and at errors as they are; a library
retries, reconnects and interprets. An error reply is a value of class Failure, not an exception;
an exception here means that the connection or the protocol broke.
"""
import socket


class Failure(str):
    """An error reply, without its minus sign."""

    @property
    def word(self):
        return self.split(" ", 1)[0]


class Broken(Exception):
    """The connection ended or timed out, or what came is not the protocol."""


def encode(*arguments):
    """One request as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        if isinstance(argument, str):
            argument = argument.encode()
        elif not isinstance(argument, bytes):
            argument = str(argument).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
    return b"".join(parts)


class Client:
    """One connection. `timeout` bounds every wait, in seconds."""

    def __init__(self, port, host="127.0.0.1", timeout=10.0):
        try:
            self.socket = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise Broken(f"connect to {host}:{port}: {error}") from error
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Broken(f"send: {error}") from error

    def call(self, *arguments):
        self.send(encode(*arguments))
        return self.reply()

    def text(self, *arguments):
        """As call(), with a bulk string decoded."""
        reply = self.call(*arguments)
        return reply.decode() if isinstance(reply, bytes) else reply

    def pipeline(self, requests):
        self.send(b"".join(encode(*request) for request in requests))
        return [self.reply() for _ in requests]

    def ended(self):
        """True once the other side has closed; what still comes before is an error."""
        try:
            more = self.held or self.socket.recv(1)
        except ConnectionResetError:
            return True
        except OSError as error:
            raise Broken(f"still open: {error}") from error
        if more:
            raise Broken(f"unexpected bytes: {more!r}")
        return True

    def _more(self):
        try:
            data = self.socket.recv(1 << 18)
        except OSError as error:
            raise Broken(f"receive: {error}") from error
        if not data:
            raise Broken("closed by the node")
        self.held += data

    def _line(self):
        start = 0
        while (end := self.held.find(b"\r\n", start)) < 0:
            start = max(len(self.held) - 1, 0)
            self._more()
        line, self.held = self.held[:end], self.held[end + 2:]
        return line

    def _exactly(self, size):
        if len(self.held) < size:
            parts, have = [self.held], len(self.held)
            self.held = b""
            while have < size:
                self._more()
                parts.append(self.held)
                have += len(self.held)
                self.held = b""
            self.held = b"".join(parts)
        data, self.held = self.held[:size], self.held[size:]
        return data

    def reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Failure(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"_" and not rest:
            return None
        if kind == b"#":
            return {b"t": True, b"f": False}[rest]
        if kind == b",":
            return float(rest)
        if kind in b"$=" and kind:
            size = int(rest)
            if size < 0:
                return None
            data = self._exactly(size + 2)
            if data[-2:] != b"\r\n":
                raise Broken(f"a bulk string ends with {data[-2:]!r}")
            return data[:-2]
        if kind in b"*~>" and kind:
            count = int(rest)
            return None if count < 0 else [self.reply() for _ in range(count)]
        if kind == b"%":
            pairs = [(self.reply(), self.reply()) for _ in range(int(rest))]
            return dict(pairs)
        raise Broken(f"not the protocol: {line[:80]!r}")


def fields(reply):
    """A map as RESP2 sends it (a flat array) or as RESP3 does, with its keys as text."""
    if isinstance(reply, dict):
        pairs = reply.items()
    else:
        pairs = zip(reply[::2], reply[1::2])
    return {key.decode(): value for key, value in pairs}
