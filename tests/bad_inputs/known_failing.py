"""Bad inputs that are not met as they must be yet: what happens instead, by name. Empty when all is well."""

KNOWN_FAILING: dict[str, str] = {
    "trainer: a student that is a path": "traceback: AttributeError: 'str' object has no attribute 'to'",
    "trainer: token ids in words": "traceback: ValueError: type of a unknown: <class 'str'>. Should be one of a pyth …",
    "trainer: no rows": "traceback: ValueError: num_samples should be a positive integer value, but got num_samples=0",
    "trainer: rows that are a list of texts": "traceback: AttributeError: 'str' object has no attribute 'get'",
}
