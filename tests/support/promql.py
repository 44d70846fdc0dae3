"""Which series a PromQL expression reads: a reader of just enough of the language for that.

It does not check expressions (promtool does) and knows no types. Grafana's variables may stand in
ranges ([$__rate_interval]) and in matchers' values ({instance=~"$instance"}).
"""
import re
from dataclasses import dataclass

# One token at a time, longest first where one is the beginning of another.
TOKEN = re.compile(r"""
    (?P<space>\s+ | \#[^\n]*)
  | (?P<string>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | `[^`]*`)
  | (?P<range>\[[^\]]*\])
  | (?P<number>0x[0-9a-fA-F]+ | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?:ms|[smhdwy])?(?:\d+(?:ms|[smhdwy]))*)
  | (?P<variable>\$\{?\w+\}?)
  | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
  | (?P<mark>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){},@])
""", re.VERBOSE)

# Words that a list of labels in parentheses follows, and the other words that are no metric.
LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = {"and", "or", "unless", "offset", "bool", "atan2", "inf", "nan"}


@dataclass(frozen=True)
class Selector:
    """A metric's name with its matchers, as written: `up{job="x"}`. Without the name if it has none."""
    name: str
    matchers: str = ""

    def __str__(self):
        return self.name + self.matchers


def tokens(expression):
    at, found = 0, []
    while at < len(expression):
        match = TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"no PromQL at {expression[at:at + 20]!r} in {expression!r}")
        if match.lastgroup != "space":
            found.append((match.lastgroup, match[0]))
        at = match.end()
    return found


def closing(found, opening):
    """The index of the bracket that closes the one at `opening`; neither kind nests in what we skip."""
    other = {"(": ")", "{": "}"}[found[opening][1]]
    for at in range(opening + 1, len(found)):
        if found[at] == ("mark", other):
            return at
    raise ValueError(f"{found[opening][1]} is not closed")


def selectors(expression):
    """Every Selector of an expression, in the order they come."""
    found, result, at = tokens(expression), [], 0
    while at < len(found):
        kind, text = found[at]
        after = found[at + 1][1] if at + 1 < len(found) else ""
        if kind == "name" and text.lower() in LABEL_LISTS:
            if after == "(":
                at = closing(found, at + 1)
        elif kind == "name" and text.lower() not in WORDS and after != "(" and after.lower() not in ("by", "without"):
            if after == "{":
                end = closing(found, at + 1)
                result.append(Selector(text, "".join(token for _, token in found[at + 1:end + 1])))
                at = end
            else:
                result.append(Selector(text))
        elif text == "{":
            end = closing(found, at)
            result.append(Selector("", "".join(token for _, token in found[at:end + 1])))
            at = end
        at += 1
    return result


def metric_names(expression):
    return {selector.name for selector in selectors(expression) if selector.name}
