#!/usr/bin/env python3
"""Switches guards off, one at a time, and checks that the tests named for each guard fail without it.

A guard is a condition that a guarantee rests on. guards.toml lists them. The sources of the product contain no switch:
the script copies the tree to target/guards/tree, makes each guard switchable in the copy, builds the copy once, and
runs the named tests with the environment variable CAMBIO_GUARD_OFF set to the name of one guard. A named test that
still passes is a survivor: it does not prove its claim.

The exit code is 0 if every guard was killed or its survival is explained, 1 if not, 2 if the list itself is wrong.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import random
import re
import shutil
import signal
import string
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tree_copy import Binary, build_tests, copy_dependencies, mirror, packages, say, tracked_files  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent.relative_to(ROOT)
LIST = ROOT / HERE / "guards.toml"
WORK = ROOT / "target" / "guards"
TREE = WORK / "tree"
BUILD = WORK / "build"
REPORT = WORK / "report.json"

SWITCH = "guard_is_off"
VARIABLE = "CAMBIO_GUARD_OFF"
# Appended to the lib.rs of each crate with a guard, in the copy alone.
SWITCH_SOURCE = f"""
pub(crate) fn {SWITCH}(name: &str) -> bool {{
    static OFF: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("{VARIABLE}").ok());
    OFF.as_deref() == Some(name)
}}
"""

KEYS = {"name", "threat", "file", "find", "off", "also", "tests", "patch", "explained", "doctor"}
# Runs `cambio-admin doctor` against the whole API, and fails with the ids of the checks that failed.
DOCTOR = "e2e t180_the_doctor_finds_the_api_sound"
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
WORD = tuple(string.ascii_letters + string.digits + "_")
# Unit tests may hold the text of a guard as well; guards are looked for in front of them.
UNIT_TESTS = re.compile(r"^#\[cfg\(test\)\]\nmod tests", re.MULTILINE)
RESULT = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", re.MULTILINE)
FAILED_CHECKS = re.compile(r"the doctor fails at: (.*)")
PANIC = re.compile(r"^thread '([^']+)'.* panicked at (.*?):?\n(.*)", re.MULTILINE)


class ListError(Exception):
    """The list of guards does not fit the sources."""


@dataclass(frozen=True)
class Guard:
    name: str
    threat: str
    file: str
    find: str
    off: str
    tests: tuple[str, ...]
    # Further expressions of the same file that are switched off together with the first: (find, off).
    also: tuple[tuple[str, str], ...] = ()
    patch: bool = False
    explained: str | None = None
    # The one check of `cambio-admin doctor` that fails without the guard.
    doctor: str | None = None

    @property
    def expressions(self) -> tuple[tuple[str, str], ...]:
        return ((self.find, self.off), *self.also)


@dataclass
class Outcome:
    guard: Guard
    seconds: float = 0.0
    # The result of each named test: FAILED, ok, "timed out" or "no result".
    results: dict[str, str] = field(default_factory=dict)
    panics: list[str] = field(default_factory=list)
    unbuildable: str | None = None

    @property
    def state(self) -> str:
        if self.unbuildable:
            return "unbuildable"
        found = set(self.results.values())
        if "ok" in found:
            return "survived"
        return "killed" if found == {"FAILED"} else "unproven"


class Step:
    """Says how long a part took."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def done(self, text: str) -> None:
        say(f"{text} ({time.monotonic() - self.started:.1f} s)")


# The list


def read_list() -> list[Guard]:
    written = tomllib.loads(LIST.read_text())
    guards: list[Guard] = []
    problems: list[str] = []
    for nth, entry in enumerate(written.get("guard", []), 1):
        name = entry.get("name", f"guard number {nth}")
        unknown = set(entry) - KEYS
        missing = {"name", "threat", "file", "find", "off", "tests"} - set(entry)
        if unknown or missing:
            problems.append(f"{name}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")
            continue
        also = tuple((other["find"], other["off"]) for other in entry.get("also", []))
        tests = (*entry["tests"], DOCTOR) if "doctor" in entry else tuple(entry["tests"])
        guard = Guard(**{**entry, "tests": tests, "also": also})
        if not SLUG.fullmatch(guard.name):
            problems.append(f"{name}: write the name as words in lower case, joined by '-'")
        if any(other.name == guard.name for other in guards):
            problems.append(f"{name}: two guards have this name; rename one")
        if not guard.tests and not guard.explained:
            problems.append(f"{name}: name at least one test, or say in `explained` why there is none")
        for test in guard.tests:
            if len(test.split()) != 2:
                problems.append(f"{name}: write {test!r} as '<binary> <test>', like 'e2e t41_a_user' or 'shared t13_no_algorithm'")
        guards.append(guard)
    files = [guard.file for guard in guards]
    if files != sorted(files):
        first = next(file for file, sorted_file in zip(files, sorted(files)) if file != sorted_file)
        problems.append(f"the list is sorted by file; the first guard out of place is of {first}")
    fail_on(problems)
    return guards


