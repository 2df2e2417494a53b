"""Messages and resources into folders: a file for each, named by its numbers, so that what comes again replaces it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from adapters.outgoing_folder import leave
from fhir_server.engine.parcel import Outcome, Parcel
from fhir_server.operations.destinations import FolderOut


class FolderCarrier:
    """Leaves files below the folder of the operator, those of each tenant in one of its own."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    async def carry(self, parcel: Parcel) -> Outcome:
        """Leave a file: it is there whole, and on the disk, once this is done."""
        destination = parcel.destination
        assert isinstance(destination, FolderOut)
        if self._root is None:
            return Outcome(state="held", reason="the installation allows no folders: CONCORD_FOLDERS")
        name = f"{parcel.name}.{'json' if parcel.sends == 'resources' else 'hl7'}"
        parts = [parcel.tenant, *destination.folder.split("/")]
        try:
            await asyncio.to_thread(leave, self._root, parts, name, parcel.content)
        except OSError as problem:
            why = os.strerror(problem.errno) if problem.errno else type(problem).__name__
            return Outcome(state="later", reason=f"the folder: {why}", down=True, counts=False)
        return Outcome(state="done", answer=name.encode())

    async def aclose(self) -> None:
        """Nothing is kept open."""
