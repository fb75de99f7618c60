#!/usr/bin/env python
"""Write docs/zoo.md and zoo/lvis_v1.md from zoo/rows, zoo/sources.json and benchmarks/evidence/results.

    python docs/zoo.py

Run it in the root of a clone. It also computes the losses before the first step (zoo/initial_losses.json), and reports
configs whose first lines have other numbers than their rows.
"""

import json
import re
import statistics
import sys
from pathlib import Path

from lt_det.data.class_counts import training_stats
from lt_det.training import load_config
from lt_det.zoo.gates import gates_of, is_adjustment, learning_rates
from lt_det.zoo.initial_loss import initial_loss
from lt_det.zoo.rows import SHOWN, Run, read_rows
from lt_det.zoo.shipped_config import NEUTRAL

ROOT = Path(__file__).resolve().parents[1]
ROWS, SOURCES, LOSSES = ROOT / "zoo" / "rows", ROOT / "zoo" / "sources.json", ROOT / "zoo" / "initial_losses.json"
EVIDENCE = ROOT / "benchmarks" / "evidence" / "results"
PAGE, LVIS_PAGE = ROOT / "docs" / "zoo.md", ROOT / "zoo" / "lvis_v1.md"

DATASETS = {
    "lvis_v1_train": "LVIS v1",
    "lvis_v0.5_train": "LVIS v0.5",
    "coco_2017_train": "COCO",
    "mini_lvis_train": "mini_lvis",
}
SCHEDULE = {"SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.BASE_LR"}
TASKS = {"bbox": "box", "segm": "mask"}
SAMPLERS = {
    "RepeatFactorTrainingSampler": "repeat factor sampling",
    "ClassAwareTrainingSampler": "class-aware sampling",
}
METHODS = {"crt": "cRT", "lws": "LWS", "meta": "meta-learned weights", "tau_norm": "tau-norm", "norcal": "NorCal"}

INTRODUCTION = """# Zoo

The AP that each shipped config reaches, and who measured it. `python docs/zoo.py` makes this page from one file for
each config (`zoo/rows/`) and the raw results of our long trainings (`benchmarks/evidence/results/`).

- "ours": the mean over the seeds, with the standard deviation if there are at least two; the hardware; and the commit
  of the training (of numbers that are kept only as means: the commit that added them). AP is in percent.
- "theirs": published by others; the link leads to the number. Protocol "same": dataset, detector, sampler and schedule
  are those of the config. "Shorter": fewer epochs, otherwise the same. "Other": read the difference before comparing.
- The task is "box" or "mask". On LVIS, most papers report mask AP; do not compare it with box AP.
- "not run": we know of no training of this config with lt_det. [Train it](../zoo/lvis_v1.md), and add it with one
  command.
"""

LVIS_INTRODUCTION = """# LVIS v1 on a cluster

This page has the exact command for every LVIS v1 config on 8 GPUs, the [gates](#gates) that a run must pass (they
show early whether it goes wrong), and how to add a run to [the zoo](../docs/zoo.md). `python docs/zoo.py` makes this
page. **We have not run any schedule of this page yet.**

[Download the data](../docs/lvis.md#download-the-data), then check everything: `lt-det doctor --config
configs/lvis_eql.yaml`, and the [smoke test](../docs/training.md#before-a-long-training).

## Commands

These commands train on one node with 8 GPUs under SLURM; a job that reaches its time limit is requeued and resumes.
(For several nodes, torchrun and submitit, see [several GPUs and clusters](../docs/clusters.md#several-nodes).)
Without SLURM, write `lt-det train --num-gpus 8` instead of `sbatch --nodes 1 tools/launch/slurm.sbatch`.

The evaluation after every tenth of the schedule is for the gate at 10 %, and does not change the training. Repeat each
command with `SEED 1` and `SEED 2` and another `OUTPUT_DIR`: the EQL authors warn of "large variance across different
runs".
"""

CHECKING = """
## Check and add

```bash
lt-det zoo check output/zoo/lvis_eql_seed0   # at any time; exit code 1 if a gate fails
lt-det zoo add output/zoo/lvis_eql_seed0     # when it is finished: writes zoo/rows/lvis_eql.json
python docs/zoo.py                           # the pages, for the same pull request
```

`zoo add` refuses a run that is not finished or not evaluated, or that differs from its config in a key that changes
results; `--allow-overrides` records such keys instead. It reads commit and hardware from `log.txt`.
"""

