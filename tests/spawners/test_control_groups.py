"""Limits of local sessions: what is written for which version, and what a machine without them says.

That they hold is shown by real sessions in test_production.
"""

import logging
from pathlib import Path

import pytest

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.errors import ConfigurationError
from jupyterhub_daas.spawners.backends.local import backend as local
from jupyterhub_daas.spawners.backends.local.control_groups import (
    NoControlGroupsError,
    find_groups,
    limits_of,
)

SMALL = Flavour(key="small", title="Small", cpus=0.5, memory=1 << 28)
OPEN = Flavour(key="open", title="Open", cpus=0, memory=0)
HUB, SESSION = "cafe", "0" * 16


class Tree:
    """A folder with the files that the kernel would have in one of its own."""

    def __init__(self, root: Path, version: int, membership: str) -> None:
        self.root, self.membership = root, root / "membership"
        root.mkdir(parents=True, exist_ok=True)
        self.membership.write_text(membership)
        if version == 2:
            (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")

    def written(self, name: str) -> str:
        return (self.root / name).read_text()


def test_version_2_has_one_group_for_each_session(tmp_path: Path) -> None:
    tree = Tree(tmp_path, 2, "0::/system.slice/jupyterhub.service\n")
    groups = find_groups(HUB, tree.root, tree.membership)
    ours = tmp_path / "jupyterhub-daas" / HUB
    assert groups.folders == (ours,)
    for folder in (tmp_path, tmp_path / "jupyterhub-daas", ours):
        assert (folder / "cgroup.subtree_control").read_text() == "+cpu +memory"
    (ours / SESSION).mkdir()
    for name in ("cpu.max", "memory.max"):
        (ours / SESSION / name).touch()
    groups.make(SESSION, SMALL)
    groups.enter(SESSION, 4711)
    assert {each.name: each.read_text() for each in (ours / SESSION).iterdir()} == {
        "cpu.max": "50000 100000",
        "memory.max": str(1 << 28),
        "cgroup.procs": "4711",
    }


def test_version_1_has_one_for_each_controller_below_the_hubs_own(tmp_path: Path) -> None:
    tree = Tree(tmp_path, 1, "9:name=systemd:/\n4:memory:/lab/hub\n2:cpu,cpuacct:/\n0::/\n")
    groups = find_groups(HUB, tree.root, tree.membership)
    assert groups.folders == (
        tmp_path / "cpu/jupyterhub-daas" / HUB,
        tmp_path / "memory/lab/hub/jupyterhub-daas" / HUB,
    )
    groups.make(SESSION, SMALL)
    groups.enter(SESSION, 4711)
    for folder in groups.folders:
        assert (folder / SESSION / "cgroup.procs").read_text() == "4711"


def test_groups_without_a_session_go(tmp_path: Path) -> None:
    tree = Tree(tmp_path, 1, "4:memory:/\n2:cpu:/\n")
    groups = find_groups(HUB, tree.root, tree.membership)
    for name in ("ended", "runs"):
        groups.make(name, OPEN)
    (groups.folders[0] / "runs" / "a-process").touch()
    (groups.folders[1] / "runs" / "a-process").touch()
    groups.sweep()
    assert [[each.name for each in folder.iterdir()] for folder in groups.folders] == [["runs"], ["runs"]]


@pytest.mark.parametrize(
    ("flavour", "version", "limits"),
    [
        (SMALL, 2, {"cpu.max": "50000 100000", "memory.max": "268435456", "memory.swap.max": "0"}),
        (
            SMALL,
            1,
            {
                "cpu.cfs_period_us": "100000",
                "cpu.cfs_quota_us": "50000",
                "memory.limit_in_bytes": "268435456",
                "memory.memsw.limit_in_bytes": "268435456",
            },
        ),
        (OPEN, 2, {}),
        (OPEN, 1, {}),
    ],
)
def test_writes_what_the_flavour_says(flavour: Flavour, version: int, limits: dict[str, str]) -> None:
    assert limits_of(flavour, version) == limits


def test_a_machine_without_a_controller_says_so(tmp_path: Path) -> None:
    tree = Tree(tmp_path, 1, "2:cpu:/\n0::/\n")
    with pytest.raises(NoControlGroupsError, match="no controller 'memory'"):
        find_groups(HUB, tree.root, tree.membership)


def build(limits: str, *, shared: bool = False) -> local.LocalBackend:
    """Build the backend as a hub would."""
    options = {"limits": limits, "homes": "/srv/homes"}
    return local.LocalBackend(hub_id=HUB, shared_account=shared, options=options)


def test_the_admin_reads_when_sessions_are_not_limited(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_hub_id: str) -> None:
        raise NoControlGroupsError("Permission denied: /sys/fs/cgroup")

    monkeypatch.setattr(local, "find_groups", refuse)
    monkeypatch.setattr(local.os, "geteuid", lambda: 0)
    with caplog.at_level(logging.WARNING):
        build("auto").limit(SESSION, SMALL, 1)
    assert "does not let us hold sessions to their memory and CPUs (Permission denied" in caplog.text
    with pytest.raises(ConfigurationError, match=r"backends\.local\.limits: This machine does not let us"):
        build("required")
    caplog.clear()
    build("off")
    monkeypatch.setattr(local.os, "geteuid", lambda: 1000)
    build("auto", shared=True)
    assert caplog.text == ""
