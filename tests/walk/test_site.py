"""The site that `make docs` builds from the pages: its links, and what it loads. tests/browser looks at it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import ROOT, pages  # noqa: E402

sys.path.insert(0, str(ROOT / "docs/site"))
from build_site import Book, broken  # noqa: E402

# They have no text of their own for a reader of the site.
NOT_IN_THE_SITE = {".github/pull_request_template.md", "docs/site/SUMMARY.md"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    book = Book(folder / "book")
    book.build(folder / "site")
    return book, folder / "site"


def test_each_page_is_in_the_site(site):
    book, _ = site
    assert set(pages()) - NOT_IN_THE_SITE == book.pages & set(pages())


def test_each_link_of_the_site_leads_somewhere(site):
    found, count = broken(site[1])
    assert found == []
    assert count > 500
    for file in ("openapi.yaml", "shared/src/start.rs", "examples/orders/src/lib.rs", "docs/local-page.png"):
        assert (site[1] / file).read_bytes() == (ROOT / file).read_bytes()


def test_a_link_that_leads_nowhere_is_noticed(site, tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"><a href="b.html#there"><a href="c.html"><a href="https://example.com">'
        '<script src="https://cdn.example.com/x.js"></script><a href="#top">'
    )
    (tmp_path / "b.html").write_text('<h1 id="here">')

    assert broken(tmp_path)[0] == [
        "a.html: #top: the page has no such anchor",
        "a.html: b.html#there: the page has no such anchor",
        "a.html: c.html: there is no such file",
        "a.html: https://cdn.example.com/x.js: is loaded from another server",
    ]


def test_the_diagram_of_the_readme_is_one_that_mermaid_draws(site):
    assert '<pre class="mermaid">\nsequenceDiagram\n' in (site[1] / "index.html").read_text()
