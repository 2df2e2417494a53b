"""concord channel certificate: files with which a trial of MLLP over TLS works, and nothing that is there is lost."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from typer.testing import CliRunner

from adapters.certificates import Renewed
from adapters.contract import Peer
from adapters.mllp import Listener
from fhir_server.cli import app
from tests.engine.world import adt

ACK = b"MSH|^~\\&|A|B|HIS|NORTH|20260301||ACK|1|P|2.5\rMSA|AA|1\r"


def told(*argv: str, code: int = 0) -> str:
    """Run a command and return what it prints."""
    result = CliRunner().invoke(app, [*argv])
    assert result.exit_code == code, result.output
    return result.output


async def test_a_sender_and_a_receiver_with_these_files_know_each_other(tmp_path: Path) -> None:
    said = told("channel", "certificate", str(tmp_path), "--server", "127.0.0.1", "--client", "lab")
    later = told("channel", "certificate", str(tmp_path), "--client", "second")
    message, peers = tmp_path / "a.hl7", list[Peer]()
    message.write_bytes(adt("1"))

    async def note(data: bytes, peer: Peer) -> bytes:
        peers.append(peer)
        return ACK

    files = [tmp_path / name for name in ("server.pem", "server.key", "authority.pem")]
    listener = await Listener.start(note, tls=Renewed(*files).context)
    to = ["send", str(message), "--to", f"127.0.0.1:{listener.port}", "--authority", str(tmp_path / "authority.pem")]
    for name in ("lab", "second"):
        proof = ["--certificate", str(tmp_path / f"{name}.pem"), "--key", str(tmp_path / f"{name}.key")]
        assert "AA" in await asyncio.to_thread(told, *to, *proof)
    await asyncio.to_thread(told, *to, code=1)
    await asyncio.to_thread(told, *to, *proof, "--server-name", "elsewhere.example", code=1)
    await listener.stop()
    proven = [peer.certificate for peer in peers]
    assert [("dns:lab" in c.marks, "dns:second" in c.marks) for c in proven if c] == [(True, False), (False, True)]
    assert [c.fingerprint in text for c, text in zip(proven, (said, later), strict=True) if c] == [True, True]


def test_keys_are_for_their_owner_alone_and_nothing_is_written_over(tmp_path: Path) -> None:
    told("channel", "certificate", str(tmp_path), "--server", "127.0.0.1", "--client", "lab")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert {stat.S_IMODE(file.stat().st_mode) for file in before if file.suffix == ".key"} == {0o600}
    told("channel", "certificate", str(tmp_path), "--client", "lab", code=1)
    told("channel", "certificate", str(tmp_path), "--server", "127.0.0.1", code=1)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_cannot_be_is_said_in_a_line(tmp_path: Path) -> None:
    for name in ("../lab", "authority", "server", "a b", ""):
        told("channel", "certificate", str(tmp_path / "x"), "--client", name, code=1)
    (tmp_path / "authority.pem").write_text("nothing")
    (tmp_path / "authority.key").write_text("nothing")
    told("channel", "certificate", str(tmp_path), "--client", "lab", code=1)
    message = tmp_path / "a.hl7"
    message.write_bytes(adt("1"))
    told("send", str(message), "--authority", str(message), code=2)
