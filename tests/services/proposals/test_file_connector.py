"""The facility file is read whole or refused with each wrong place; no path leaves the roots."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyterhub_daas.core.proposals import MemberRole
from jupyterhub_daas.services.proposals.connectors.base import DirectoryError, Snapshot
from jupyterhub_daas.services.proposals.connectors.file import MAX_ERRORS, FileConnector
from jupyterhub_daas.services.proposals.roots import OutsideRootsError, Roots
from tests.services.proposals.service import FACILITY, ISSUER


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def read(root: Path, text: str) -> Snapshot:
    path = root.parent / "facility.yaml"
    path.write_text(text)
    return FileConnector(path, Roots([root])).read()


def refused(root: Path, text: str) -> DirectoryError:
    with pytest.raises(DirectoryError) as caught:
        read(root, text)
    return caught.value


def changed(place: str, value: Any) -> str:
    """Return the tests' facility with something else at a place."""
    content = copy.deepcopy(FACILITY)
    *path, last = place.split("/")
    target: Any = content
    for part in path:
        target = target[int(part) if isinstance(target, list) else part]
    target[int(last) if isinstance(target, list) else last] = value
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def test_reads_the_demo(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "demo" / "facility.yaml").read_text()
    (tmp_path / "data").mkdir()
    text = text.replace("@STATE@", str(tmp_path)).replace("@ISSUER@", ISSUER)
    snapshot = read(tmp_path / "data", text)
    proposals = {entry.proposal.identifier: entry for entry in snapshot.proposals}
    assert proposals["20180301"].members[0] == ("bruno", MemberRole.PRINCIPAL_INVESTIGATOR)
    assert proposals["20180301"].folder == str(tmp_path / "data" / "20180301")
    assert len(snapshot.people) >= 6


def test_names_are_what_is_written(root: Path) -> None:
    snapshot = read(
        root,
        "people: {no: {uid: 5, gid: 6}, y: {uid: 7, gid: 6, email: null}}\n"
        "instruments: {on: {title: 1e3}}\n"
        "proposals:\n  20180301: {title: 2018-03-01, members: {no: member}, abstract: ~}\n"
        "  0x10: {title: 'null'}\n  1_000: {title: yes}\n",
    )
    assert [each.person.username for each in snapshot.people] == ["no", "y"]
    assert snapshot.instruments[0].instrument.title == "1e3"
    titles = {each.proposal.identifier: each.proposal.title for each in snapshot.proposals}
    assert titles == {"20180301": "2018-03-01", "0x10": "null", "1_000": "yes"}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "people:\nproposals: {}\n", "~"])
def test_an_empty_file_is_an_empty_facility(root: Path, text: str) -> None:
    assert read(root, text) == Snapshot(people=(), instruments=(), proposals=())


def test_follows_anchors(root: Path) -> None:
    snapshot = read(
        root, "people: {a: &a {uid: 5, gid: 6}, b: *a}\nproposals: {P: {title: x, members: {b: member}}}"
    )
    assert snapshot.people[1].person.uid == 5


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param("people:\n  a: [1,\n", 3, "line 3", id="broken syntax"),
        pytest.param(
            "people:\n  a: {uid: 1, gid: 1}\n  a: {uid: 2, gid: 1}\n", 3, "'a' is given twice", id="key twice"
        ),
        pytest.param("people: {}\npeople: {}\n", 2, "'people' is given twice", id="section twice"),
        pytest.param("people:\n  - a\n", 2, "must be a mapping", id="list of people"),
        pytest.param("- a\n", 1, "must be a mapping", id="list at the top"),
        pytest.param("people: {}\n---\npeople: {}\n", 2, "second document", id="two documents"),
        pytest.param("persons:\n  a: {}\n", 2, "no such section", id="unknown section"),
        pytest.param("people:\n  a: !!python/object:os.system {}\n", 2, "people.a", id="python tag"),
        pytest.param("people:\n  a: !run x\n", 2, "tags are not known", id="other tag"),
        pytest.param("people:\n  a: *b\n", 2, "alias", id="unknown alias"),
        pytest.param("people:\n  a: &a {x: *a}\n", 2, "alias", id="alias of itself"),
        pytest.param("people:\n  a: " + "[" * 50 + "]" * 50, 2, "too deeply", id="deep"),
        pytest.param("people:\n  ? [a]\n  : b\n", 2, "a key must be a text", id="key is a list"),
        pytest.param("people:\n  a:\n", 2, "people.a", id="person without content"),
        pytest.param("proposals:\n  ../x: {title: x}\n", 2, "proposals.../x", id="identifier climbs"),
        pytest.param("people:\n  'a\\n': {uid: 1, gid: 1}\n", 2, "people.", id="name with newline"),
    ],
)
def test_refuses_a_wrong_form_with_its_line(root: Path, text: str, line: int, said: str) -> None:
    error = refused(root, text)
    assert error.line == line
    assert said in error.message
    assert "facility.yaml" in error.message


