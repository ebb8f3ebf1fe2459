"""A small real HTTP server that speaks the part of Toxiproxy's API which faults use, with knobs for its bad days.

`create_delay_s` holds the creation of a toxic back after its request has been read (a request still on its way when its
sender dies); `frozen` makes every request hang until it is cleared. `injections` are the times of requests that put a fault in.
"""

# ruff: noqa: D102, N815 - the names are http.server's, the rest speaks Toxiproxy's API

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that was killed in the middle of a request is what these tests are about."""


class StubToxiproxy:
    """Serves one proxy, `pricing`, on a free port of loopback."""

    def __init__(self):
        self.lock = threading.Lock()
        self.enabled = True
        self.upstream = "127.0.0.1:9"
        self.toxics = {}
        self.requests = []
        self.injections = []
        self.create_delay_s = 0.0
        self.frozen = threading.Event()
        self.closing = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def _serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                while stub.frozen.is_set() and not stub.closing.is_set():
                    time.sleep(0.02)
                status, answer = stub.answer(self.command, self.path, body)
                data = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.admin_url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def proxy(self):
        return {
            "name": "pricing",
            "listen": "127.0.0.1:1",
            "upstream": self.upstream,
            "enabled": self.enabled,
            "Logger": {},
            "toxics": list(self.toxics.values()),
        }

    def answer(self, method, path, body):
        if method == "POST" and path.endswith("/toxics") and self.create_delay_s:
            time.sleep(self.create_delay_s)
        with self.lock:
            self.requests.append((method, path, time.monotonic_ns()))
            if (method == "POST" and path.endswith("/toxics")) or (body or {}).get("enabled") is False:
                self.injections.append(time.monotonic_ns())
            return self._answer(method, path.strip("/").split("/"), body)

    def _answer(self, method, parts, body):
        if parts == ["version"]:
            return 200, {"version": "2.12.0"}
        if parts == ["proxies"]:
            return 200, {"pricing": self.proxy()}
        if parts[:2] != ["proxies", "pricing"]:
            return 404, {"error": "proxy not found", "status": 404}
        if parts[2:3] == ["toxics"]:
            return self._answer_toxics(method, parts[3:], body)
        if method in {"POST", "PATCH"}:
            self.enabled = body.get("enabled", self.enabled)
        return 200, self.proxy()

    def _answer_toxics(self, method, parts, body):
        if method == "POST":
            name = body.get("name") or f"{body['type']}_{body.get('stream', 'downstream')}"
            if name in self.toxics:
                return 409, {"error": "toxic already exists", "status": 409}
            self.toxics[name] = {
                "stream": "downstream",
                "toxicity": 1.0,
                "attributes": {},
                **body,
                "name": name,
            }
            return 200, self.toxics[name]
        if not parts:
            return 200, list(self.toxics.values())
        if parts[0] not in self.toxics:
            return 404, {"error": "toxic not found", "status": 404}
        if method == "DELETE":
            del self.toxics[parts[0]]
            return 204, None
        return 200, self.toxics[parts[0]]
