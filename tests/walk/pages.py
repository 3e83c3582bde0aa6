"""The pages of the repository, and their code blocks."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced or indented code block of a page, without its indentation."""

    page: str
    line: int
    heading: str
    language: str
    text: str

    @property
    def starts(self) -> str:
        """The first line, which names the block in blocks.py."""
        return self.text.split("\n", 1)[0].strip()

    @property
    def commands(self) -> list[str]:
        """The lines of the block as commands; a line that ends with a backslash goes on in the next one."""
        return re.sub(r"\\\n", "\\\\\0", self.text).replace("\n", "\1").replace("\0", "\n").split("\1")

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.heading}):\n{self.text}"


def pages() -> list[str]:
    """Returns the Markdown files that git tracks, or would track once they are added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return sorted(name for name in listed if (ROOT / name).is_file())


def blocks(page: str, text: str | None = None) -> list[Block]:
    """Returns the code blocks of a page in their order."""
    found, heading = [], ""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text() if text is None else text)
    for token, following in zip(tokens, [*tokens[1:], None]):
        if token.type == "heading_open":
            heading = following.content
        elif token.type in ("fence", "code_block"):
            found.append(Block(page, token.map[0] + 1, heading, token.info, token.content.rstrip("\n")))
    return found


def sections(page: str) -> list[tuple[str, str]]:
    """Returns the headings of the first two levels, each with its text up to the next one."""
    text = re.sub(r"(?ms)^( *)```.*?^\1```$", lambda fence: fence[0].replace("\n#", "\n\\#"), (ROOT / page).read_text())
    parts = re.split(r"(?m)^##? (.+)$", text)
    return list(zip(parts[1::2], parts[2::2]))


def commands(page: str) -> list[str]:
    """Returns the texts in backquotes inside the sentences and tables of a page, each on one line."""
    tokens = MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text())
    inside = [child for token in tokens if token.type == "inline" for child in token.children]
    return [" ".join(child.content.split()) for child in inside if child.type == "code_inline"]