GATES = """
## Gates

Each gate checks a metric in one line of `metrics.json`: the first line, or the first one from 1 %, 10 % or 100 % of the
schedule on that has the metric.

| at | gate | source |
|---|---|---|
| first line | `loss_cls` is at most 1.05 times its highest value before the first step | computed; 5 %: heuristic |
| 1 %, 10 % | `loss_cls` is below its highest value before the first step (after the warm-up) | heuristic |
| 1 %, 10 %, 100 % | `total_loss` is finite | heuristic |
| 1 %, 10 %, 100 % | `lr` is that of the schedule | computed |
| 1 % | at most `POSITIVE_FRACTION` of the RoIs are foreground | computed |
| 10 % | at least 1 % of the RoIs are foreground | heuristic |
| 10 % | box and mask AP are at least 0.001 at the next evaluation | heuristic |
| 100 % | AP is within 1 point of one that is published for the same protocol | published; 1 point: heuristic |
| 100 % | AP is at most 1 point below one that is published for a shorter schedule | published; 1 point: heuristic |
| 100 % | mask APr of softmax and sigmoid without re-sampling is at most 5 | heuristic |

We know of no published losses or AP at 1 % and 10 %. If a run differs from its config, `zoo check` leaves out the gates
of AP at 100 %.

`loss_cls` before the first step is computed: lt_det runs the predictor and loss of each config on small random
features, on three batches with 1/64 of foreground RoIs (early proposals find few objects) and three with 1/4 (the most
that the sampler takes). Three, because EQLv2 and Seesaw weight a batch by those before it. Softmax starts at ln 1204 =
7.09; a sigmoid loss without its prior would start at 1203 ln 2 = 834. The class counts are the image counts of
Detectron2's metadata here, and those that the run has saved in `zoo check`. A mini_lvis training with a learning rate
near 0 started at 4.145; the computed range is 4.138 to 4.144.
"""


def header_of(path):
    """The first comment of a yaml config, or the docstring of a LazyConfig, as one line."""
    text = path.read_text()
    if path.suffix == ".py":
        return " ".join(text.split('"""')[1].split())
    lines = text.splitlines()
    end = next(k for k, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line[1:].strip() for line in lines[:end])


def header_problems(rows):
    """Sentences about numbers of AP in the configs' first lines that their rows do not have."""
    number = r"(\d+\.\d+)"
    mention = re.compile(rf"(box |mask )?AP {number}(?:, APr {number}, APc {number}, APf {number})?")
    four = ", ".join([number] * 4)
    problems = []
    for config, row in rows.items():
        text = header_of(ROOT / config)
        known = list(known_metrics(rows[row.twin] if row.twin else row))
        found = [(kind.strip(), [value for value in values if value]) for kind, *values in mention.findall(text)]
        if len(re.findall(r"\bAP[rcf]? \d", text)) != sum(len(values) for _, values in found):
            problems.append(f"{config} has an AP in its first lines that is not written as in the other configs")
        found += [("", values) for values in re.findall(rf"up from {four}", text)]
        found += [("deviations", values) for values in re.findall(rf"deviations {four}", text)]
        for kind, values in found:
            if not any(agrees(values, metrics) for task, metrics in known if kind in ("", task)):
                problems.append(f"{config} says {kind or 'AP'} {', '.join(values)}, but its row in zoo/rows does not")
    return problems


def known_metrics(row):
    """Pairs of a kind ("box", "mask", "deviations") and metrics that a row has."""
    for one in (*row.published, *row.summaries):
        yield TASKS[one.task], one.metrics
        if one.baseline:
            yield TASKS[one.task], one.baseline.metrics
    for one in row.summaries:
        yield "deviations", one.deviations


def agrees(texts, metrics):
    """Whether numbers as written are those of the metrics, rounded to the written digits."""
    values = [metrics.get(name) for name in SHOWN[: len(texts)]]
    pairs = zip(texts, values, strict=True)
    return all(value is not None and f"{value:.{len(text.partition('.')[2])}f}" == text for text, value in pairs)


def evidence_runs():
    """The trainings of benchmarks/evidence that have their config's dataset and method, as runs, by config."""
    runs = {}
    for file in sorted(EVIDENCE.glob("*/*.json")):
        row = json.loads(file.read_text())
        words = row.get("overrides", [])
        keys = dict(zip(words[::2], words[1::2], strict=True))
        if not words or "metrics" not in row or "variant" in row or keys.keys() - NEUTRAL - SCHEDULE:
            continue
        if row.get("dataset", {}).get("name", "mini_lvis") != "mini_lvis":
            continue
        run = Run(
            seed=row["seed"],
            overrides={key: value for key, value in keys.items() if key not in NEUTRAL} | start_of(row),
            iterations=row["iterations"],
            metrics={"bbox": row["metrics"]},
            dataset="mini_lvis_val",
            fingerprint=None,
            commit=row["commit"],
            hardware=f"{row['processor']}, {row['threads']} thread{'s' * (row['threads'] > 1)}",
        )
        runs.setdefault(row["config"], []).append(run)
    return {config: sorted(members, key=lambda run: (run.iterations, run.seed)) for config, members in runs.items()}


