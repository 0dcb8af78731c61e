"""The page over HTTP: newest frame only, bounded threads, slow browsers dropped. Imports no ROS."""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csknet_core.errors import ConfigError
from csknet_ros.view.state import IMAGES, ViewState
from csknet_ros.view.words import MODES, REASONS

_FOLDER = Path(__file__).parent
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_PICTURES = {f"/{name}.jpg": name for name in IMAGES}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_MOST_CONNECTIONS = 32
_SEND_BUFFER = 128 * 1024
_EVENT_PERIOD_S = 0.1
_HEARTBEAT_S = 0.5


class ViewServer(ThreadingHTTPServer):
    """Serves the page in threads of its own.

    Every browser asks for an image when it has drawn the one before, and is sent events about the
    present only: a slow one skips frames, and one that takes nothing for `patience_s` is dropped.

    Args:
        state: what to show.
        address: to bind to.
        port: 0 takes a free one.
        patience_s: longest a read or write may take.

    Raises:
        ConfigError: the address or port cannot be bound.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, state: ViewState, address: str = "127.0.0.1", port: int = 0, patience_s: float = 10.0
    ) -> None:
        self.state = state
        self.patience_s = patience_s
        self.stopping = threading.Event()
        # Another site's page must not reach a server on this host by a name that it controls.
        self.hosts = {"localhost", "127.0.0.1", "::1", address} if is_local(address) else None
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        if ":" in address:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((address, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot serve on {address} port {port}: {error}; choose another --port or --bind"
            ) from error
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        """Address of the page."""
        host, port = self.server_address[:2]
        text = str(host)
        return f"http://[{text}]:{port}/" if ":" in text else f"http://{text}:{port}/"

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving; open connections end within half a second."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread, if there is room for one more."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, then make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about browsers that went away or were too slow."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def is_local(address: str) -> bool:
    """Return whether only this host can reach a server bound to the address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "csknet-view"
    sys_version = ""
    server: ViewServer

    def setup(self) -> None:
        """Bound the time and the memory a browser can take."""
        # What a browser that does not read can hold back.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        super().setup()
        self.connection.settimeout(self.server.patience_s)

    def do_GET(self) -> None:
        """Answer one request."""
        path = urlsplit(self.path).path
        if not self._is_ours():
            self._reply(HTTPStatus.FORBIDDEN, "text/plain", b"open it by its address\n")
        elif path in _FILES:
            file, kind = _FILES[path]
            self._reply(HTTPStatus.OK, kind, (_FOLDER / file).read_bytes())
        elif path in _PICTURES:
            self._send_picture(_PICTURES[path])
        elif path == "/events":
            self._send_events()
        else:
            self._reply(HTTPStatus.NOT_FOUND, "text/plain", b"no such page; open /\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""

    def _is_ours(self) -> bool:
        if self.server.hosts is None:
            return True
        try:
            return urlsplit(f"//{self.headers.get('Host', '')}").hostname in self.server.hosts
        except ValueError:  # brackets that do not match
            return False

    def _reply(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_picture(self, name: str) -> None:
        self.server.state.watch()
        data = self.server.state.jpeg(name)
        if data:
            self._reply(HTTPStatus.OK, "image/jpeg", data)
        else:
            self._reply(HTTPStatus.NOT_FOUND, "text/plain", b"no image yet\n")

    def _send_events(self) -> None:
        """Send what has changed, ten times a second at most, until the browser goes away."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        state, sequence, first = self.server.state, 0, True
        while not self.server.stopping.is_set():
            state.watch()
            update = state.update(sequence)
            if first:
                update |= {"first": True, "words": {"modes": MODES, "reasons": REASONS}}
            first, sequence = False, update["sequence"]
            self.wfile.write(b"data: " + json.dumps(update).encode() + b"\n\n")
            self.server.stopping.wait(_EVENT_PERIOD_S)
            state.wait(update["changes"], _HEARTBEAT_S)
