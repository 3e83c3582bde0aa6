"""Makes the mutants that cargo-mutants lists switchable, so that one build holds all of them.

A mutant is an entry of `cargo mutants --list --json`: a span of the source and its replacement. Each becomes a choice
in the source at run time, by the number of the mutant.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import tree_sitter
import tree_sitter_rust

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))
SWITCH = "mutant_is"


@dataclass(frozen=True)
class Mutant:
    """A change of a source file, as cargo-mutants describes it."""

    file: str
    name: str  # without its place: "replace == with != in Jws::verify"
    genre: str
    start: tuple[int, int]  # line and column, in characters, from 1
    end: tuple[int, int]
    replacement: str
    function: str
    line: str  # the first line of the source that it changes
    nth: int  # of the mutants with the same name on the same text

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.file, self.name, self.line, self.nth

    def __str__(self) -> str:
        return f"{self.file}:{self.start[0]}:{self.start[1]}: {self.name}"


class NotSwitchable(Exception):
    """A mutant that is no choice at run time, such as a field that is left out."""


class Unviable(Exception):
    """A mutant that no compiler accepts."""


@dataclass
class Choice:
    """A place of the source, and what the mutants make of it."""

    start: int
    end: int
    # For an expression: the text with each mutant. For a point: the text to insert.
    texts: list[tuple[int, str]] = field(default_factory=list)

    @property
    def is_point(self) -> bool:
        return self.start == self.end


def offset_of(lines: list[str], place: tuple[int, int]) -> int:
    """Returns the offset in bytes of a line and a column."""
    line, column = place
    before = sum(len(each.encode()) for each in lines[: line - 1])
    return before + len(lines[line - 1][: column - 1].encode())


def patched(text: str, mutant: Mutant) -> str:
    """Returns the source with a mutant in place, for a build of its own."""
    lines, source = text.splitlines(keepends=True), text.encode()
    start, end = offset_of(lines, mutant.start), offset_of(lines, mutant.end)
    return (source[:start] + mutant.replacement.encode() + source[end:]).decode()


def node_at(root: tree_sitter.Node, start: int, kinds: set[str]) -> tree_sitter.Node | None:
    """Returns the innermost node of one of these kinds around the token that starts at `start`."""
    node = root.descendant_for_byte_range(start, start + 1)
    while node is not None and node.type not in kinds:
        node = node.parent
    return node


BINARY = {"binary_expression", "compound_assignment_expr", "let_chain"}


def choice_of(mutant: Mutant, number: int, source: bytes, root: tree_sitter.Node, start: int, end: int) -> Choice:
    """Returns where a mutant is switched, and how."""

    def replaced(node: tree_sitter.Node) -> str:
        text = source[node.start_byte : start] + mutant.replacement.encode() + source[end : node.end_byte]
        return text.decode()

    match mutant.genre:
        case "FnValue" if " -> impl " in mutant.name:
            raise NotSwitchable(f"{mutant}: the value and the body have different types")
        case "FnValue":
            # Inside the braces, in front of the first statement.
            return Choice(start, start, [(number, f"if crate::{SWITCH}({number}) {{ return {mutant.replacement}; }} ")])
        case "BinaryOperator" | "UnaryOperator":
            kinds = BINARY if mutant.genre == "BinaryOperator" else {"unary_expression"}
            node = node_at(root, start, kinds)
            if node is not None and node.type == "let_chain":
                raise Unviable(f"{mutant}: beside `let`, a condition has no operator but `&&`")
            if node is None:
                raise NotSwitchable(f"{mutant} is in no expression")
            return Choice(node.start_byte, node.end_byte, [(number, replaced(node))])
        case "MatchArmGuard":
            return Choice(start, end, [(number, mutant.replacement)])
        case "MatchArm":
            node = node_at(root, start, {"match_arm"})
            pattern = node and node.child_by_field_name("pattern")
            if pattern is None:
                raise NotSwitchable(f"{mutant} has no pattern")
            return Choice(pattern.end_byte, pattern.end_byte, [(number, f" if !crate::{SWITCH}({number})")])
    raise NotSwitchable(f"{mutant} is of the genre {mutant.genre}")


@dataclass
class Switchable:
    """A source with mutants as choices."""

    text: str
    # The place of each mutant in the text: first byte, last byte, number.
    ranges: list[tuple[int, int, int]]
    # The mutants that are no choice at run time, and those that no compiler accepts.
    apart: set[int]
    unviable: set[int]


def switchable(text: str, mutants: list[tuple[int, Mutant]]) -> Switchable:
    """Returns the source with each mutant as a choice."""
    source, lines = text.encode(), text.splitlines(keepends=True)
    root = PARSER.parse(source).root_node
    found: dict[tuple[int, int], Choice] = {}
    apart: set[int] = set()
    unviable: set[int] = set()
    for number, mutant in mutants:
        try:
            choice = choice_of(mutant, number, source, root, offset_of(lines, mutant.start), offset_of(lines, mutant.end))
        except NotSwitchable:
            apart.add(number)
            continue
        except Unviable:
            unviable.add(number)
            continue
        found.setdefault((choice.start, choice.end), Choice(choice.start, choice.end)).texts += choice.texts

    # A point comes in front of an expression that starts there; an outer expression in front of an inner one.
    choices = sorted(found.values(), key=lambda choice: (choice.start, not choice.is_point, -choice.end))
    written, ranges = bytearray(), []

    def add(text: str | bytes) -> None:
        written.extend(text.encode() if isinstance(text, str) else text)

    def add_for(number: int, text: str) -> None:
        first = len(written)
        add(text)
        ranges.append((first, len(written), number))

    def render(start: int, end: int, inside: list[Choice]) -> None:
        at = start
        while inside:
            choice = inside.pop(0)
            within = []
            while inside and not choice.is_point and inside[0].end <= choice.end and inside[0].start < choice.end:
                within.append(inside.pop(0))
            add(source[at : choice.start])
            if choice.is_point:
                for number, text in choice.texts:
                    add_for(number, text)
            else:
                add("(")
                for number, text in choice.texts:
                    add_for(number, f"if crate::{SWITCH}({number}) {{ {text} }} else ")
                add("{ ")
                render(choice.start, choice.end, within)
                add(" })")
            at = choice.end
        add(source[at:end])

    render(0, len(source), choices)
    return Switchable(written.decode(), ranges, apart, unviable)
