"""Students from BERT to DistilBERT: what they keep, and what DistilBERT cannot represent."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    BertForNextSentencePrediction,
    DistilBertForSequenceClassification,
)

from distilnlp.errors import DistillationError
from distilnlp.students import build_student
from tests.test_students import HEADS, assert_same, cut_by_hand, emitted, hidden_states, with_head
from tests.tiny import tiny_model


def test_distilbert_keeps_the_hidden_states_of_bert() -> None:
    teacher = tiny_model("bert")
    student = build_student(teacher, model_type="distilbert")
    assert type(student) is DistilBertForSequenceClassification
    torch.testing.assert_close(hidden_states(student), hidden_states(teacher), rtol=0, atol=1e-5)


def test_distilbert_with_chosen_layers_equals_a_bert_cut_by_hand(tmp_path: Path) -> None:
    teacher = tiny_model("bert")
    student = build_student(teacher, layers=[1, 3], model_type="distilbert")
    reference = emitted(cut_by_hand(teacher, [1, 3]))[:3]
    torch.testing.assert_close(hidden_states(student), reference, rtol=0, atol=1e-5)
    student.save_pretrained(tmp_path)
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert reloaded.config.n_layers == 2
    assert_same(reloaded, student, atol=0)


def test_without_the_token_type_row_the_hidden_states_differ() -> None:
    teacher = tiny_model("bert")
    student = build_student(teacher, model_type="distilbert")
    embeddings, original = student.distilbert.embeddings, teacher.bert.embeddings
    embeddings.position_embeddings.weight.data.copy_(original.position_embeddings.weight.data)
    assert (hidden_states(student)[0] - hidden_states(teacher)[0]).abs().max() > 0.01


@pytest.mark.parametrize("head", HEADS)
def test_distilbert_has_the_same_outputs_where_the_head_is_the_same(head: Any) -> None:
    teacher = with_head(head)
    assert_same(build_student(teacher, model_type="distilbert"), teacher, atol=1e-5)


def test_distilbert_sequence_head_starts_from_the_pooler_and_the_classifier() -> None:
    teacher = tiny_model("bert")
    student = build_student(teacher, model_type="distilbert")
    first = hidden_states(teacher)[-1][torch.tensor([0, 24, 39])]  # [CLS] of texts with 24, 15 and 9 tokens
    expected = teacher.classifier(teacher.bert.pooler.dense(first).relu())
    torch.testing.assert_close(emitted(student)[-1], expected, rtol=0, atol=1e-5)


def test_distilbert_multiple_choice_is_built() -> None:
    student = build_student(with_head(AutoModelForMultipleChoice), num_layers=2, model_type="distilbert")
    assert type(student).__name__ == "DistilBertForMultipleChoice"


def test_distilbert_keeps_the_settings_of_bert() -> None:
    teacher = with_head(
        AutoModelForSequenceClassification,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.3,
        classifier_dropout=0.4,
        hidden_act="relu",
        problem_type="multi_label_classification",
        id2label={0: "no", 1: "yes"},
        label2id={"no": 0, "yes": 1},
    )
    config = build_student(teacher, num_layers=2, model_type="distilbert").config
    assert (config.dropout, config.attention_dropout, config.seq_classif_dropout) == (0.2, 0.3, 0.4)
    assert config.qa_dropout == 0.0  # BERT has none there
    assert (config.activation, config.problem_type) == ("relu", "multi_label_classification")
    assert (config.id2label, config.label2id) == ({0: "no", 1: "yes"}, {"no": 0, "yes": 1})
    assert (config._name_or_path, config.pad_token_id) == ("", 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer_norm_eps", 1e-5),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
    ],
)
def test_bert_that_distilbert_cannot_represent_is_refused_by_name(name: str, value: Any) -> None:
    teacher = tiny_model("bert")
    setattr(teacher.config, name, value)
    with pytest.raises(DistillationError, match=rf"only {name}=.*has {name}={value!r}.*Leave model_type out"):
        build_student(teacher, model_type="distilbert")


def test_head_without_a_distilbert_counterpart_is_refused() -> None:
    teacher = BertForNextSentencePrediction(tiny_model("bert").config)
    with pytest.raises(DistillationError, match=r"BertForMaskedLM.*got BertForNextSentencePrediction"):
        build_student(teacher, model_type="distilbert")
