"""The service follows its facility file; whatever is wrong with it, the last good version stays in use."""

import copy
import os
import signal
import time
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.services.proposals.service import FACILITY, ProposalsProcess
from tests.support.postgres import private_postgres
from tests.support.waiting import wait_until

BROKEN = "people:\n  amara:\n    uid: 0\n    gid: 5\n"


def with_title(title: str) -> dict[str, Any]:
    content = copy.deepcopy(FACILITY)
    content["proposals"]["MA-9"]["title"] = title
    return content


def title_of(service: ProposalsProcess) -> str:
    return str(service.get("proposals/MA-9", "amara").json()["title"])


def test_reads_the_file_again_when_it_changed(own_service: ProposalsProcess) -> None:
    own_service.write(with_title("Another"))
    wait_until(lambda: title_of(own_service) == "Another")
    # Also when its size is the same, and when it is written in place.
    own_service.file.write_text(own_service.file.read_text().replace("Another", "Different"[:7]))
    wait_until(lambda: title_of(own_service) == "Differe")
    assert own_service.health()["healthy"]


def test_losing_membership_counts_at_once(own_service: ProposalsProcess) -> None:
    content = copy.deepcopy(FACILITY)
    del content["proposals"]["MA-9"]["members"]["amara"]
    own_service.write(content)
    wait_until(lambda: own_service.get("proposals/MA-9", "amara").status_code == 404)
    assert own_service.get("proposals/MA-9/mounts", "amara", username="amara").status_code == 404


def test_keeps_the_last_good_version_and_names_the_place(own_service: ProposalsProcess) -> None:
    own_service.write_text(BROKEN)
    wait_until(lambda: own_service.answers(503), what="health sees the error")
    health = own_service.health()
    assert health["parts"] == {"database": True, "directory": False}
    assert "line 3" in health["problems"]["directory"]
    # Health is public, names are not.
    assert "amara" not in health["problems"]["directory"]
    assert "line 3: people.amara.uid: " in own_service.log()
    assert own_service.metric("daas_directory_failing") == 1
    assert own_service.metric("daas_directory_errors_total") == 1
    assert title_of(own_service) == "Épitaxie of zinc"

    # The last good version outlives the service, and the error is found again.
    own_service.stop()
    own_service.start(healthy=False)
    wait_until(lambda: own_service.answers(503))
    assert title_of(own_service) == "Épitaxie of zinc"

    own_service.write(with_title("Mended"))
    wait_until(lambda: own_service.answers(200))
    assert title_of(own_service) == "Mended"
    assert own_service.metric("daas_directory_failing") == 0
    assert "Traceback" not in own_service.log()


def test_an_error_is_logged_once(own_service: ProposalsProcess) -> None:
    own_service.file.unlink()
    wait_until(lambda: own_service.answers(503))
    looks = own_service.log().count("GET /services/proposals/health")
    wait_until(lambda: own_service.health() and own_service.log().count("/health") > looks + 40)
    assert own_service.log().count("facility.yaml: No such file") == 1
    own_service.write(FACILITY)
    wait_until(lambda: own_service.answers(200))


def test_taking_an_error_back_is_enough(own_service: ProposalsProcess) -> None:
    good = own_service.file.with_name("good.yaml")
    os.link(own_service.file, good)
    own_service.write_text(BROKEN)
    wait_until(lambda: own_service.answers(503))
    good.replace(own_service.file)
    wait_until(lambda: own_service.answers(200))
    assert own_service.log().count("Read the directory") == 1


def test_starts_with_what_it_read_before(own_service: ProposalsProcess) -> None:
    own_service.stop()
    own_service.start()
    assert title_of(own_service) == "Épitaxie of zinc"
    # It was as it is: there was nothing to read.
    assert own_service.log().count("Read the directory") == 1


def test_a_first_start_without_a_good_file_is_an_outage(hub: Any, tmp_path: Path) -> None:
    service = ProposalsProcess(tmp_path, hub)
    service.write_text(BROKEN)
    try:
        service.start(healthy=False)
        wait_until(lambda: "in line 3" in service.health()["problems"].get("directory", ""))
        for path in ("people/amara", "people/amara/proposals", "proposals/MA-9"):
            answer = service.get(path, "amara")
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "upstream_unavailable"
        service.write(FACILITY)
        wait_until(lambda: service.answers(200))
        assert title_of(service) == "Épitaxie of zinc"
    finally:
        service.stop()


