"""Rules of every page that can be checked without a browser: names, headers, text alternatives, boxes that scroll and that the keyboard
reaches.
"""

import re
from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "hr", "input"}


class _Reader(HTMLParser):
    """Collect what breaks a rule; `stack` holds the open elements with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.seen: Counter[str] = Counter()
        self.regions: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.captioned: list[bool] = []
        self.header: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.seen[tag] += 1
        if name := found.get("id"):
            self.ids[name] += 1
        if found.get("role") == "region":
            self.regions[found.get("aria-label") or ""] += 1
        getattr(self, f"_{tag}", lambda _: None)(found)
        if tag not in VOID:
            self.stack.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and not self.captioned.pop():
            self.faults.append("a table has no caption")
        if tag == "th" and self.header is not None:
            if not self.header.strip():
                self.faults.append("a header cell is empty")
            self.header = None
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.header is not None:
            self.header += data

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def _html(self, attributes: dict[str, str | None]) -> None:
        if not attributes.get("lang"):
            self.faults.append("the page names no language")

    def _table(self, attributes: dict[str, str | None]) -> None:
        self.captioned.append(False)
        self._box("table")

    def _caption(self, attributes: dict[str, str | None]) -> None:
        self.captioned[-1] = True

    def _th(self, attributes: dict[str, str | None]) -> None:
        self.header = attributes.get("aria-label") or ""
        if attributes.get("scope") not in ("col", "row", "rowgroup", "colgroup"):
            self.faults.append("a header cell has no scope")

    def _svg(self, attributes: dict[str, str | None]) -> None:
        if attributes.get("role") != "img" or not attributes.get("aria-label"):
            self.faults.append("a chart has no text alternative")
        self._box("chart")

    def _img(self, attributes: dict[str, str | None]) -> None:
        if attributes.get("alt") is None:
            self.faults.append("a picture has no text alternative")

    def _box(self, what: str) -> None:
        boxes = [found for _, found in self.stack if found.get("class") == "scroll"]
        if not boxes:
            self.faults.append(f"a {what} has no box that scrolls")
        elif boxes[-1].get("tabindex") != "0" or boxes[-1].get("role") != "region" or not boxes[-1].get("aria-label"):
            self.faults.append(f"the box of a {what} has no name, or the keyboard cannot reach it")


def broken_rules(page: str) -> list[str]:
    """Return what in `page`, a whole HTML document, breaks a rule; empty for a good one."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    found = list(reader.faults)
    if reader.seen["h1"] != 1:
        found.append(f"the page has {reader.seen['h1']} headings of the first order")
    found += [f"{count} boxes are called {name!r}" for name, count in reader.regions.items() if count > 1]
    found += [f"{count} elements have the id {name!r}" for name, count in reader.ids.items() if count > 1]
    if reader.seen["script"]:
        found.append("the page has a script")
    return found


_OF_PROBABILITIES = re.compile(
    r"\b(?:AUC|ROC|probabilit\w+|log loss|Brier|observed rate|base rate|expected rate|riskiest|alerts?|decisions? differ\w*|decision from|nats"
    r"|had the outcome|both outcomes|scores? of|mean score)\b"
)


def words_of_probabilities(page: str) -> list[str]:
    """Return the words of `page` that make sense of a probability alone, not of a forecast in the unit of the label."""
    return _OF_PROBABILITIES.findall(re.sub(r"<style.*?</style>|<metadata.*?</metadata>", "", page, flags=re.DOTALL))
