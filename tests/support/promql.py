"""Series and labels that an expression of the query language names. It reads what is written here, not the whole language."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[a-zA-Z_:][\w:]*|[-+]?\d[\w.]*|[<>=!~]+|[^\s\w]')
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
CALLS = {"(", "by", "without"}  # what follows a function
WORDS = {"and", "or", "unless", "bool", "offset"}


@dataclass(frozen=True)
class Selector:
    """A metric, and the labels that its matchers name."""

    metric: str
    labels: frozenset[str]


@dataclass
class Expression:
    """grouping: labels of `by`, `on` and their like. by: those of `by` alone."""

    selectors: list[Selector] = field(default_factory=list)
    grouping: set[str] = field(default_factory=set)
    by: set[str] = field(default_factory=set)


def parse(text: str) -> Expression:
    """The series and labels of an expression."""
    found, tokens = Expression(), TOKEN.findall(text)
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        if token in GROUPING and following == "(":
            end = tokens.index(")", at)
            labels = {each for each in tokens[at + 2 : end] if each != ","}
            found.grouping |= labels
            found.by |= labels if token == "by" else set()
            at = end
        elif token == "{" or (token not in WORDS and re.match(r"[a-zA-Z_:]", token) and following not in CALLS):
            metric = "" if token == "{" else token
            start = at if token == "{" else at + 1
            matchers: dict[str, str] = {}
            if start < len(tokens) and tokens[start] == "{":
                end = tokens.index("}", start)
                inner = [each for each in tokens[start + 1 : end] if each != ","]
                matchers = dict(zip(inner[::3], inner[2::3], strict=True))
                at = end
            metrics = matchers.pop("__name__").strip('"').split("|") if not metric else [metric]
            found.selectors += [Selector(each, frozenset(matchers)) for each in metrics]
        at += 1
    return found


def legend_labels(legend: str) -> set[str]:
    """The labels that a legend of Grafana shows."""
    return set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))


def template_labels(text: str) -> set[str]:
    """The labels that an annotation of an alert shows."""
    return set(re.findall(r"\$labels\.(\w+)", text))
