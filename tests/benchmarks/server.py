"""The server that is measured: `concord serve` as its own process, on ports that it chooses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg

from fhir_server.store.embedded import connection_of


class Server:
    """A server on a data folder, until `stop`."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        concord = shutil.which("concord", path=os.path.dirname(sys.executable)) or "concord"
        self.concord = concord
        argv = [concord, "serve", "--data-dir", str(folder), "--port", "0", "--mllp-port", "0", "--demo"]
        argv += ["--mllp-tenant", "demo", "--workers", str(workers)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout
        self.ready = next(json.loads(line) for line in self.process.stdout if line.startswith("{"))

    def token(self) -> str:
        """Return a token for everything in tenant demo."""
        argv = [self.concord, "token", "--tenant", "demo", "--scopes", "system/*.cruds", "--expires", "86400"]
        argv += ["--data-dir", str(self.folder)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def refresh_statistics(self) -> None:
        """Do what autovacuum does within a minute, so that a short run is planned like a long one."""
        self._tell("server", "select refresh_statistics()")

    def vacuum(self) -> None:
        """Do what autovacuum comes to after a load, and write out what the load left in memory."""
        self._tell("admin", "vacuum analyze")
        self._tell("admin", "checkpoint")

    def resources(self) -> int:
        """Return how many resources there are, as the statistics tell."""
        ((count,),) = self._tell("admin", "select reltuples::bigint from pg_class where relname = 'resource'")
        return int(count)

    def size(self) -> int:
        """Return the bytes of the database."""
        ((count,),) = self._tell("admin", "select pg_database_size(current_database())")
        return int(count)

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        self.process.send_signal(2)
        self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()

    def dsn(self, role: str = "server") -> str:
        """Return the connection string of its database."""
        running = connection_of(self.folder)
        assert running
        return running.server_dsn() if role == "server" else running.admin_dsn()

    def _tell(self, role: str, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.dsn(role), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []
