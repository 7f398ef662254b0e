"""The runbooks and documents of ``docs/`` as pages, so that a link to one works behind the same login and without the internet."""

import html
import itertools
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nightshift_airflow import links, places

if TYPE_CHECKING:
    from markdown_it.token import Token

_FOLDERS = {"runbooks": "docs/runbooks", "docs": "docs"}
"""The folder of the repository behind each part of an address."""


def path_of(name: str, kind: str = "runbooks") -> Path:
    """Where the document `name` of a `kind`, ``runbooks`` or ``docs``, lies; it need not exist."""
    return places.REPOSITORY / _FOLDERS[kind] / f"{name}.md"


def names() -> list[str]:
    """The runbooks that exist."""
    return sorted(path.stem for path in path_of("any").parent.glob("*.md"))


def render(name: str, kind: str = "runbooks") -> tuple[str, str]:
    """The title of a document and its content as HTML. Raises `FileNotFoundError` where there is none.

    Markup of the document itself is shown as text. A link leads to the page of another document, or to the web; any other is shown as text, since
    nothing is there.
    """
    from markdown_it import MarkdownIt  # not at module level: every process of Airflow loads the plugin

    text = path_of(name, kind).read_text(encoding="utf-8")
    renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = renderer.parse(text)
    title = name
    for heading, content in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor(content.content))
            title = content.content if heading.tag == "h1" else title
    for token in tokens:
        _redirect(token.children or [], lambda href: address(href, kind))
    return re.sub(r"[*`]", "", title), str(renderer.renderer.render(tokens, renderer.options, {}))


def anchor(heading: str) -> str:
    """The id of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def address(href: str, kind: str) -> str | None:
    """Where a link `href` of a document of `kind` leads on these pages; None where nothing is there."""
    parts = urlsplit(href)
    if parts.scheme in ("http", "https") or (not parts.path and parts.fragment):
        return href
    folder, name = posixpath.split(posixpath.normpath(posixpath.join(_FOLDERS[kind], parts.path)))
    target = next((other for other, path in _FOLDERS.items() if path == folder), None)
    if parts.scheme or target is None or not re.fullmatch(r"[A-Za-z0-9-]+\.md", name) or not path_of(name[:-3], target).exists():
        return None
    return links.page(target, name[:-3]) + (f"#{html.escape(parts.fragment)}" if parts.fragment else "")


def _redirect(tokens: "list[Token]", to: Callable[[str], str | None]) -> None:
    """Have the links among `tokens` lead where `to` says; what leads nowhere, and a picture, becomes its text."""
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