def test_refuses_what_is_no_text(root: Path) -> None:
    path = root.parent / "facility.yaml"
    for content in (b"people: {a: \xff\xfe}", b"\x00\x01", b"people: {a: '\x07'}"):
        path.write_bytes(content)
        with pytest.raises(DirectoryError):
            FileConnector(path, Roots([root])).read()


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("people/amara/uid", 0, "people.amara.uid"),
        ("people/amara/uid", -1, "people.amara.uid"),
        ("people/amara/uid", "root", "people.amara.uid"),
        ("people/amara/uid", 1 << 40, "people.amara.uid"),
        ("people/amara/gid", None, "people.amara.gid"),
        ("people/amara/shell", "/bin/sh", "people.amara.shell"),
        ("people/amara/display_name", "a\0b", "people.amara.display_name"),
        ("people/bruno/identities/0", {"issuer": ISSUER, "subject": "a1"}, "this identity belongs to amara"),
        ("people/bruno/identities/0", {"issuer": ISSUER, "subject": "x\0"}, "bruno.identities.0.subject"),
        ("people/bruno/identities/0", {"issuer": ISSUER}, "people.bruno.identities.0.subject"),
        ("people/Bad Name", {"uid": 1, "gid": 1}, "people.Bad Name"),
        ("instruments/id21/scientists", ["nobody"], "scientists.0: nobody is not among the people"),
        ("instruments/ID 21", {}, "instruments.ID 21"),
        ("proposals/MA-9/members/nobody", "member", "members.nobody: nobody is not among the people"),
        ("proposals/MA-9/members/amara", "boss", "proposals.MA-9.members.amara"),
        ("proposals/MA-9/instruments/0", "id99", "instruments.0: id99 is not among the instruments"),
        ("proposals/MA-9/experiments/0/instrument", "id19", "proposals.MA-9.experiments.0.instrument"),
        ("proposals/MA-9/experiments/0/end", "2020-01-01", "MA-9.experiments.0: Value error, ends before"),
        ("proposals/MA-9/experiments/0/start", "someday", "proposals.MA-9.experiments.0.start"),
        ("proposals/MA-9/experiments/0/start", 5, "proposals.MA-9.experiments.0.start"),
        ("proposals/MA-9/experiments/0/start", "0001-01-01T00:00:00+14:00", "MA-9.experiments.0.start"),
        ("proposals/MA-9/embargo_until", "9999-12-31", "proposals.MA-9.embargo_until"),
        ("proposals/MA-9/datasets/1/pid", "p/2", "proposals.MA-9.datasets.1: is given twice"),
        ("proposals/MA-9/datasets/0/size", -1, "proposals.MA-9.datasets.0.size"),
        ("proposals/MA-9/datasets/0/size", float("nan"), "proposals.MA-9.datasets.0.size"),
        ("proposals/MA-9/state", "open", "proposals.MA-9.state"),
        ("proposals/MA-9/url", "javascript:alert(1)", "proposals.MA-9.url"),
        ("proposals/MA-9/title", "x" * 501, "proposals.MA-9.title"),
        ("proposals/MA-9/folder", None, "proposals.MA-9.datasets: datasets need"),
        ("proposals/MA-10/folder", "MA-9", "is the folder of proposal"),
        ("proposals/MA-10/folder", "./MA-9/../MA-9", "proposals.MA-10.folder"),
    ],
)  # fmt: skip
def test_refuses_a_wrong_entry_with_its_place(root: Path, place: str, value: Any, said: str) -> None:
    text = changed(place, value)
    error = refused(root, text)
    assert said in error.message
    # The line is that of the entry at least, or of the very place.
    assert error.line is not None
    section = place.split("/")[0]
    assert error.line > text.splitlines().index(f"{section}:") + 1


def test_names_the_very_line(root: Path) -> None:
    text = changed("proposals/MA-9/datasets/1/size", "huge")
    error = refused(root, text)
    assert text.splitlines()[(error.line or 0) - 1].strip() == "size: huge"


