"""A price service for the tests: in your project it is the real one, or a container."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class PriceService(BaseHTTPRequestHandler):
    """Everything costs 9.95."""

    def do_GET(self) -> None:
        """Answer at once."""
        body = b"9.95"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture(scope="session")
def price_service() -> Iterator[str]:
    """Its address, host:port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), PriceService)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
