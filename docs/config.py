#!/usr/bin/env python
"""Write docs/config.md: every config key that lt_det adds to Detectron2's, with its default and what it does.

    python docs/config.py

The sentences are the comments in `lt_det.config.add_keys`, and for the losses the docstrings of their constructors.
Here are only the order of the page and its links.
"""

import ast
import inspect
import io
import re
import sys
import textwrap
import tokenize
from pathlib import Path

from detectron2.config import get_cfg

import lt_det
import lt_det.config
from lt_det.losses import LOSSES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "config.md"
LOSS, REWEIGHTING = "MODEL.LONG_TAIL.LOSS", "MODEL.LONG_TAIL.REWEIGHTING"
HYPERPARAMETERS = "Hyper-parameters of the losses"

# By section: keys and nodes, and the page that explains them. A key is where its longest node is.
SECTIONS = {
    "Loss of the box classifier": {
        f"{LOSS}.NAME": "losses.md",
        "MODEL.LONG_TAIL.CLASSIFIER": "losses.md",
        "MODEL.LONG_TAIL.COSINE_SCALE": "losses.md",
        "MODEL.LONG_TAIL.CLASS_STATS": "class_counts.md#class-counts",
        "MODEL.LONG_TAIL.LOSS_OF_WEIGHTS": "starting_from_a_detector.md#how-lt_det-knows-the-loss-of-your-weights",
    },
    HYPERPARAMETERS: {f"{LOSS}.{name.upper()}": f"losses/{name}.md" for name in sorted(LOSSES)},
    "Re-weighting by class": {
        f"{REWEIGHTING}.START": "losses.md#re-weighting-by-class",
        REWEIGHTING: "losses.md#re-weighting-by-class",
    },
    "Datasets and samplers": {
        "DATASETS.REGISTER": "data.md#register-a-dataset",
        "DATALOADER.SAMPLER_START": "samplers.md#deferred-re-sampling",
    },
    "Backbone": {
        "MODEL.TIMM": "starting_from_a_detector.md#starting-from-imagenet-weights",
        "MODEL.COMPILE": "performance.md#torchcompile",
    },
    "Training": {
        "SOLVER.ACCUMULATE": "performance.md#gradient-accumulation",
        "SOLVER.AMP": "performance.md#mixed-precision",
        "SOLVER.MAX_TO_KEEP": "resuming.md#checkpoints",
        "SOLVER.BEST_CHECKPOINT": "tracking.md#best-checkpoint-and-early-stopping",
        "SOLVER.EARLY_STOPPING": "tracking.md#best-checkpoint-and-early-stopping",
        "SOLVER.EMA": "tracking.md#moving-average-of-the-weights",
        "WANDB_PROJECT": "tracking.md#weights--biases",
    },
    "Decoupled training": {
        "MODEL.LONG_TAIL.SECOND_STAGE": "recipes.md#run-it",
        "MODEL.LONG_TAIL.SECOND_STAGE.META": "recipes.md#meta-learned-weights",
    },
    "Post-hoc adjustment": {"MODEL.LONG_TAIL.CALIBRATION": "post_hoc_adjustment.md"},
    "Evaluation": {
        "TEST.RESAMPLES": "metrics.md#intervals",
        "TEST.MAX_DETS": "metrics.md#dense-scenes",
        "TEST.VAL_LOSS": "tracking.md#validation-loss",
    },
    "Buckets": {"TEST.BUCKETS": "class_counts.md#buckets"},
}

