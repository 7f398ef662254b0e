"""A runbook as a page: its tables, its headings as targets, and links that lead somewhere."""

import re
from pathlib import Path

import pytest
from nightshift_airflow import links, places, runbooks
from nightshift_airflow.runbooks import address, anchor, render

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "REPOSITORY", ROOT)
    monkeypatch.setattr(links, "_base_url", lambda: "http://night.example:8080")


def write(directory: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(places, "REPOSITORY", directory)
    for name, content in {"one": text, "two": "# Two"}.items():
        path = directory / "docs" / "runbooks" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (directory / "docs" / "how-to").mkdir(exist_ok=True)
    (directory / "docs" / "how-to" / "alerts.md").write_text("# Alerts [a](../runbooks/one.md) [b](alerts.md) [c](../alerts.md)")
    return render("one")[1]


def test_links_lead_to_pages_that_exist_and_the_others_are_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = write(
        tmp_path,
        "[a](two.md#part) [b](../how-to/alerts.md) [c](#here) [d](https://example.org/x) [e](none.md) [f](../../params.yaml) [g](javascript:x) "
        "[h](/etc/passwd) [i](file:///etc/passwd) ![picture](../images/x.png) [j](../../../two.md)",
        monkeypatch,
    )
    assert re.findall(r'<a href="([^"]*)">(\w)</a>', shown) == [
        ("/nightshift/runbooks/two#part", "a"),
        ("/nightshift/docs/alerts", "b"),
        ("#here", "c"),
        ("https://example.org/x", "d"),
    ]
    assert shown.count("<a ") == 4
    assert "<img" not in shown
    assert "picture" in shown
    assert all(f"<span>{letter}</span>" in shown for letter in "efhj")
    assert re.findall(r'<a href="([^"]*)">(\w)</a>', render("alerts", "docs")[1]) == [
        ("/nightshift/runbooks/one", "a"),
        ("/nightshift/docs/alerts", "b"),
    ]


def test_every_document_has_a_page_and_a_name_of_its_own() -> None:
    documents = [path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "adr"]
    shown = {kind: [path for folder in folders for path in (ROOT / folder).glob("*.md")] for kind, folders in runbooks.FOLDERS.items()}
    assert sorted(path for paths in shown.values() for path in paths) == sorted(documents)
    assert all(runbooks.path_of(path.stem, kind) == path for kind, paths in shown.items() for path in paths)


def test_markup_of_a_document_is_text_and_a_heading_can_be_linked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = write(tmp_path, "# The `one`\n\n## Get a night *back*\n\n<script>x</script>\n\n| a | b |\n| - | - |\n| 1 | 2 |\n", monkeypatch)
    assert render("one")[0] == "The one"
    assert 'id="get-a-night-back"' in shown
    assert "<script" not in shown
    assert "<td>1</td>" in shown


@pytest.mark.costly
@pytest.mark.parametrize(
    ("kind", "path"),
    [(kind, path) for kind, folders in runbooks.FOLDERS.items() for folder in folders for path in (ROOT / folder).glob("*.md")],
)
def test_every_document_renders_and_its_links_between_documents_hold(kind: str, path: Path) -> None:
    _, shown = render(path.stem, kind)
    for href in re.findall(r'<a href="([^"]*)"', shown):
        target, _, fragment = href.partition("#")
        if target.startswith("/nightshift/"):
            other, name = target.split("/")[-2:]
            page = render(name, other)[1]
        elif not target:
            page = shown
        else:
            continue
        assert not fragment or f'id="{fragment}"' in page, href


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        render("none")
    assert address("../adr/0001-a-worktree-a-run.md", "docs/runbooks") is None


def test_an_anchor_is_that_of_github() -> None:
    assert anchor("Where to look, *first*: `a_b`?") == "where-to-look-first-a_b"
