"""Each code block of each page has a line in blocks.py; and blocks that are checked without running anything."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore import session

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "template"))
import test_deploy  # noqa: E402
import test_restore  # noqa: E402
from blocks import BLOCKS, LISTED, Checked, Shown, Tested  # noqa: E402
from pages import ROOT, blocks, pages, sections  # noqa: E402


TAKEN = set()


def take(page, starts):
    block = next(block for block in blocks(page) if block.starts.startswith(starts))
    TAKEN.add(str(block))
    return block.text


def differences(page, found, entries):
    """What blocks.py has to say about a page, if it does not fit the blocks that were found there."""
    for block, entry in zip(found, entries):
        text = entry.starts.split("\n", 1)[0]
        if not block.starts.startswith(text):
            return f"blocks.py has {text!r} in the place of this block. Test the block, and give it a line.\n{block}"
    if len(found) > len(entries):
        return f"blocks.py has no line for this block. Test it, and add a line that says how.\n{found[len(entries)]}"
    if len(found) < len(entries):
        return f"{page} has no block any more for {entries[len(found)].starts!r}: remove the line from blocks.py"
    return None


def test_each_page_with_a_block_is_in_the_list():
    assert {page for page in pages() if blocks(page)} == set(BLOCKS)


@pytest.mark.parametrize("page", LISTED)
def test_each_block_has_its_line(page):
    assert differences(page, blocks(page), LISTED[page]) is None


def test_a_block_that_comes_goes_or_changes_is_noticed():
    text = (ROOT / "docs/settings.md").read_text()
    entries = LISTED["docs/settings.md"]

    def said(changed):
        assert changed != text
        return differences("docs/settings.md", blocks("docs/settings.md", changed), entries)

    assert "has no line for this block" in said(f"{text}\n    echo new\n")
    assert "has no line for this block" in said(f"{text}\n1. Do:\n\n   ```sh\n   echo new\n   ```\n")
    assert "in the place of this block" in said(text.replace("       sam deploy\n", "       sam build\n"))
    assert "has no block any more" in said(re.sub(r"(?m)^    cambio: ACCESS_TOKEN_TTL.*\n", "", text))


@pytest.mark.parametrize(("page", "test"), [("docs/deploy.md", test_deploy), ("docs/restore.md", test_restore)])
def test_the_walks_of_deploy_and_restore_have_each_block_of_the_page(page, test):
    assert [block.text for block in blocks(page)] == [text for text, _, _ in test.WALK]


TESTED = {(entry.file, entry.contains) for entries in LISTED.values() for entry in entries if isinstance(entry, Tested)}


@pytest.mark.parametrize(("file", "contains"), sorted(TESTED))
def test_the_other_test_is_where_the_list_says(file, contains):
    assert contains in (ROOT / file).read_text()


def test_a_block_that_cannot_be_run_is_as_it_was_read():
    for page, entries in LISTED.items():
        for block, entry in zip(blocks(page), entries):
            if isinstance(entry, Shown):
                digest = hashlib.sha256(block.text.encode()).hexdigest()
                is_same = entry.text == block.text if entry.sha256 is None else entry.sha256 == digest
                assert is_same, f"Read this block again, and change its line in blocks.py ({digest}).\n{block}"
                assert entry.why


# --- What a page begins and ends with ---------------------------------------------------------------------------------

# Pages for their own purposes: a list of changes, a policy, the page of the crate, a form, a list of pages.
OTHERS = {
    ".github/pull_request_template.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/site/SUMMARY.md",
    "shared/README.md",
}
# Its last section names the test that proves each defence.
CHECKS = {"docs/security.md": "Threats and their tests"}


@pytest.mark.parametrize("page", sorted(set(pages()) - OTHERS))
def test_a_page_begins_with_what_one_gets_and_ends_with_what_to_check(page):
    (title, first), *_, (last, check) = sections(page)
    sentences = first.strip().split("\n\n")[0]
    assert re.match(r"[A-Z`].*[.:]$", sentences, re.DOTALL), f"{page} begins with no sentence below its title {title!r}"
    assert last == CHECKS.get(page, "Check"), f"{page} ends with {last!r}: add a section `## Check`, with what to see"
    assert len(check.strip()) > 60


# --- Blocks that are checked here -------------------------------------------------------------------------------------


def test_the_parts_of_the_drawing_are_modules_of_shared():
    drawing = take("docs/architecture.md", "Next.js")
    inside = drawing.split(" shared ")[1].splitlines()[1:-2]
    rows = [re.match(r"[a-z]+(, [a-z]+)*", line) for line in inside]
    named = [name for row in rows for name in row[0].split(", ")]
    assert len(named) > 15
    assert [name for name in named if not (ROOT / f"shared/src/{name}.rs").is_file()] == []


@pytest.mark.parametrize("example", ["nextjs", "better-auth"])
def test_the_files_of_the_examples_are_there(example):
    lines = take(f"examples/{example}/README.md", "lib/auth.ts").splitlines()
    assert len(lines) > 5
    assert [line for line in lines if not (ROOT / "examples" / example / line.split()[0]).exists()] == []


def formatted(code):
    options = {"input": code, "capture_output": True, "text": True}
    done = subprocess.run(["rustfmt", "--edition", "2024", "--check"], **options)
    return done.returncode == 0, done.stdout + done.stderr


def test_the_claim_of_the_page_is_rust_and_fits_the_code():
    member = take("docs/add-a-claim.md", "/// The display name").replace("\n", "\n    ")
    value = take("docs/add-a-claim.md", "name: user.name()")
    assert formatted(f"struct Claims {{\n    {member}\n}}\n") == (True, "")
    assert formatted(f"fn main() {{\n    Claims {{\n        {value}\n    }};\n}}\n") == (True, "")
    # The page's calls and attributes are those of the code.
    assert "pub fn name(&self) -> Option<&str>" in (ROOT / "shared/src/users.rs").read_text()
    assert member.splitlines()[1].strip() in (ROOT / "shared/src/token.rs").read_text()


def test_the_lines_of_the_guides_are_those_of_the_code():
    kind = take("docs/add-a-provider.md", "(<name>::KIND").replace("<name>", "discord")
    assert kind in (ROOT / "shared/src/provider.rs").read_text()

    state = take("docs/add-a-route.md", "let start = Start::new")
    assert formatted("fn main() {\n    " + state.replace("\n", "\n    ") + "\n}\n") == (True, "")
    start = (ROOT / "functions/me/src/lib.rs").read_text()
    assert [line for line in state.splitlines()[:-1] if line.strip() not in start] == []


def test_the_policy_of_the_operator_names_actions_of_dynamodb():
    (policy,) = [block for block in blocks("docs/operate.md") if '"Statement"' in block.text]
    TAKEN.add(str(policy))
    users, keys = json.loads(policy.text)["Statement"]
    known = session.get_session().get_service_model("dynamodb").operation_names
    for statement in (users, keys):
        assert statement["Effect"] == "Allow"
        assert [a for a in statement["Action"] if a.removeprefix("dynamodb:") not in known] == []
    assert "dynamodb:Scan" in users["Action"]
    assert "dynamodb:Scan" not in keys["Action"]


def test_the_scopes_of_routes_are_json():
    scopes = json.loads(take("docs/protect-your-api.md", '{"GET /orders"'))
    assert scopes["GET /orders"] == "orders:read"


def test_each_block_that_is_checked_was_taken(request):
    """Runs last, and with all checks only."""
    if request.config.option.keyword or any("::" in argument for argument in request.config.args):
        pytest.skip("not all checks ran")
    listed = [(block, entry) for page, entries in LISTED.items() for block, entry in zip(blocks(page), entries)]
    assert {str(block) for block, entry in listed if isinstance(entry, Checked)} == TAKEN
