"""Messages: of bounded length, without secrets, one full stop at the end of a sentence."""

import pickle

import pytest

from distilnlp.errors import DistillationError, UnreachableError, redacted, shown

TOKEN = "hf_" + "aB3" * 11


@pytest.mark.parametrize(
    ("message", "presented"),
    [
        ("it failed: no such file.. Check the path.", "it failed: no such file. Check the path."),
        ("it failed: 'x'.. Check it.", "it failed: 'x'. Check it."),
        ("seen from .. it is … not there...", "seen from .. it is … not there..."),
        (f"cannot reach {TOKEN} there.", "cannot reach *** there."),
        ("see https://me:pass@hub/x.", "see https://***@hub/x."),
        ("see https://hub/x.csv?a=1&token=abc now", "see https://hub/x.csv?a=1&*** now"),
    ],
)
def test_a_message_is_fit_to_be_shown(message: str, presented: str) -> None:
    assert str(DistillationError(message)) == presented


@pytest.mark.parametrize(
    "token",
    [
        TOKEN,
        "api_org_" + "aB3" * 11 + "a",
        "ghp_" + "aB3" * 12,
        "github_pat_" + "aB" * 11 + "_" + "a" * 59,
        "sk-" + "aB3" * 16,
        "sk-proj-a_b-" + "aB3" * 16 + "-_a",
        "sk-ant-api03-" + "aB3" * 16 + "-AA",
    ],
)
def test_tokens_are_not_shown(token: str) -> None:
    assert redacted(f"at '{token}'") == "at '***'"


@pytest.mark.parametrize(
    "name",
    [
        "hf_sentiment_training_data.csv",
        "out/hf_distilbert_base_uncased",
        "hf_internal_testing/tiny_random_bert",
        "sk-learn-classifier-v2",
        "models/sk-distilbert-base-multilingual-cased",
        "api_org_questions_and_answers.jsonl",
        "ghp_issues_and_their_labels_2024",
        "github_pat_terns_of_commit_messages",
    ],
)
def test_names_that_begin_as_tokens_do_are_shown(name: str) -> None:
    assert redacted(name) == name


def test_a_message_has_a_bound_and_keeps_its_ends() -> None:
    message = str(UnreachableError("a" * 10_000_000 + " Check the path."))
    assert len(message) < 2100
    assert message.startswith("aaa")
    assert message.endswith("Check the path.")
    assert len(shown("x" * 10_000)) < 250


def test_an_error_goes_from_process_to_process() -> None:
    assert str(pickle.loads(pickle.dumps(DistillationError("x. Do y.")))) == "x. Do y."
