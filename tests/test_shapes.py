"""What a model gives, told by shapes alone, against what it really gives."""

import pytest
import torch

from distilnlp.errors import DistillationError
from distilnlp.models.families import FAMILIES
from distilnlp.models.shapes import hidden_states_of, longest_readable
from distilnlp.signals import SignalRequest, named_inputs
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, profile_of
from distilnlp.tasks.forward import forward
from tests.tiny import tiny_model

BATCH = {"input_ids": torch.full((1, 13), 5), "attention_mask": torch.ones(1, 13, dtype=torch.long)}
WITH_STATES = ["albert", "fnet", "longformer", "xlm", "xlm-roberta", "xlnet", "xmod"]
WITHOUT = ["bart", "canine", "funnel", "perceiver", "t5"]


@pytest.mark.parametrize("architecture", WITH_STATES)
def test_hidden_states_are_those_that_the_model_gives(architecture: str) -> None:
    model = tiny_model(architecture)
    with torch.no_grad():
        states = model(**BATCH, output_hidden_states=True).hidden_states
    assert {state.shape for state in states} == {(1, 13, 16)}
    assert hidden_states_of(model) == (len(states), 16)
    assert hidden_states_of(model.to("meta")) == (len(states), 16)


@pytest.mark.parametrize("architecture", WITHOUT)
def test_states_that_are_not_one_a_token_and_layer_are_none(architecture: str) -> None:
    assert hidden_states_of(tiny_model(architecture)) == (0, 0)


def test_to_tell_leaves_the_model_and_the_random_numbers_alone() -> None:
    model = tiny_model("albert", num_hidden_layers=3).train()
    before, random_state = model.state_dict(), torch.get_rng_state()
    hidden_states_of(model)
    assert all(
        tensor is before[name] or torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()
    )
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in model.modules())


def test_a_model_without_attention_has_no_heads() -> None:
    assert profile_of(tiny_model("fnet")).num_heads == 0


@pytest.mark.parametrize(("architecture", "index"), [("funnel", 3), ("t5", 1), ("xlnet", 9)])
def test_states_that_do_not_fit_the_tokens_are_refused_in_the_forward_pass(architecture: str, index: int) -> None:
    """Whatever shapes told: some architectures pad long texts."""
    model = tiny_model(architecture)
    batch = {**BATCH, "input_ids": torch.tensor([[*[5] * 12, 3]])}
    with pytest.raises(
        DistillationError, match=rf"states \[{index}\] of each of \[1, 13\] tokens.*{type(model).__name__}"
    ):
        forward(
            model,
            SINGLE_LABEL_CLASSIFICATION,
            batch,
            named_inputs(model),
            SignalRequest(hidden_states=frozenset({index})),
        )


# ---- How long a text a model reads ----

FROM_PADDING = ["esm", "ibert", "longformer", "luke", "markuplm", "xmod"]
ROTARY = {"modernbert", "nomic_bert", "gte", "eurobert", "jina_embeddings_v3", "xlnet"}  # which may read on


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("architecture", [*sorted(FAMILIES.keys() - ROTARY), *FROM_PADDING, "nystromformer", "xlm"])
def test_the_longest_text_is_what_the_model_reads(architecture: str, padding: int) -> None:
    model = tiny_model(architecture, **{"pad_index" if architecture == "xlm" else "pad_token_id": padding})
    limit = longest_readable(model)
    assert limit is not None
    with torch.no_grad():
        model(input_ids=torch.full((1, limit), 5))
        with pytest.raises((RuntimeError, IndexError)):
            model(input_ids=torch.full((1, limit + 1), 5))


@pytest.mark.parametrize("architecture", ["t5", "xlnet", "funnel"])
def test_an_architecture_without_positions_has_no_limit(architecture: str) -> None:
    assert longest_readable(tiny_model(architecture)) is None
