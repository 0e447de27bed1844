"""Bad inputs that are not met as they must be yet: what happens instead, by name. Empty when all is well."""

KNOWN_FAILING: dict[str, str] = {}
