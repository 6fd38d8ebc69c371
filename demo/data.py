"""The proposals' data: measured spectra for the first proposal, small made-up scans for the others.

`raw` is read-only in every proposal's folder; what a person wrote to `processed` is never touched.
"""

import importlib.util
import math
import random
import shutil
from pathlib import Path
from typing import Any

import yaml

from demo.processes import DemoError

HERE = Path(__file__).parent
WITH_SPECTRA = "20180301"
NOTEBOOK = "fit-xrf-spectrum.ipynb"


def measured_spectra() -> Path:
    """Return the folder of spectra that PyMca brings along."""
    # Found without importing PyMca, which would take a second.
    found = importlib.util.find_spec("PyMca5")
    folder = Path(found.origin).parent / "PyMcaData" if found and found.origin else None
    if folder is None or not (folder / "XRFSpectrum.mca").is_file():
        raise DemoError("PyMca's spectra are missing. Remove the folder venv in DAAS_STATE and start again.")
    return folder


def write_proposals(facility: Path, data: Path) -> int:
    """Fill the folders of all proposals of a facility directory; return how many there are."""
    proposals: dict[str, dict[str, Any]] = yaml.safe_load(facility.read_text(encoding="utf-8"))["proposals"]
    spectra = measured_spectra()
    for identifier, proposal in proposals.items():
        folder = data / identifier
        raw, processed = folder / "raw", folder / "processed"
        processed.mkdir(parents=True, exist_ok=True)
        if not raw.is_dir() or raw.stat().st_mode & 0o222:
            _write_raw(raw, proposal.get("datasets", ()), spectra)
    notebook = data / WITH_SPECTRA / "processed" / NOTEBOOK
    if not notebook.exists():
        shutil.copyfile(HERE / "notebooks" / NOTEBOOK, notebook)
    return len(proposals)


def _write_raw(raw: Path, datasets: list[dict[str, Any]], spectra: Path) -> None:
    # Writable folders are those of a set-up that was broken off: they are made anew.
    if raw.exists():
        shutil.rmtree(raw)
    raw.mkdir(parents=True)
    for dataset in datasets:
        path = raw.parent / dataset["path"]
        if (spectra / path.name).is_file():
            shutil.copyfile(spectra / path.name, path)
        else:
            path.write_bytes(_scan(dataset["pid"], dataset["size"]))
        path.chmod(0o444)
    raw.chmod(0o555)


def _scan(pid: str, size: int) -> bytes:
    """Return a made-up diffraction-like curve of exactly this many bytes."""
    chance = random.Random(pid)  # noqa: S311  a made-up curve is no secret
    peaks = [(chance.uniform(0.5, 9.5), chance.uniform(0.02, 0.2), chance.uniform(50, 900)) for _ in range(6)]
    lines = [f"# {pid}: made-up scan of the demo", "q,counts"]
    for step in range(size // 8):
        q = step * 0.01
        curve = 20 + sum(height * math.exp(-(((q - centre) / width) ** 2)) for centre, width, height in peaks)
        lines.append(f"{q:.2f},{max(0, round(chance.gauss(curve, math.sqrt(curve))))}")
    text = "\n".join(lines).encode()
    return text[: size - 1].ljust(size - 1) + b"\n"
