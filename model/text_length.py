"""How much of a text is normalised and tokenised: a bound in characters that follows from the model's maximum length.

Server and trainer cut with the same function, so that scores are those of what is served. Knows no tokenizer.
"""

from __future__ import annotations

from unicodedata import normalize

# English has 5 or 6 characters a token, a line of base64 about 32 a word. A text with more than this has fewer tokens
# in its beginning than the model could read.
CHARACTERS_A_TOKEN = 32
LONGEST_EXPANSION = 18  # characters that NFKC makes of one: of U+FDFA


def most_characters(max_length: int) -> int:
    """Return how many characters of a text are read at most by a model that reads `max_length` tokens."""
    return CHARACTERS_A_TOKEN * max_length


def beginning(text: str, max_length: int) -> str:
    """Return the text, or its beginning where it is longer than `most_characters`.

    Characters are counted as NFKC leaves them: one character may become 18. If more than half of the beginning is white
    space, each run of white space is replaced by one blank first, so that words behind many blanks are read.
    """
    most = most_characters(max_length)
    if len(text) > most:
        text = _most_of_it_words(text, most)
    if text.isascii() or len(text) * LONGEST_EXPANSION <= most:
        return text
    return _normalised_within(text, most)


def _most_of_it_words(text: str, most: int) -> str:
    start = text[:most]
    words = sum(map(len, start.split()))
    if 2 * words >= most:
        return start
    count = most // 2 + 1  # a word and a blank are two characters at least
    return " ".join(text.split(None, count)[:count])[:most]


def _normalised_within(text: str, most: int) -> str:
    step = most // LONGEST_EXPANSION or 1  # characters whose normal form always fits
    length = 0
    for at in range(0, len(text), step):
        length += len(normalize("NFKC", text[at : at + step]))
        if length > most:
            return text[:at]
    return text
