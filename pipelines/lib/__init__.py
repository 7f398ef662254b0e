"""The library of the stages, in packages. Each knows only those below it; ``pyproject.toml`` has the layers, and a check of them.

From the top: `loop`, `champions`, `vector_index`, `challengers` and `encoders`, `models`, `features`, `gates`, `sources` and `measures`,
`tables`, `records`, `published` and `storage`, `pages` and `core`.
"""
