"""Values of a LazyConfig that are out of range or of another type: refused when it is loaded."""

import pytest

from lt_det.errors import LtDetError
from lt_det.training import load_lazy_config

NAME = "lazy/mini_lvis_eql"


@pytest.mark.parametrize(
    "word",
    [
        *("train=3", "train.amp=3", "train.ddp=3", "train.checkpointer=3", "model=3", "optimizer=sgd", "dataloader=3"),
        *("train.max_iter=fast", "train.max_iter=0", "train.max_iter=1.5", "train.max_iter=null", "train.max_iter="),
        *("train.accumulate=x", "train.accumulate=2.0", "train.seed=x", "train.eval_period=null", "train.log_period=0"),
        *("train.checkpointer.period=0", "train.clip_norm=x", "train.clip_norm=-1", "train.amp.enabled=yes"),
        "train.seed=5000000000",
        *("train.output_dir=null", "train.init_checkpoint=3", "train.second_stage=3", "train.wandb_project=3"),
        *("optimizer.lr=fast", "optimizer.lr=-1", "optimizer.lr=nan", "dataloader.train.num_workers=-1"),
        *("dataloader.train.total_batch_size=0", "dataloader.train.total_batch_size=2.5"),
        *("dataloader.train.dataset.names=null", "dataloader.train.dataset.names=[1]"),
        "train.max_iter=${train.gone}",
    ],
)
def test_refused(word):
    with pytest.raises(LtDetError, match=r"^Override on the command line: ") as error:
        load_lazy_config(NAME, [word])
    key = word.partition("=")[0]
    assert f" {key} is " in str(error.value) or f" {key} refers to " in str(error.value)
    assert "\n" not in str(error.value)


def test_in_the_file(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "from lt_det.training import get_config\n"
        f"shipped = get_config({NAME!r})\n"
        "model, optimizer, lr_multiplier, dataloader, train = (\n"
        "    shipped[key] for key in ('model', 'optimizer', 'lr_multiplier', 'dataloader', 'train')\n"
        ")\n"
        "train.max_iter = 'fast'\n"
    )
    with pytest.raises(LtDetError, match=f"^{file}: train.max_iter is 'fast'"):
        load_lazy_config(str(file))
    assert load_lazy_config(str(file), ["train.max_iter=7"]).train.max_iter == 7


@pytest.mark.parametrize(
    "word", ["train.clip_norm=null", "train.wandb_project=null", "train.seed=-1", "optimizer.lr=1"]
)
def test_accepted(word):
    load_lazy_config(NAME, [word])
