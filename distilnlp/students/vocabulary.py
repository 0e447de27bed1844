"""A smaller vocabulary: the embedding matrix is most of a small student, and most of its rows are never read."""

import copy
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import DistillationError, shown
from distilnlp.models.families import find_family
from distilnlp.models.shapes import unused_positions
from distilnlp.students.blueprint import assemble, blueprint_of
from distilnlp.students.given_models import Source, as_model, as_tokenizer
from distilnlp.students.vocabulary_pieces import Spec, check_spec, ids_to_keep, keep_ids, tried_pieces

BATCH_SIZE = 1000  # texts tokenised together


def trim_vocabulary(
    model: PreTrainedModel | Source, tokenizer: PreTrainedTokenizerBase | Source, texts: Iterable[str]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a copy of the model and its tokenizer that know only what these texts need (arXiv 2010.05609).

    On these texts, alone or in pairs, truncated or not, the two agree with the originals: the same pieces, and the
    same outputs up to rounding. A masked LM has the same logits for the pieces that are left. Kept are:

    - the pieces of the texts, and what the tokenizer needs to find them again (the parts that BPE merges, say);
    - special and added tokens, and the tokens that the model's config names;
    - pieces of one character or byte: other words are spelled in smaller pieces, which the student has to learn.

    Ids keep their order and lose their gaps; `*_token_id` in the config follow. In RoBERTa and MPNet, which number
    positions from the padding id, that id and all before it stay. Rows of the embeddings without a token are dropped.
    The model has the dtype, device, training mode and tied weights of the original, and nothing is frozen. Both load
    again with `from_pretrained` after they are saved. Compare `model.config.vocab_size` to see what was dropped.

    Args:
        model: a model of a supported family, with any head, or its folder or Hub id.
        tokenizer: its tokenizer, or the folder or Hub id, with a backend of the tokenizers library: WordPiece, BPE,
            Unigram or WordLevel.
        texts: all texts that must be cut as before: a list or a column of a data set. They are read twice, once to
            find the pieces and once to check the result. Give the parts of a pair as two texts.

    Raises:
        DistillationError: if the family or the tokenizer is not supported, the two do not belong together, the texts
            are missing, not str or readable only once, or the result does not agree with the original.
    """
    model, tokenizer = as_model(model), as_tokenizer(tokenizer)
    find_family(model.config.model_type)
    spec = _spec_of(tokenizer)
    _check_texts(texts)
    reader = _reader(tokenizer, spec)
    tokens = frozenset(reader.get_vocab().values())
    _check_size(tokens, model)
    used = _used_ids(reader, texts) | (tokens & _config_ids(model.config)) | _fixed_ids(model)
    rows = sorted(ids_to_keep(spec, used))
    new_ids = {old: new for new, old in enumerate(rows)}
    trimmed = _trim_tokenizer(tokenizer, spec, new_ids)
    _check_agreement(reader, _reader(trimmed, _spec_of(trimmed)), new_ids, texts)
    return _trim_model(model, rows, new_ids), trimmed


def _spec_of(tokenizer: PreTrainedTokenizerBase) -> Spec:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise DistillationError(
            "A vocabulary can be trimmed for a tokenizer with a backend of the tokenizers library; got "
            f"{type(tokenizer).__name__}, which has none. Load the tokenizer with AutoTokenizer."
        )
    spec = json.loads(backend.to_str())
    check_spec(spec)
    return spec


def _check_texts(texts: Iterable[str]) -> None:
    if isinstance(texts, str):
        raise DistillationError("texts must be a list or a column of texts; got one str. Write [text].")
    if isinstance(texts, Iterator):
        raise DistillationError(
            f"texts are read twice, to find the pieces and to check the result; got a {type(texts).__name__}, which "
            "can be read once. Write list(texts)."
        )


def _num_rows(model: PreTrainedModel) -> int:
    embeddings: Any = model.get_input_embeddings()
    return embeddings.weight.shape[0]


def _check_size(tokens: Collection[int], model: PreTrainedModel) -> None:
    rows = _num_rows(model)
    if max(tokens) >= rows:
        raise DistillationError(
            f"The model must have a row for each token; its embeddings have {rows} rows and the tokenizer's ids go up "
            f"to {max(tokens)}. Use the model's own tokenizer, or train the model after "
            "model.resize_token_embeddings(len(tokenizer))."
        )


def _reader(tokenizer: PreTrainedTokenizerBase, spec: Spec) -> Tokenizer:
    """Copy the backend, so that the tokenizer's own truncation and padding stay as they are set."""
    reader = Tokenizer.from_str(json.dumps(spec))
    reader.no_truncation()
    reader.no_padding()
    reader.encode_special_tokens = tokenizer.split_special_tokens
    return reader


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, BATCH_SIZE)):
        for text in batch:
            if not isinstance(text, str):
                raise DistillationError(
                    f"Every text must be a str; got {text!r} of type {type(text).__name__}. Give the texts themselves: "
                    "the parts of a pair one by one, split words joined by a space, and no missing value."
                )
        yield batch