# What lt_det's parts need of a key of Detectron2, or do with it beyond what Detectron2 does.
DETECTRON2_KEYS = {
    "MODEL.ROI_HEADS.NAME": (
        "existing_project.md#add-lt_det-to-your-config",
        "Only `LongTailROIHeads`, `LongTailCascadeROIHeads` and `LongTailRes5ROIHeads` use the losses of lt_det.",
    ),
    "MODEL.ROI_HEADS.NUM_CLASSES": (
        "data.md#register-a-dataset",
        "Must be the number of classes of the training set.",
    ),
    "MODEL.BACKBONE.NAME": (
        "starting_from_a_detector.md#starting-from-imagenet-weights",
        "`build_timm_fpn_backbone` is a backbone of timm. `MODEL.BACKBONE.FREEZE_AT` then freezes its first stages.",
    ),
    "MODEL.WEIGHTS": (
        "tracking.md#moving-average-of-the-weights",
        "May also be `timm://NAME`. Of a checkpoint with a moving average, the average is loaded, and with "
        "`FILE?ema=False` the weights.",
    ),
    "DATASETS.TRAIN": (
        "class_counts.md#class-counts",
        "lt_det counts the classes of these sets, for the losses and the buckets, unless "
        "`MODEL.LONG_TAIL.CLASS_STATS` names a file with the counts.",
    ),
    "DATASETS.TEST": (
        "tracking.md#best-checkpoint-and-early-stopping",
        "With several sets, `SOLVER.BEST_CHECKPOINT.METRIC` begins with the name of one: `my_val/bbox/AP`.",
    ),
    "DATALOADER.SAMPLER_TRAIN": (
        "samplers.md",
        "May also be `ClassAwareTrainingSampler`, or a sampler that you registered.",
    ),
    "SOLVER.IMS_PER_BATCH": (
        "performance.md#gradient-accumulation",
        "Images per optimizer step: a multiple of the number of processes times `SOLVER.ACCUMULATE`.",
    ),
    "SOLVER.STEPS": (
        "losses.md#re-weighting-by-class",
        "`first_lr_step` is the first of them. They must be ascending and must not contain `SOLVER.MAX_ITER`.",
    ),
    "SOLVER.REFERENCE_WORLD_SIZE": (
        "clusters.md#other-numbers-of-gpus",
        "Also scales `DATALOADER.SAMPLER_START` and `MODEL.LONG_TAIL.REWEIGHTING.START` if they are iterations.",
    ),
    "TEST.EVAL_PERIOD": (
        "tracking.md#best-checkpoint-and-early-stopping",
        "Iterations between the evaluations that choose `model_best.pth` and stop a training early; early stopping "
        "needs a value above 0.",
    ),
    "TEST.DETECTIONS_PER_IMAGE": (
        "metrics.md#dense-scenes",
        "The network's own limit, beside `TEST.MAX_DETS`; lt_det warns if images contain more objects.",
    ),
    "TEST.PRECISE_BN.ENABLED": (
        "tracking.md#moving-average-of-the-weights",
        "Refused with `SOLVER.EMA.ENABLED True`.",
    ),
}

INTRODUCTION = """# Config keys

Every key that lt_det adds to Detectron2's config, with its default. Each key links to the page that explains it.
`python docs/config.py` makes this page from the code.

Set a key in a yaml config, or on the command line at the end: `lt-det train --config FILE SOLVER.ACCUMULATE 2`.
None is `null` in yaml, and `None` on the command line. An unknown key, or a value of another type, is an error.

**LazyConfig.** The keys of the trainer are lower-case keys of `train`, such as `train.accumulate` or
`train.ema.decay`: [configs/lazy/common/train.py](../configs/lazy/common/train.py) lists them with their defaults. The
others are arguments in lower case, [of the loss and the box predictor](losses.md#in-a-lazyconfig), of
`dataloader.evaluator` ([`draws` and `max_dets`](training.md#lazyconfigs)), and of [the
sampler](samplers.md#in-a-lazyconfig).
`DATASETS.REGISTER` and `MODEL.LONG_TAIL.CALIBRATION` are for yaml configs only.

[Detectron2's keys](#detectron2s-keys) are at the end, as far as lt_det's parts need or extend them.
"""

_PAGES = ", ".join(f"[{name}](losses/{name}.md)" for name in sorted(LOSSES))

# What the code does not say about the keys of a section.
TEXTS = {
    "Loss of the box classifier": f"The losses are {_PAGES}, and [those that you register](losses.md#a-custom-loss).",
    HYPERPARAMETERS: f"All of these keys are below `{LOSS}`: `LDAM.SCALE` is `{LOSS}.LDAM.SCALE`.",
}

DETECTRON2_TEXT = """## Detectron2's keys

lt_det's parts need these keys of Detectron2, or do more with them than Detectron2 does.
[Detectron2's keys](detectron2_keys.md) lists those that have another effect than in Detectron2, or are refused.

| key | in lt_det |
|---|---|"""


def added_keys():
    """Default of each key that lt_det adds, by its full name, in the order of `add_keys`."""
    cfg = get_cfg()
    stock = set(_leaves(cfg))
    lt_det.add_lt_config(cfg)
    return {key: value for key, value in _leaves(cfg).items() if key not in stock}


def _leaves(node, above=""):
    """Values by full name. A node that takes any key, such as DATASETS.REGISTER, is a value."""
    found = {}
    for name, value in node.items():
        if isinstance(value, dict) and not value.is_new_allowed():
            found |= _leaves(value, f"{above}{name}.")
        else:
            found[above + name] = value
    return found


def comments_of_keys():
    """The comment of each key and node in the source of lt_det.config, by full name."""
    source = inspect.getsource(lt_det.config)
    comments = _comments_by_line(source)
    found = {}
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Assign) and (name := ast.unparse(statement.targets[0])).startswith("cfg."):
            found[name.removeprefix("cfg.")] = comments(statement)
        elif isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "REWEIGHTING_DEFAULTS":
            found |= {f"{REWEIGHTING}.{key.value}": comments(key) for key in statement.value.keys}
    return found


def _comments_by_line(source):
    """A function from a piece of the source to the comment behind it or, without one, to the lines of comment above."""
    lines = source.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string[1:].strip() for token in tokens if token.type == tokenize.COMMENT}

    def comment(node):
        if node.lineno in comments:
            return comments[node.lineno]
        above, line = [], node.lineno - 1
        while line in comments and lines[line - 1].lstrip().startswith("#"):
            above.insert(0, comments[line])
            line -= 1
        return " ".join(above)

    return comment


def sentences_of_losses():
    """What the docstring of each loss says about its hyper-parameters, by full name."""
    return {
        f"{LOSS}.{name.upper()}.{argument.upper()}": _for_users(_resolved(argument, loss), loss.hyperparameters())
        for name, loss in LOSSES.items()
        for argument in loss.hyperparameters()
    }


def _for_users(text, arguments):
    """A description in a docstring in the words of a config: values in backquotes, keys, and the rows of a detector."""
    text = re.sub(r'"(\w+)"', r"`\1`", text)
    text = re.sub(r"`(\w+)`", lambda word: word[0].upper() if word[1] in arguments else word[0], text)
    text = re.sub(r"\brow(s?)\b", r"RoI\1", text)
    return text[:1].upper() + text[1:]


def _resolved(argument, owner):
    """The description of an argument. A reference at its beginning, "see `eql_loss`.", is replaced by what is there."""
    text = _arguments(owner)[argument]
    reference = re.match(r"see `(\w+)`\.", text)
    if not reference:
        return text
    module, name = sys.modules[owner.__module__], reference[1]
    described = _resolved(argument, getattr(module, name, None) or getattr(lt_det.losses, name))
    return described + text[reference.end() :]


def _arguments(owner):
    """The entries of a docstring's Args section, by name."""
    section = inspect.getdoc(owner).partition("Args:\n")[2]
    section = textwrap.dedent(re.split(r"\n\n", section)[0])
    entries = re.findall(r"^([\w, ]+): (.*(?:\n .*)*)", section, re.MULTILINE)
    return {name.strip(): " ".join(text.split()) for names, text in entries for name in names.split(",")}


def place_of(key):
    """The section of a key, and the node or key there that it belongs to.

    Raises:
        KeyError: SECTIONS has neither.
    """
    nodes = [(len(node), title, node) for title, links in SECTIONS.items() for node in links if _is_below(key, node)]
    if not nodes:
        raise KeyError(f"{key}: SECTIONS in docs/config.py has neither the key nor its node")
    _, title, node = max(nodes)
    return title, node


def _is_below(key, node):
    return key == node or key.startswith(f"{node}.")


def shown(value):
    """A default as a user would write it."""
    return '`""`' if value == "" else "`{}`" if value == {} else f"`{value}`"


def row(*cells):
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def section(title, keys, sentences):
    """A heading, what is said about the section and its nodes, and a table of its keys."""
    links = SECTIONS[title]
    texts = [TEXTS.get(title), *(sentences.get(node) for node in links if node not in keys)]
    lines = [
        f"\n## {title}\n",
        *(f"{text}\n" for text in texts if text),
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    for key in sorted(keys, key=lambda key: list(links).index(place_of(key)[1])):  # then as in add_keys
        # With their full names, hyper-parameters would leave no width for the sentences.
        name = key.removeprefix(f"{LOSS}.") if title == HYPERPARAMETERS else key
        lines.append(row(f"[`{name}`]({links[place_of(key)[1]]})", shown(keys[key]), sentences[key]))
    return lines


def page():
    """The text of docs/config.md."""
    keys, sentences = added_keys(), comments_of_keys() | sentences_of_losses()
    lines = [INTRODUCTION.rstrip("\n")]
    for title in SECTIONS:
        lines += section(title, {key: value for key, value in keys.items() if place_of(key)[0] == title}, sentences)
    lines += [f"\n{DETECTRON2_TEXT}"]
    lines += [row(f"[`{key}`]({link})", text) for key, (link, text) in DETECTRON2_KEYS.items()]
    return "\n".join(lines) + "\n"


def main():
    PAGE.write_text(page())
    print(f"Written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
