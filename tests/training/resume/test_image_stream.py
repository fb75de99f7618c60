"""A resumed training takes the images that an undisturbed one would have taken."""

import functools

import pytest
from torch.utils.data import IterableDataset

from lt_det.training.resume.image_stream import ImageStream
from tests.helpers.gloo import in_processes
from tests.helpers.streamed import images_taken, train

SAMPLERS = ["TrainingSampler", "RepeatFactorTrainingSampler", "ClassAwareTrainingSampler"]


def go_back(output):
    """To the checkpoint after 12 iterations, which Detectron2 keeps beside the last one."""
    (output / "last_checkpoint").write_text("model_0000011.pth")
    for file in output.glob("images*.jsonl"):
        file.unlink()


@pytest.mark.parametrize(
    ("sampler", "start"), [*((sampler, None) for sampler in SAMPLERS), (SAMPLERS[1], 5), (SAMPLERS[2], "first_lr_step")]
)
def test_resume_goes_on_in_the_stream(sixty_config, tmp_path, sampler, start):
    overrides = ["DATALOADER.SAMPLER_TRAIN", sampler, "DATALOADER.SAMPLER_START", start]
    train(sixty_config, tmp_path, *overrides)
    undisturbed = images_taken(tmp_path)
    go_back(tmp_path)
    train(sixty_config, tmp_path, *overrides, resume=True)
    assert images_taken(tmp_path) == undisturbed[12:]
    assert undisturbed[12] not in undisturbed[:12]


def test_loading_processes_share_the_stream(sixty_config, tmp_path):
    train(sixty_config, tmp_path, "DATALOADER.NUM_WORKERS", 2)
    undisturbed = images_taken(tmp_path)
    go_back(tmp_path)
    train(sixty_config, tmp_path, "DATALOADER.NUM_WORKERS", 2, resume=True)
    assert images_taken(tmp_path) == undisturbed[12:]


def test_resume_on_more_processes(sixty_config, tmp_path):
    train(sixty_config, tmp_path)
    undisturbed = images_taken(tmp_path)
    go_back(tmp_path)
    in_processes(2, tmp_path, functools.partial(train, resume=True), sixty_config, tmp_path)
    assert len(list(tmp_path.glob("images*.jsonl"))) == 2
    assert images_taken(tmp_path) == undisturbed[12:]


def test_loader_without_a_sampler(caplog):
    class Images(IterableDataset):
        def __iter__(self):
            yield from ()

    stream = ImageStream(Images())
    stream.skip(0)
    assert not caplog.records
    stream.skip(8)
    assert "stream of images" in caplog.text