def start_of(row):
    """The detector that a training starts from, as one more thing that differs from the config."""
    if not (detector := row.get("detector")):
        return {}
    loss, iterations, _ = detector["name"].split("/")[1].rsplit("_", 2)
    return {"from the detector": f"{loss} of {iterations} iterations"}


def method_of(cfg):
    """Loss, decoupled training, sampler and so on of a config, in words."""
    node = cfg.MODEL.LONG_TAIL
    parts = [node.LOSS.NAME]
    if node.REWEIGHTING.START is not None:
        parts.append("deferred re-weighting")
    if method := node.SECOND_STAGE.METHOD or node.CALIBRATION.METHOD:
        parts.append(METHODS.get(method, f"post-hoc {method.replace('_', ' ')}"))
    if sampler := SAMPLERS.get(cfg.DATALOADER.SAMPLER_TRAIN):
        parts.append(sampler)
    if "Cascade" in cfg.MODEL.ROI_HEADS.NAME:
        parts.append("Cascade R-CNN")
    return " + ".join(parts)


def schedule_of(cfg):
    return "no training" if is_adjustment(cfg) else f"{cfg.SOLVER.MAX_ITER} x {cfg.SOLVER.IMS_PER_BATCH}"


def result_lines(row, runs, sources):
    """Cells of a row's results: box or mask, four metrics, source."""
    lines = []
    groups = {}
    for run in [*row.runs, *runs]:
        groups.setdefault((run.iterations, json.dumps(run.overrides, sort_keys=True)), []).append(run)
    for one in row.summaries:
        cells = [number(one.metrics.get(name), one.deviations.get(name)) for name in SHOWN]
        lines.append(
            [
                TASKS[one.task],
                *cells,
                "; ".join(
                    filter(
                        None,
                        [
                            f"ours: {seeds_of(one.seeds)}, {one.hardware}, {one.commit}",
                            one.note,
                            compared(one.baseline),
                        ],
                    )
                ),
            ]
        )
    for members in groups.values():
        lines += lines_of_runs(members)
    if not lines:
        lines.append(["", *[""] * len(SHOWN), "ours: not run"])
    for one in row.published:
        source = sources[one.source]
        text = f"theirs: [{source['name']}]({source['link']}), {one.protocol} protocol"
        cells = [number(one.metrics.get(name)) for name in SHOWN]
        lines.append([TASKS[one.task], *cells, "; ".join(filter(None, [text, one.differs, compared(one.baseline)]))])
    return lines


def lines_of_runs(runs):
    """Cells of trainings that differ in their seed only."""
    first = runs[0]
    overrides = "".join(f", {key} {value}" for key, value in first.overrides.items())
    where = "; ".join(
        sorted({", ".join(filter(None, [run.hardware, run.commit])) or "machine unknown" for run in runs})
    )
    lines = []
    for task in first.metrics:
        values = {name: [run.metrics[task].get(name) for run in runs] for name in SHOWN}
        cells = [number(*mean_and_deviation(values[name])) for name in SHOWN]
        lines.append([TASKS[task], *cells, f"ours: {seeds_of([run.seed for run in runs])}, {where}{overrides}"])
    return lines


def mean_and_deviation(values):
    if None in values:
        return None, None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def number(value, deviation=None):
    if value is None:
        return ""
    return f"{value:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")


def seeds_of(seeds):
    words = ", ".join("?" if seed is None else str(seed) for seed in seeds)
    return f"seed{'s' * (len(seeds) > 1)} {words}"


def compared(baseline):
    if baseline is None:
        return ""
    values = " / ".join(number(baseline.metrics.get(name)) for name in SHOWN if baseline.metrics.get(name) is not None)
    return f"{baseline.name}: {values}"


