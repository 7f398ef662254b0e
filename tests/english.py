"""Check the English of the repository: its documents, docstrings, comments, messages, pages and names.

Run ``python -m tests.english``, or give it paths. Each finding names the file, the line, the words, and what to write instead.
A rule is a pattern. Text in backquotes is code and is not judged.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

WORDS_OF_A_SENTENCE = 25


NOT_JUDGED = ("tests/datasets/", "tests/english.py", "tests/test_english.py")
"""Test data, and this check with its samples."""

TIMES = r"(?:night|day|week|month|year|hour|minute|second|row|query|run|partition|request)"
COUNTED = r"(?:rows|runs|times|once|twice|nights|minutes|seconds|requests|queries|retrainings|[kMG]i?B|bytes|files|\d+ ?m?s)"

WORDS: tuple[tuple[str, str], ...] = (
    (r"anew|afresh", "again, from scratch"),
    (r"foretells?|foretold|foretelling", "predict"),
    (r"mends?|mended|mending", "fix, repair"),
    (r"lets? go|letting go", "release"),
    (r"leash(?:es)?", "supervisor"),
    (r"rooms? of|rules? of the house|this house", "package; conventions"),
    (r"stands? in|stood in|standing in", "is in, is set in; replaces"),
    (r"(?:held|holds?) against", "compared with"),
    (r"what no|that who|that which|whoever|whosoever", "name the noun"),
    (r"(?:than|of|for|by|with|from|to|in|on|at|and|or) who(?= \w+s\b)", "name the person or the process"),
    (r"(?:is|are|was|were|be|been|being) told(?! (?:apart|from))", "say who reports what"),
    (r"tells? of", "describes, says"),
    (r"beside", "next to, with"),
    (r"(?:lies|lie|lying)(?! (?:between|to))", "is"),
    (r"hence|thereof|therein|whence|thereupon|lest|ere|amiss|whereupon", "a plain word"),
    (r"speaks? (?:for|against)", "is evidence for"),
    (r"in vain", "without effect"),
    (r"where not", "otherwise"),
    (r"wanted is|asked (?:for )?is", "expected"),
    (r"(?<!there )(?:is|are|was|were) no(?= (?!longer\b|more\b|less\b|fewer\b|such\b|need\b|way\b|one\b)\w)", "is not a"),
    (r"(?:None|True|False|Empty|empty|Nothing|nothing|Raises? \w+) where", "if"),
    (rf"{COUNTED} an? {TIMES}", "per"),
    (r"so many(?! that)", "this number of, that many"),
    (r"nights to come|rows to come", "future"),
    (r"once more", "again"),
    (r"at work", "running"),
    (r"whatever|whichever", "any, every; regardless of"),
    (r"meanwhile", "in the meantime, since then, during"),
    (r"at (?:this|that) very moment", "during the call, just"),
)

NAMES: dict[str, str] = {
    "told": "messages, facts",
    "draw_up": "build_report",
    "race": "closed_loop_chart",
    "mend": "repair",
    "place_of": "generation_dir",
    "by_hand": "manual, custom_expectations",
    "beside": "join_outcomes",
    "hold": "read_lock",
    "found": "the noun: comparison, nights, faults",
}
"""Names that say little. A variable may be `found`, unlike a parameter or a field: the line that binds it says what it is."""


@dataclass(frozen=True)
class Passage:
    """A paragraph, docstring, comment or message: its lines with their numbers, and its kind.

    The kind is `document`, `heading`, `docstring`, `comment`, `message`, `page`, `name` or `variable`.
    """

    path: str
    kind: str
    lines: tuple[tuple[int, str], ...]

    @cached_property
    def text(self) -> str:
        """The lines as one text, without code."""
        return " ".join(readable(line) for _, line in self.lines)

    def line_at(self, offset: int) -> int:
        """Return the number of the line that holds the character at `offset` of the text."""
        starts, position = [], 0
        for _, line in self.lines:
            starts.append(position)
            position += len(readable(line)) + 1
        return self.lines[max(bisect_right(starts, offset) - 1, 0)][0]


@dataclass(frozen=True)
class Finding:
    """Words that the rules refuse, where they are, and what to write instead."""

    path: str
    line: int
    words: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.words!r}: {self.instead}"


# ------------------------------------------------------------------------------------------------ rules

Rule = Callable[[Passage], Iterator[Finding]]

_WORDS = [(re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE), instead) for pattern, instead in WORDS]
_NO_ZERO = re.compile(r"(?<![\w.…)\]/*-])-?\.\d+\b")
_HEADLESS = re.compile(r"(?:^|(?<=[.:;!?] ))(?:What|Who|Whoever|That which)(?= (?!is the matter)\w)")
_SENTENCE_END = re.compile(r"(?<![A-Z])(?<!e\.g)(?<!i\.e)(?<!etc)[.!?:;]['\")]*(?=\s|$)")
_LIST_OF_CODE = re.compile(r"\bCode(?:,? (?:and |or )?Code\b)+")  # a list of names is read at a glance, as one word
_WORD = re.compile(r"[^\W_][\w'’.,/×%-]*")
_NOT_IMPERATIVE = re.compile(
    r"""(?x) [`(]
    | (?:The|A|An|What|Whether|Who|Whom|Why|How|Each|Every|All|Both|Those|That|One|Two|Ten|Its|It|No|Where|When|Which|If|From
        |Of|As|By|On|In|Into|For|Up|Until|Without|Everything|Airflow|Calm|Command|Evidence|False|Great|History|Hysteresis|Key|Mean
        |Missing|Newest|Number|Path|Quality|Quantile|Recall|Row|Section|Usual|View) (?![a-z])
    | (?:[A-Z]+[a-z]*[A-Z]\w*)  # an abbreviation
    | (?!Embed|Succeed|Bring|Need|Exceed|Proceed|Feed|Spread)\w+ (?:ing|ed) \b
    | \w+ (?:[^\Ws]s|'s) \b""",
    re.ASCII,
)


def refused_words(passage: Passage) -> Iterator[Finding]:
    """Find words and constructions of the list."""
    if passage.kind in ("name", "variable"):
        return
    for pattern, instead in _WORDS:
        for match in pattern.finditer(passage.text):
            yield finding(passage, match.start(), match[0], f"write: {instead}")


def numbers_without_zero(passage: Passage) -> Iterator[Finding]:
    """Find numbers such as .98."""
    if passage.kind not in ("name", "variable", "message"):
        for match in _NO_ZERO.finditer(passage.text):
            yield finding(passage, match.start(), match[0], f"write: {match[0].replace('.', '0.', 1)}")


def headless(passage: Passage) -> Iterator[Finding]:
    """Find sentences that start with *what* or *who* and are not a question. A heading may: *What would change it*."""
    if passage.kind in ("name", "variable", "heading"):
        return
    for match in _HEADLESS.finditer(passage.text):
        end = _SENTENCE_END.search(passage.text, match.end())
        if not (end and "?" in end[0]) and not (end is None and passage.text.rstrip().endswith("?")):
            yield finding(passage, match.start(), passage.text[match.start() : match.end() + 20], "name the noun, and start with it")


def long_sentences(passage: Passage) -> Iterator[Finding]:
    """Find sentences of documents that have more than 25 words."""
    if passage.kind != "document":
        return
    start = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(passage.text)), len(passage.text)]:
        words = _WORD.findall(_LIST_OF_CODE.sub("Code", passage.text[start:end]))
        if len(words) > WORDS_OF_A_SENTENCE:
            first = passage.text[start:end].lstrip()
            yield finding(passage, end - len(first), f"{first[:50]}…", f"{len(words)} words; split it after at most {WORDS_OF_A_SENTENCE}")
        start = end


def imperative(passage: Passage) -> Iterator[Finding]:
    """Find docstrings of functions that do not start with a verb."""
    if passage.kind == "docstring" and (match := _NOT_IMPERATIVE.match(passage.lines[0][1].strip())):
        yield finding(passage, 0, passage.text[:40], f"start with a verb in the imperative, not with {match[0]!r}")


def names(passage: Passage) -> Iterator[Finding]:
    """Find names that say little, and words of the list in names."""
    if passage.kind not in ("name", "variable"):
        return
    name = passage.lines[0][1]
    if (instead := NAMES.get(name.strip("_"))) and not (passage.kind == "variable" and name == "found"):
        yield finding(passage, 0, name, f"a name that says more: {instead}")
        return
    for pattern, instead in _WORDS:
        if match := pattern.search(name.replace("_", " ")):
            yield finding(passage, 0, name, f"{match[0]!r} in a name; use: {instead}")


def finding(passage: Passage, offset: int, words: str, instead: str) -> Finding:
    """Return what is wrong at `offset` of the text of `passage`."""
    return Finding(passage.path, passage.line_at(offset), words.strip(), instead)


RULES: tuple[Rule, ...] = (refused_words, numbers_without_zero, headless, long_sentences, imperative, names)


# ------------------------------------------------------------------------------------------------ passages of a file


def readable(text: str) -> str:
    """Return `text` as a person reads it: code as one word, a link as its label, no markup."""
    text = re.sub(r"``[^`]+``|`[^`]+`", "Code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<?https?://\S+", "Link", text)
    return re.sub(r"[*_]{1,2}(?=\S)|(?<=\S)[*_]{1,2}", "", text)


def passages(path: str, text: str) -> Iterator[Passage]:
    """Yield what a person reads in the file `path` that holds `text`."""
    return READERS[Path(path).suffix or Path(path).name](path, text)


def of_markdown(path: str, text: str) -> Iterator[Passage]:
    """Yield the paragraphs, items and cells of a Markdown document, without its blocks of code."""
    inside: bool = False
    paragraph: list[tuple[int, str]] = []
    for number, line in [*enumerate(text.splitlines(), 1), (0, "")]:
        fence = line.lstrip().startswith("```")
        alone = line.lstrip().startswith(("#", "|"))
        if paragraph and (fence or alone or not line.strip() or re.match(r"\s*(?:[*+-]|\d+\.) ", line)):
            yield Passage(path, "document", tuple(paragraph))
            paragraph = []
        inside ^= fence
        if inside or fence or not line.strip():
            continue
        if alone:
            heading = line.lstrip().startswith("#")
            cells = [line.strip("# ")] if heading else re.split(r"(?<!\\)\|", line)
            yield from (
                Passage(path, "heading" if heading else "document", ((number, cell.strip()),)) for cell in cells if cell.strip(" -:")
            )
        else:
            paragraph.append((number, re.sub(r"^\s*(?:[*+-]|\d+\.) ", "", line).strip()))


def of_python(path: str, text: str) -> Iterator[Passage]:
    """Yield the docstrings, comments, messages and names of a Python module."""
    tree = ast.parse(text)
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign | ast.AnnAssign):
            for body in _documented(node):
                docstrings.add(id(body))
                yield from _docstring(path, node, body)
        yield from _names(path, node)
    pieces = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from _message(path, node.lineno, "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | pieces:
            yield from _message(path, node.lineno, node.value)
    yield from _comments(path, text)


def _documented(node: ast.AST) -> list[ast.Constant]:
    """Return the docstring of `node`, and in a module or class those under its constants."""
    body = getattr(node, "body", [])
    strings = [one.value for one in body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)]
    return [one for one in strings if isinstance(one.value, str)]


def _docstring(path: str, node: ast.AST, string: ast.Constant) -> Iterator[Passage]:
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _noun(node)
    paragraph: list[tuple[int, str]] = []
    first = True
    for number, line in [*enumerate(str(string.value).splitlines(), string.lineno), (0, "")]:
        if line.strip() and not re.match(r"\s*(?:[*-] |\w+ {2,}\w)", line):
            paragraph.append((number, line.strip()))
            continue
        if paragraph:
            yield Passage(path, "docstring" if function and first else "comment", tuple(paragraph))
            first = False
        paragraph = [(number, line.strip())] if line.strip() else []


