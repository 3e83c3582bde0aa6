#!/usr/bin/env python3
"""Counts doc comments that begin with a pronoun or a question word, and finds lines that are too long.

The first line of a doc comment (`///`, `//!`, `/** */`) names its item or says what the item does. This fails if more
than 6% of them begin with one of the words below. Tests are not counted: their names are sentences already. It also
fails on each line of Markdown and each comment over 120 characters; tables, links and code blocks may be longer.

    python3 tests/words.py           the counts
    python3 tests/words.py --list    every offender, as file:line
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LOOSE = 0.06
LONGEST_LINE = 120

LOOSE = re.compile(
    r"(Who|Whose|What|Whether|Why|How|Where|When|Of|It|They|Nobody|Whoever|One['’]s)\b", re.IGNORECASE
)
SCRIPT = {".ts", ".tsx", ".mts", ".js", ".mjs", ".cjs"}
HASH = {".py", ".toml", ".yaml", ".yml", ".sh"}

Line = tuple[int, str]


def files() -> Iterator[Path]:
    """The text files that git knows, and those that it would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in sorted(filter(None, names.split("\0"))):
        path = ROOT / name
        if path.is_file():
            yield path


def is_test(path: Path) -> bool:
    """Tells a file of tests or of the test kit by its name."""
    parts = path.relative_to(ROOT).parts
    return bool({"tests", "test"} & set(parts[:-1])) or parts[-1] == "tests.rs"


def without_inline_tests(lines: list[Line]) -> list[Line]:
    """Drops `#[cfg(test)] mod tests { … }`, which rustfmt ends with a brace in the column of its `mod`."""
    kept: list[Line] = []
    end = None
    for number, line in lines:
        if end is not None:
            end = None if line == end else end
        elif re.fullmatch(r"\s*mod tests \{", line) and kept and kept[-1][1].strip() == "#[cfg(test)]":
            end = line[: len(line) - len(line.lstrip())] + "}"
        else:
            kept.append((number, line))
    return kept


def first_lines_of_rust(lines: list[Line]) -> Iterator[Line]:
    """The first line of each run of `///` or `//!`."""
    before = None
    for number, line in without_inline_tests(lines):
        match = re.match(r"\s*(///|//!)(?!/)\s?(.*)", line)
        marker = match and match[1]
        if match and marker != before and match[2]:
            yield number, match[2]
        before = marker


def first_lines_of_script(lines: list[Line]) -> Iterator[Line]:
    """The first line with text of each `/** */`, unless it starts with a tag."""
    is_open = False
    for number, line in lines:
        if not is_open:
            match = re.match(r"\s*/\*\*(?!\*)(.*)", line)
            if not match:
                continue
            is_open, line = True, match[1]
        text = line.strip().removesuffix("*/").lstrip("* ").strip()
        if text:
            if not text.startswith("@"):
                yield number, text
            is_open = False
        elif "*/" in line:
            is_open = False


def long_lines_of_markdown(lines: list[Line]) -> Iterator[Line]:
    """Lines of prose. A link's address does not count, as it cannot be broken."""
    is_fenced = is_code = False
    before = ""
    for number, line in lines:
        if line.lstrip().startswith("```"):
            is_fenced = not is_fenced
        is_code = line.startswith("    ") and (is_code or not before.strip())
        before = line
        if is_fenced or is_code or line.lstrip().startswith("|"):
            continue
        if len(re.sub(r"\]\([^)]*\)|<?https?://\S+", "", line)) > LONGEST_LINE:
            yield number, line


def long_comments(suffix: str, lines: list[Line]) -> Iterator[Line]:
    """Comments on a line of their own or behind code, and docstrings."""
    is_block = False
    for number, line in lines:
        text = line.strip()
        if suffix in HASH:
            quotes = text.count('"' * 3) if suffix == ".py" else 0
            is_comment = is_block or quotes > 0 or text.startswith("#") or "  # " in line
            is_block ^= quotes % 2 == 1
        else:
            is_comment = is_block or text.startswith(("//", "/*")) or " // " in line
            if "/*" in text and suffix != ".rs":
                is_block = True
            if "*/" in text:
                is_block = False
        if is_comment and len(re.sub(r"<?https?://\S+", "", line)) > LONGEST_LINE:
            yield number, line


def main() -> int:
    is_listing = "--list" in sys.argv[1:]
    count = 0
    loose: list[str] = []
    long: list[str] = []
    for path in files():
        suffix = path.suffix
        if suffix not in {".rs", ".md", ".css"} | SCRIPT | HASH:
            continue
        name = path.relative_to(ROOT)
        lines = list(enumerate(path.read_text().splitlines(), start=1))
        if not is_test(path) and suffix in {".rs"} | SCRIPT:
            first_lines = first_lines_of_rust if suffix == ".rs" else first_lines_of_script
            for number, text in first_lines(lines):
                count += 1
                if LOOSE.match(text):
                    loose.append(f"{name}:{number}: {text}")
        too_long = long_lines_of_markdown(lines) if suffix == ".md" else long_comments(suffix, lines)
        long.extend(f"{name}:{number}: {len(line)} characters" for number, line in too_long)

    if is_listing:
        print(*loose, *long, sep="\n")
    share = len(loose) / count
    print(f"{len(loose)} of {count} doc comments ({share:.1%}) begin with a pronoun or a question word, at most {MOST_LOOSE:.0%} may")
    print(f"{len(long)} lines of Markdown or comments have more than {LONGEST_LINE} characters, none may")
    is_good = share <= MOST_LOOSE and not long
    if not is_good and not is_listing:
        print("python3 tests/words.py --list shows them", file=sys.stderr)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
