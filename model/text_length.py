"""Bound on the characters of a text that are normalised and tokenised. It follows from the model's maximum length.

Server and trainer cut with the same function, so a version's scores hold for what is served. Knows no tokenizer.
"""

from __future__ import annotations

from unicodedata import normalize

# English has 5 or 6 characters per token, a line of base64 about 32 per word. If a text's tokens are longer than this on
# average, its beginning has fewer tokens than the model could read.
CHARACTERS_PER_TOKEN = 32
MAX_NFKC_CHARACTERS = 18  # that NFKC makes of one character: U+FDFA


def max_characters(max_length: int) -> int:
    """Return the maximum number of characters of a text that are tokenised for a model of `max_length` tokens."""
    return CHARACTERS_PER_TOKEN * max_length


def beginning(text: str, max_length: int) -> str:
    """Return the text, or only its beginning if it is longer than `max_characters`.

    Characters are counted after NFKC normalisation, which makes up to 18 characters of one. If more than half of the
    beginning is white space, each run of white space is replaced by one blank first, so that words after many blanks are read.
    """
    limit = max_characters(max_length)
    if len(text) > limit:
        text = _start_with_words(text, limit)
    if text.isascii() or len(text) * MAX_NFKC_CHARACTERS <= limit:
        return text
    return _cut_to_normalised_length(text, limit)


def _start_with_words(text: str, limit: int) -> str:
    start = text[:limit]
    words = sum(map(len, start.split()))
    if 2 * words >= limit:
        return start
    count = limit // 2 + 1  # a word and a blank have at least two characters
    return " ".join(text.split(None, count)[:count])[:limit]


def _cut_to_normalised_length(text: str, limit: int) -> str:
    step = limit // MAX_NFKC_CHARACTERS or 1  # characters whose normal form always fits
    length = 0
    for at in range(0, len(text), step):
        length += len(normalize("NFKC", text[at : at + step]))
        if length > limit:
            return text[:at]
    return text