def _noun(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether `node` is read like an attribute, or is a test, whose name says what it shows."""
    called = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
    decorators = {getattr(one, "attr", getattr(one, "id", "")) for one in called}
    return bool(decorators & {"property", "cached_property", "fixture"}) or node.name.startswith("test_")


def _names(path: str, node: ast.AST) -> Iterator[Passage]:
    defined = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    name = node.name if defined else node.arg if isinstance(node, ast.arg) else None  # type: ignore[attr-defined]
    if name:
        yield Passage(path, "name", ((getattr(node, "lineno", 1), name),))
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield Passage(path, "variable", ((node.lineno, node.id),))
    if isinstance(node, ast.ClassDef):
        fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
        yield from (Passage(path, "name", ((field.lineno, field.id),)) for field in fields if isinstance(field, ast.Name))


def _message(path: str, line: int, text: str) -> Iterator[Passage]:
    if len(text.split()) >= 3 and not re.match(r"\s*(?:SELECT|WITH|CREATE|INSERT|UPDATE|DELETE|COPY|ALTER|SET|FROM|WHERE)\b", text):
        yield Passage(path, "message", tuple((line, one.strip()) for one in text.splitlines() if one.strip()))


def _comments(path: str, text: str) -> Iterator[Passage]:
    """Yield the comments; those of adjacent lines that hold nothing else are one passage."""
    block: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        words = re.sub(r"^#:? ?", "", token.string)
        if re.match(r"(?:type: ignore|noqa|fmt:|pragma|-{5,}|!)", words):
            continue
        alone = token.line.lstrip().startswith("#")
        if block and not (alone and block[-1][0] == token.start[0] - 1):
            yield Passage(path, "comment", tuple(block))
            block = []
        block.append((token.start[0], words))
    if block:
        yield Passage(path, "comment", tuple(block))


def of_yaml(path: str, text: str) -> Iterator[Passage]:
    """Yield the comments of a YAML, TOML or shell file or a Makefile; those of adjacent lines are one passage."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = re.search(r"(?:^|\s)#+ ?(?P<words>[^'\"]*(?:(?P<quote>['\"]).*)?)$", _unquoted(line))
        if match is None or line.startswith("#!"):
            continue
        words = line[match.start("words") :]
        alone = line.lstrip().startswith("#")
        if block and not (alone and block[-1][0] == number - 1):
            yield Passage(path, "comment", tuple(block))
            block = []
        block.append((number, words.strip()))
    if block:
        yield Passage(path, "comment", tuple(block))


def _unquoted(line: str) -> str:
    """Return `line` with its quoted strings blanked, as long as before."""
    return re.sub(r"\"[^\"]*\"|'[^']*'", lambda match: "x" * len(match[0]), line)


_HEADING = "\x01"
"""Mark of a text that is in a heading of a page."""


def of_page(path: str, text: str) -> Iterator[Passage]:
    """Yield the text of a Jinja template without its tags, styles and scripts; and its comments, and the messages in its expressions."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]+", " ", match[0])

    def line(match: re.Match[str]) -> int:
        return text.count("\n", 0, match.start()) + 1

    for comment in re.finditer(r"(?s)\{#(.*?)#\}", text):
        words = enumerate(comment[1].split("\n"), line(comment))
        yield Passage(path, "comment", tuple((number, one.strip()) for number, one in words if one.strip()))
    for string in re.finditer(r"""(?x) "(?P<double>[^"\n<>]*)" (?= [^{}]* [%}]\} ) """, text):
        yield from _message(path, line(string), string["double"])
    text = re.sub(r"(?s)<(style|script)\b.*?</\1>|\{#.*?#\}|\{%.*?%\}|<!--.*?-->", blank, text)
    text = re.sub(r"(?s)\{\{.*?\}\}", "X", text)
    text = re.sub(r"(?s)</?(?:b|i|em|strong|code|a|span|small)\b[^>]*>", "", text)
    text = re.sub(r"<h[1-6]\b[^>]*>", f"\x00{_HEADING}", text)
    text = re.sub(r"(?s)<[^>]*>", lambda match: re.sub(r"[^\n]+", " \x00 ", match[0]), text)
    block: list[tuple[int, str]] = []
    for number, part_of_page in enumerate(text.split("\n"), 1):
        *before, last = part_of_page.split("\x00")
        for part in before:
            if part.strip():
                block.append((number, part.strip()))
            if block:
                yield _part(path, block)
                block = []
        if last.strip():
            block.append((number, last.strip()))
    if block:
        yield _part(path, block)