def test_names_several_places_but_not_without_end(root: Path) -> None:
    people = "".join(f"  p{number}: {{uid: 0, gid: 1}}\n" for number in range(50))
    error = refused(root, "people:\n" + people)
    assert error.message.count("line ") == MAX_ERRORS
    assert "line 2: people.p0.uid" in error.message
    assert "line 3: people.p1.uid" in error.message


def test_a_missing_file_is_an_error_with_its_name(root: Path) -> None:
    connector = FileConnector(root / "none.yaml", Roots([root]))
    for ask in (connector.fingerprint, connector.read):
        with pytest.raises(DirectoryError, match=r"none\.yaml: No such file"):
            ask()


# --- paths


def proposal(folder: str, dataset: str = "raw/a") -> str:
    return yaml.safe_dump(
        {
            "proposals": {
                "P": {
                    "title": "x",
                    "folder": folder,
                    "datasets": [{"pid": "1", "name": "n", "path": dataset}],
                }
            }
        }
    )


@pytest.mark.parametrize(
    "folder",
    [
        "..",
        "../x",
        "a/../../x",
        "a/..",
        ".",
        "/",
        "//",
        "",
        "/etc",
        "/etc/../etc",
        "a\0b",
        "a\nb",
        "x" * 4097,
    ],
)
def test_refuses_a_folder_outside_the_roots(root: Path, folder: str) -> None:
    assert "proposals.P.folder" in refused(root, proposal(folder)).message


def test_refuses_a_root_as_a_folder(root: Path) -> None:
    for folder in (str(root), f"{root}/", f"{root}/.", f"{root}x/y", f"{root.parent}/other"):
        assert "proposals.P.folder" in refused(root, proposal(folder)).message


@pytest.mark.parametrize("path", ["..", "../../x", "raw/../../Q/raw", "/etc/passwd", "a\0", ""])
def test_refuses_a_dataset_outside_the_folder(root: Path, path: str) -> None:
    assert "proposals.P.datasets.0.path" in refused(root, proposal("P", path)).message


def test_takes_folders_by_name_and_by_path(root: Path) -> None:
    for folder in ("P", "./P", "P/", f"{root}/P", f"{root}//P/"):
        assert read(root, proposal(folder)).proposals[0].folder == f"{root}/P"


def test_a_relative_folder_lies_in_the_first_root_that_has_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "two" / "P").mkdir()
    roots = Roots([tmp_path / "one", tmp_path / "two"])
    assert roots.place("P") == str(tmp_path / "two" / "P")
    assert roots.place("Q") == str(tmp_path / "one" / "Q")


def test_refuses_links_that_lead_out(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "P").symlink_to(outside)
    assert "proposals.P.folder: leads out" in refused(root, proposal("P")).message
    (root / "Q").mkdir()
    (root / "Q" / "raw").symlink_to("../../outside")
    assert "proposals.P.datasets.0.path: leads out" in refused(root, proposal("Q")).message
    (root / "R").symlink_to("S")
    (root / "S").symlink_to("R")
    assert "proposals.P.folder: leads round" in refused(root, proposal("R")).message
    (root / "T").symlink_to("missing/../../outside")
    assert "proposals.P.folder: leads out" in refused(root, proposal("T")).message


def test_follows_links_that_stay_inside(root: Path) -> None:
    (root / "2024" / "P").mkdir(parents=True)
    (root / "P").symlink_to("2024/P")
    roots = Roots([root])
    assert read(root, proposal("P")).proposals[0].folder == f"{root}/P"
    assert roots.resolve(f"{root}/P/raw") == f"{root.resolve()}/2024/P/raw"
    # Two names for one folder are one folder.
    two = "proposals: {P: {title: x, folder: P}, Q: {title: x, folder: 2024/P}}"
    assert "is the folder of proposal P" in refused(root, two).message


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "store" / "P").mkdir(parents=True)
    (tmp_path / "data").symlink_to("store")
    roots = Roots([tmp_path / "data"])
    assert roots.resolve(f"{tmp_path}/data/P") == os.path.realpath(tmp_path / "store" / "P")


def test_no_roots_means_no_folders(tmp_path: Path) -> None:
    roots = Roots([])
    for path in ("P", "/etc"):
        with pytest.raises(OutsideRootsError):
            roots.resolve(roots.place(path))
