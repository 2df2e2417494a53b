"""When a connection counts as lost, asked of both of its ends: a machine that vanished says no goodbye.

What it had locked is locked until the server notices; what waits for an answer waits until its own side does.
https://www.postgresql.org/docs/18/runtime-config-connection.html#RUNTIME-CONFIG-TCP-SETTINGS
https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-KEEPALIVES
"""

from __future__ import annotations

_PROBES = 3


def asked_of_server(seconds: float) -> str:
    """Return the options that have the server end a session, and free its locks, after so many seconds of silence.

    Also one that is idle within a transaction: its client may be cut off, with nothing on the way to it.
    """
    idle, interval = _probes(seconds)
    given = {
        "idle_in_transaction_session_timeout": f"{seconds * 1000:.0f}",
        "tcp_user_timeout": f"{seconds * 1000:.0f}",
        "tcp_keepalives_idle": idle,
        "tcp_keepalives_interval": interval,
        "tcp_keepalives_count": _PROBES,
    }
    return " ".join(f"-c {name}={value}" for name, value in given.items())


def asked_of_client(seconds: float) -> dict[str, int]:
    """Return the parameters of the connection string that have this side give it up after so many seconds."""
    idle, interval = _probes(seconds)
    return {
        "tcp_user_timeout": int(seconds * 1000),
        "keepalives_idle": idle,
        "keepalives_interval": interval,
        "keepalives_count": _PROBES,
    }


def _probes(seconds: float) -> tuple[int, int]:
    """Return after how long the other side is asked for the first time, and how long until it is asked again."""
    return max(1, int(seconds / 2)), max(1, int(seconds / 2 / _PROBES))