def fail_on(problems: list[str]) -> None:
    if problems:
        raise ListError("\n".join(f"  {problem}" for problem in problems))


def places_of(guard: Guard, source: str) -> list[tuple[int, int, str]]:
    """Returns the places of the guard's expressions, each with the text that switches it off.

    In `find`, « and » enclose the expression if more text around it makes it unique. Any white space matches any other,
    so that rustfmt may break lines.
    """
    tests = UNIT_TESTS.search(source)
    code = source[: tests.start()] if tests else source
    places = []
    for find, off in guard.expressions:
        marked = find if "«" in find else f"«{find.strip()}»"
        pattern = r"\s+".join(re.escape(word) for word in marked.split())
        # Whole words only: `user.id` is not in `user.identities`.
        pattern = r"\b" * marked.strip("«").startswith(WORD) + pattern + r"\b" * marked.strip("»").endswith(WORD)
        found = list(re.finditer(pattern.replace("«", "(").replace("»", ")"), code))
        if len(found) != 1:
            raise ListError(
                f"  {guard.name}: its `find` occurs {len(found)} times in {guard.file} (it must occur once, in front of"
                f" the unit tests); correct `find` in {HERE}/guards.toml: {' '.join(find.split())!r}"
            )
        places.append((*found[0].span(1), off))
    return places


def check_places(guards: list[Guard]) -> None:
    problems: list[str] = []
    taken: dict[str, list[tuple[int, int, str]]] = {}
    for guard in guards:
        path = ROOT / guard.file
        if not path.is_file():
            problems.append(f"{guard.name}: {guard.file} is gone; correct `file` in {HERE}/guards.toml or remove the guard")
            continue
        if path.name == "main.rs":
            problems.append(f"{guard.name}: {guard.file} is a binary's; guards are switchable in libraries only")
        try:
            places = places_of(guard, path.read_text())
        except ListError as error:
            problems.append(str(error).strip())
            continue
        if guard.patch:
            continue
        for start, end, _ in places:
            for other_start, other_end, other in taken.setdefault(guard.file, []):
                if start < other_end and other_start < end and (start, end) != (other_start, other_end):
                    problems.append(
                        f"{guard.name}: its expression overlaps that of {other}; choose the same one, or a smaller one"
                    )
            taken[guard.file].append((start, end, guard.name))
    fail_on(problems)


def check_tests_are_written(guards: list[Guard]) -> None:
    """Without a build: each named test is a function somewhere. The build then says in which binary."""
    written: set[str] = set()
    for path in tracked_files(ROOT):
        if path.endswith(".rs"):
            written.update(re.findall(r"\bfn (\w+)\s*\(", (ROOT / path).read_text()))
    fail_on(
        [
            f"{guard.name}: there is no test {test!r}; correct `tests` in {HERE}/guards.toml"
            for guard in guards
            for test in guard.tests
            if test.split()[1].rsplit("::", 1)[-1] not in written
        ]
    )


def check_sources_know_nothing() -> None:
    """The switch is in the copy alone: no build of the tree itself can have it."""
    problems = []
    for path in tracked_files(ROOT):
        if Path(path).is_relative_to(HERE):
            continue
        content = (ROOT / path).read_bytes()
        problems += [
            f"{path} contains {word}; guards are switchable in target/guards alone, so remove it from the source"
            for word in (SWITCH, VARIABLE)
            if word.encode() in content
        ]
    fail_on(problems)


def check(guards: list[Guard]) -> None:
    """Checks without a build, and reports all problems at once."""
    problems = []
    for part in (check_sources_know_nothing, lambda: check_places(guards), lambda: check_tests_are_written(guards)):
        try:
            part()
        except ListError as error:
            problems.append(str(error))
    if problems:
        raise ListError("\n".join(problems))


