"""What is wrong with a file that is no yaml, in words that need no knowledge of PyYAML's scanner."""

from __future__ import annotations

import yaml

BACKSLASH = "a backslash in double quotes begins an escape sequence; use slashes, as in C:/data, or single quotes"


def syntax_problem(error: yaml.YAMLError) -> str:
    """The end of a sentence that begins with the file: which line is wrong, and what to write there."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None or mark is None:  # a character that no yaml file may have
        return " ".join(str(error).replace(' in "<unicode string>",', ",").split())
    context, begin = error.context or "", error.context_mark
    line, start = mark.line + 1, (begin or mark).line + 1
    if "'\\t'" in problem:
        return f"line {line} has a tab where yaml allows only spaces; replace it by spaces"
    if "cannot start any token" in problem:
        return f"the value in line {line} begins with {problem.split()[2]}; quote it"
    if problem.startswith("mapping values are not allowed"):
        return (
            f"line {line} has a second colon, or is indented differently from the keys beside it; quote its value, or "
            "correct the indentation"
        )
    if problem == "could not find expected ':'":
        return f"line {start} has no value; write KEY: value, with a space after the colon"
    if "escape" in problem or "hexadecimal" in problem:  # \\x and \\u want digits
        return f"in line {line}, {BACKSLASH}"
    if "quoted scalar" in context:
        return f"the quotes that open in line {start} are not closed; close them"
    if "flow" in context:
        return f"the bracket that opens in line {start} is not closed, or a comma is missing by line {line}; add it"
    if "another document" in problem:
        return f"a second document begins in line {line}; remove its '---'"
    return f"line {line}: {problem}{f' {context}' if context else ''}; correct it"
