"""Which passwords are refused: those that are guessed first.

The rule follows how people vary a common word: a capital, a year, an exclamation mark, a digit for a letter, the word twice. What is
left after undoing that is compared with the common passwords, names and words that the zxcvbn package carries (some ninety thousand), and
with the person's own words; so the list stands for many millions of passwords.
"""

import re
from functools import cache

from app.core.errors import Invalid

MIN_PASSWORD, MAX_PASSWORD = 15, 256
_LEET = str.maketrans(
    {"0": "o", "1": "l", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s", "!": "i", "+": "t"}
)
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb",
    "zaq12wsx",
    "1q2w3e4r5t6y7u8i9o0p",
)

# what the list, made in English, lacks
_MORE = frozenset(
    (
        "willkommen",
        "bienvenue",
        "bienvenido",
        "benvenuto",
        "wachtwoord",
        "fruehling",
        "herbst",
        "correcthorsebatterystaple",
        "thequickbrownfox",
    )
)
# what stands on the page is tried first
_HOUSE = ("countinghouse", "counting", "house", "payout", "payouts", "payments", "ledger", "wallet", "merchant")


class PasswordUnfit(Invalid):
    """The password is too short, too common or too close to your own name."""

    code = "password_unfit"
    title = "Choose another password"


def check_password(password: str, *, about: tuple[str, ...], field: str = "password") -> None:
    """Refuse passwords that are guessed first: short, common, or made of the person's own words. Any characters do; none is demanded."""
    problem = None
    if len(password) < MIN_PASSWORD:
        problem = f"Use at least {MIN_PASSWORD} characters. A sentence works well."
    elif len(password) > MAX_PASSWORD:
        problem = f"Use at most {MAX_PASSWORD} characters."
    elif not _is_pattern(password.lower()) and is_common(password, words=own_words(*about)):
        problem = "This is made of your name, your address, your merchant or our own name, which are tried first. Choose other words."
    elif is_common(password, words=_common()):
        problem = "This is on the list of common passwords, or a variation of one. Those are tried first: choose several words that do not belong together."
    if problem is not None:
        raise PasswordUnfit(problem, fields={field: problem})


def own_words(*about: str) -> frozenset[str]:
    """The words that somebody who knows the person would try: of the name, the address, the merchants, and of this house."""
    found = {word for text in about for word in re.split(r"[^a-z]+", text.lower()) if len(word) >= 4}
    whole = {re.sub(r"[^a-z]", "", text.lower()) for text in about}
    return frozenset(found | {text for text in whole if len(text) >= 4} | set(_HOUSE))


def is_common(password: str, *, words: frozenset[str]) -> bool:
    """Whether the password is one or two of the words, or a pattern, however dressed up."""
    text = password.lower()
    bare, unnumbered, signless = _bare(text), re.sub(r"\W*\d{0,4}\W*$", "", text), re.sub(r"[\W_]", "", text)
    candidates = {
        text,
        bare,
        signless[:-4],
        *_units(signless),
        unnumbered.translate(_LEET),
        unnumbered.translate(_LEET | {ord("1"): "i"}),
        bare.translate(_LEET),
        _bare(text.translate(_LEET)),
        *_units(re.sub(r"[^a-z]", "", text)),
    }
    return _is_pattern(text) or any(_made_of_words(word, words) for word in candidates if word)


@cache
def _common() -> frozenset[str]:
    # a third of a second and some megabytes that a process needs only once somebody chooses a password in it
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return _MORE.union(word for words in FREQUENCY_LISTS.values() for word in words if len(word) >= 4)


def _bare(text: str) -> str:
    return re.sub(r"^[^a-z]+|[^a-z]+$", "", text)


def _units(text: str) -> set[str]:
    """What the text repeats, once; with the text itself."""
    return {text[:n] for n in range(1, len(text) + 1) if len(text) % n == 0 and text == text[:n] * (len(text) // n)}


def _made_of_words(text: str, words: frozenset[str]) -> bool:
    """A listed word, two of them, or a longer one and two letters more: "adminpassword", "lovemonkey1"."""
    if text in words or any(text[:cut] in words and text[cut:] in words for cut in range(4, len(text) - 3)):
        return True
    return any(text[start : len(text) - end] in words for start in range(3) for end in range(3 - start) if len(text) - start - end >= 6)


def _is_pattern(text: str) -> bool:
    """Few different characters, a run along the keyboard or the alphabet, or only a date or a number."""
    if len(set(text)) <= 3 or any(re.fullmatch(r"[0-9]{1,12}", unit) for unit in _units(re.sub(r"[\W_]", "", text))):
        return True
    covered, rest = 0, text
    while rest:
        run = max((_run(rest, row) for line in _ROWS for row in (line, line[::-1])), default=0)
        covered += run if run >= 3 else 0
        rest = rest[max(run if run >= 3 else 1, 1) :]
    return covered >= len(text) - 2


def _run(text: str, row: str) -> int:
    start, length = row.find(text[0]), 0
    while start >= 0 and length < len(text) and start + length < len(row) and text[length] == row[start + length]:
        length += 1
    return length
