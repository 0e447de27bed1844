"""What MkDocs needs to build the site of pages that are written to be read on GitHub.

The README is the start page. Files of the repository outside of docs/ that a page links to become pages below
`source/`, so that the site is whole by itself: Markdown as it is, other files as code, folders as a list of files.
"""

import re
from os.path import relpath
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
START, DOCS, SOURCE = "README.md", "docs", "source"
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)\s#]+)")
IN_LINE = re.compile(r"`[^`\n]+`")
CODE = re.compile(r"(^```.*?^```$)", flags=re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}
UNSEARCHED = "---\nsearch: {exclude: true}\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the start page, and whatever of the repository the pages link to."""
    waiting = [START, *(f"{DOCS}/{file.src_uri}" for file in files.documentation_pages())]
    known = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.startswith(f"{DOCS}/"):
            files.append(File.generated(config, page_of(path), content=content_of(path)))
        if path.endswith(".md"):
            found = {target_of(path, link) for link in links((ROOT / path).read_text(encoding="utf-8"))} - known
            new = [target for target in sorted(found) if not target.startswith(DOCS) and (ROOT / target).exists()]
            waiting += new
            known.update(new)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to where its file is on the site."""
    path = path_of(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = target_of(path, match[1])
        if not (ROOT / target).exists():  # MkDocs says that it leads nowhere
            return match[1]
        return relpath(page_of(target), PurePosixPath(page.file.src_uri).parent)

    def shown(match: re.Match[str]) -> str:
        return match[0].replace("\\|", "|")  # GitHub wants a bar in a cell to be marked, this Markdown does not

    parts = CODE.split(markdown)
    return "".join(part if part.startswith("```") else IN_LINE.sub(shown, LINK.sub(moved, part)) for part in parts)


def links(markdown: str) -> list[str]:
    """Return the links of a page to files."""
    return LINK.findall(CODE.sub("", markdown))


def target_of(path: str, link: str) -> str:
    """Return the file of the repository that a link in another one leads to."""
    place = (ROOT / path).parent.joinpath(link).resolve()
    return (place / START if (place / START).is_file() else place).relative_to(ROOT).as_posix()


def page_of(path: str) -> str:
    """Return the page of the site that shows a file of the repository."""
    if path == START:
        return "index.md"
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return f"{SOURCE}/{path}" if path.endswith(".md") else f"{SOURCE}/{path}.md"


def path_of(page: str) -> str:
    """Return the file of the repository that a page of the site shows; a folder, or a file of code, with `.md`."""
    if page == "index.md":
        return START
    return page.removeprefix(f"{SOURCE}/") if page.startswith(f"{SOURCE}/") else f"{DOCS}/{page}"


def content_of(path: str) -> str:
    """Return what the page of a file or folder outside of docs/ holds."""
    place = ROOT / path
    if path == START:
        return place.read_text(encoding="utf-8")
    if place.is_dir():
        names = [each.name for each in sorted(place.iterdir()) if not each.name.startswith(("_", "."))]
        listed = "\n".join(f"- `{name}`" for name in names)
        return f"{UNSEARCHED}# {path}/\n\n{listed}\n"
    text = place.read_text(encoding="utf-8")
    if place.suffix == ".md":
        return UNSEARCHED + text
    return f"{UNSEARCHED}# {path}\n\n```{LANGUAGES.get(place.suffix, 'text')}\n{text.rstrip()}\n```\n"
