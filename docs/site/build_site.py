#!/usr/bin/env python3
"""Builds the documentation as a site: the pages of the repository, as they are, with mdBook.

    docs/site/build_site.py <folder>

The pages keep their places: a link from one to another, to a heading, or to a file of the repository leads there in the
site too. A file that a page links to is copied beside the pages; a folder gets a page that lists its files. Then each
link and anchor of the HTML is checked; a link that leads nowhere fails the build.
"""

import html
import html.parser
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MDBOOK = Path(sys.executable).parent / "mdbook"
MERMAID = ROOT / "tests/browser/node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
PICTURE = re.compile(r'( src(?:set)?=")([^"\s]+)(")')
FENCE = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^ *```$")
# The documentation of the code, which `make docs` builds beside this site.
API = {"The crate": "shared/index.html", "The TypeScript package": "next-auth/index.html"}


def outside_code(text, change):
    """Applies `change` to a page, but not to its code blocks."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def diagrams(text):
    """Mermaid draws what is in such elements; mdBook would show a code block."""
    return FENCE.sub(lambda f: f'<pre class="mermaid">\n{html.escape(f[3])}</pre>' if f[2] == "mermaid" else f[0], text)


class Book:
    """The folder from which mdBook builds the site."""

    def __init__(self, folder):
        self.folder, self.src = folder, folder / "src"
        shutil.rmtree(folder, ignore_errors=True)
        self.src.mkdir(parents=True)
        self.listed, self.pages = [], set()

    def write(self, path, text):
        to = self.src / path
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text)
        self.pages.add(path)

    def link(self, page, link):
        """Returns `link` of `page` as the site needs it, and adds what it leads to."""
        path, mark, anchor = link.partition("#")
        if not path or re.match(r"[a-z]+:", link):
            return link
        target = (ROOT / page).parent.joinpath(path).resolve()
        relative = str(target.relative_to(ROOT))
        if target.is_dir():
            path = f"{path.rstrip('/')}/{'README.md' if (target / 'README.md').is_file() else 'FILES.md'}"
            if path.endswith("/FILES.md"):
                self.list(relative)
        elif target.suffix != ".md":
            self.copy(relative)
        # mdBook makes index.html from README.md.
        return re.sub(r"(^|/)README\.md$", r"\1index.md", path) + mark + anchor

    def copy(self, path):
        to = self.src / path
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, to)

    def list(self, folder):
        """A page with the files of a folder that git tracks."""
        page = f"{folder}/FILES.md"
        if page in self.pages:
            return
        tracked = subprocess.run(["git", "ls-files"], cwd=ROOT / folder, check=True, capture_output=True, text=True)
        lines = []
        for file in tracked.stdout.splitlines():
            self.copy(f"{folder}/{file}")
            lines.append(f"- [{file}]({file})\n")
        self.write(page, f"# {folder}\n\n{''.join(lines)}")
        self.listed.append((folder, page))

    def page(self, path):
        def linked(part):
            for pattern in (LINK, PICTURE):
                part = pattern.sub(lambda m: m[1] + self.link(path, m[2]) + m[3], part)
            return part

        self.write(path, outside_code(diagrams((ROOT / path).read_text()), linked))

    def build(self, to):
        summary = (HERE / "SUMMARY.md").read_text()
        paths = [str((HERE / path).resolve().relative_to(ROOT)) for _, path, _ in LINK.findall(summary)]
        for path in paths:
            self.page(path)
        names = iter(paths)
        summary = LINK.sub(lambda m: m[1] + next(names) + m[3], summary)
        built = {name: path for name, path in API.items() if (to.parent / path).is_file()}
        if built:
            up = os.path.relpath(to.parent, to)
            self.write("API.md", "# API documentation\n\n" + "".join(f"- [{n}]({up}/{p})\n" for n, p in built.items()))
            summary += "- [API documentation](API.md)\n"
        summary += "".join(f"- [{folder}]({page})\n" for folder, page in self.listed)
        (self.src / "SUMMARY.md").write_text(summary)
        for name in ("book.toml", "diagrams.js", "diagrams.css"):
            shutil.copyfile(HERE / name, self.folder / name)
        shutil.copyfile(MERMAID, self.folder / "tiny.js")
        subprocess.run([MDBOOK, "build", "--dest-dir", to, self.folder], check=True)


class Links(html.parser.HTMLParser):
    """The links, the anchors, and the addresses of scripts, styles and images of a page of HTML."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.loaded = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if anchor := values.get("id") or (tag == "a" and values.get("name")):
            self.anchors.add(anchor)
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "link", "iframe", "source"):
            addresses = (values.get("src") or values.get("href"), values.get("srcset"))
            self.loaded += [address for address in addresses if address]


def broken(folder):
    """Returns each link of the site that leads nowhere, and each file that a page loads from elsewhere."""
    read = {page: Links(page.read_text()) for page in folder.rglob("*.html") if page.name != "toc.html"}
    found = []
    for page, links in read.items():
        for address in [*links.links, *links.loaded]:
            path, _, anchor = address.partition("#")
            where = f"{page.relative_to(folder)}: {address}"
            if re.match(r"([a-z]+:)?//|[a-z]+:", address):
                if address in links.loaded:
                    found.append(f"{where}: is loaded from another server")
                continue
            target = (page.parent / urllib.parse.unquote(path)).resolve() if path else page
            if not target.exists():
                found.append(f"{where}: there is no such file")
            elif anchor and target in read and urllib.parse.unquote(anchor) not in read[target].anchors:
                found.append(f"{where}: the page has no such anchor")
    return sorted(set(found)), sum(len(links.links) for links in read.values())


def main():
    to = Path(sys.argv[1]).resolve()
    Book(ROOT / "target/book").build(to)
    found, count = broken(to)
    print("\n".join(found) or f"{count} links of {to.relative_to(ROOT)} lead somewhere")
    sys.exit(bool(found) or count == 0)


if __name__ == "__main__":
    main()
