"""HAPI HL7v2 sends to us and receives from us; its jars come by Maven, and without them these tests are skipped.

https://hapifhir.github.io/hapi-hl7v2/
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.mllp import Sender
from fhir_server.commands.send import answered
from fhir_server.store.embedded import EmbeddedPostgres
from tests.flows.serve import concord
from tests.interop.door import CHARSETS, LARGE, Door, adt, refused, sent_on, unusable
from tests.needs import free_port

HERE = Path(__file__).parent
PROGRAMS = ("java", "javac", "mvn")


@pytest.fixture(scope="module")
def hapi(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the command line of Interop.java, compiled against HAPI's jars."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"HAPI HL7v2 needs {', '.join(missing)}, which this machine lacks")
    place = tmp_path_factory.mktemp("hapi")
    fetch = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
    fetch += [f"-DoutputDirectory={place}", f"-Dproject.build.directory={place}"]
    # What Maven has fetched once it need not ask for again.
    if subprocess.run([*fetch, "-o"], capture_output=True, timeout=300, check=False).returncode:
        try:
            done = subprocess.run(fetch, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("HAPI HL7v2 could not be fetched by Maven in time")
        if done.returncode:
            pytest.skip(f"HAPI HL7v2 could not be fetched by Maven: {done.stdout[-300:]}")
    jars = f"{place}/*"
    compile_ = ["javac", "-nowarn", "-cp", jars, "-d", str(place), str(HERE / "Interop.java")]
    subprocess.run(compile_, check=True, capture_output=True, timeout=300)
    return ["java", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-cp", f"{place}:{jars}", "Interop"]


def sent(hapi: list[str], folder: Path, port: int, *texts: str) -> list[list[str]]:
    """Have HAPI send these over one connection; return MSA-1, MSA-2 and ERR-3.1 of each answer as it read them."""
    files = [folder / f"{n}.hl7" for n in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8", newline="")
    argv = [*hapi, "send", "127.0.0.1", str(port), *map(str, files)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [line.split(" ") for line in done.stdout.splitlines()]


async def test_its_client_sends_all_charsets_large_messages_and_what_we_refuse(
    hapi: list[str], door: Door, tmp_path: Path
) -> None:
    texts = [adt(f"C{n}", name, charset) for n, (charset, _, name) in enumerate(CHARSETS)]
    texts += [adt("L1", note="x" * LARGE), refused("R1"), unusable("E1"), adt("A1")]
    *taken, large, wrong, bad, last = await asyncio.to_thread(sent, hapi, tmp_path, door.port, *texts)
    assert taken == [["AA", f"C{n}", "-"] for n in range(len(CHARSETS))]
    assert (large, last) == (["AA", "L1", "-"], ["AA", "A1", "-"])
    assert wrong == ["AR", "R1", "200"]
    assert bad[:2] == ["AE", "E1"]
    names = {f"C{n}": name for n, (_, _, name) in enumerate(CHARSETS)}
    assert await door.families() == names | {"L1": "Muller", "A1": "Muller"}
    assert (await door.states())["R1"] == "rejected"
    assert (await door.states())["E1"] == "buried"


@asynccontextmanager
async def its_server(hapi: list[str], taken: list[str]) -> AsyncIterator[int]:
    """Give the port of its server; what it took, as it read it, stands in `taken` at the end."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *hapi, "receive", str(port), stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=LARGE * 4
    )
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(300):
            assert await process.stdout.readline() == b"ready\n"
            reading = asyncio.create_task(process.stdout.read())
            yield port
            process.stdin.close()
            taken += [base64.b64decode(line).decode() for line in (await reading).splitlines()]
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_its_server_takes_what_we_send_and_we_understand_its_answers(hapi: list[str], tmp_path: Path) -> None:
    taken: list[str] = []
    async with its_server(hapi, taken) as port:
        sender = Sender("127.0.0.1", port, answer=120)
        sent = [(adt(f"AA{n}", name, charset), codec) for n, (charset, codec, name) in enumerate(CHARSETS)]
        sent += [(adt("AA9", note="x" * LARGE), "ascii"), (adt("AE1"), "ascii"), (adt("AR1"), "ascii")]
        said = [answered(await sender.send(text.encode(codec)))[0] for text, codec in sent]
        await sender.close()
        (tmp_path / "1.hl7").write_text(adt("AA10"), newline="")
        done = await asyncio.to_thread(concord, "send", str(tmp_path), "--to", f"127.0.0.1:{port}")
    assert said == [*["AA"] * (len(CHARSETS) + 1), "AE", "AR"]
    assert done.returncode == 0
    assert taken == [*(text for text, _ in sent), adt("AA10")]


async def test_its_server_is_a_destination_and_its_answers_decide(
    hapi: list[str], postgres: EmbeddedPostgres, fresh_name: str
) -> None:
    taken: list[str] = []
    sent = [adt(f"{code}{n}", "Wałęsa", "8859/2") for n, code in enumerate(("AA", "AE", "AR", "AA"))]
    async with its_server(hapi, taken) as port:
        states = await sent_on(postgres.server_dsn(fresh_name), port, *(one.encode("iso8859_2") for one in sent))
    assert states == {"AA0": "done", "AE1": "held", "AR2": "queued", "AA3": "done"}, "its AR says 207: again later"
    assert set(taken) == set(sent)
