"""HTTP as uvicorn speaks it, on connections that send at once."""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class Protocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """Worker processes share a socket that asyncio does not know to be TCP, so it leaves the small
    delay on: head and body of an answer are two writes, and the second would wait 40 ms for the
    client's acknowledgement."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
