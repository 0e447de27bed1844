"""The words of a text are the same to every tokenizer, and losses on hidden states compare their means."""

import math
from itertools import groupby
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distilnlp.data import word_numbers
from distilnlp.objective import Objective, parse_losses
from distilnlp.objective.word_states import common_words
from distilnlp.signals import SignalProfile, Signals
from distilnlp.tasks import TASKS
from distilnlp.teachers import DistillationCollator
from tests.naive_features import mean, numbers
from tests.test_data_tokens import LETTERS, byte_tokenizer, letter_tokenizer

STUDENT, TEACHER = letter_tokenizer(), byte_tokenizer()
WIDTHS = {"own": SignalProfile(None, 3, 3, hidden_size=4), "other": SignalProfile(None, 3, 4, hidden_size=4)}
TEXTS = ["bad cab face", "ace", "a bed  hhh, fed.\tbad", "head\u200b face \u200b ace"]
spaced = st.lists(st.sampled_from([*LETTERS, ".", "é", "\u200b", "💡", " ", "  ", "\n"]), max_size=20).map("".join)

Batch = dict[str, Tensor]


# ---- Words ----


def naive_words(text: str, second: str | None, offsets: Any, parts: Any) -> list[int]:
    """The number of each piece's word, by looking for its first solid character in a list of the words' characters."""
    runs: list[tuple[int, range]] = []  # text, characters
    for part, content in enumerate([text] if second is None else [text, second]):
        for is_space, characters in groupby(range(len(content)), lambda at, own=content: own[at].isspace()):
            if not is_space:
                places = list(characters)
                runs.append((part, range(places[0], places[-1] + 1)))
    found = []
    for (start, end), part in zip(offsets, parts, strict=True):
        own = [
            number
            for at in range(start, end)
            for number, (where, run) in enumerate(runs)
            if (where, at in run) == (part, True)
        ]
        found.append(own[0] if own else -1)
    return found


@given(text=spaced, second=st.none() | spaced)
def test_every_piece_knows_its_word(text: str, second: str | None) -> None:
    pairs = None if second is None else [second]
    for tokenizer in (STUDENT, TEACHER):
        encoded = tokenizer([text], pairs)
        (found,) = word_numbers(encoded, [text], pairs)
        one = encoded.encodings[0]
        assert found.tolist() == naive_words(text, second, one.offsets, one.sequence_ids)


def test_words_mean_the_same_to_both_tokenizers() -> None:
    for text in TEXTS:
        words = text.split()
        for tokenizer in (STUDENT, TEACHER):
            encoded = tokenizer([text])
            (found,) = word_numbers(encoded, [text])
            for number, group in groupby(range(len(found)), lambda at, own=found: own[at]):
                spans = [encoded.encodings[0].offsets[at] for at in group]
                if number >= 0:
                    assert text[spans[0][0] : spans[-1][1]].strip() in words[number]


# ---- States of words ----


