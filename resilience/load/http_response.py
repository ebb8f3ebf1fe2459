"""One HTTP/1.1 answer, read from bytes that arrive in any pieces: httptools underneath, what it leaves out on top.

Theory of operation. `ResponseReader.feed` takes what was read and says whether the answer is complete; `close` says whether
the end of the connection completes it. httptools (llhttp) does the grammar: chunked bodies, trailers, split heads. Left to
us: interim answers (1xx) are skipped; an answer to HEAD, and 204 or 304, ends with its head; an answer without a length ends
with the connection; a head may not exceed MAX_HEAD_BYTES, or a peer that sends header after header would never be found out.

What it deliberately does not do: touch sockets or clocks, decode content encodings, or keep a body unless asked to.
"""

import httptools

MAX_HEAD_BYTES = 65_536
"""All heads of an answer together: interim ones, the final one, and trailers before any body."""
MAX_KEPT_BODY_BYTES = 1 << 20


class ProtocolViolationError(Exception):
    """What the peer sent is not an HTTP/1.1 answer."""


class ResponseReader:
    """Reads one answer. `status`, `headers` (lower-case names), `keep_alive` are valid once `feed` or `close` said true."""

    __slots__ = (
        "_body_follows",
        "_head_bytes",
        "_head_done",
        "_head_only",
        "_keep_body",
        "_parser",
        "body",
        "chunked",
        "complete",
        "content_length",
        "headers",
        "keep_alive",
        "rest",
        "status",
        "surplus",
    )

    def __init__(self, *, head_only: bool = False, keep_body: bool = False) -> None:
        self._head_only = head_only
        self._keep_body = keep_body
        self._head_bytes = 0
        self._head_done = False
        self._body_follows = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive = False
        self.content_length: int | None = None
        self.chunked = False
        self.body = b""
        self.complete = False
        self.surplus = False
        """The peer went on after the end of its answer: the connection must not be used again."""
        self.rest = b""
        """After 101 Switching Protocols: what came with the answer and is no HTTP any more."""

    def feed(self, data: bytes) -> bool:
        """Take what was read; true when the answer is complete. Raises ProtocolViolationError."""
        parser = self._parser
        if parser is None:
            self.surplus = True
            return self.complete
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
            self._finish(reusable=False)
        except httptools.HttpParserError as error:
            if not self.complete:
                self._parser = None
                raise ProtocolViolationError(str(error) or type(error).__name__) from None
            self.surplus = True
        if self._head_bytes > MAX_HEAD_BYTES and not self._head_done:
            self._parser = None
            raise ProtocolViolationError(f"more than {MAX_HEAD_BYTES} bytes without the end of a head")
        if self.complete:
            self._parser = None  # it holds our bound methods: without this, every reader were a cycle
        return self.complete

    def close(self) -> bool:
        """The peer closed in order; true when that ends the answer as it should."""
        if self._head_done and not self.complete and not self.chunked and self.content_length is None:
            self._finish(reusable=False)
        self._parser = None
        return self.complete

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header; `name` in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def on_message_begin(self) -> None:
        """httptools: an answer begins; after an interim one, the next."""
        if self.complete:
            self.surplus = True
        else:
            self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header, or (after the head) a trailer, which is of no interest."""
        if not self._head_done:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """httptools: the head is complete; decide how the answer ends."""
        if self.complete or self._parser is None:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200 and self.status != 101:
            return
        self._head_done = True
        self.keep_alive = self._parser.should_keep_alive()
        length = self.header(b"content-length")
        self.content_length = int(length) if length is not None and length.isdigit() else None
        self.chunked = b"chunked" in (self.header(b"transfer-encoding") or b"").lower()
        if self._head_only or self.status in {204, 304}:
            self._finish(reusable=True)

    def on_body(self, data: bytes) -> None:
        """httptools: a piece of the body."""
        if self.complete:
            self.surplus = True
        elif self._keep_body and len(self.body) < MAX_KEPT_BODY_BYTES:
            self.body += data

    def on_message_complete(self) -> None:
        """httptools: the answer is complete, unless it was an interim one."""
        if self._head_done and not self.complete:
            self._finish(reusable=True)

    def _finish(self, *, reusable: bool) -> None:
        self.complete = True
        known_end = (
            self.chunked or self.content_length is not None or self._head_only or self.status in {204, 304}
        )
        # Without a length, only the end of the connection ended the answer.
        self.keep_alive = self.keep_alive and reusable and known_end
