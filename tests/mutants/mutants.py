#!/usr/bin/env python3
"""Changes the code in many small ways, and reports each change that no test notices.

    python3 tests/mutants/mutants.py                       all mutants; goes on where the last run stopped
    python3 tests/mutants/mutants.py --module jws token    those of these modules
    python3 tests/mutants/mutants.py --diff changes.diff   those in the lines that a diff changes
    python3 tests/mutants/mutants.py --shard 0/4           every fourth one
    python3 tests/mutants/mutants.py --check               survivors.toml against the sources, without a build

cargo-mutants lists the mutants: `==` becomes `!=`, a function returns at once, an arm of a `match` is gone. To build
each of them takes hours, so the script copies the tree to target/mutants/tree, makes every mutant of the copy a choice
at run time (switches.py), builds the copy once, and runs the tests with the environment variable CAMBIO_MUTANT set to
the number of one mutant: first the unit tests, then, for what these do not notice, the end-to-end tests. A mutant that
cannot be such a choice is built by itself.

survivors.toml explains the mutants that may survive. The command fails if another one survives, if one of them is
caught, or if fewer than 90% of the mutants are caught.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]
from tree_copy import Binary, build_tests, copy_dependencies, mirror, packages, say, tracked_files  # noqa: E402

SURVIVORS = HERE / "survivors.toml"
WORK = ROOT / "target/mutants"
TREE = WORK / "tree"
BUILD = WORK / "build"
RESULTS = WORK / "results.json"
CHOICES = WORK / "choices.json"

VARIABLE = "CAMBIO_MUTANT"
# Appended to shared/src/lib.rs, in the copy alone.
SWITCH_SOURCE = """
pub(crate) fn mutant_is(number: u32) -> bool {
    static NUMBER: std::sync::LazyLock<Option<u32>> =
        std::sync::LazyLock::new(|| std::env::var("CAMBIO_MUTANT").ok().and_then(|number| number.parse().ok()));
    *NUMBER == Some(number)
}
"""
LIBRARY = "shared/src/lib.rs"
# cargo-mutants reads .cargo/mutants.toml for the files.
LIST = ["mutants", "--list", "--json", "--package", "cambio", "--no-shuffle", "--colors", "never"]
LEAST_CAUGHT = 0.9

# rustc's error for a call in a function that may run at compile time.
CONSTANT = "E0015"

# Tests that say nothing about a mutant, or that take long: walks of the models, and what other binaries are needed for.
SKIPPED = {
    "unit": ["users::model::"],
    "e2e": ["processes::"],
}
# Tests of other modules that take seconds and say nothing about a mutant. A mutant of their own module meets them.
SLOW = [
    "keys::tests::",
    "keys::signing::tests::",
    "provider::identity::tests::",
    "provider::oidc::tests::t13_t22_t29_of_twenty_thousand_mutants",
    "provider::outbound::tests::",
    "sessions::refresh_token::tests::t45_no_nonce_comes_twice",
    "text::tests::",
]
# The end-to-end tests that a module, and what is inside it, meets first.
NEAR = {
    "clients": ["clients::", "introspection::", "scopes::", "token::", "vouched::a_vouched_user_links"],
    "clients::limits": ["rate_limits::"],
    "json": ["token::", "oidc::", "vouched::", "operators::"],
    "jws": ["token::", "oidc::", "me::a_token_of_each_kind_of_key"],
    "one_time": ["clients::", "vouched::"],
    "provider": ["oidc::", "oidc_providers::"],
    "sessions": ["sessions::", "sign_out::", "token::", "introspection::", "scopes::", "auth_time::", "logs::"],
    "sessions::ending": ["sign_out::", "account::", "logs::"],
    "sessions::list": ["sign_out::", "admin::", "operators::"],
    "sessions::store": ["sessions::", "sign_in::", "identities::", "vouched::", "operators::", "logs::"],
    "sessions::terms": ["scopes::", "clients::", "sessions::"],
    "token": ["token::", "me::", "own_routes::"],
    "users": ["me::", "sign_in::", "account::", "sign_out::"],
    "users::account": ["account::", "me::", "sign_out::"],
    "users::claims": ["admin::"],
    "users::identities": ["identities::", "sign_ups::", "conflicts::t105_a_link"],
    "users::import": ["operators::"],
    "users::items": ["identities::", "sign_ups::"],
    "users::operator": ["admin::", "operators::"],
    "users::same_email": ["sign_ups::"],
    "users::session_limit": ["limits::", "sign_in::"],
    "users::signed_in": ["me::", "identities::", "account::"],
    "users::store": ["sign_in::", "sign_ups::", "identities::", "vouched::t124", "budgets::a_returning"],
}
# The unit tests of other modules that a module meets first.
NEAR_UNIT = {
    "json::unambiguous": ["jws::"],
    "sessions::store": ["items::"],
    "users::operator": ["items::"],
}
# Parts of the names of end-to-end tests that send many requests. A busy machine may fail these tests, so they are not
# among those near a module.
MANY = ["hundred", "thousand", "in_parallel", "parallel_", "a_flood", "of_ten_", "of_many_", "however_many_pages"]
# The most that a run of all unit tests and of all end-to-end tests may take, in seconds.
LIMITS = {"unit": 300.0, "e2e": 1800.0}
# The address space of a test run: a mutant may allocate without end.
MEMORY = 24 << 30

# The unit tests of a source are the last part of it.
UNIT_TESTS = "\n#[cfg(test)]\nmod tests {\n"
FAILED = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. FAILED", re.MULTILINE)


class Problem(Exception):
    """An error that ends the command. The text says what to do."""


# --- The list ---------------------------------------------------------------------------------------------------------


def read_list(text: str, sources: dict[str, str]):
    """Returns the mutants of cargo-mutants' JSON, in its order."""
    from switches import Mutant

    mutants, seen = [], collections.Counter()
    for entry in json.loads(text or "[]"):
        span, function = entry["span"], entry["function"] or {}
        place = f"{entry['file']}:{span['start']['line']}:{span['start']['column']}: "
        name = entry["name"].removeprefix(place)
        line = sources[entry["file"]].splitlines()[span["start"]["line"] - 1].strip()
        seen[entry["file"], name, line] += 1
        mutants.append(
            Mutant(
                file=entry["file"],
                name=name,
                genre=entry["genre"],
                start=(span["start"]["line"], span["start"]["column"]),
                end=(span["end"]["line"], span["end"]["column"]),
                replacement=entry["replacement"],
                function=function.get("function_name", ""),
                line=line,
                nth=seen[entry["file"], name, line],
            )
        )
    return mutants


