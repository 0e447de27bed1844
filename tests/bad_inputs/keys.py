"""Keys of a recipe with values of another type, out of range, or that cannot go together."""

from tests.bad_inputs.case import Case, each, refused

NUMBER = "{key}.*(number|integer|int|finite|float)"
WHOLE = "{key}.*(integer|int|whole|greater|less|most|range|finite)"
RANGE = "{key}.*(greater|less|least|most|range|finite|between|positive)"

CASES: list[Case] = [
    *each(WHOLE, [("seed", "abc"), ("seed", 1.5), ("seed", [1]), ("seed", {}), ("seed", -1), ("seed", 2**32)]),
    *each(WHOLE, [("seed", ".nan"), ("seed", ".inf"), ("seed", "1e400"), ("seed", "''")]),
    *each("there is no task|{key}.*string", [("task", "ner2"), ("task", "3"), ("task", "[masked_lm]"), ("task", "''")]),
    refused("task: a near miss", "Did you mean 'token_classification'", {"task": "token_clasification"}),
    *each(
        "teacher.*{key}.*one name, or a list",
        [("teacher.model", "[3]"), ("teacher.model", "[]"), ("teacher.model", "{}")],
    ),
    *each("teacher.*{key}.*different", [("teacher.model", "[a, a]"), ("teacher.model", "['']")]),
    refused("teacher.model = null", r"model.*column", {"teacher.model": "null"}),
    *each(
        "teacher.*{key} means nothing for one model",
        [("teacher.average", "logits"), ("teacher.weights", "[1]"), ("teacher.by_confidence", "true")],
    ),
    *each("{key}", [("teacher.average", "median"), ("teacher.form", "softmax"), ("teacher.finetune", "maybe")]),
    *each("{key}", [("teacher.by_confidence", "2"), ("teacher.weights", "heavy"), ("teacher.finetune", "3")]),
    *each("teacher.*(folds|finetune)", [("teacher.folds", 1), ("teacher.folds", 2.5), ("teacher.folds", 3)]),
    *each("{key}", [("teacher.max_length", 1), ("teacher.max_length", "long"), ("teacher.text_columns", "[]")]),
    *each(
        WHOLE,
        [("student.num_layers", value) for value in (0, -1, 1.5, "two", "[1]", "''")],
    ),
    *each("{key}", [("student.layers", value) for value in ("all", "[]", "[-1]", "[0, 0]", "[1, 0]", "[99]", "[0.5]")]),
    refused("student.num_layers beside student.layers", "not both", {"student.num_layers": 1, "student.layers": "[0]"}),
    refused(
        "a strategy for given layers", "layer_strategy", {"student.layers": "[0]", "student.layer_strategy": "last"}
    ),
    *each("{key}.*'uniform', 'first' or 'last'", [("student.layer_strategy", "middle"), ("student.layer_strategy", 1)]),
    *each("{key}", [("student.trim_vocabulary", "perhaps"), ("student.model_type", 7), ("student.model", "[a]")]),
    *each(RANGE, [("data.test_size", value) for value in (0, 1, 1.5, -0.1, ".nan", ".inf")]),
    *each(NUMBER, [("data.test_size", "half"), ("data.test_size", "[0.2]"), ("data.test_size", "''")]),
    *each(WHOLE, [("data.max_length", value) for value in (0, 1, -5, 12.5, "long", "1e3", ".inf")]),
    *each("{key}", [("data.text_columns", value) for value in ("[]", 5, "[a, b, c]", "[text, text]", "[1]", "{a: b}")]),
    *each("{key}", [("data.label_column", 5), ("data.label_column", "[label]"), ("data.train_split", 1)]),
    *each("{key}", [("data.label_names", value) for value in ("film", "[a, a]", "[1, 2]", "{a: 1}")]),
    *each("{key}", [("data.choice_columns", "[one]"), ("data.choice_columns", "[a, a]"), ("data.choice_columns", "a")]),
    *each("{key}", [("data.stride", -1), ("data.stride", "far"), ("data.mask_probability", "half")]),
    *each(RANGE, [("data.mask_probability", value) for value in (0, 1, 2, -0.5, ".nan")]),
    *each("{key}", [("data.seed", -1), ("data.seed", "x"), ("data.unlabelled", "{a: b}"), ("data.unlabelled", "[1]")]),
    *each(
        "{key}",
        [("data.source", value) for value in ("[train.csv]", "3", "{train: 3}", "''", "null")],
    ),
    *each(
        "means nothing for single-label",
        [("data.stride", 64), ("data.mask_probability", 0.3), ("data.choice_columns", "[a, b]")],
    ),
    *each("{key}", [("data.augmentation", value) for value in ("mask_words", "[mask_words]", "[{}]", "[{name: 1}]")]),
    refused("an unknown augmentation", "Did you mean 'mask_words'", {"data.augmentation": "[{name: mask_word}]"}),
    *each(
        r"augmentation\[0\]",
        [
            ("data.augmentation", "[{name: mask_words, probability: 2}]"),
            ("data.augmentation", "[{name: mask_words, copies: 0}]"),
            ("data.augmentation", "[{name: mask_words, copies: many}]"),
            ("data.augmentation", "[{name: sample_ngrams, min_words: 5, max_words: 2}]"),
        ],
    ),
    refused(
        "augmentation by a model without one",
        "augmentation_model",
        {"data.augmentation": "[{name: replace_with_masked_lm}]"},
    ),
    refused(
        "augmentation by a model that is a classifier",
        "masked",
        {"data.augmentation": "[{name: replace_with_masked_lm}]", "data.augmentation_model": "@teacher"},
    ),
    refused("an augmentation model for nothing", "augmentation_model", {"data.augmentation_model": "@masked"}),
    *each("{key}", [("evaluation.bootstrap_resamples", value) for value in (0, 10, -5, "many", 1e9 + 0.5)]),
    *each("{key}", [("evaluation.speed", "fast"), ("baseline", "maybe"), ("baseline", 7), ("baseline", "[a]")]),
    *each("{key}", [("training", 5), ("training", "fast"), ("training", "[1]"), ("evaluation", "quick")]),
    *each(
        "{key} is decided by the runner",
        [("training.output_dir", "x"), ("training.seed", 3), ("training.push_to_hub", True)],
    ),
    *each(
        "{key}",
        [("training.hub_token", "hf_secret"), ("training.hub_model_id", "me/mine"), ("training.do_train", True)],
    ),
]
