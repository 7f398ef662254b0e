"""Turn a Matplotlib figure into SVG for a page: colours from the page's CSS variables, a text alternative, the same bytes for the same data."""

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

ACCENT, SECOND, MUTED, BAD, GOOD = "#3b6fd4", "#e08a2c", "#8a94a6", "#c8453b", "#2f9e6e"
"""Placeholders that Matplotlib draws with. `to_svg` replaces each with the CSS variable below, so that a chart follows the page's colour scheme."""

VARIABLES = {ACCENT: "--accent", SECOND: "--second", MUTED: "--quiet", BAD: "--bad", GOOD: "--good"}

STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a category may be called "US$ 5 to $ 10"
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": MUTED,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
    "axes.grid": True,
    "grid.color": MUTED,
    "grid.alpha": 0.2,
}

_SVG = "http://www.w3.org/2000/svg"
_FONTS = "system-ui, -apple-system, 'Segoe UI', sans-serif"
_PALETTE = Path(__file__).with_name("templates") / "palette.css"
_COLOUR = re.compile("|".join(VARIABLES))


def to_svg(figure: Figure, alternative: str) -> str:
    """Return `figure` as an SVG element. Screen readers read `alternative` instead of it."""
    text = io.StringIO()
    # Ids are hashes of the elements. The salt keeps them fixed, and different in two charts of one page.
    with rc_context({"svg.hashsalt": alternative}):
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", bbox_inches="tight", pad_inches=0.04, transparent=True, metadata=metadata)
    root = ET.fromstring(text.getvalue())  # noqa: S314 - Matplotlib wrote it
    root.attrib |= {"role": "img", "aria-label": alternative, "font-family": _FONTS}
    for element in root.iter():
        if element.tag == f"{{{_SVG}}}g":
            element.attrib.pop("id", None)  # nothing refers to it, and every chart has the same ones
        if style := element.get("style"):
            style = re.sub(r"font-family: [^;]*;? ?", "", style)
            element.set("style", _COLOUR.sub(lambda colour: f"var({VARIABLES[colour.group()]})", style))
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ET.tostring(root, encoding="unicode")


def standalone(svg: str) -> str:
    """Return `svg`, a result of `to_svg`, as a file of its own that has the colours of a page, light and dark."""
    style = f"<style>\n{_PALETTE.read_text(encoding='utf-8')}:root {{ background: var(--paper); }}\n</style>"
    start = svg.index(">") + 1
    return f"{svg[:start]}{style}{svg[start:]}"