class Sources(dict):
    """The text of each file, by its path."""

    def __missing__(self, file: str) -> str:
        self[file] = (ROOT / file).read_text()
        return self[file]


def listed(options: list[str]):
    tool = ROOT / "target/tools/bin/cargo-mutants"
    command = [str(tool) if tool.exists() else "cargo-mutants", *LIST, *options]
    if not shutil.which(command[0]):
        raise Problem("cargo-mutants is missing: run tests/setup.sh mutants")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Problem(f"cargo-mutants cannot list the mutants:\n{done.stderr}")
    return read_list(done.stdout, Sources())


def module_of(file: str) -> str:
    """Returns the path of the module that a source file is: `provider::oidc` of shared/src/provider/oidc.rs."""
    return "::".join(Path(file).relative_to("shared/src").with_suffix("").parts)


def near(file: str) -> list[str]:
    """Returns the end-to-end tests near the module of a source file."""
    module = module_of(file)
    while module not in NEAR:
        if not module:
            raise Problem(f"NEAR has no tests near {file}: add its module")
        module = module.rpartition("::")[0]
    return NEAR[module]


def tested_module(file: str) -> str:
    """Returns the module of a source file if it has unit tests, and else the one around it."""
    module = module_of(file)
    return module if UNIT_TESTS in (ROOT / file).read_text() else module.rpartition("::")[0] or module


# --- The survivors that are explained ---------------------------------------------------------------------------------


