"""Disturb trainings at random moments, resume them, and compare their weights with those of an undisturbed one.

Run in the root of the repository; each round takes about half a minute on an idle core, and prints one line::

    python -m tests.faults --rounds 100 --seed 0

It ends with 1 if a round went wrong: the weights differ, a traceback was printed, the exit code does not fit, or files
were left behind. The folder of such a round is kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from lt_det.io.options import Collected
from tests.faults.faults import FAULTS
from tests.faults.training import Training, prepare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="+", action=Collected, choices=FAULTS, default=list(FAULTS), metavar="FAULT")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="lt_det_faults_"))
    config = prepare(work)
    undisturbed = Training(config, work / "undisturbed")
    start = time.monotonic()
    undisturbed.finish()
    longest = time.monotonic() - start
    wrong = 0
    for number in range(args.rounds):
        generator = random.Random(f"{args.seed} {number}")
        fault = args.faults[number % len(args.faults)]
        folder = work / f"round_{number}"
        training = Training(config, folder)
        moment = generator.uniform(0, longest)
        problems = FAULTS[fault](training, moment, generator)
        problems += training.problems_after_finishing(undisturbed)
        wrong += bool(problems)
        minutes = (time.monotonic() - start) / (number + 2) * (args.rounds - number - 1) / 60
        verdict = f"WRONG: {'; '.join(problems)} ({folder})" if problems else "as undisturbed"
        done = f"{number + 1} of {args.rounds}, {fault} after {moment:.1f} s"
        print(f"{done}: {verdict}; {minutes:.0f} min left", flush=True)
        if not problems:
            shutil.rmtree(folder)
    print(f"{wrong} of {args.rounds} rounds went wrong.")
    if not wrong:
        shutil.rmtree(work)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
