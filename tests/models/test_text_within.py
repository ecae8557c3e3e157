"""Text models in files that see images too, laid out as those are published."""

import pytest
import torch

from unillm.models.errors import WeightsError
from unillm.tests.models import zoo
from unillm.tests.models.paged import Pages
from unillm.tests.models.tensors import Tensors, load, tensors
from unillm.tests.models.test_dense_fixtures import load as load_fixture
from unillm.tests.models.test_dense_fixtures import stored
from unillm.tests.models.zoo import distance

LAYOUTS = {
    "llama4": ("Llama4ForConditionalGeneration", "", "language_model.", "vision_model.layernorm_pre.weight"),
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        "",
        "language_model.",
        "vision_tower.vision_model.post_layernorm.bias",
    ),
    "ministral3": ("Mistral3ForConditionalGeneration", "", "language_model.", "multi_modal_projector.norm.weight"),
    "mistral-nemo": (
        "Mistral3ForConditionalGeneration",
        "model.",
        "model.language_model.",
        "model.vision_tower.ln_pre.weight",
    ),
    "qwen3.5": ("Qwen3_5ForConditionalGeneration", "model.", "model.language_model.", "model.visual.pos_embed.weight"),
}


def published(name: str) -> Tensors:
    """The text model's keys under `text_config`, its tensors under other names, and one that is of images."""
    architecture, old, new, seeing = LAYOUTS[name]
    weights = tensors(zoo.BY_NAME[name])
    moved = {
        new + key.removeprefix(old) if key.startswith(old) else key: one
        for key, one in weights.tensors.items()
        if "rotary_emb" not in key
    }
    keys = {"architectures": [architecture], "text_config": dict(weights.metadata.config), "vision_config": {}}
    return Tensors({**moved, seeing: torch.ones(3)}, keys)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_text_model_is_the_same(name: str) -> None:
    row = zoo.BY_NAME[name]
    wanted = zoo.expected(zoo.reference(row), zoo.prompt(row))
    assert distance(Pages(load(published(name))).whole(zoo.prompt(row)), wanted) <= zoo.TOLERANCE


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_missing_is_named_as_the_file_has_it(name: str) -> None:
    weights = published(name)
    gone = next(key for key in weights.tensors if ".layers.1." in key and key.endswith("norm.weight"))
    del weights.tensors[gone]
    with pytest.raises(WeightsError) as caught:
        load(weights)
    assert caught.value.missing == [gone]


def test_text_before_an_image_is_as_in_the_authors_code() -> None:
    """Of Phi-3 Vision, whose names for text are those of Phi-3."""
    (ids, *_), (wanted, *_), _ = stored("phi3_vision")
    before = ids.index(-1)
    logits = Pages(load_fixture("phi3_vision")).whole(ids[:before])
    assert before == 4
    assert distance(logits, wanted[:before]) <= zoo.TOLERANCE
