"""How much models read: by their positions, whatever the tokenizer says; what is asked for is done or refused."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from distilnlp.errors import DistillationError
from distilnlp.runs.lengths import DEFAULT_LENGTH, longest_text, misfits, readable_length
from tests.tiny import SHAPE, tiny_model, tiny_tokenizer

FAMILIES = {
    "bert": 0,
    "electra": 0,
    "ernie": 0,
    "roberta": 2,
    "xlm-roberta": 2,
    "xlm-roberta-xl": 2,
    "camembert": 2,
    "mpnet": 2,
    "roberta-prelayernorm": 2,
    "longformer": 2,
    "data2vec-text": 2,
    "xmod": 2,
    "ibert": 2,
}


@pytest.mark.parametrize(("family", "offset"), FAMILIES.items())
def test_a_model_reads_as_long_a_text_as_is_said_and_no_longer(family: str, offset: int) -> None:
    further: dict[str, Any] = {"longformer": {"attention_window": 4}, "xmod": {"languages": ["en_XX"]}}.get(family, {})
    further |= {"default_language": "en_XX"} if family == "xmod" else {}
    shape = {**SHAPE, "embedding_size": 16, "num_hidden_layers": 1, "pad_token_id": 1, **further}
    model = AutoModel.from_config(AutoConfig.for_model(family, **shape)).eval()
    assert longest_text(model) == 40 - offset
    with torch.no_grad():
        model(input_ids=torch.full((1, 40 - offset), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, 41 - offset), 5))


def test_without_positions_of_its_own_the_config_decides() -> None:
    assert longest_text(tiny_model("modernbert")) == 40


def reads(asked: int | None, positions: int, own: int) -> int:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = own
    return readable_length(asked, tokenizer, tiny_model(max_position_embeddings=positions, num_hidden_layers=1))


@pytest.mark.parametrize(
    ("asked", "positions", "own", "length"),
    [
        (None, 512, 512, DEFAULT_LENGTH),
        (None, 512, 128, 128),
        (None, 64, int(1e30), 64),
        (256, 512, 128, 256),
        (255, 512, 128, 255),
        (300, 512, int(1e30), 300),
    ],
)
def test_what_is_asked_for_is_read(asked: int | None, positions: int, own: int, length: int) -> None:
    assert reads(asked, positions, own) == length


@pytest.mark.parametrize("asked", [256, 65])
def test_more_than_the_model_reads_is_refused(asked: int) -> None:
    with pytest.raises(DistillationError, match=rf"data\.max_length must be at most 64.*but it is {asked}"):
        reads(asked, 64, 512)


def test_misfits_are_told_with_figures() -> None:
    tokenizer = tiny_tokenizer()
    assert list(misfits(tokenizer, 40, ["the film a plot"] * 3)) == []
    (too_long,) = misfits(tokenizer, 64, ["the film a plot"])
    assert "cut after 64 tokens, as asked" in too_long
    assert "made for 40" in too_long
    (unknown,) = misfits(tokenizer, 40, ["der Film ist gut", "the film"])
    assert "50% of the tokens of 2 texts are unknown" in unknown
