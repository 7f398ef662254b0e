"""A chart takes the colours of its page, has a text alternative, and is the same bytes for the same data."""

import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

from pipelines.lib.pages.svg import ACCENT, VARIABLES, standalone, to_svg


def drawn(alternative: str = "A line & its <end>") -> str:
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, 1], [1, 0], color=ACCENT, label="$5 to $10")
    return to_svg(figure, alternative)


def test_colours_are_those_of_the_page() -> None:
    svg = drawn()
    assert f"var({VARIABLES[ACCENT]})" in svg
    assert [colour for colour in VARIABLES if colour in svg] == []


def test_readers_who_do_not_see_it_get_the_words() -> None:
    root = ET.fromstring(drawn())
    assert (root.get("role"), root.get("aria-label")) == ("img", "A line & its <end>")


def test_the_same_data_gives_the_same_bytes() -> None:
    assert drawn() == drawn()


def test_a_file_of_its_own_brings_the_colours_along() -> None:
    svg = standalone(drawn())
    root = ET.fromstring(svg)
    style = root.find("{http://www.w3.org/2000/svg}style")
    assert style is not None
    assert f"{VARIABLES[ACCENT]}:" in str(style.text)