def explained(path: Path = SURVIVORS) -> dict[tuple[str, str, str, int], str]:
    """Returns why each mutant of survivors.toml may survive."""
    found, problems = {}, []
    for entry in tomllib.loads(path.read_text()).get("survivor", []):
        wrong = set(entry) ^ {"file", "mutant", "line", "why"}
        if wrong - {"nth"}:
            problems.append(f"{entry.get('mutant')}: a survivor has file, mutant, line, why and at most nth; not {sorted(wrong)}")
            continue
        key = entry["file"], entry["mutant"], entry["line"], entry.get("nth", 1)
        if key in found:
            problems.append(f"{entry['mutant']}: {entry['file']} has it twice; remove one, or number them with nth")
        if len(entry["why"].split()) < 3:
            problems.append(f"{entry['mutant']}: say in `why` what makes the change harmless")
        found[key] = entry["why"]
    if problems:
        raise Problem("\n".join(problems))
    return found


def check_survivors(survivors: dict[tuple[str, str, str, int], str], sources: Sources) -> None:
    """Checks without a build that the line of each survivor is in its file."""
    problems = []
    for file, mutant, line, _ in survivors:
        if not (ROOT / file).is_file():
            problems.append(f"{file} is gone; remove its survivors from {SURVIVORS.relative_to(ROOT)}")
        elif line not in [each.strip() for each in sources[file].splitlines()]:
            problems.append(f"{file} has no line {line!r}: correct or remove `{mutant}` in {SURVIVORS.relative_to(ROOT)}")
    if problems:
        raise Problem("\n".join(problems))


# --- The copy ---------------------------------------------------------------------------------------------------------


def make_tree(sources: dict[str, str]) -> None:
    """Writes the copy, with these sources in place of those of the tree."""

    def content(path: str) -> bytes:
        if path == LIBRARY:
            return (sources.get(path, (ROOT / path).read_text()) + SWITCH_SOURCE).encode()
        return sources[path].encode() if path in sources else (ROOT / path).read_bytes()

    shutil.rmtree(TREE / "target", ignore_errors=True)
    mirror(ROOT, TREE, tracked_files(ROOT), content)


def build(stages: list[str]) -> tuple[dict[str, Binary], list[dict], str]:
    """Builds the tests of the copy for these stages. Returns them by stage, rustc's errors, and what cargo said."""
    targets = {"unit": ["--lib"], "e2e": ["--test", "e2e"]}
    built, errors, output = build_tests(TREE, BUILD, [word for stage in stages for word in targets[stage]], VARIABLE)
    binaries = {}
    for target, binary in built:
        if Path(binary.directory).name == "shared" and target["kind"] == ["lib"]:
            binaries["unit"] = binary
        elif target["name"] == "e2e":
            binaries["e2e"] = binary
    return binaries, [error for error in errors if error["spans"]], output


def at_fault(error: dict, ranges: dict[str, list[tuple[int, int, int]]], is_primary: bool = True) -> set[int]:
    """Returns the mutants in whose text an error has its primary places, or the others."""
    found = set()
    for span in error["spans"]:
        if span["is_primary"] == is_primary:
            for first, last, number in ranges.get(span["file_name"], []):
                if first <= span["byte_start"] < last or span["byte_start"] <= first < span["byte_end"]:
                    found.add((last - first, number))
    # The operand of an operator is in the text of each operator around it: the smallest is at fault.
    least = min(found)[0] if found else 0
    return {number for size, number in found if size == least}


def sorted_out(errors: list[dict], ranges: dict) -> tuple[set[int], set[int]]:
    """Returns the mutants to build by themselves, and those that do not compile, by the errors of the choices."""
    apart, unviable = set(), set()
    for error in errors:
        primary = at_fault(error, ranges)
        is_of_the_choice = (error["code"] or {}).get("code") == CONSTANT
        for number in primary or at_fault(error, ranges, is_primary=False):
            (apart if is_of_the_choice or not primary else unviable).add(number)
    return apart, unviable - apart