def _used_ids(reader: Tokenizer, texts: Iterable[str]) -> set[int]:
    """Return the ids of all pieces that the reader finds in the texts, or has to try."""
    model, used, read = reader.model, set[int](), 0
    unknown = reader.token_to_id(model.unk_token) if isinstance(model, WordPiece) else None
    for batch in _batches(texts):
        read += len(batch)
        for text, encoding in zip(batch, reader.encode_batch_fast(batch), strict=True):
            ids = set(encoding.ids)
            used |= ids | tried_pieces(reader, text) if unknown in ids else ids
    if not read:
        raise DistillationError(
            "texts must hold at least one text; got none. Give the texts to be tokenised as before."
        )
    return used


def _config_ids(config: PreTrainedConfig) -> set[int]:
    values = [value for name, value in vars(config).items() if name.endswith("_token_id") and value is not None]
    return {index for value in values for index in (value if isinstance(value, list) else [value])}


def _renumber_config(config: PreTrainedConfig, new_ids: Mapping[int, int]) -> None:
    """Follow the tokens that the config names. An id without a token, as beyond the tokenizer, becomes None."""
    for name, value in list(vars(config).items()):
        if name.endswith("_token_id"):
            several = isinstance(value, list)
            kept = [new_ids[index] for index in value if index in new_ids] if several else new_ids.get(value)
            setattr(config, name, kept)


def _fixed_ids(model: PreTrainedModel) -> set[int]:
    """Return the ids that must not move: the padding id, from which some models count positions, and those below."""
    embeddings = getattr(model.base_model, "embeddings", None)
    return set(range(unused_positions(getattr(embeddings, "position_embeddings", None))))


def _trim_tokenizer(
    tokenizer: PreTrainedTokenizerBase, spec: Spec, new_ids: Mapping[int, int]
) -> PreTrainedTokenizerBase:
    trimmed: Any = copy.deepcopy(tokenizer)
    trimmed._tokenizer = Tokenizer.from_str(json.dumps(keep_ids(spec, new_ids)))
    trimmed.name_or_path = ""  # it is no longer the tokenizer of that name
    for name in ("vocab", "merges", "added_tokens_decoder"):  # what it was made of; they would be saved
        trimmed.init_kwargs.pop(name, None)
    if "unk_id" in trimmed.init_kwargs:  # a DeBERTa-v2 tokenizer is built from it when it is loaded
        trimmed.init_kwargs["unk_id"] = new_ids.get(trimmed.init_kwargs["unk_id"])
    return trimmed


def _check_agreement(old: Tokenizer, new: Tokenizer, new_ids: Mapping[int, int], texts: Iterable[str]) -> None:
    kept = {token: new_ids[index] for token, index in old.get_vocab().items() if index in new_ids}
    if new.get_vocab() != kept:  # the library gives an added token the number of pieces as its id
        misplaced = sorted({token for token, _ in new.get_vocab().items() ^ kept.items()})[:5]
        raise DistillationError(
            f"Added tokens must come after all pieces of the tokenizer's model; {misplaced} would get other ids. "
            "Rebuild the tokenizer and the rows of the model without gaps in the ids."
        )
    for batch in _batches(texts):
        pairs = zip(old.encode_batch(batch), new.encode_batch(batch), strict=True)  # the fast way gives no tokens
        for text, (before, after) in zip(batch, pairs, strict=True):
            if [new_ids.get(index) for index in before.ids] != after.ids or before.tokens != after.tokens:
                raise DistillationError(
                    f"The trimmed tokenizer must cut the texts as the original does; {shown(text, 80)} was "
                    f"{before.tokens[:20]} and becomes {after.tokens[:20]}. Give texts that are the same each time "
                    "they are read; if they are, leave this one out."
                )


def _trim_model(model: PreTrainedModel, rows: Sequence[int], new_ids: Mapping[int, int]) -> PreTrainedModel:
    """Keep these rows of every weight that has one row a token: embeddings, decoder of a masked LM and its bias."""
    blueprint = blueprint_of(model)
    _renumber_config(blueprint.config, new_ids)
    blueprint.config.vocab_size = len(rows)
    # Of the weights that change their shape with the vocabulary, these rows. To ask the model for its output embeddings
    # is not enough: DeBERTa-v2 names another layer, and biases are not covered.
    with torch.device("meta"):
        expected = blueprint.model_class(blueprint.config).state_dict()
    weights = dict(blueprint.weights)
    for name, weight in blueprint.weights.items():
        old, new = (_num_rows(model), *weight.shape[1:]), (len(rows), *weight.shape[1:])
        if name in expected and weight.shape == old and expected[name].shape == new:
            weights[name] = weight[torch.tensor(rows, device=weight.device)]
    return assemble(replace(blueprint, weights=weights), model.device).train(model.training)
