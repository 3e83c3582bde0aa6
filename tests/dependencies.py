#!/usr/bin/env python3
"""Checks that docs/dependencies.md names each direct dependency of the functions, and how many crates each brings.

    tests/dependencies.py            compares the page with `cargo tree`, both ways
    tests/dependencies.py --write    writes the numbers and the functions of the tables; the reasons stay

A direct dependency is one that the crate of a function, `gateway` or `shared` (published as `cambio`) names. It brings
the crates, itself included, that the function would not have if no crate of this repository named it. It has itself
and the crates below it, which others may need as well.
"""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/dependencies.md"
# The functions run on arm64 by default.
TARGET = "aarch64-unknown-linux-gnu"
LINE = re.compile(r"^\| `([\w-]+)` \| ([\w, -]+) \| (\d+) \| (\d+) \| (.+) \|$", re.MULTILINE)
COUNT = re.compile(r"^\| `([\w-]+)` \| (\d+) \|$", re.MULTILINE)


def functions() -> list[str]:
    return sorted(path.parent.name for path in ROOT.glob("functions/*/Cargo.toml"))


def own_crates() -> set[str]:
    """The names of the crates of this repository."""
    manifests = [*ROOT.glob("functions/*/Cargo.toml"), ROOT / "gateway/Cargo.toml", ROOT / "shared/Cargo.toml"]
    return {tomllib.loads(path.read_text())["package"]["name"] for path in manifests}


def edges_of(tree: str) -> dict[str, set[str]]:
    """The crates with their dependencies, from the lines of `cargo tree --prefix depth`."""
    edges: dict[str, set[str]] = {}
    path: list[str] = []
    for line in tree.splitlines():
        depth, crate = re.match(r"(\d+)(\S+ v\S+)", line).groups()
        del path[int(depth) :]
        if path:
            edges[path[-1]].add(crate)
        edges.setdefault(crate, set())
        path.append(crate)
    return edges


def reached(edges: dict[str, set[str]], root: str, without: tuple[set[str], str] = (set(), "")) -> set[str]:
    """The crates below `root`, without what the crates of the first set need from the second crate."""
    found, left = {root}, [root]
    while left:
        crate = left.pop()
        for needed in edges[crate]:
            is_cut = name(crate) in without[0] and name(needed) == without[1]
            if needed not in found and not is_cut:
                found.add(needed)
                left.append(needed)
    return found


def name(crate: str) -> str:
    return crate.split()[0]


@dataclass
class Direct:
    """A direct dependency: the functions that have it, the most crates that it brings, and the most that it has."""

    users: list[str]
    brings: int = 0
    has: int = 0

    def line(self, crate: str, why: str) -> str:
        users = "all" if self.users == functions() else ", ".join(self.users)
        return f"| `{crate}` | {users} | {self.brings} | {self.has} | {why} |"


def measured() -> tuple[dict[str, int], dict[str, Direct]]:
    """The number of crates of each function, and the direct dependencies."""
    own = own_crates()
    totals: dict[str, int] = {}
    direct: dict[str, Direct] = {}
    for function in functions():
        command = ["cargo", "tree", "--locked", "--package", function, "--edges", "normal", "--target", TARGET]
        command += ["--prefix", "depth", "--format", "{p}"]
        tree = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        edges = edges_of(tree)
        (root,) = (crate for crate in edges if name(crate) == function)
        everything = reached(edges, root)
        totals[function] = len({crate for crate in everything if name(crate) not in own})
        named = {needed for crate in edges if name(crate) in own for needed in edges[crate]}
        for dependency in (crate for crate in named if name(crate) not in own):
            found = direct.setdefault(name(dependency), Direct([]))
            found.users.append(function)
            brings = len(everything) - len(reached(edges, root, (own, name(dependency))))
            found.brings = max(found.brings, brings)
            found.has = max(found.has, len(reached(edges, dependency)))
    return totals, direct


def differences(page: str, totals: dict[str, int], direct: dict[str, Direct]) -> list[str]:
    lines = {match[1]: match for match in LINE.finditer(page)}
    counts = {function: int(count) for function, count in COUNT.findall(page)}
    found = []
    for crate in sorted(direct.keys() - lines.keys()):
        found.append(f"{crate} is a direct dependency and has no line: say why it is there")
    for crate in sorted(lines.keys() - direct.keys()):
        found.append(f"{crate} has a line and is no direct dependency: remove the line")
    for crate in sorted(lines.keys() & direct.keys()):
        expected = direct[crate].line(crate, lines[crate][5])
        if lines[crate][0] != expected:
            found.append(f"the line of {crate} should be: {expected}")
    for function in sorted(totals.keys() | counts.keys()):
        if counts.get(function) != totals.get(function):
            found.append(f"{function} has {totals.get(function)} crates, not {counts.get(function)}")
    return found


def written(page: str, totals: dict[str, int], direct: dict[str, Direct]) -> str:
    def line(match: re.Match[str]) -> str:
        return direct[match[1]].line(match[1], match[5]) if match[1] in direct else match[0]

    page = LINE.sub(line, page)
    return COUNT.sub(lambda match: f"| `{match[1]}` | {totals.get(match[1], match[2])} |", page)


def main() -> None:
    totals, direct = measured()
    if "--write" in sys.argv[1:]:
        PAGE.write_text(written(PAGE.read_text(), totals, direct))
    if found := differences(PAGE.read_text(), totals, direct):
        print("docs/dependencies.md is out of date; tests/dependencies.py --write sets its numbers:", file=sys.stderr)
        sys.exit("\n".join(found))
    print(f"docs/dependencies.md: {len(direct)} direct dependencies of {len(totals)} functions, each with its reason")


if __name__ == "__main__":
    main()