def build_switchable(numbered: dict[int, object], stages: list[str]) -> tuple[dict[str, Binary], set[int], set[int]]:
    """Builds the copy with these mutants as choices.

    Returns the tests, the mutants that are to be built by themselves, and those that do not compile.
    """
    from switches import switchable

    # The same sources have the same choices: nothing is built to find them again.
    these = hashlib.sha256("\n".join([digest_of_all(), *map(str, numbered.values())]).encode()).hexdigest()
    known = json.loads(CHOICES.read_text()) if CHOICES.exists() else {}
    apart, unviable = (set(known[key]) if known.get("of") == these else set() for key in ("apart", "unviable"))
    while True:
        sources, ranges = {}, {}
        by_file = collections.defaultdict(list)
        for number, mutant in numbered.items():
            if number not in apart | unviable:
                by_file[mutant.file].append((number, mutant))
        for file, those in by_file.items():
            made = switchable((ROOT / file).read_text(), those)
            sources[file], ranges[file] = made.text, made.ranges
            apart |= made.apart
            unviable |= made.unviable
        make_tree(sources)
        started = time.monotonic()
        binaries, errors, output = build(stages)
        if binaries:
            say(f"built {len(numbered) - len(apart | unviable)} mutants as choices ({time.monotonic() - started:.0f} s)")
            CHOICES.write_text(json.dumps({"of": these, "apart": sorted(apart), "unviable": sorted(unviable)}))
            return binaries, apart, unviable
        more_apart, more_unviable = sorted_out(errors, ranges)
        if not more_apart | more_unviable:
            rendered = "\n".join(error["rendered"] for error in errors)
            raise Problem(f"the copy does not build, and no mutant is at fault:\n{output[-4000:]}\n{rendered}")
        apart |= more_apart
        unviable |= more_unviable
        say(f"{len(more_unviable)} mutants do not compile, and {len(more_apart)} are no choice at run time "
            f"({time.monotonic() - started:.0f} s)")  # fmt: skip


# --- The tests --------------------------------------------------------------------------------------------------------


# Runs a program without core dumps and with the address space in KiB that is the first argument. A `preexec_fn` in a
# process with threads can hang.
LIMITED = ["sh", "-c", 'ulimit -c 0; ulimit -v "$0"; exec "$@"', str(MEMORY >> 10)]


def run_tests(binary: Binary, number: int | None, arguments: list[str], limit: float) -> str | None:
    """Runs tests up to the first one that fails, with a mutant. Returns its name, or None if they pass."""
    environment = {**os.environ, "RUST_BACKTRACE": "0", "CARGO_MANIFEST_DIR": binary.directory}
    environment.pop(VARIABLE, None)
    if number is not None:
        environment[VARIABLE] = str(number)
    process = subprocess.Popen(
        [*LIMITED, binary.executable, *arguments],
        cwd=binary.directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    late = threading.Event()

    def kill() -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def too_late() -> None:
        late.set()
        kill()

    timer = threading.Timer(limit, too_late)
    timer.start()
    failed = None
    try:
        for line in process.stdout:
            if match := FAILED.match(line):
                failed = match[1]
                break
    finally:
        timer.cancel()
        if failed:
            kill()
        process.stdout.close()
        code = process.wait()
        kill()
    if failed:
        return failed
    if late.is_set():
        return f"(no end within {limit:.0f} s)"
    return None if code == 0 else f"(ended with {code})"


class Judge:
    """Runs the tests with each mutant, those first that caught another mutant of the same file."""

    def __init__(self, binaries: dict[str, Binary], threads: int, near: bool) -> None:
        self.binaries, self.threads, self.near = binaries, threads, near
        self.killers: dict[tuple[str, str], collections.Counter] = collections.defaultdict(collections.Counter)

    def arguments(self, stage: str, slow: list[str] = []) -> list[str]:
        many = MANY if self.near and stage == "e2e" else []
        skipped = [word for test in [*SKIPPED[stage], *slow, *many] for word in ("--skip", test)]
        return [f"--test-threads={self.threads}", *skipped]

    def caught_by(self, mutant, number: int | None, stage: str, binary: Binary | None = None) -> str | None:
        """Returns the test of a stage that notices a mutant."""
        killers, common = self.killers[stage, mutant.file], self.arguments(stage)
        known = [test for test, _ in killers.most_common(12)]
        tries = [["--exact", *known, *common]] if known else []
        if stage == "unit":
            others = NEAR_UNIT.get(module_of(mutant.file), [])
            tries.append([f"{tested_module(mutant.file)}::", *others, *common])
            tries += [] if self.near else [self.arguments(stage, SLOW)]
        else:
            tries.append([*near(mutant.file), *common])
            tries += [] if self.near else [common]
        for arguments in tries:
            if test := run_tests(binary or self.binaries[stage], number, arguments, LIMITS[stage]):
                if not test.startswith("("):
                    killers[test] += 1
                return test
        return None

    def check_baseline(self, stage: str) -> None:
        """Checks that all tests of a stage pass without a mutant."""
        started = time.monotonic()
        if test := run_tests(self.binaries[stage], None, self.arguments(stage), LIMITS[stage]):
            raise Problem(f"{test} fails without a mutant; make it pass first")
        say(f"the {stage} tests pass without a mutant ({time.monotonic() - started:.0f} s)")

    def check_killers(self) -> set[str]:
        """Returns the end-to-end tests that caught a mutant and fail without one as well."""
        tests = sorted({test for (stage, _), those in self.killers.items() if stage == "e2e" for test in those})
        return {
            test
            for test in tests
            if run_tests(self.binaries["e2e"], None, ["--exact", test], LIMITS["e2e"]) is not None
        }


# --- The results ------------------------------------------------------------------------------------------------------


def digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:16]


