"""Which pieces of a tokenizer are whole words, and where a text has them."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

from transformers import PreTrainedTokenizerBase

from distilnlp.augmentation.method import Words

WORD_BEFORE = "a"  # pieces are read inside a text: some tokenizers write the first word of one in another way


def read_words(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Words], max_length: int | None = None
) -> tuple[dict[str, list[list[int]]], list[dict[int, int]]]:
    """Tokenise texts, cut to `max_length` if it is given, and find the words that are a single piece.

    Returns:
        What the model reads, `{name: one list a text}`, and for each text the positions of those pieces by word.
    """
    encoded = tokenizer(
        [" ".join(words) for words in texts],
        truncation=max_length is not None,
        max_length=max_length,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    places = zip(texts, encoded.pop("offset_mapping"), encoded.pop("special_tokens_mask"), strict=True)
    return dict(encoded), [_single_pieces(*own) for own in places]


def _single_pieces(words: Words, offsets: Sequence[tuple[int, int]], special: Sequence[int]) -> dict[int, int]:
    """Return the position of the piece of each word that has just one."""
    ends = list(accumulate(words, lambda end, word: end + 1 + len(word), initial=-1))[1:]
    found: dict[int, list[int]] = defaultdict(list)
    for position, (start, _) in enumerate(offsets):
        if not special[position]:
            # The space before a word counts as the word's: a piece may begin with it, or be nothing else.
            found[bisect_right(ends, start)].append(position)
    # Of a word that was cut with its text, one piece may be left; it ends too early.
    return {word: found[word][0] for word, end in enumerate(ends) if [offsets[at][1] for at in found[word]] == [end]}


def whole_words(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return the pieces that are a word of their own, by id.

    Such a piece is read again from its own text, inside a text. So it is not a part of a word, nor one of those that
    no text can give, such as BERT's unused ones. It has a letter or a digit, and is not a special or added token.
    """
    left_out = {*tokenizer.get_added_vocab().values(), *tokenizer.all_special_ids}
    ids = sorted(set(tokenizer.get_vocab().values()) - left_out)
    written = tokenizer.backend_tokenizer.decode_batch([[index] for index in ids])
    words = {
        index: text.strip()
        for index, text in zip(ids, written, strict=True)
        if len(text.split()) == 1 and any(map(str.isalnum, text))
    }
    inputs, single = read_words(tokenizer, [[WORD_BEFORE, word] for word in words.values()])
    read = zip(words.items(), inputs["input_ids"], single, strict=True)
    return {index: word for (index, word), pieces, own in read if 1 in own and pieces[own[1]] == index}