# The copy


def crate_of(file: str) -> str:
    for directory in Path(file).parents:
        if (ROOT / directory / "Cargo.toml").is_file() and (ROOT / directory / "src" / "lib.rs").is_file():
            return str(directory / "src" / "lib.rs")
    raise ListError(f"  {file} is in no library crate")


def switchable(source: str, guards: list[Guard]) -> tuple[str, list[tuple[int, int, Guard]]]:
    """The source with each guard switchable, and the lines on which each is afterwards."""
    choices: dict[tuple[int, int], list[tuple[str, Guard]]] = {}
    for guard in guards:
        for start, end, off in places_of(guard, source):
            choices.setdefault((start, end), []).append((off, guard))
    text, position, lines = "", 0, []
    for (start, end), those in sorted(choices.items()):
        text += source[position:start] + "("
        for off, guard in those:
            first = text.count("\n") + 1
            text += f'if crate::{SWITCH}("{guard.name}") {{ {off} }} else '
            lines.append((first, text.count("\n") + 1, guard))
        text += f"{{ {source[start:end]} }})"
        position = end
    return text + source[position:], lines


def make_tree(guards: list[Guard], patched: Guard | None = None) -> dict[str, list[tuple[int, int, Guard]]]:
    """Writes the copy. Files that stay the same are not touched, so that cargo builds no more than it must."""
    by_file: dict[str, list[Guard]] = {}
    for guard in guards:
        by_file.setdefault(guard.file, []).append(guard)
    crates = {crate_of(file) for file in by_file}
    lines: dict[str, list[tuple[int, int, Guard]]] = {}

    def content(path: str) -> bytes:
        written = (ROOT / path).read_bytes()
        if path not in by_file and path not in crates and not (patched and path == patched.file):
            return written
        source = written.decode()
        if patched and path == patched.file:
            for start, end, off in reversed(sorted(places_of(patched, source))):
                source = source[:start] + off + source[end:]
        source, lines[path] = switchable(source, by_file.get(path, []))
        return (source + SWITCH_SOURCE if path in crates else source).encode()

    # The logs of the last run.
    shutil.rmtree(TREE / "target", ignore_errors=True)
    changed = mirror(ROOT, TREE, tracked_files(ROOT), content)
    say(f"copied the tree to {TREE.relative_to(ROOT)}: {changed} files changed")
    return lines


def workspace() -> set[str]:
    """Returns the names of the workspace's packages."""
    return packages(ROOT, tracked_files(ROOT))


def prefill() -> None:
    """Copies the dependencies that cargo has built for the tree. The crates of the workspace are built again."""
    step = Step()
    if copy_dependencies(ROOT / "target", BUILD, workspace()):
        step.done("copied the dependencies that were built already")


# The build


def targets_of(guards: list[Guard]) -> list[str]:
    """The options of cargo that build the binaries which the list names, and no others."""
    names = {test.split()[0] for guard in guards for test in guard.tests}
    options = ["--lib"] if names & workspace() else []
    for name in sorted({name.rsplit("/", 1)[-1] for name in names - workspace()}):
        options += ["--test", name]
    return options


def cargo_build(options: list[str]) -> tuple[dict[str, Binary], list[dict], str]:
    """Builds the copy. Returns the test binaries by name, the errors of rustc, and what cargo said beside."""
    built, errors, output = build_tests(TREE, BUILD, options, VARIABLE)
    binaries: dict[str, Binary] = {}
    ambiguous: set[str] = set()
    for target, binary in built:
        # The folder's name, which is the package's but for shared/, whose package is `cambio`.
        package = Path(binary.directory).name
        if target["kind"] == ["test"]:
            binaries[f"{package}/{target['name']}"] = binary
            if target["name"] in binaries:
                ambiguous.add(target["name"])
            binaries[target["name"]] = binary
        elif target["kind"] != ["bin"]:
            binaries[package] = binary
    for name in ambiguous:
        del binaries[name]
    return binaries, errors, output


def guards_at(error: dict, lines: dict[str, list[tuple[int, int, Guard]]]) -> list[Guard]:
    found = []
    for span in error["spans"]:
        for first, last, guard in lines.get(span["file_name"], []):
            if first <= span["line_start"] <= last or span["line_start"] <= first <= span["line_end"]:
                found.append((not span["is_primary"], guard))
    if not found:
        return []
    best = min(secondary for secondary, _ in found)
    return [guard for secondary, guard in found if secondary == best]