def digest_of_code(file: str) -> str:
    """Returns the hash of a source without its unit tests: what a test has caught, it catches beside a new test."""
    code = (ROOT / file).read_text().partition(UNIT_TESTS)[0]
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def digest_of_all() -> str:
    """Returns the hash of all Rust sources, those of the tests included."""
    sources = (path for path in tracked_files(ROOT) if path.endswith(".rs"))
    return hashlib.sha256("".join(digest(path) for path in sources).encode()).hexdigest()[:16]


def kept(mutants: list) -> tuple[dict[tuple, dict], dict[tuple, list[str]]]:
    """Returns what earlier runs found out about mutants of code that is the same, and which stages others survived.

    A survivor is tried again if any source has changed since: a test may be new.
    """
    entries = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    digests, tree = {mutant.file: digest_of_code(mutant.file) for mutant in mutants}, digest_of_all()
    results, passed = {}, {}
    for entry in entries:
        key = tuple(entry["key"])
        if entry["state"] in ("caught", "unviable") and entry.get("code") == digests.get(key[0]):
            results[key] = entry
        elif entry["state"] == "survived" and entry["tree"] == tree:
            passed[key] = entry["passed"]
    wanted = {mutant.key for mutant in mutants}
    return {key: entry for key, entry in results.items() if key in wanted}, passed


def write_results(results: dict[tuple, dict]) -> None:
    """Writes these results, and keeps those of other mutants."""
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    entries = {tuple(entry["key"]): entry for entry in before} | results
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    new = RESULTS.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(list(entries.values()), indent=1))
    new.replace(RESULTS)


