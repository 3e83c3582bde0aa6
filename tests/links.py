#!/usr/bin/env python3
"""Each link of a Markdown page to a file or a heading of this repository leads to one, and each picture is there.

    tests/links.py

Prints the links that lead nowhere, and fails if there are any.
"""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pages():
    names = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split()]


@cache
def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text())


@cache
def anchors(page):
    """The anchors that GitHub gives the headings of a page, and those that it sets itself."""
    found = set(re.findall(r'<a id="([^"]+)"', prose(page)))
    seen = {}
    for heading in re.findall(r"(?m)^#{1,6} (.+)$", prose(page)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        count = seen[anchor] = seen.get(anchor, -1) + 1
        found.add(f"{anchor}-{count}" if count else anchor)
    return found


def problem(page, link):
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return "there is no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return "the page has no such heading"
    return None


def main():
    broken = 0
    count = 0
    for page in pages():
        links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
        pictures = re.findall(r'\b(?:src|srcset)="([^"]+)"', prose(page))
        for link in links + pictures:
            if re.match(r"[a-z]+:", link):
                continue
            count += 1
            if why := problem(page, link):
                broken += 1
                print(f"{page.relative_to(ROOT)}: {link}: {why}")
    print(f"{broken} of {count} links lead nowhere")
    sys.exit(broken > 0 or count == 0)


if __name__ == "__main__":
    main()
