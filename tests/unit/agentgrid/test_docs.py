"""What the documents name is there: a guard that was renamed must not live on as a claim."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_test_that_a_document_names_exists() -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    there = {name for path in files for name in re.findall(r"def (test_\w+)", path.read_text("utf-8"))}
    there |= {path.name for path in files}
    named = {
        (path.name, name)
        for path in DOCUMENTS
        for name in re.findall(r"[`/](test_\w+(?:\.py)?)`", path.read_text("utf-8"))
    }
    assert len(named) > 100
    assert sorted((document, name) for document, name in named if name not in there) == []
