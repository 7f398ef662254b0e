"""The check of English: what it refuses, where it reads, and what it lets pass."""

from pathlib import Path

import pytest

from tests import english

REFUSED = [
    ("docs/x.md", "Train it anew.", "anew"),
    ("docs/x.md", "Their neighbours foretell the outcome.", "foretell"),
    ("docs/x.md", "An error that no retry mends.", "mends"),
    ("docs/x.md", "The lock is let go.", "let go"),
    ("docs/x.md", "The worker has a leash.", "leash"),
    ("docs/x.md", "The months stand in run.yaml.", "stand in"),
    ("docs/x.md", "Memory that who serves an index holds.", "that who"),
    ("docs/x.md", "What no retry fixes fails at once.", "What no"),
    ("docs/x.md", "What is published is kept.", "What is published is kep"),
    ("docs/x.md", "It is kept. Who reads it, sees it.", "Who reads it, sees it."),
    ("docs/x.md", "Ask whoever runs it.", "whoever"),
    ("docs/x.md", "It is told with its column.", "is told"),
    ("docs/x.md", "It makes twelve retrainings a year.", "retrainings a year"),
    ("docs/x.md", "None where it is missing.", "None where"),
    ("docs/x.md", "The table is no Delta table.", "is no"),
    ("docs/x.md", "It stays, whatever else is published.", "whatever"),
    ("docs/x.md", "It fails if somebody has promoted meanwhile.", "meanwhile"),
    ("docs/x.md", "Another process writes it at this very moment.", "at this very moment"),
    ("docs/x.md", "The recall is .98.", ".98"),
    ("docs/x.md", "| a | above .5 |", ".5"),
    ("docs/x.md", "# Train anew", "anew"),
    ("docs/x.md", "One " + "word " * 25 + "too many.", "One " + "word " * 9 + "w…"),
    ("pipelines/x.py", '"""Train anew."""', "anew"),
    ("pipelines/x.py", "x = 1  # it lies in var", "lies"),
    ("pipelines/x.py", "raise ValueError(f'{x} is missing; train it anew')", "anew"),
    ("pipelines/x.py", "def f():\n    '''The rows of a night.'''", "The rows of a night."),
    ("pipelines/x.py", "def f():\n    '''What a model says.'''", "What a model says."),
    *(
        ("pipelines/x.py", f"def f():\n    {quoted!r}", quoted)
        for quoted in (
            "Of each row",
            "(rows, AUC) of it",
            "Rows of a night.",
            "SQL of it.",
            "DVC's lock.",
            "Counting rows.",
            "Sorted rows.",
        )
    ),
    ("pipelines/x.py", "def f():\n    '`x` in it.'", "Code in it."),
    ("tests/x.py", "def test_a_fault_is_told(): ...", "test_a_fault_is_told"),
    ("tests/x.py", "rows_beside = 1", "rows_beside"),
    ("pipelines/x.py", "told = 1", "told"),
    ("pipelines/x.py", "def place_of(): ...", "place_of"),
    ("pipelines/x.py", "def f(by_hand): ...", "by_hand"),
    ("pipelines/x.py", "def _mend(): ...", "_mend"),
    ("params.yaml", "rate: 0.5   # three times that is .015 less", ".015"),
    ("params.yaml", 'a: "b # c"   # it stands in govern', "stands in"),
    ("Makefile", "lock:   ## resolve it anew", "anew"),
    ("pipelines/x.html", "<p>Nothing was\nlet go</p>", "let go"),
    ("pipelines/x.html", "<p>What failed is listed.</p>", "What failed is listed."),
    ("pipelines/x.html", "<p>\n{# A page\nthat is made anew #}</p>", "anew"),
    ("pipelines/x.html", '<p class="a b c">{{ "it was trained anew" if x else y }}</p>', "anew"),
    ("pipelines/x.html", '{% call table("Nights that lie here: " ~ night) %}', "lie"),
]