def report(mutants: list, results: dict[tuple, dict], survivors: dict[tuple, str], is_all: bool) -> int:
    """Prints the figures of each file, and returns the exit code."""
    say(f"\n{'file':42} {'caught':>7} {'survive':>8} {'explained':>10} {'unviable':>9}")
    counts, problems = collections.defaultdict(collections.Counter), []
    for mutant in mutants:
        entry = results[mutant.key]
        state = entry["state"]
        if state == "survived" and mutant.key in survivors:
            state = "explained"
        elif state == "survived":
            where = f'file = "{mutant.file}"\nmutant = "{mutant.name}"\nline = {json.dumps(mutant.line, ensure_ascii=False)}'
            problems.append(f"no test notices {mutant}\n{where}" + f"\nnth = {mutant.nth}" * (mutant.nth > 1))
        elif state == "caught" and mutant.key in survivors:
            problems.append(f"{entry['by']} notices {mutant}: remove it from {SURVIVORS.relative_to(ROOT)}")
        counts[mutant.file][state] += 1
    there = {mutant.key for mutant in mutants}
    if is_all:
        problems += [
            f"there is no mutant `{key[1]}` of {key[0]}: remove it from {SURVIVORS.relative_to(ROOT)}"
            for key in survivors
            if key not in there
        ]
    total = sum(counts.values(), collections.Counter())
    for file, of_it in [*sorted(counts.items()), ("all", total)]:
        row = of_it["caught"], of_it["survived"] + of_it["explained"], of_it["explained"], of_it["unviable"]
        say(f"{file:42} {row[0]:7} {row[1]:8} {row[2]:10} {row[3]:9}")
    viable = total["caught"] + total["survived"] + total["explained"]
    share = total["caught"] / viable if viable else 1.0
    say(f"\n{total['caught']} of {viable} mutants are caught: {share:.1%}")
    if is_all and share < LEAST_CAUGHT:
        problems.append(f"fewer than {LEAST_CAUGHT:.0%} of the mutants are caught")
    for problem in problems:
        say(f"\n{problem}")
    if any(state == "survived" for state in total):
        say(f"\nWrite a test for each, or explain in {SURVIVORS.relative_to(ROOT)} what makes the change harmless.")
    return 1 if problems else 0


