"""Token classification: a word has a tag."""
