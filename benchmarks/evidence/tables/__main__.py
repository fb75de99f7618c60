"""Make the tables and the figure of docs/evidence.md from results/.

Run in the root of the repository, after results have come::

    python -m benchmarks.evidence.tables            # writes docs/evidence.md and its figure
    python -m benchmarks.evidence.tables --print    # the tables alone
"""

from __future__ import annotations

import argparse

from benchmarks.evidence.tables.figure import IMAGE, draw_schedule
from benchmarks.evidence.tables.page import PAGE, TABLES, with_tables
from benchmarks.evidence.tables.schedule import has_schedule, schedule_cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="print the tables, and write nothing")
    if parser.parse_args().print:
        print("\n\n".join(f"{name}\n\n{make()}" for name, make in TABLES.items()))
        return
    PAGE.write_text(with_tables(PAGE.read_text()))
    print(PAGE)
    cells = schedule_cells()
    if has_schedule(cells):
        draw_schedule(cells)
        print(IMAGE)


if __name__ == "__main__":
    main()