def zoo_page(rows, cfgs, sources):
    parts = [INTRODUCTION]
    evidence = evidence_runs()
    for dataset, title in DATASETS.items():
        parts.append(f"\n## {title}\n")
        parts.append("| config | method | iterations x images | task | AP | APr | APc | APf | source |")
        parts.append("|---|---|---:|---|---:|---:|---:|---:|---|")
        for config, row in rows.items():
            cfg = cfgs[row.twin or config]
            if cfg.DATASETS.TRAIN[0] != dataset:
                continue
            link = f"[{Path(config).relative_to('configs')}](../{config})"
            if row.twin:
                lines = [["", *[""] * len(SHOWN), f"the numbers of {Path(row.twin).name}, which it equals"]]
            else:
                lines = result_lines(row, evidence.get(config, []), sources)
            head = [link, method_of(cfg), schedule_of(cfg)]
            for line in lines:
                parts.append("| " + " | ".join([*head, *line]) + " |")
                head = ["", "", ""]
    parts += ["\n## Protocols of the sources\n", "| source | protocol |", "|---|---|"]
    parts += [f"| [{one['name']}]({one['link']}) | {one['protocol']} |" for one in sources.values()]
    return "\n".join(parts) + "\n"


def lvis_page(rows, cfgs, losses):
    configs = [
        config for config, row in rows.items() if not row.twin and cfgs[config].DATASETS.TRAIN[0] == "lvis_v1_train"
    ]
    trained = [config for config in configs if not is_adjustment(cfgs[config])]
    return "\n".join(
        [
            LVIS_INTRODUCTION,
            "```bash",
            *(command_of(config, cfgs[config]) for config in trained if not starts_from_softmax(cfgs[config])),
            "# once output/zoo/lvis_softmax_seed0 is finished:",
            *(command_of(config, cfgs[config]) for config in trained if starts_from_softmax(cfgs[config])),
            *(command_of(config, cfgs[config]) for config in configs if config not in trained),
            "```",
            CHECKING,
            GATES,
            "| config | `loss_cls` before the first step | `lr` at 1 %, 10 %, 100 % | after 100 % |",
            "|---|---|---|---|",
            *(gate_line(config, cfgs[config], rows[config], losses[config]) for config in trained),
            "",
        ]
    )


def starts_from_softmax(cfg):
    return "lvis_softmax" in cfg.MODEL.WEIGHTS


def command_of(config, cfg):
    name = Path(config).stem
    keys = " MODEL.WEIGHTS output/zoo/lvis_softmax_seed0/model_final.pth" if starts_from_softmax(cfg) else ""
    if is_adjustment(cfg):
        return f"lt-det adjust --config {config}{keys} OUTPUT_DIR output/zoo/{name}_seed0"
    keys += f" SEED 0 TEST.EVAL_PERIOD {cfg.SOLVER.MAX_ITER // 10} OUTPUT_DIR output/zoo/{name}_seed0"
    return f"sbatch --nodes 1 tools/launch/slurm.sbatch --config {config}{keys}"


def gate_line(config, cfg, row, loss):
    iterations = [round(at * cfg.SOLVER.MAX_ITER) - 1 for at in (0.01, 0.1, 1.0)]
    rates = ", ".join(f"{rate:.3g}" for rate in learning_rates(cfg, iterations))
    known = [gate for gate in gates_of(cfg, None, row) if gate.at == 1 and "/AP" in gate.metric]
    texts = [
        f"{gate.metric.replace('/', ' ').replace('segm', 'mask').replace('bbox', 'box')} {gate.bounds} ({gate.kind})"
        for gate in known
    ]
    low, high = loss
    span = f"{low:.2f} to {high:.2f}"
    span = "from a trained classifier" if cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD == "lws" else span
    return f"| {Path(config).name} | {span} | {rates} | {'; '.join(texts) or 'not known'} |"


def initial_losses(cfgs):
    """The range of loss_cls before the first step of each LVIS v1 config that trains."""
    stats = training_stats(["lvis_v1_train"])
    return {
        config: [round(value, 4) for value in initial_loss(cfg, stats)]
        for config, cfg in cfgs.items()
        if cfg.DATASETS.TRAIN[0] == "lvis_v1_train" and not is_adjustment(cfg)
    }


def read_all():
    """Rows and configs, by the config's path, and the sources."""
    rows = read_rows(ROWS)
    cfgs = {config: load_config(str(ROOT / config)) for config, row in rows.items() if not row.twin}
    return rows, cfgs, json.loads(SOURCES.read_text())


def pages(rows, cfgs, sources, losses):
    """The text of both pages, by file."""
    return {PAGE: zoo_page(rows, cfgs, sources), LVIS_PAGE: lvis_page(rows, cfgs, losses)}


def main():
    rows, cfgs, sources = read_all()
    losses = initial_losses(cfgs)
    LOSSES.write_text(json.dumps(losses, indent=1) + "\n")
    for file, text in pages(rows, cfgs, sources, losses).items():
        file.write_text(text)
        print(f"Written: {file.relative_to(ROOT)}")
    if problems := header_problems(rows):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