def build(guards: list[Guard], options: list[str]) -> tuple[dict[str, Binary], list[Outcome]]:
    """Builds all guards at once. A guard that does not compile is set aside, and the others are built without it."""
    unbuildable: list[Outcome] = []
    guards = list(guards)
    while True:
        lines = make_tree(guards)
        step = Step()
        binaries, errors, output = cargo_build(options)
        if binaries:
            step.done(f"built {len(guards)} switchable guards: {' '.join(options)}")
            return binaries, unbuildable
        culprits: dict[Guard, str] = {}
        for error in errors:
            for guard in guards_at(error, lines):
                culprits.setdefault(guard, error["rendered"])
        if not culprits:
            say(output)
            for error in errors:
                say(error["rendered"])
            raise ListError("  the copy does not build, and no guard is at fault: does `cargo test --no-run` build the tree?")
        step.done(f"{len(culprits)} guards do not compile and are left out; building the others")
        for guard, rendered in culprits.items():
            say(f"\n{guard.name} does not compile; correct its `find` or `off`:\n{rendered}")
            unbuildable.append(Outcome(guard, unbuildable=rendered))
            guards.remove(guard)


# The tests


def list_tests(binaries: dict[str, Binary]) -> None:
    for executable in {binary.executable for binary in binaries.values()}:
        listed = subprocess.run([executable, "--list", "--format=terse"], check=True, capture_output=True, text=True).stdout
        names = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]
        for binary in binaries.values():
            if binary.executable == executable:
                binary.tests = names


def locate(guards: list[Guard], binaries: dict[str, Binary]) -> dict[str, tuple[Binary, str]]:
    """Where each named test is: its binary, and its name with the path of its module."""
    problems, located = [], {}
    for guard in guards:
        for test in guard.tests:
            binary_name, name = test.split()
            binary = binaries.get(binary_name)
            if binary is None:
                known = ", ".join(sorted(binaries))
                problems.append(f"{guard.name}: there is no test binary {binary_name!r} for {test!r}; there are: {known}")
                continue
            found = [full for full in binary.tests if full == name or full.endswith(f"::{name}")]
            if len(found) == 1:
                located[test] = (binary, found[0])
            elif not found:
                problems.append(f"{guard.name}: {binary_name} has no test {name!r}; correct `tests` in {HERE}/guards.toml")
            else:
                problems.append(f"{guard.name}: {test!r} may be any of {', '.join(found)}; add the module's name")
    fail_on(problems)
    return located


def run_tests(
    located: dict[str, tuple[Binary, str]], tests: list[str], off: str | None, limit: float
) -> tuple[dict[str, str], list[str]]:
    """Runs these tests and no others. Gives the result of each, and why those that failed did."""
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    environment.pop(VARIABLE, None)
    if off is not None:
        environment[VARIABLE] = off
    by_binary: dict[str, list[str]] = {}
    for test in tests:
        by_binary.setdefault(located[test][0].executable, []).append(test)
    results: dict[str, str] = {}
    panics: list[str] = []
    deadline = time.monotonic() + limit
    for executable, named in by_binary.items():
        directory = located[named[0]][0].directory
        command = [executable, "--exact", *sorted({located[test][1] for test in named})]
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, "CARGO_MANIFEST_DIR": directory},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        missing = "no result"
        try:
            output, _ = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            # The test's own children are in its process group.
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            missing = "timed out"
        said = dict(RESULT.findall(output))
        for test in named:
            results[test] = said.get(located[test][1], missing)
        panics += [f"{at}: {why}" for _, at, why in PANIC.findall(output)]
    return results, panics


def check_baseline(located: dict[str, tuple[Binary, str]], guards: list[Guard], limit: float) -> None:
    tests = sorted({test for guard in guards for test in guard.tests})
    step = Step()
    results, panics = run_tests(located, tests, None, max(limit, 5.0 * len(tests)))
    bad = {test: result for test, result in results.items() if result != "ok"}
    if bad:
        for panic in panics:
            say(f"  {panic}")
        raise ListError(
            "\n".join(f"  {test}: {result} although every guard is on; make it pass first" for test, result in bad.items())
        )
    step.done(f"baseline: {len(tests)} tests pass with every guard on")