ACCEPTED = [
    ("docs/x.md", "Train it again, from scratch. It stands between two files."),
    ("docs/x.md", "# What would change it"),
    ("docs/x.md", "What is a partition? A date."),
    ("docs/x.md", "`told` and `anew` are names.\n\n```sh\necho anew\n```"),
    ("docs/x.md", "Version 1.5, from 0.98 to 3.11.4, in requirements.in, at 127.0.0.1."),
    ("docs/x.md", "Use " + "`a`, " * 30 + "or `b`."),
    ("docs/x.md", "One " + "word " * 14 + "here. One " + "word " * 14 + "there."),
    ("docs/x.md", "* One " + "word " * 14 + "here\n* One " + "word " * 14 + "there"),
    ("pipelines/x.py", "def f():\n    '''Return the rows of a night.'''"),
    ("pipelines/x.py", "class A:\n    '''The rows of a night.'''\n    @property\n    def b(self):\n        '''The first of them.'''"),
    *(("pipelines/x.py", f"def f():\n    '{verb} the rows of a night.'") for verb in ("Embed", "Bring", "Process", "Succeed", "Share")),
    ("tests/x.py", "def test_two_models_are_told_apart(): ..."),
    ("tests/x.py", "@pytest.fixture(scope='module')\ndef night():\n    '''The rows of a night.'''"),
    ("pipelines/x.py", "query = 'SELECT a, b FROM c WHERE none where d'"),
    ("pipelines/x.py", "KINDS = ('anew', 'told')  # noqa: anew"),
    ("params.yaml", 'expression: "a # anew"'),
    ("pipelines/x.html", "<style>.anew {}</style>{% if anew %}<p class='beside anew'>{{ anew }}</p>{% endif %}"),
    ("pipelines/x.html", "<p>Nights</p><h2>What failed</h2><h3>{{ x }}\nWhat holds</h3>"),
]


@pytest.mark.parametrize(("path", "text", "words"), REFUSED)
def test_words_are_refused_with_their_line_and_a_remedy(path: str, text: str, words: str) -> None:
    findings = english.judge(path, f"\n\n{text}\n" if path != "pipelines/x.html" else f"\n{text}")
    assert words in [one.words for one in findings]
    assert all(one.instead and str(one).startswith(f"{path}:{one.line}: ") and 1 <= one.line <= 6 for one in findings)


@pytest.mark.parametrize(("path", "text"), ACCEPTED)
def test_plain_english_and_code_pass(path: str, text: str) -> None:
    assert english.judge(path, text) == []


def test_a_finding_names_its_own_line() -> None:
    document = "One line.\n\nA paragraph that goes\nover lines and is trained\nanew.\n\n| a | b |\n| --- | --- |\n| anew | it lies here |\n"
    assert [(one.line, one.words) for one in english.judge("docs/x.md", document)] == [(5, "anew"), (9, "anew"), (9, "lies")]
    module = (
        '"""A module.\n\nTrained\nanew.\n"""\n\nx = (  # told again\n    "it is a message\\n"\n    "that lies here"\n)\n# one\n# anew\n'
    )
    assert [(one.line, one.words) for one in english.judge("pipelines/x.py", module)] == [(4, "anew"), (8, "lies"), (12, "anew")]


def test_the_command_judges_what_it_is_given(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(english, "ROOT", tmp_path)
    monkeypatch.setattr(english, "tracked", lambda: ["docs/bad.md", "docs/good.md"])
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/bad.md").write_text("Train it anew.\n", encoding="utf-8")
    (tmp_path / "docs/good.md").write_text("Train it again.\n", encoding="utf-8")
    assert english.main(["docs/good"]) == 0
    assert capsys.readouterr().out == "English: 0 findings in 1 files\n"
    for chosen in ([], ["docs/"]):
        assert english.main(chosen) == 1
        assert capsys.readouterr().out.splitlines() == [
            "docs/bad.md:1: 'anew': write: again, from scratch",
            "English: 1 findings in 2 files",
        ]


@pytest.mark.slow
def test_every_text_of_the_repository_can_be_read() -> None:
    for path in english.tracked():
        english.judge(path, (english.ROOT / path).read_text(encoding="utf-8"))


def test_every_document_is_judged() -> None:
    assert {"CHANGELOG.md", "README.md", "CONTRIBUTING.md"} <= set(english.tracked())
