"""The documentation, built once for all tests, away from the checkout."""

import html
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True)
class Built:
    """The pages, and what Sphinx said while it wrote them."""

    folder: Path
    status: int
    said: str

    def text(self, page: str) -> str:
        """Return the words of a page, without markup and typographic apostrophes."""
        content = (self.folder / page).read_text(encoding="utf-8")
        return html.unescape(_TAG.sub("", content)).replace("’", "'")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The documentation as HTML, with warnings as errors."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-B", "-m", "sphinx", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    return Built(folder / "html", done.returncode, done.stdout + done.stderr)
