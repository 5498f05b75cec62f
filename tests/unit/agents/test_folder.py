"""A run's files stay in its folder, whatever names its request brings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream_agents.folder import MOST_TOLD, Folder, OutsideFolder, check, filled


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "..", "", "a\\b", "a\0b"])
def test_a_path_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(OutsideFolder, match=r"no path below the folder of a run"):
        check(name)


def test_a_file_goes_below_the_folder_and_its_folders_are_made(tmp_path: Path) -> None:
    place = Folder(tmp_path / "run").place("out/report.md")

    place.write_text("x")
    assert place == tmp_path / "run" / "out" / "report.md"


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    (folder.path() / "out").symlink_to(tmp_path)

    with pytest.raises(OutsideFolder, match="leads out"):
        folder.place("out/report.md")


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text() | st.integers() | st.none()))
def test_no_input_makes_a_name_lead_anywhere_else(inputs: dict[str, object]) -> None:
    name = filled("reports/{a}/x-{b}.md", inputs)

    check(name)
    assert len(Path(name).parts) == 3


def test_what_was_written_is_told_and_removed(tmp_path: Path) -> None:
    folder = Folder.of_run("w/t/1", tmp_path)
    assert list(folder.written()) == []
    for number in range(MOST_TOLD + 5):
        folder.place(f"deep/{number:03}.txt").write_text("abc")
    (folder.path() / "link").symlink_to("/etc/passwd")

    written = folder.written()
    folder.remove()

    assert len(written) == MOST_TOLD
    assert (written[0].path, written[0].size_bytes) == ("deep/000.txt", 3)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_its_runners_is_left_to_it(tmp_path: Path) -> None:
    Folder(tmp_path, shared=True).remove()

    assert tmp_path.exists()


def test_runs_have_folders_of_their_own(tmp_path: Path) -> None:
    names = ["w/t/1", "w/t/2", "w/t", "../..", "x" * 5000, "\ud800"]

    places = {Folder.of_run(name, tmp_path).path() for name in names}

    assert len(places) == len(names)
    assert {place.parent for place in places} == {tmp_path}
