"""A folder in which others leave files: nothing outside is touched, whatever they leave, and no file is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.folder import DONE, FAILED, Folder, Stamp, Unusable, tagged


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "north" / "lab").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def lab(root: Path) -> Path:
    return root / "north" / "lab"


@pytest.fixture
def folder(root: Path) -> Iterator[Folder]:
    found = Folder.open(root, ["north", "lab"])
    yield found
    found.close()


def every(name: str) -> bool:
    return name not in ("work", "done", "failed")


def names(folder: Folder) -> list[str]:
    return [one.name for one in folder.waiting(every)]


def content(folder: Folder, name: str) -> bytes:
    reading = folder.read(name)
    assert reading is not None
    try:
        return reading.piece(1 << 20)
    finally:
        reading.close()


def test_a_file_is_taken_read_and_put_away_with_its_report(folder: Folder, lab: Path) -> None:
    (lab / "a.hl7").write_bytes(b"MSH|")
    assert folder.take("a.hl7")
    assert (names(folder), folder.taken()) == ([], ["a.hl7"])
    assert content(folder, "a.hl7") == b"MSH|"
    report = folder.report("token")
    report.write(b"BHS|")
    assert folder.taken() == ["a.hl7"], "a report that is being written is no file of a sender"
    folder.put_away("a.hl7", DONE, "1f3a", report)
    assert folder.taken() == []
    assert (lab / "done" / "a.1f3a.hl7").read_bytes() == b"MSH|"
    assert (lab / "done" / "a.1f3a.hl7.ack").read_bytes() == b"BHS|"
    assert sorted(os.listdir(lab / "work")) == []


def test_the_oldest_file_comes_first(folder: Folder, lab: Path) -> None:
    for name, moment in (("b", 30), ("c", 10), ("a", 30)):
        (lab / name).write_text("x")
        os.utime(lab / name, (moment, moment))
    assert names(folder) == ["c", "a", "b"]


@pytest.mark.parametrize(
    "name",
    [
        "ünïcode 漢字.hl7",
        "with\nnewline",
        "with\ttab and \\ and \"quote'",
        "-rf *",
        "..almost",
        "%2e%2e%2f",
        "con:ad;rm $(x) `y`",
        os.fsdecode(b"bytes \xff\xfe that are no text"),
        "n" * 255,
        "n" * 250 + ".hl7",
        "ü" * 120 + ".hl7",
        "." + "s" * 200,
    ],
)
def test_a_name_is_a_name_whatever_is_in_it(folder: Folder, lab: Path, name: str) -> None:
    (lab / name).write_bytes(b"x")
    assert names(folder) == [name]
    assert folder.take(name)
    assert content(folder, name) == b"x"
    folder.put_away(name, DONE, "1f3a", folder.report("token"))
    put = sorted(os.listdir(lab / "done"))
    assert len(put) == 2
    assert put[1] == f"{put[0]}.ack"
    assert sorted(os.listdir(lab)) == ["done", "failed", "work"]
    assert {path.name for path in lab.parent.iterdir()} == {"lab"}


def test_links_pipes_and_folders_are_no_files(folder: Folder, lab: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of another")
    (lab / "link").symlink_to(secret)
    (lab / "dangling").symlink_to(tmp_path / "nowhere")
    (lab / "sub").mkdir()
    os.mkfifo(lab / "pipe")
    assert names(folder) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_got_into_the_place_of_a_file_is_never_read(folder: Folder, lab: Path, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of another")
    place = lab / "work" / "a.hl7"
    if kind == "link":
        place.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    assert folder.taken() == ["a.hl7"]
    with pytest.raises(Unusable):
        folder.read("a.hl7")
    folder.put_away("a.hl7", FAILED, "1f3a", None)
    assert folder.taken() == []
    assert secret.read_text() == "of another"


@pytest.mark.parametrize("inner", ["work", "done", "failed"])
def test_a_link_in_the_place_of_our_own_folders_is_not_followed(
    root: Path, lab: Path, tmp_path: Path, inner: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (lab / inner).symlink_to(elsewhere)
    with pytest.raises(Unusable):
        Folder.open(root, ["north", "lab"])
    assert list(elsewhere.iterdir()) == []


def test_no_link_leads_out_of_the_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside" / "lab").mkdir(parents=True)
    (root / "south").symlink_to(tmp_path / "outside")
    (root / "north" / "up").symlink_to("../../outside/lab")
    for parts in (["south", "lab"], ["north", "up"]):
        with pytest.raises(Unusable, match="link"):
            Folder.open(root, parts)
    assert list((tmp_path / "outside" / "lab").iterdir()) == []


@pytest.mark.parametrize("parts", [[".."], ["north", "..", ".."], ["/etc"], [""], ["."], ["north/../.."], ["a\0b"]])
def test_no_name_leads_out_of_the_root(root: Path, parts: list[str]) -> None:
    with pytest.raises(Unusable):
        Folder.open(root, parts)


def test_the_root_itself_may_be_a_link_for_the_operator_made_it(root: Path, lab: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to(root)
    (lab / "a").write_text("x")
    found = Folder.open(tmp_path / "named", ["north", "lab"])
    assert names(found) == ["a"]
    found.close()


def test_a_folder_that_is_not_there_is_told_without_its_path(root: Path) -> None:
    with pytest.raises(Unusable) as told:
        Folder.open(root, ["north", "secret-patient"])
    assert str(told.value) == "the folder is not there"


def test_of_two_who_take_a_file_one_gets_it(root: Path, lab: Path) -> None:
    one, two = Folder.open(root, ["north", "lab"]), Folder.open(root, ["north", "lab"])
    (lab / "a").write_text("x")
    assert [one.take("a"), two.take("a")] == [True, False]
    (lab / "a").write_text("another of the same name, which must not take the place of the first")
    assert not two.take("a")
    assert content(one, "a") == b"x"
    one.put_away("a", DONE, "1", one.report("t1"))
    two.put_away("a", DONE, "1", two.report("t2"))
    assert sorted(os.listdir(lab / "done")) == ["a.1", "a.1.ack"]
    assert two.take("a")
    one.close()
    two.close()


def test_begun_reports_of_a_process_that_ended_are_taken_away(folder: Folder, lab: Path) -> None:
    folder.report("dead").write(b"x")
    (lab / "work" / "a").write_text("x")
    folder.clear()
    assert sorted(os.listdir(lab / "work")) == ["a"]


def test_a_file_that_grows_has_another_stamp(folder: Folder, lab: Path) -> None:
    (lab / "a").write_text("x")
    before = folder.waiting(every)[0].stamp
    with (lab / "a").open("a") as more:
        more.write("y")
    assert isinstance(before, Stamp)
    assert folder.waiting(every)[0].stamp != before


def test_a_folder_that_may_not_be_written_is_told(root: Path, lab: Path) -> None:
    found = Folder.open(root, ["north", "lab"])
    (lab / "a").write_text("x")
    lab.chmod(0o500)
    try:
        if os.access(lab, os.W_OK):
            pytest.skip("these rights do not bind root")
        with pytest.raises(Unusable, match="rights"):
            found.take("a")
    finally:
        lab.chmod(0o700)
        found.close()


def test_where_a_name_is_put_away() -> None:
    assert tagged("a.b.hl7", "1") == "a.b.1.hl7"
    assert tagged(".hidden", "1") == ".hidden.1"
    assert len(os.fsencode(tagged("ü" * 120 + ".hl7", "12345678"))) < 210
    assert tagged("a." + "x" * 100, "1") == "a." + "x" * 100 + ".1"
