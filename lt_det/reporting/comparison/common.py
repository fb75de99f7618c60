"""What two runs were both evaluated on, in a way that lets their numbers be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lt_det.errors import LtDetError
from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import TASK_NAMES, Evaluation

Evaluations = dict[str, Evaluation]


@dataclass(frozen=True)
class Common:
    """
    Attributes:
        evaluations: those of the other run that can be compared, by the first run's name of the set and by task.
        left_out: what cannot be compared, and why, in sentences.
    """

    evaluations: dict[tuple[str, Task], Evaluation]
    left_out: list[str]


def common_evaluations(first_root: Path, first: Evaluations, root: Path, other: Evaluations) -> Common:
    """Find the evaluations of another run that can be compared with the first run's.

    Args:
        first_root, root: how messages call the runs.
        first, other: their evaluations by the name of the set.

    Raises:
        LtDetError: there is nothing to compare.
    """
    found: dict[tuple[str, Task], Evaluation] = {}
    left_out: list[tuple[str, str]] = []
    matched = _matched(first, other)
    for name, a in first.items():
        b = matched.get(name)
        reason = f"only {first_root} was evaluated on it" if b is None else _reason_against(first_root, a, root, b)
        if b is None or reason:
            left_out.append((name, reason))
            continue
        found |= {(name, task): b for task in a.tasks if task in b.tasks}
        for only, tasks in ((first_root, set(a.tasks) - set(b.tasks)), (root, set(b.tasks) - set(a.tasks))):
            left_out += [(f"{name}, {TASK_NAMES[task].lower()}", f"only {only} has them") for task in sorted(tasks)]
        if set(a.tasks) & set(b.tasks) and not same_buckets(a, b):
            reason = (
                f"{first_root} and {root} divide the classes into different buckets; evaluate both with the same "
                "TEST.BUCKETS (or options of lt-det evaluate) and training counts"
            )
            left_out.append((f"{name}, metrics of buckets", reason))
    used = {id(evaluation) for evaluation in matched.values()}
    left_out += [(name, f"only {root} was evaluated on it") for name, b in other.items() if id(b) not in used]
    if not found:
        reasons = "; ".join(f"{what}: {reason}" for what, reason in left_out)
        raise LtDetError(f"{first_root} and {root} have no evaluation to compare ({reasons}).")
    return Common(found, [f"Left out: {what}: {reason}." for what, reason in left_out])


def same_buckets(a: Evaluation, b: Evaluation) -> bool:
    """Whether the buckets of the same classes are the same."""
    return a.buckets == b.buckets and [e.bucket for e in a.classes] == [e.bucket for e in b.classes]


def _matched(first: Evaluations, other: Evaluations) -> Evaluations:
    """The other run's evaluations under the first run's names.

    A training names the set, `lt-det evaluate` the json; the fingerprint shows that both are the same images.
    """
    matched = {name: other[name] for name in first if name in other}
    others = {b.fingerprint: b for name, b in other.items() if name not in matched and b.fingerprint}
    for name, a in first.items():
        if name not in matched and a.fingerprint in others:
            matched[name] = others.pop(a.fingerprint)
    return matched


def _reason_against(first_root: Path, a: Evaluation, root: Path, b: Evaluation) -> str:
    """Why the numbers of two evaluations of one set do not mean the same; empty if they do."""
    if a.protocol != b.protocol:
        return (
            f"{first_root} was evaluated by the {a.protocol} protocol and {root} by {b.protocol}; evaluate both by the "
            "same"
        )
    if a.rules != b.rules:
        return (
            f"{first_root} was evaluated by other rules ({a.rules}) than {root} ({b.rules}); evaluate both by the same"
        )
    if any(x and y and x != y for x, y in ((a.fingerprint, b.fingerprint), (a.num_images, b.num_images))):
        return f"{first_root} and {root} were evaluated on different images or ground truth; evaluate both on the same"
    if [entry.name for entry in a.classes] != [entry.name for entry in b.classes]:
        return f"{first_root} and {root} have different classes"
    return ""
