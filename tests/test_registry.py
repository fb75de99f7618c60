"""What users add by name: each name is given once, and what a decorator gets it returns."""

import pytest

from lt_det.bakeoff.candidates.sampling import ROI_SAMPLERS, register_roi_sampler
from lt_det.data import register_format, register_sampler
from lt_det.data.formats import FORMATS
from lt_det.data.sampling import builtin  # noqa: F401 - registers samplers
from lt_det.data.sampling.registry import SAMPLERS
from lt_det.losses import LOSSES, loss_class, register_loss
from lt_det.registry import Registry


def test_entries_are_kept_unchanged_in_their_order():
    registry = Registry("A tool")

    def hammer():
        pass

    assert registry.register("hammer")(hammer) is hammer
    registry.register("axe")(print)
    assert list(registry.items()) == [("hammer", hammer), ("axe", print)]


@pytest.mark.parametrize(
    ("register", "registry", "name", "kind"),
    [
        (register_loss, LOSSES, "eql", "A loss"),
        (register_sampler, SAMPLERS, "ClassAwareTrainingSampler", "A sampler"),
        (register_format, FORMATS, "coco", "An annotation format"),
        (register_roi_sampler, ROI_SAMPLERS, "class_aware", "A sampler of RoIs"),
    ],
)
def test_a_taken_name_is_refused(register, registry, name, kind):
    entry = registry[name]
    with pytest.raises(ValueError, match=f"^{kind} named '{name}' is registered already: .*{entry.__name__}"):
        register(name)(loss_class("softmax"))
    assert registry[name] is entry
