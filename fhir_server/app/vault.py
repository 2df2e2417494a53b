"""Which master key an installation has, and that it is the one by which its data keys are wrapped."""

from __future__ import annotations

from pathlib import Path

from fhir_server.settings import Settings
from fhir_server.store import keys, masterkey
from fhir_server.store.database import Database
from fhir_server.store.masterkey import MasterKey

KEY_FILE = "master.key"
# Ends the name of a key to which the database is being changed.
NEXT = ".next"
_LOST = "what is stored is encrypted, and there is no master key: put it back into {0}, or set CONCORD_MASTER_KEY"
_WRONG = "the master key of {0} is not the one by which what is stored was encrypted: put the right one back"


class KeyProblem(RuntimeError):
    """There is no usable master key; the message says where it was looked for and what to do, never the key."""


def file_of(settings: Settings) -> Path | None:
    """Return the file of the master key: the one that is set, or that of the embedded PostgreSQL; None for none."""
    if settings.master_key_file is None and settings.database_url is None:
        return settings.data_dir / KEY_FILE
    return settings.master_key_file


async def unlock(settings: Settings, db: Database) -> MasterKey | None:
    """Return the installation's master key, made or noted with its first use; None where bodies are kept plain.

    Raises KeyProblem for one that is lost, wrong, or no key: at the start, not with the first read.
    """
    await keys.ensure_installation(db)
    check = await keys.master_check(db)
    found = _found(settings, check)
    if found is None:
        return None
    key, place = found
    if check is None:
        check = await keys.note_master(db, key.check)
    if check is None or not key.is_of(check):
        raise KeyProblem(_WRONG.format(place))
    return key


def _kept(file: Path, check: bytes | None) -> MasterKey | None:
    """Return the key of a file; of a change that was cut short, the one to which the database was changed already."""
    key, following = masterkey.kept(file), file.with_name(file.name + NEXT)
    if check is None or key is None or key.is_of(check):
        return key
    changed = masterkey.kept(following)
    if changed is not None and changed.is_of(check):
        following.replace(file)
        return changed
    return key


def _found(settings: Settings, check: bytes | None) -> tuple[MasterKey, str] | None:
    """Return the master key and where it was found. The data folder's own file is made where nothing needs it yet."""
    file = file_of(settings)
    try:
        if settings.master_key is not None:
            return MasterKey.of(settings.master_key.get_secret_value()), "CONCORD_MASTER_KEY"
        key = _kept(file, check) if file else None
        if file is None or (key is None and check is not None):
            if check is not None:
                raise KeyProblem(_LOST.format(file or "CONCORD_MASTER_KEY_FILE"))
            return None
        if key is None:
            if file.parent != settings.data_dir:
                raise KeyProblem(f"there is no master key in {file}: CONCORD_MASTER_KEY_FILE names it")
            key = masterkey.made(file)
    except ValueError as problem:
        raise KeyProblem(f"{file or 'CONCORD_MASTER_KEY'}: {problem}") from None
    except OSError as problem:
        raise KeyProblem(f"{file} cannot be read: {problem.strerror}") from problem
    return key, str(file)