def test_answers_while_a_large_file_is_read(own_service: ProposalsProcess) -> None:
    """Reading takes seconds of a processor; an answer meanwhile takes as long as ever."""
    content = with_title("Large")
    for number in range(4000):
        content["proposals"][f"X-{number}"] = {"title": "word " * 20, "abstract": "word " * 100}
    own_service.write(content)
    wait_until(lambda: readers_of(own_service), what="the reader runs")
    times = []
    while readers_of(own_service):
        begin = time.perf_counter()
        title_of(own_service)
        times.append(time.perf_counter() - begin)
    assert len(times) > 5
    assert sorted(times)[len(times) // 2] < 0.25
    wait_until(lambda: title_of(own_service) == "Large")


def cpu_seconds(pid: int) -> float:
    """Return what a process has used of a processor."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11]) / os.sysconf(
        "SC_CLK_TCK"
    )


def has_ended(pid: int) -> bool:
    """Tell whether a process runs no more; who inherits it may take a while to bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def readers_of(service: ProposalsProcess) -> list[int]:
    """Return the pids of the service's reader."""
    tasks = Path(f"/proc/{service.pid()}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def test_a_reader_that_is_killed_leaves_the_last_good_version(own_service: ProposalsProcess) -> None:
    content = with_title("Too late")
    for number in range(4000):
        content["proposals"][f"X-{number}"] = {"title": "word " * 20, "abstract": "word " * 100}
    own_service.write(content)
    (reader,) = wait_until(lambda: readers_of(own_service), what="the reader runs")
    os.kill(reader, signal.SIGKILL)
    wait_until(lambda: own_service.answers(503))
    assert "The reader of the directory ended with status -9" in own_service.log()
    assert title_of(own_service) == "Épitaxie of zinc"


def test_a_reader_ends_with_its_service(own_service: ProposalsProcess) -> None:
    content = copy.deepcopy(FACILITY)
    for number in range(40_000):
        content["proposals"][f"X-{number}"] = {"title": "word"}
    own_service.write(content)
    (reader,) = wait_until(lambda: readers_of(own_service), what="the reader runs")
    # Late enough for the reader to have asked for its end, early enough to find it at work.
    wait_until(lambda: cpu_seconds(reader) > 0.7)
    own_service.kill()
    wait_until(lambda: has_ended(reader), what="the reader ends")
    own_service.start()


def test_a_link_made_after_reading_leads_nowhere(own_service: ProposalsProcess) -> None:
    folder = own_service.data / "MA-9"
    folder.mkdir()
    outside = own_service.folder / "outside"
    outside.mkdir()
    path = "proposals/MA-9/mounts"
    assert own_service.get(path, "amara", username="amara").status_code == 200
    for link, target in ((folder / "processed", outside), (folder / "raw", Path("../../outside"))):
        link.symlink_to(target)
        answer = own_service.get(path, "amara", username="amara")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "upstream_answer"
        assert str(outside) not in answer.text
        link.unlink()
    folder.rmdir()
    folder.symlink_to(outside)
    assert own_service.get(path, "daas-hub", username="amara").status_code == 503
    folder.unlink()
    # Inside the roots a link is followed: the session gets the folder itself.
    (own_service.data / "store").mkdir()
    folder.symlink_to("store")
    items = own_service.get(path, "amara", username="amara").json()["items"]
    assert [each["source"].rpartition("/data/")[2] for each in items] == ["store/raw", "store/processed"]


def test_refuses_to_start_with_a_wrong_connector(hub: Any, tmp_path: Path) -> None:
    service = ProposalsProcess(tmp_path, hub)
    for directory, said in (
        ({"connector": "icat", "file": "x"}, "there is no connector 'icat'"),
        ({"connector": "file"}, "directory.file"),
    ):
        (tmp_path / "daas.yaml").write_text(yaml.safe_dump({"directory": directory}))
        assert service.run_to_end() == 1
        assert said in service.log()
    assert "Traceback" not in service.log()


def test_a_database_that_is_away_is_an_outage(hub: Any, tmp_path: Path) -> None:
    with private_postgres() as server:
        service = ProposalsProcess(tmp_path, hub, database_url=server.create_database("daas"))
        service.write(FACILITY)
        try:
            service.start()
            server.stop()
            for path in ("people/amara", "people/amara/proposals", "proposals/MA-9/mounts?username=amara"):
                answer = service.get(path, "amara")
                assert answer.status_code == 503
                assert answer.json()["error"]["service"] == "database"
            service.write(with_title("Written meanwhile"))
            wait_until(lambda: "directory can't be read" in str(service.health()["problems"]))
            assert "stays in use: The database does not answer." in service.log()
            server.start()
            assert service.get("people/amara", "amara").status_code == 200
            assert title_of(service) == "Épitaxie of zinc"
            assert "Traceback" not in service.log()
        finally:
            service.stop()


def test_a_hub_that_is_away_is_an_outage(own_service: ProposalsProcess, hub: Any) -> None:
    hub.stop()
    try:
        answer = own_service.get("people/bruno", "bruno")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "upstream_unavailable"
        # Health tells of the service's own parts.
        assert requests.get(own_service.root + "health", timeout=60).status_code == 200
    finally:
        hub.start()
    assert own_service.get("people/bruno", "bruno").status_code == 200
