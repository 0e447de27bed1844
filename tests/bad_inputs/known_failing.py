"""Bad inputs that are not met as they must be yet: what happens instead, by name. Empty when all is well."""

KNOWN_FAILING: dict[str, str] = {
    "CSV: the label column twice": "accepted",
    "labels: in both cases, to be learned": "two classes, nothing said",
    "labels: with and without blanks, to be learned": "two classes, nothing said",
    "Parquet: dates for labels": "traceback: TypeError: int and datetime.date are compared",
}
