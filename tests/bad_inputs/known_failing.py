"""Bad inputs that are not met as they must be yet: what happens instead, by name. Empty when all is well."""

KNOWN_FAILING: dict[str, str] = {
    "recipe: true for a depth": "accepted",
    "recipe: true for a temperature": "accepted",
    "augmentation by a model that is a classifier": "accepted",
    "training.hub_model_id = 'me/mine'": "accepted",
    "training.eval_on_start = True": "says: eval_strategy asks for evaluation during training, but there is no valid …",
    "training.optim_args = 'nonsense'": "says: these training arguments cannot be honoured: ValueError: not enough v …",
    "training.parallelism_config = '{a: 1}'": "traceback: yaml.representer.RepresenterError",
    "teacher: NaN in an encoder to be fine-tuned": "accepted",
    "student: a model with more layers than its weights": "accepted",
    "losses: a weight of true": "accepted",
    "arguments: a dtype of torch": "traceback: TypeError: 'torch.dtype' object is not iterable",
    "trainer: a student that is a path": "traceback: AttributeError: 'str' object has no attribute 'to'",
    "trainer: token ids in words": "traceback: ValueError: type of a unknown: <class 'str'>. Should be one of a pyth …",
    "trainer: no rows": "traceback: ValueError: num_samples should be a positive integer value, but got num_samples=0",
    "trainer: rows that are a list of texts": "traceback: AttributeError: 'str' object has no attribute 'get'",
    "teacher: a file": "taken for a Hub id: NOT CHECKED",
    "student: the file of the data": "taken for a Hub id: NOT CHECKED",
}
