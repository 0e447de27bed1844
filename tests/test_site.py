"""The documentation site: whole by itself, and refused where a link leads nowhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import ROOT, copy_repository

pytest.importorskip("mkdocs", reason="the site is built by mkdocs: pip install 'distilnlp[docs]'")
# What `make docs` runs.
WORDS = re.findall(r"\$\(BIN\)/mkdocs (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))[0].split()


def build(source: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    words = [sys.executable, "-m", "mkdocs", *WORDS]
    return subprocess.run(words, cwd=source, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = copy_repository(tmp_path_factory.mktemp("repository"))
    done = build(source)
    assert done.returncode == 0, done.stderr
    return source / "build" / "site"


def test_the_site_has_the_pages_the_readme_and_what_they_link_to(site: Path) -> None:
    for page in ("", "start/", "tasks/masked_lm/", "api/", "source/CONTRIBUTING/", "source/recipes/sst2.yaml/"):
        assert (site / page / "index.html").is_file(), page
    assert "The quickstart takes a real encoder" in (site / "index.html").read_text(encoding="utf-8")
    assert not (site / "hooks.py").exists()


def test_the_api_comes_from_the_docstrings(site: Path) -> None:
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert "Distil a teacher on data" in page
    assert 'id="distilnlp.DistillationTrainer.train"' in page


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    loading = re.compile(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+href="(?:https?:)?//')
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert [page for page in pages if loading.search(page.read_text(encoding="utf-8"))] == []


def test_a_bar_in_a_cell_is_shown_without_its_mark(site: Path) -> None:
    assert "<code>toxic|insult</code>" in (site / "tasks/multi_label_classification/index.html").read_text("utf-8")


@pytest.mark.parametrize("link", ["nowhere.md", "losses.md#nowhere", "../nowhere.py", "../README.md#nowhere"])
def test_a_link_that_leads_nowhere_is_refused(link: str, tmp_path: Path) -> None:
    source = copy_repository(tmp_path)
    page = source / "docs" / "start.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n[there]({link})\n", encoding="utf-8")
    done = build(source)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