def switch_off(guard: Guard, located: dict[str, tuple[Binary, str]], limit: float) -> Outcome:
    outcome = Outcome(guard)
    started = time.monotonic()
    outcome.results, outcome.panics = run_tests(located, list(guard.tests), guard.name, limit)
    judge(outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


def judge(outcome: Outcome) -> None:
    """Demands that `cambio-admin doctor` fails at the check of the guard, and at no other."""
    wanted = outcome.guard.doctor
    if wanted is None or outcome.results[DOCTOR] != "FAILED":
        return
    said = [found[1] for panic in outcome.panics if (found := FAILED_CHECKS.search(panic))]
    if said != [wanted]:
        outcome.results[DOCTOR] = f"fails at {'; '.join(said) or 'no check'}, not at {wanted} alone"


def patch_in(guard: Guard, switchables: list[Guard], options: list[str], limit: float) -> Outcome:
    """Replaces the text of a guard that cannot be wrapped, builds, and runs its tests."""
    outcome = Outcome(guard)
    started = time.monotonic()
    others = [other for other in switchables if other.file != guard.file]
    make_tree(others, guard)
    binaries, errors, output = cargo_build(options)
    if not binaries:
        outcome.unbuildable = "\n".join(error["rendered"] for error in errors) or output
        say(f"\n{guard.name} does not compile; correct its `find` or `off`:\n{outcome.unbuildable}")
    else:
        list_tests(binaries)
        located = locate([guard], binaries)
        outcome.results, outcome.panics = run_tests(located, list(guard.tests), guard.name, limit)
    outcome.seconds = time.monotonic() - started
    return outcome


# The report


def progress(outcome: Outcome, done: int, total: int, show_panics: bool) -> None:
    guard = outcome.guard
    say(f"{done:4}/{total}  {outcome.state:11} {outcome.seconds:6.1f} s  {guard.threat:10} {guard.name}")
    for test, result in outcome.results.items():
        if result != "FAILED":
            say(f"           {test}: {'passes without the guard' if result == 'ok' else result}")
    if show_panics:
        for panic in outcome.panics:
            say(f"           {panic}")


def report(outcomes: list[Outcome]) -> int:
    outcomes.sort(key=lambda outcome: (outcome.guard.file, outcome.guard.name))
    REPORT.write_text(
        json.dumps(
            [
                {
                    "name": outcome.guard.name,
                    "threat": outcome.guard.threat,
                    "file": outcome.guard.file,
                    "state": outcome.state,
                    "seconds": round(outcome.seconds, 1),
                    "tests": outcome.results,
                    "panics": outcome.panics,
                    "explained": outcome.guard.explained,
                }
                for outcome in outcomes
            ],
            indent=1,
        )
    )
    killed = [outcome for outcome in outcomes if outcome.state == "killed"]
    others = [outcome for outcome in outcomes if outcome.state != "killed"]
    explained = [outcome for outcome in others if outcome.guard.explained and outcome.state == "survived"]
    failures = [outcome for outcome in others if outcome not in explained]
    headings = {
        "survived": "Survivors: these tests pass without the guard. Write a test that fails without it, or correct `tests`.",
        "unproven": "Not proven: a test that hangs or ends without a result proves nothing. Name a test that fails.",
        "unbuildable": "Not built: the copy does not compile with these. Correct `find` or `off`.",
    }
    for state, heading in headings.items():
        those = [outcome for outcome in failures if outcome.state == state]
        if those:
            say(f"\n{heading}")
            for outcome in those:
                say(f"  {outcome.guard.name} ({outcome.guard.threat}, {outcome.guard.file})")
                for test, result in outcome.results.items():
                    if result != "FAILED":
                        say(f"    {test}: {result}")
    if explained:
        say("\nSurvivors that are explained:")
        for outcome in explained:
            say(f"  {outcome.guard.name} ({outcome.guard.threat}): {outcome.guard.explained}")
    for outcome in killed:
        if outcome.guard.explained:
            say(f"\n{outcome.guard.name} is killed; remove its `explained`.")
    say(
        f"\nguards: {len(killed)} killed, {len(failures)} failed "
        f"(of these {sum(outcome.state == 'survived' for outcome in failures)} survived), "
        f"{len(explained)} survived with an explanation; details in {REPORT.relative_to(ROOT)}"
    )
    return 1 if failures else 0


# The command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Switches guards off, one at a time, and checks that the tests named for each guard fail without it.",
        epilog=f"The guards are in {HERE}/guards.toml. The variable CARGO names another command than cargo.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", nargs="+", metavar="NAME", help="switch off these guards alone")
    which.add_argument("--sample", type=int, metavar="N", help="switch off N guards, chosen at random")
    parser.add_argument(
        "--doctor",
        type=int,
        nargs="?",
        const=sys.maxsize,
        metavar="N",
        help="switch off the guards that `cambio-admin doctor` judges, or N of them, in place of all guards or besides a sample",
    )
    parser.add_argument("--seed", help="what the sample is chosen by (default: the id of the commit)")
    parser.add_argument("--list", action="store_true", help="print the guards, and do nothing else")
    parser.add_argument("--check", action="store_true", help="check the list against the sources, and build nothing")
    parser.add_argument("--build", action="store_true", help="build the copy with all guards switchable, and switch none off")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many guards at a time (default: %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=120.0, metavar="SECONDS", help="time limit for each guard (default: %(default)s)"
    )
    parser.add_argument("--panics", action="store_true", help="print why each test failed")
    return parser.parse_args()


