"""The choices that mutants become, the file of survivors, and what the command says about a run."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import mutants  # noqa: E402
from mutants import Problem  # noqa: E402
from switches import Mutant, patched, switchable  # noqa: E402

# Each kind of mutant, nested in each other; `ü` has two bytes.
SOURCE = """fn main() {
    let answers: Vec<bool> = (0..24).map(|n| judge(n % 3, n / 3 % 4, n / 12 == 1)).collect();
    println!("{answers:?} {} {}", count("üaaüa"), sum(7));
}
fn judge(a: u8, b: u8, ü: bool) -> bool {
    !ü && a + 1 < b || match a { 0 if b == 0 => true, 1 => true, _ => ü }
}
fn count(text: &str) -> usize { let ü = 'a'; text.chars().filter(|c| *c == ü).count() }
fn sum(mut of: u8) -> u8 { let mut all = 0; while of > 0 { all += of; of -= 1; } all }
"""


def place(text, nth=0):
    """Returns the line and the column, in characters from 1, of an occurrence of `text`."""
    at = [match.start() for match in re.finditer(re.escape(text), SOURCE)][nth]
    return SOURCE.count("\n", 0, at) + 1, at - SOURCE.rfind("\n", 0, at)


def mutant(genre, text, replacement, nth=0, length=None):
    start = place(text, nth)
    end = (start[0], start[1] + (len(text) if length is None else length))
    line = SOURCE.splitlines()[start[0] - 1].strip()
    return Mutant("shared/src/x.rs", f"{text} to {replacement}", genre, start, end, replacement, "f", line, 1)


JUDGED = SOURCE.splitlines()[5].strip()
MUTANTS = [
    mutant("FnValue", JUDGED, "true"),
    mutant("FnValue", JUDGED, "false"),
    mutant("UnaryOperator", "!ü", "", length=1),
    mutant("BinaryOperator", "&&", "||"),
    mutant("BinaryOperator", "||", "&&", nth=0),
    mutant("BinaryOperator", "+", "-"),
    mutant("BinaryOperator", "<", ">", nth=1),
    mutant("MatchArmGuard", "b == 0", "false"),
    mutant("BinaryOperator", "==", "!="),
    mutant("MatchArm", "1 => true, ", ""),
    mutant("BinaryOperator", "==", "!=", nth=1),
    mutant("FnValue", "let ü = 'a'; text.chars().filter(|c| *c == ü).count()", "0"),
    mutant("BinaryOperator", "+=", "*="),
    mutant("BinaryOperator", "> 0", ">=", length=1),
]


def compiled(source, folder, name):
    path = folder / f"{name}.rs"
    path.write_text(source)
    command = ["rustc", "-A", "warnings", "-C", "debuginfo=0", "-o", folder / name, path]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr + source
    return folder / name


def run(program, number="0"):
    done = subprocess.run([program], env={mutants.VARIABLE: number}, capture_output=True, text=True, timeout=30)
    return done.returncode == 0, done.stdout


def test_a_choice_does_what_its_mutant_does_and_without_one_nothing_changes(tmp_path):
    assert [SOURCE.splitlines()[m.start[0] - 1][m.start[1] - 1 :][:1] for m in MUTANTS[:4]] == ["!", "!", "!", "&"]
    made = switchable(SOURCE, list(enumerate(MUTANTS, 1)))
    assert not made.apart and not made.unviable
    choices = compiled(made.text + mutants.SWITCH_SOURCE, tmp_path, "choices")
    original = run(compiled(SOURCE, tmp_path, "original"))
    assert original[0] and run(choices) == original
    # Each mutant as cargo-mutants would build it, in functions of one program.
    for number, each in enumerate(MUTANTS, 1):
        alone = compiled(patched(SOURCE, each), tmp_path, f"mutant{number}")
        assert run(choices, str(number)) == run(alone), each
        # The output shows each of them.
        assert run(alone) != original, each


def test_the_place_of_a_choice_is_known_for_the_errors_of_the_compiler():
    made = switchable(SOURCE, list(enumerate(MUTANTS, 1)))
    text, ranges = made.text, made.ranges
    for first, last, number in ranges:
        assert f"mutant_is({number})" in text.encode()[first:last].decode()
    # The place of the `-` in the choice of the mutant 6.
    at = text.encode().index(b"a - 1")
    error = {"spans": [{"file_name": "x", "is_primary": True, "byte_start": at, "byte_end": at + 1}]}
    assert mutants.at_fault(error, {"x": ranges}) == {6}
    elsewhere = {"spans": [{"file_name": "x", "is_primary": True, "byte_start": 0, "byte_end": 2}]}
    assert mutants.at_fault(elsewhere, {"x": ranges}) == set()


def test_a_value_of_another_type_than_the_body_is_built_by_itself():
    source = "fn f() -> impl Iterator<Item = u8> { 0..3 }\n"
    at = source.index("0..3") + 1
    name = "replace f -> impl Iterator<Item = u8> with ::std::iter::empty()"
    value = Mutant("x", name, "FnValue", (1, at), (1, at + 4), "::std::iter::empty()", "f", source.strip(), 1)
    made = switchable(source, [(1, value)])
    assert (made.text, made.apart, made.unviable) == (source, {1}, set())


def test_another_operator_in_a_let_chain_is_no_mutant(tmp_path):
    source = "fn f(a: Option<u8>) -> bool { if let Some(b) = a && b > 1 { true } else { false } }\n"
    start = source.index("&&") + 1
    chain = Mutant("x", "n", "BinaryOperator", (1, start), (1, start + 2), "||", "f", source.strip(), 1)
    made = switchable(source, [(1, chain)])
    assert (made.text, made.ranges, made.apart, made.unviable) == (source, [], set(), {1})
    (tmp_path / "f.rs").write_text(patched(source, chain))
    command = ["rustc", "--edition=2024", "--crate-type=lib", "-o", tmp_path / "f", tmp_path / "f.rs"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert "`||` operators are not supported in let chain conditions" in built.stderr


ERROR = {"code": {"code": "E0308"}, "spans": [{"file_name": "x", "is_primary": True, "byte_start": 5, "byte_end": 6}]}


def test_a_replacement_that_does_not_compile_is_none_unless_the_choice_is_at_fault():
    """An error in the text of a replacement is one of the mutant, but for what only the choice needs."""
    ranges = {"x": [(0, 10, 1)]}
    assert mutants.sorted_out([ERROR], ranges) == (set(), {1})
    # A function that is evaluated at compile time cannot ask for the choice.
    constant = ERROR | {"code": {"code": "E0015"}}
    assert mutants.sorted_out([constant], ranges) == ({1}, set())
    secondary = ERROR | {"spans": [{**ERROR["spans"][0], "is_primary": False}]}
    assert mutants.sorted_out([secondary], ranges) == ({1}, set())


# --- The list ---------------------------------------------------------------------------------------------------------


def test_equal_changes_of_equal_lines_are_numbered():
    entry = {"file": "a.rs", "genre": "BinaryOperator", "replacement": "!=", "function": None}
    listed = []
    for line in (1, 2):
        span = {"start": {"line": line, "column": 3}, "end": {"line": line, "column": 5}}
        listed.append({**entry, "name": f"a.rs:{line}:3: replace == with !=", "span": span})
    found = mutants.read_list(json.dumps(listed), {"a.rs": "a == b\na == b\n"})
    assert [each.key for each in found] == [("a.rs", "replace == with !=", "a == b", nth) for nth in (1, 2)]


def test_a_module_is_named_by_its_path():
    assert mutants.module_of("shared/src/provider/oidc/keys.rs") == "provider::oidc::keys"
    globs = tomllib.loads((mutants.ROOT / ".cargo/mutants.toml").read_text())["examine_globs"]
    files = [path for pattern in globs for path in mutants.ROOT.glob(pattern)]
    assert files
    for path in files:
        assert mutants.near(str(path.relative_to(mutants.ROOT))), path


# --- The results ------------------------------------------------------------------------------------------------------


def test_what_a_test_caught_stays_caught_until_the_code_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(mutants, "digest_of_all", lambda: "all")
    each = Mutant("f.rs", "m", "FnValue", (1, 1), (1, 2), "", "f", "x", 1)
    (tmp_path / "f.rs").write_text("fn f() {}\n")
    caught = {"key": list(each.key), "code": mutants.digest_of_code("f.rs"), "state": "caught"}
    mutants.write_results({each.key: caught})

    (tmp_path / "f.rs").write_text("fn f() {}\n\n#[cfg(test)]\nmod tests {\n}\n")
    assert mutants.kept([each])[0] == {each.key: caught}
    (tmp_path / "f.rs").write_text("fn f() { g() }\n\n#[cfg(test)]\nmod tests {\n}\n")
    assert mutants.kept([each])[0] == {}


# --- The survivors ----------------------------------------------------------------------------------------------------


ENTRY = '[[survivor]]\nfile = "f.rs"\nmutant = "replace f with ()"\nline = "x"\nwhy = "It changes nothing."\n'


def test_the_list_of_survivors_fits_the_sources():
    mutants.check_survivors(mutants.explained(), mutants.Sources())


@pytest.mark.parametrize(
    "text, reason",
    [
        (ENTRY + ENTRY, "has it twice"),
        (ENTRY.replace("why", "reason"), "has file, mutant, line, why"),
        (ENTRY.replace("It changes nothing.", "harmless"), "what makes the change harmless"),
    ],
)
def test_a_list_of_survivors_that_is_wrong_is_refused(tmp_path, text, reason):
    (tmp_path / "survivors.toml").write_text(text)
    with pytest.raises(Problem, match=reason):
        mutants.explained(tmp_path / "survivors.toml")


def test_a_survivor_of_a_line_that_changed_is_noticed():
    key = "shared/src/jws.rs", "replace f with ()", "no such line", 1
    with pytest.raises(Problem, match="has no line 'no such line'"):
        mutants.check_survivors({key: "It changes nothing."}, mutants.Sources())


# --- The report -------------------------------------------------------------------------------------------------------


def reported(states, survivors=(), is_all=True):
    those = [Mutant("f.rs", f"m{n}", "FnValue", (1, 1), (1, 2), "", "f", "x", 1) for n in range(len(states))]
    results = {each.key: {"state": state, "by": "a test"} for each, state in zip(those, states)}
    return mutants.report(those, results, {("f.rs", name, "x", 1): "why" for name in survivors}, is_all)


def test_a_survivor_fails_unless_it_is_explained(capsys):
    assert reported(["caught"] * 19 + ["survived"]) == 1
    assert "no test notices f.rs:1:1: m19" in capsys.readouterr().out
    assert reported(["caught"] * 19 + ["survived"], ["m19"]) == 0
    assert "19 of 20 mutants are caught: 95.0%" in capsys.readouterr().out


def test_an_explanation_of_a_mutant_that_is_caught_or_gone_fails(capsys):
    assert reported(["caught"] * 3, ["m1"]) == 1
    assert "a test notices f.rs:1:1: m1: remove it" in capsys.readouterr().out
    assert reported(["caught"] * 3, ["m7"]) == 1
    assert "there is no mutant `m7`" in capsys.readouterr().out
    # A part of the mutants says nothing about the others.
    assert reported(["caught"] * 3, ["m7"], is_all=False) == 0


def test_fewer_than_nine_in_ten_fail_and_what_does_not_compile_does_not_count(capsys):
    survivors = ["m8", "m9"]
    assert reported(["caught"] * 8 + ["survived"] * 2, survivors) == 1
    assert "fewer than 90%" in capsys.readouterr().out
    assert reported(["caught"] * 9 + ["unviable"] * 5 + ["survived"], ["m14"]) == 0
