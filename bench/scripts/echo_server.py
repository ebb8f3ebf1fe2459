"""A WebSocket server on picows that lets in who has a valid token (a JWT), and echoes. Prints {"port", "token"} and serves."""

import json
import resource
import secrets

import jwt
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class Echo(WSListener):  # type: ignore[misc]
    """Sends back what it hears."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame is one message here."""
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send(WSMsgType.CLOSE, frame.get_payload_as_bytes())
            transport.disconnect()


async def main() -> None:
    """Serve until killed."""
    secret = secrets.token_urlsafe(32)

    def admit(request: WSUpgradeRequest) -> Echo | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            jwt.decode(token, secret, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return None
        return Echo()

    server = await ws_create_server(admit, "127.0.0.1", 0, backlog=4096, use_aiofastnet=False)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "token": jwt.encode({"sub": "bench"}, secret, "HS256")}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(main())