def chosen(guards: list[Guard], options: argparse.Namespace) -> list[Guard]:
    if options.only:
        unknown = sorted(set(options.only) - {guard.name for guard in guards})
        fail_on([f"there is no guard {name!r}; --list prints their names" for name in unknown])
        return [guard for guard in guards if guard.name in options.only]
    judged = [guard for guard in guards if guard.doctor]
    if options.sample is not None:
        seed = options.seed
        if seed is None:
            command = ["git", "rev-parse", "--short=12", "HEAD"]
            seed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        say(f"a sample of {options.sample}, chosen by the seed {seed}; repeat it with --sample {options.sample} --seed {seed}")
        names = some(guards, options.sample, seed) | some(judged, options.doctor or 0, seed)
        return [guard for guard in guards if guard.name in names]
    if options.doctor is not None:
        return judged[: options.doctor]
    return guards


def some(guards: list[Guard], number: int, seed: str) -> set[str]:
    """The names of as many guards, chosen at random."""
    return {guard.name for guard in random.Random(seed).sample(guards, min(number, len(guards)))}


def run(options: argparse.Namespace) -> int:
    everything = Step()
    guards = read_list()
    if options.list:
        for guard in guards:
            say(f"{guard.threat:10} {guard.file:42} {guard.name}")
        say(f"{len(guards)} guards")
        return 0
    check(guards)
    if options.check:
        say(f"the list is sound: {len(guards)} guards in {len({guard.file for guard in guards})} files")
        return 0
    now = chosen(guards, options)
    say(f"{len(now)} of {len(guards)} guards")
    prefill()
    # All guards are built whichever are switched off now: another choice needs no other build.
    switchables = [guard for guard in guards if not guard.patch]
    targets = targets_of(guards)
    # A guard that does not compile fails any run: no sample may hide it.
    binaries, outcomes = build(switchables, targets)
    if options.build:
        return report(outcomes)
    unbuildable = {outcome.guard for outcome in outcomes}
    list_tests(binaries)
    located = locate(now, binaries)
    check_baseline(located, now, options.limit)
    step = Step()
    waiting = [guard for guard in now if not guard.patch and guard not in unbuildable and guard.tests]
    outcomes += [Outcome(guard, results={"no test is named": "ok"}) for guard in now if not guard.tests]
    total = len({*now, *unbuildable})
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(switch_off, guard, located, options.limit) for guard in waiting]
        for finished in concurrent.futures.as_completed(running):
            outcomes.append(finished.result())
            progress(outcomes[-1], len(outcomes), total, options.panics)
    step.done(f"switched {len(waiting)} guards off")
    for guard in (guard for guard in now if guard.patch and guard.tests):
        outcomes.append(patch_in(guard, switchables, targets, options.limit))
        progress(outcomes[-1], len(outcomes), total, options.panics)
    result = report(outcomes)
    everything.done("all of it")
    return result


def main() -> int:
    try:
        return run(arguments())
    except ListError as error:
        say(f"{HERE}/guards.toml cannot be used:\n{error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