def _part(path: str, block: list[tuple[int, str]]) -> Passage:
    kind = "heading" if block[0][1].startswith(_HEADING) else "page"
    return Passage(path, kind, tuple((number, words.removeprefix(_HEADING).strip()) for number, words in block))


READERS: dict[str, Callable[[str, str], Iterator[Passage]]] = {
    ".md": of_markdown,
    ".py": of_python,
    ".yaml": of_yaml,
    ".yml": of_yaml,
    ".toml": of_yaml,
    ".sh": of_yaml,
    ".html": of_page,
    "Makefile": of_yaml,
}


def judge(path: str, text: str) -> list[Finding]:
    """Return what the rules find in the file `path` that holds `text`, in the order of its lines."""
    found = {one for passage in passages(path, text) for rule in RULES for one in rule(passage)}
    return sorted(found, key=lambda one: (one.line, one.words))


# ------------------------------------------------------------------------------------------------ the repository


def tracked() -> list[str]:
    """Return the paths of the texts that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    paths = [Path(line) for line in listed.stdout.splitlines()]
    ours = {path.as_posix() for path in paths if (path.suffix or path.name) in READERS and (ROOT / path).is_file()}
    return sorted(path for path in ours if not path.startswith(NOT_JUDGED))


def main(chosen: Iterable[str]) -> int:
    """Judge the files under the paths `chosen`, or all files if there are none; print the findings, and return the exit code."""
    paths = [path for path in tracked() if path.startswith(tuple(chosen) or "")]
    found = [one for path in paths for one in judge(path, (ROOT / path).read_text(encoding="utf-8"))]
    for one in found:
        print(one)
    print(f"English: {len(found)} findings in {len(paths)} files")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