# --- The command ------------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--module", nargs="+", metavar="NAME", help="the mutants of these modules, such as jws or provider::oidc")
    parser.add_argument("--diff", metavar="FILE", help="the mutants in the lines that this diff changes")
    parser.add_argument("--shard", metavar="K/N", help="the mutants K, K+N, K+2N, and so on, with K from 0")
    parser.add_argument("--stages", nargs="+", choices=LIMITS, default=list(LIMITS), help="the tests to run (default: both)")
    parser.add_argument("--near", action="store_true", help="only the tests of the module, and end-to-end those of its routes")
    parser.add_argument("--fresh", action="store_true", help="forget what the last run found out")
    parser.add_argument("--list", action="store_true", help="print the mutants, and build nothing")
    parser.add_argument("--check", action="store_true", help="check survivors.toml against the sources, and build nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="mutants at a time (default: one per CPU)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of each test run (default: %(default)s)")
    return parser.parse_args()


def chosen(mutants: list, options: argparse.Namespace) -> list:
    if options.module:
        known = {module_of(mutant.file) for mutant in mutants}
        for name in options.module:
            if not any(f"{module}::".startswith(f"{name}::") for module in known):
                raise Problem(f"there is no module {name!r} with mutants; there are {', '.join(sorted(known))}")
        inside = tuple(f"{name}::" for name in options.module)
        mutants = [mutant for mutant in mutants if f"{module_of(mutant.file)}::".startswith(inside)]
    if options.shard:
        match = re.fullmatch(r"(\d+)/(\d+)", options.shard)
        if not match or int(match[1]) >= int(match[2]):
            raise Problem(f"{options.shard!r} is no shard; the first of four is 0/4, and the last one 3/4")
        mutants = mutants[int(match[1]) :: int(match[2])]
    return mutants


def run(options: argparse.Namespace) -> int:
    survivors = explained()
    check_survivors(survivors, Sources())
    if options.check:
        say(f"{SURVIVORS.relative_to(ROOT)} is sound: {len(survivors)} survivors")
        return 0
    everything = listed(["--in-diff", options.diff] if options.diff else [])
    mutants = chosen(everything, options)
    if options.list:
        for mutant in mutants:
            say(str(mutant))
        say(f"{len(mutants)} mutants")
        return 0
    if not mutants:
        say("0 mutants: nothing to do")
        return 0
    if options.fresh:
        RESULTS.unlink(missing_ok=True)
    results, passed = kept(mutants)
    say(f"{len(mutants)} mutants, {len(results)} of them done before")
    waiting = [mutant for mutant in mutants if mutant.key not in results]
    if waiting:
        judge_all(everything, waiting, results, passed, options)
    return report(mutants, results, survivors, not (options.module or options.diff or options.shard))


def judge_all(
    everything: list, waiting: list, results: dict[tuple, dict], passed: dict[tuple, list[str]], options: argparse.Namespace
) -> None:
    """Runs the tests with each of the mutants that wait, and adds what they found out to the results."""
    from switches import patched

    if copy_dependencies(ROOT / "target", BUILD, packages(ROOT, tracked_files(ROOT))):
        say("copied the dependencies that were built already")
    # All mutants are built, whichever wait: another choice needs no other build.
    numbered = dict(enumerate(everything, 1))
    number_of = {mutant.key: number for number, mutant in numbered.items()}
    binaries, apart, unviable = build_switchable(numbered, options.stages[:1])
    judge = Judge(binaries, options.threads, options.near)
    lock, clock, tree = threading.Lock(), {}, digest_of_all()

    def note(mutant, state: str, stage: str, by: str | None, seconds: float) -> None:
        with lock:
            entry = {"key": list(mutant.key), "code": digest_of_code(mutant.file), "state": state, "stage": stage, "by": by or ""}
            entry |= {"tree": tree, "passed": passed.get(mutant.key, []), "seconds": round(seconds, 1)}
            results[mutant.key] = entry
            write_results(results)
            clock["done"] += 1
            left = (time.monotonic() - clock["started"]) / clock["done"] * (clock["all"] - clock["done"])
            say(f"{stage} {clock['done']:4}/{clock['all']}  {state:8} {seconds:6.1f} s  {mutant}{f'  ({by})' if by else ''}"
                f"  [{left / 60:.0f} min left]")  # fmt: skip

    def start(those: list) -> list:
        clock.update(done=0, all=len(those), started=time.monotonic())
        return those

    def survives(mutant, stage: str, number: int | None = None, binary: Binary | None = None) -> bool:
        began = time.monotonic()
        by = None if stage in passed.get(mutant.key, []) else judge.caught_by(mutant, number, stage, binary)
        if by is None and stage not in passed.setdefault(mutant.key, []):
            passed[mutant.key].append(stage)
        note(mutant, "caught" if by else "survived", stage, by, time.monotonic() - began)
        return by is None

    for mutant in start([mutant for mutant in waiting if number_of[mutant.key] in unviable]):
        note(mutant, "unviable", "build", None, 0.0)
    left = [mutant for mutant in waiting if number_of[mutant.key] not in apart | unviable]
    for stage in options.stages:
        if stage not in judge.binaries:
            built, errors, output = build([stage])
            if not built:
                raise Problem(f"the {stage} tests of the copy do not build:\n{output[-4000:]}")
            judge.binaries |= built
        # Near a module, those tests are few that catch mutants: `check_killers` runs them without a mutant in the end.
        if left and not (options.near and stage == "e2e"):
            judge.check_baseline(stage)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            alive = pool.map(lambda mutant: survives(mutant, stage, number_of[mutant.key]), start(left))
            left = [mutant for mutant, is_alive in zip(left, alive) if is_alive]
    # The tests that caught a mutant pass without one.
    if wrong := judge.check_killers():
        for mutant in waiting:
            if results.get(mutant.key, {}).get("by") in wrong:
                results[mutant.key]["state"] = "survived"
        write_results(results)
        raise Problem(f"these tests fail without a mutant as well; make them pass first: {', '.join(sorted(wrong))}")
    for mutant in start([mutant for mutant in waiting if number_of[mutant.key] in apart]):
        make_tree({mutant.file: patched((ROOT / mutant.file).read_text(), mutant)})
        for stage in options.stages:
            if not (own := build([stage])[0]):
                note(mutant, "unviable", "build", None, 0.0)
                break
            if not survives(mutant, stage, binary=own[stage]):
                break


def main() -> int:
    try:
        return run(arguments())
    except Problem as problem:
        say(f"mutants: {problem}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
