"""The example notebook gives the right numbers with the measured spectra, and fails with anything else."""

import re
import shutil
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
import yaml

from demo.data import NOTEBOOK, WITH_SPECTRA, write_proposals

DEMO = Path(__file__).resolve().parents[2] / "demo"
RESULT = re.compile(
    r"RESULT iron (?P<iron>[\d.]+) ppm, Fe Ka (?P<energy>[\d.]+) keV, chi2 (?P<chi2>[\d.]+), "
    r"steel chromium (?P<chromium>[\d.]+) %"
)


@pytest.fixture(scope="module")
def proposal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the proposal with the spectra, as the demo writes it."""
    folder = tmp_path_factory.mktemp("data")
    directory = yaml.safe_load((DEMO / "facility.yaml").read_text())
    only = {"proposals": {WITH_SPECTRA: directory["proposals"][WITH_SPECTRA]}}
    (folder / "facility.yaml").write_text(yaml.safe_dump(only))
    assert write_proposals(folder / "facility.yaml", folder) == 1
    return folder / WITH_SPECTRA


def run_notebook(folder: Path) -> Any:
    notebook = nbformat.read(folder / NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return notebook


def printed(notebook: Any) -> str:
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return "".join(output.get("text", "") for output in outputs)


def test_fits_the_measured_spectra(proposal: Path) -> None:
    notebook = run_notebook(proposal / "processed")
    found = RESULT.search(printed(notebook))
    assert found, printed(notebook)
    # The standard holds about as much of each element as of cobalt, 500 ppm; the line is at 6.404 keV.
    assert float(found["iron"]) == pytest.approx(517.3, abs=3)
    assert float(found["energy"]) == pytest.approx(6.404, abs=0.004)
    assert float(found["chi2"]) == pytest.approx(1.87, abs=0.1)
    # Certified: 18.4 %. Without secondary excitation the fit gives 31 %.
    assert float(found["chromium"]) == pytest.approx(19.8, abs=0.5)
    assert "Fe K,397" in (proposal / "processed" / "xrf-results.csv").read_text()
    assert (proposal / "processed" / "xrf-fit.png").stat().st_size > 20_000


def test_refuses_another_spectrum_in_the_place_of_the_right_one(proposal: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    shutil.copytree(proposal / "processed", tmp_path / "processed")
    shutil.copy(proposal / "raw" / "Steel.spe", tmp_path / "raw" / "XRFSpectrum.mca")
    with pytest.raises(nbclient.exceptions.CellExecutionError):
        run_notebook(tmp_path / "processed")


def test_raw_data_is_what_the_directory_says_and_read_only(proposal: Path) -> None:
    directory = yaml.safe_load((DEMO / "facility.yaml").read_text())
    datasets = directory["proposals"][WITH_SPECTRA]["datasets"]
    assert {dataset["path"]: dataset["size"] for dataset in datasets} == {
        f"raw/{path.name}": path.stat().st_size for path in (proposal / "raw").iterdir()
    }
    assert [
        path.name for path in (proposal / "raw", *(proposal / "raw").iterdir()) if path.stat().st_mode & 0o222
    ] == []


def test_results_of_a_person_are_kept_and_broken_off_data_is_made_anew(proposal: Path) -> None:
    facility = proposal.parent / "facility.yaml"
    mine = proposal / "processed" / NOTEBOOK
    before = mine.read_text()
    mine.write_text(before + "\n")
    raw = proposal / "raw"
    # A set-up that was broken off leaves the folder writable.
    raw.chmod(0o755)
    (raw / "Steel.spe").unlink()
    write_proposals(facility, proposal.parent)
    assert mine.read_text() == before + "\n"
    assert (raw / "Steel.spe").stat().st_size == 20775
    assert not raw.stat().st_mode & 0o222
