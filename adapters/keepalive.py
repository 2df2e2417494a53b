"""Peers that vanished without a word are noticed by the operating system, where it can be told to look."""

from __future__ import annotations

import asyncio
import socket


def keepalive(writer: asyncio.StreamWriter) -> None:
    """Have the operating system notice a peer that vanished, within about two minutes where it can be told to."""
    sock = writer.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
