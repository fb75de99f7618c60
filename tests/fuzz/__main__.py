"""Run many mutations, or one again: ``python -m tests.fuzz --count 1000 --seed 0``; ``make fuzz`` does so."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.commands import run, try_one
from tests.fuzz.files import write_files
from tests.fuzz.subjects import SUBJECTS


def main() -> int:
    """Print every wrong answer with its replay command; the exit code is 1 if there was one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="mutations of each subject (200)")
    parser.add_argument("--seed", type=int, default=0, help="of the first mutation; the next ones count up (0)")
    parser.add_argument("--subject", choices=sorted(SUBJECTS), action="append", help="default: all")
    args = parser.parse_args()
    kinds: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder)
        for subject in args.subject or SUBJECTS:
            expected = run(SUBJECTS[subject], folder)
            for seed in range(args.seed, args.seed + args.count):
                found = try_one(subject, folder, expected, seed)
                if found:
                    kinds[subject, found.kind] += 1
                    print(f"{found}\n", flush=True)
            print(f"{subject}: {args.count} mutations", flush=True)
    for (subject, kind), number in kinds.items():
        print(f"{number:6d}  {subject}: {kind}")
    return int(bool(kinds))


if __name__ == "__main__":
    sys.exit(main())
