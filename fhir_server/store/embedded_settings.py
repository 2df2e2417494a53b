"""Server settings of the embedded PostgreSQL, sized to the machine; each that differs from the default says why.

https://www.postgresql.org/docs/18/runtime-config.html
"""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30

FIXED: dict[str, str] = {
    "listen_addresses": "",  # no TCP at all: the socket in a closed folder is the only way in
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "max_locks_per_transaction": "256",  # a large bundle locks each of its identifiers
    "random_page_cost": "1.1",  # 4 makes the planner AND two bitmaps where one index answers: 25 ms instead of 3-5
    "jit": "off",  # our statements are short; compiling one costs more than running it
    "max_parallel_workers_per_gather": "0",  # the cores are busy with other requests already
    "wal_compression": "off",  # pglz doubled the processor time of a create
    "checkpoint_timeout": "15min",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_naptime": "10s",  # a table that just grew is planned for by old statistics: twice the cost, till then
    "client_connection_check_interval": "10s",  # a vanished client's statement ends, and with it its locks
    "tcp_keepalives_idle": "30",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    # A failed statement or its key would put a patient's data into the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def settings(memory: int, disk_free: int) -> dict[str, str]:
    """Return the settings for a machine with this much memory and free disk, in bytes."""
    buffers = _between(memory // 8, 64 * MIB, 4 * GIB)
    wal = _between(disk_free // 5, GIB, 8 * GIB)
    sized = {
        "shared_buffers": f"{buffers // MIB}MB",
        "effective_cache_size": f"{max(memory // 2, 2 * buffers) // MIB}MB",
        "maintenance_work_mem": f"{_between(memory // 32, 64 * MIB, GIB) // MIB}MB",
        "max_wal_size": f"{wal // MIB}MB",  # few checkpoints, so few full pages in the log
        "min_wal_size": f"{min(wal, GIB) // MIB}MB",
    }
    return FIXED | sized


def memory_of_machine() -> int:
    """Return the bytes of memory that this process may use: the container's limit where there is one."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(physical, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such file, or the word `max`
            continue
    return physical


def _between(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
