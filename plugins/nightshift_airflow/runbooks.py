"""The runbooks and documents of ``docs/`` as pages, so that a link to one works behind the same login and without the internet."""

import html
import itertools
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nightshift_airflow import links, places

if TYPE_CHECKING:
    from markdown_it.token import Token

FOLDERS = {
    "runbooks": ("docs/runbooks",),
    "docs": ("docs", "docs/tutorial", "docs/how-to", "docs/reference", "docs/explanation"),
}
"""The folders of the repository behind each part of an address. The names of documents are unique among them."""


def path_of(name: str, kind: str = "runbooks") -> Path:
    """Return the path of the document `name` of a `kind`, ``runbooks`` or ``docs``. It need not exist."""
    paths = [places.REPOSITORY / folder / f"{name}.md" for folder in FOLDERS[kind]]
    return next((path for path in paths if path.exists()), paths[0])


def names() -> list[str]:
    """Return the names of the runbooks that exist."""
    return sorted(path.stem for path in path_of("any").parent.glob("*.md"))


def render(name: str, kind: str = "runbooks") -> tuple[str, str]:
    """Return the title of a document and its content as HTML. Raise `FileNotFoundError` if there is no such document.

    HTML inside the document is shown as text. A link leads to the page of another document, or to the web. Any other link becomes text, since
    these pages have no such target.
    """
    from markdown_it import MarkdownIt  # not at module level: every process of Airflow loads the plugin

    path = path_of(name, kind)
    text = path.read_text(encoding="utf-8")
    renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = renderer.parse(text)
    title = name
    for heading, content in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor(content.content))
            title = content.content if heading.tag == "h1" else title
    for token in tokens:
        _redirect(token.children or [], lambda href: address(href, path.parent.relative_to(places.REPOSITORY).as_posix()))
    tokens = list(_boxed(tokens))
    return re.sub(r"[*`]", "", title), str(renderer.renderer.render(tokens, renderer.options, {}))


def _boxed(tokens: "list[Token]") -> "Iterator[Token]":
    """Yield `tokens` with each table in a box of its own that scrolls sideways, named after the heading above it."""
    from markdown_it.token import Token

    heading, named = "", Counter[str]()
    for before, token in itertools.pairwise([Token("", "", 0), *tokens]):
        if before.type == "heading_open":
            heading = re.sub(r"[*`]", "", token.content)
        if token.type == "th_open":
            token.attrSet("scope", "col")
        if token.type == "table_open":
            named[heading] += 1
            name = html.escape(f"{heading}, table {named[heading]}")
            yield Token("html_block", "", 0, content=f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">')
            yield token
            yield Token("html_block", "", 0, content=f"<caption>{name}</caption>")
        else:
            yield token
        if token.type == "table_close":
            yield Token("html_block", "", 0, content="</div>")


def anchor(heading: str) -> str:
    """Return the id of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def address(href: str, folder: str) -> str | None:
    """Return the address on these pages of the link `href` of a document in `folder`; None if these pages have no such target."""
    parts = urlsplit(href)
    if parts.scheme in ("http", "https") or (not parts.path and parts.fragment):
        return href
    target_folder, name = posixpath.split(posixpath.normpath(posixpath.join(folder, parts.path)))
    target = next((kind for kind, folders in FOLDERS.items() if target_folder in folders), None)
    if parts.scheme or target is None or not re.fullmatch(r"[A-Za-z0-9-]+\.md", name):
        return None
    if path_of(name[:-3], target) != places.REPOSITORY / target_folder / name or not path_of(name[:-3], target).exists():
        return None
    return links.page(target, name[:-3]) + (f"#{html.escape(parts.fragment)}" if parts.fragment else "")


def _redirect(tokens: "list[Token]", to: Callable[[str], str | None]) -> None:
    """Redirect the links among `tokens` as `to` says. A link without a target, and a picture, becomes its text."""
    open_links: list[str | None] = []
    for token in tokens:
        if token.type == "link_open":
            open_links.append(to(str(token.attrGet("href") or "")))
            if open_links[-1] is not None:
                token.attrSet("href", open_links[-1])
        if token.type in ("link_open", "link_close") and open_links[-1] is None:
            token.tag, token.attrs = "span", {}
        if token.type == "link_close":
            open_links.pop()
        if token.type == "image":
            token.type, token.tag, token.attrs = "text", "", {}