def encoded_rows(texts: list[str]) -> list[dict[str, Any]]:
    columns: dict[str, Any] = {}
    for prefix, tokenizer in (("", STUDENT), ("teacher_", TEACHER)):
        encoded = tokenizer(texts, truncation=True, max_length=16)
        ids = [numbers.tolist() for numbers in word_numbers(encoded, texts)]
        columns |= {prefix + name: values for name, values in {**encoded, "word_ids": ids}.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def collated(rows: list[dict[str, Any]], task: str = "single_label_classification") -> Batch:
    collate = TASKS[task].collator
    return DistillationCollator(collate(STUDENT), {"teacher_": collate(TEACHER)})(rows)


def random_states(batch: Batch, prefix: str, layers: int, seed: int, width: int = 4) -> list[Tensor]:
    return [numbers(seed + layer, *batch[prefix + "input_ids"].shape, width) for layer in range(layers)]


def both_signals(batch: Batch) -> tuple[Signals, Signals]:
    """Random hidden states; NaN wherever the teacher's do not count."""
    texts = len(batch["input_ids"])
    own, other = random_states(batch, "", 3, 0), random_states(batch, "teacher_", 4, 9)
    for states in other:
        states[batch["teacher_word_ids"] < 0] = math.nan
    masks = (batch[prefix + "attention_mask"].bool() for prefix in ("", "teacher_"))
    return tuple(Signals(numbers(3, texts, 3), mask, states) for mask, states in zip(masks, (own, other), strict=True))


def word_means(states: Tensor, words: Tensor) -> list[dict[int, list[float]]]:
    """By row: the mean of each dimension over the pieces of each word."""
    found = []
    for row_states, row_words in zip(states.tolist(), words.tolist(), strict=True):
        own = {number for number in row_words if number >= 0}
        pieces = {
            number: [s for s, word in zip(row_states, row_words, strict=True) if word == number] for number in own
        }
        found.append(
            {number: [mean(list(values)) for values in zip(*kept, strict=True)] for number, kept in pieces.items()}
        )
    return found


def pairs_of_means(batch: Batch, own: Tensor, other: Tensor) -> list[list[tuple[list[float], list[float]]]]:
    mine, its = word_means(own, batch["word_ids"]), word_means(other, batch["teacher_word_ids"])
    return [[(a[number], b[number]) for number in sorted(a) if number in b] for a, b in zip(mine, its, strict=True)]


def objective(*losses: dict[str, Any]) -> Objective:
    return Objective(
        TASKS["single_label_classification"],
        temperature=1.0,
        hard_loss_weight=0.0,
        soft_loss_weight=0.0,
        losses=parse_losses(losses),
        student=WIDTHS["own"],
        teacher=WIDTHS["other"],
    )


def naive_mse(pairs: list[tuple[list[float], list[float]]]) -> list[float]:
    return [mean([(x - y) ** 2 for x, y in zip(a, b, strict=True)]) for a, b in pairs]


def naive_cosine(pairs: list[tuple[list[float], list[float]]]) -> list[float]:
    def product(a: list[float], b: list[float]) -> float:
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    return [1 - product(a, b) / math.sqrt(product(a, a) * product(b, b)) for a, b in pairs]


def naive_selectivity(pairs: list[tuple[list[float], list[float]]]) -> float:
    """One text: the squared maximum mean discrepancy of the neurons, under the kernel (x·y)², by its definition."""
    sides = []
    for side in (0, 1):
        neurons = [[pair[side][at] for pair in pairs] for at in range(4)]
        lengths = [math.sqrt(math.fsum(x * x for x in neuron)) for neuron in neurons]
        sides.append([[x / length for x in neuron] for neuron, length in zip(neurons, lengths, strict=True)])

    def kernel(one: list[list[float]], two: list[list[float]]) -> float:
        return mean([math.fsum(x * y for x, y in zip(a, b, strict=True)) ** 2 for a in one for b in two])

    return kernel(sides[0], sides[0]) + kernel(sides[1], sides[1]) - 2 * kernel(*sides)


@given(st.lists(spaced, min_size=1, max_size=4))
def test_losses_on_states_compare_the_means_of_words(texts: list[str]) -> None:
    batch = collated(encoded_rows(texts))
    student, teacher = both_signals(batch)
    pair = {"layer_mapping": [[1, 2], [2, 3]]}
    names = ["hidden_state_mse", "hidden_state_cosine", "neuron_selectivity"]
    made = objective(*({"name": name, **pair} for name in names), {"name": "embedding_mse"})
    values = made(student, teacher, batch)
    expected = torch.zeros(4, dtype=torch.float64)
    for own, other in pair["layer_mapping"]:
        by_row = pairs_of_means(batch, student.hidden_states[own], teacher.hidden_states[other])
        every = [one for words in by_row for one in words]
        expected[0] += mean(naive_mse(every)) / 2
        expected[1] += mean(naive_cosine(every)) / 2
        expected[2] += mean([naive_selectivity(words) for words in by_row if words]) / 2
    embeddings = [
        one for words in pairs_of_means(batch, student.hidden_states[0], teacher.hidden_states[0]) for one in words
    ]
    expected[3] = mean(naive_mse(embeddings))
    torch.testing.assert_close(values, expected)
    count = len(embeddings)
    texts_with_words = sum(1 for words in by_row if words)
    assert made.count(batch).tolist() == [count, count, texts_with_words, count]


def test_the_sum_over_micro_batches_is_the_mean_over_all_words() -> None:
    rows = encoded_rows([*TEXTS, "", "ace bad bad bad"])
    made = objective({"name": "hidden_state_mse"}, {"name": "neuron_selectivity"})
    whole = collated(rows)
    signals = both_signals(whole)
    total = made(*signals, whole)
    parts = torch.zeros_like(total)
    for places in ([0, 1], [2], [3, 4, 5]):
        batch = collated([rows[at] for at in places])
        cut = [
            Signals(
                side.logits[places],
                batch[prefix + "attention_mask"].bool(),
                [states[places][:, : batch[prefix + "input_ids"].shape[1]] for states in side.hidden_states],
            )
            for prefix, side in zip(("", "teacher_"), signals, strict=True)
        ]
        parts = parts + made(*cut, batch, made.count(whole))
    torch.testing.assert_close(parts, total)


def test_words_that_do_not_count_get_no_gradient() -> None:
    rows = encoded_rows(["bad cab face ace bed head fed"])
    for column in ("teacher_input_ids", "teacher_attention_mask", "teacher_word_ids"):
        rows[0][column] = rows[0][column][:5]  # the teacher has no room for the last words
    batch = collated(rows)
    student, teacher = both_signals(batch)
    states = [layer.requires_grad_() for layer in student.hidden_states]
    objective({"name": "hidden_state_mse", "layer_mapping": [[1, 1]]})(student, teacher, batch).sum().backward()
    common = {*batch["teacher_word_ids"][0].tolist()} - {-1}
    for gradient, word in zip(states[1].grad[0], batch["word_ids"][0].tolist(), strict=True):
        assert bool(gradient.any()) == (word in common)
    assert 0 < len(common) < 7


def test_a_learned_mapping_mixes_the_layers_of_words() -> None:
    batch = collated(encoded_rows(TEXTS))
    student, teacher = both_signals(batch)
    value = objective({"name": "hidden_state_mse", "layer_mapping": "learned"})(student, teacher, batch)[0]
    expected = 0.0
    for own in (1, 2):
        squares = []
        by_layer = [pairs_of_means(batch, student.hidden_states[own], teacher.hidden_states[k]) for k in (1, 2, 3)]
        for text in zip(*by_layer, strict=True):

            def middle(side: int, layer: int, text: Any = text) -> list[float]:
                return [mean([pair[side][at] for pair in text[layer]]) for at in range(4)]

            energies = [sum(a * b for a, b in zip(middle(0, 0), middle(1, k), strict=True)) / 2 for k in range(3)]
            shares = [math.exp(energy) / sum(map(math.exp, energies)) for energy in energies]
            for word, (mine, _) in enumerate(text[0]):
                mixed = [sum(shares[k] * text[k][word][1][at] for k in range(3)) for at in range(4)]
                squares.append(mean([(x - y) ** 2 for x, y in zip(mine, mixed, strict=True)]))
        expected += mean(squares) / 2
    torch.testing.assert_close(value.item(), expected)


def test_without_word_numbers_of_both_there_are_no_common_words() -> None:
    batch = collated(encoded_rows(TEXTS))
    assert common_words(batch) is not None
    for name in ("word_ids", "teacher_word_ids"):
        assert common_words({key: value for key, value in batch.items() if key != name}) is None


def test_choices_have_words_too() -> None:
    texts = [["bad cab", "a face"], ["ace", "bed, bad cab", "head"]]
    rows = []
    for choices in texts:
        encoded = encoded_rows(choices)
        rows.append({name: [one[name] for one in encoded] for name in encoded[0]})
    words = common_words(collated(rows, "multiple_choice"))
    assert words is not None
    # The third choice that the first row does not have is no text.
    assert words.mask.sum(dim=-1).tolist() == [2, 2, 0, 1, 3, 1]
