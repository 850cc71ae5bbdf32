"""Which passwords are refused: those that are guessed first.

The rule follows how people vary a common word: a capital, a year, an exclamation mark, a digit for a letter, the word twice. What is
left after undoing that is compared with a list of words; so a few hundred words stand for many thousands of passwords.
"""

import re

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

_COMMON = frozenset(
    """
    aaaa abcabc abcd abcdef abcdefg abcdefgh access account accounts admin administrator airborne alexander alexandra amanda america
    andrew android angel anthony anything apple april arsenal asdfgh asdfghjkl ashley august austin australia autumn azerty babygirl
    banana banking barcelona baseball basketball batman beatles benjamin berlin bienvenue bitcoin blessed blessing boston business
    butterfly california camaro canada captain changeme charlie checkout cheese chelsea chevy chicago chocolate christ christina
    christopher coffee company computer contrasena cookie correcthorsebatterystaple corvette cowboys crimson crystal dallas daniel
    darling database december default demo demon devil diamond doctor dollar dolphin dragon eagle elizabeth elvis emerald eminem
    engineer england facebook faith falcon family father february ferrari finance fireman flower football forever france freedom
    friday fruehling fussball futbol gandalf garden garfield george germany ghost ginger golden golf google greenday guest guinness
    hacker harley haslo heaven herbst hercules hockey honda honey houston hunter iloveyou internet iphone ironman jaguar january
    jennifer jessica jesus jesuschrist jonathan jordan joshua july june justice juventus killer lakers lawyer ledger letmein
    letmeinnow liberty lightning linkedin linkinpark lion liverpool login logon london losenord lovely loveyou lucifer madrid manager
    manchester march marine marley master matrix matthew maverick maximilian mercedes merchant merlin metallica michael michelle
    mickey microsoft minnie monday money monkey motdepasse mother mountain mustang naruto natasha nevermind newyork nicholas nicole
    ninja nirvana nothing november ocean october office opensesame oracle orange packers panther paris parola passw0rd passwd password
    passwort patricia payment payments peace peaches pepper phoenix pokemon police porsche postgres princess purple qazwsx qazwsxedc
    qwerty qwertyuiop qwertz rainbow ranger realmadrid redsox river robert rolling root salasana samantha samsung sapphire satan
    saturday scarlet scooby sebastian secret secure security senha september sergeant server shadow silver simpsons slipknot snoopy
    soccer soldier something sommer spiderman spring startrek starwars steelers stephanie student summer sunday sunshine superman
    sweetheart system teacher tennis test tester testing texas thomas thunder thursday tiger tinkerbell toor toyota trustno tuesday
    tupac tweety twitter user vampire victoria wachtwoord wallet warrior wednesday welcome whatever whiskey william willkommen windows
    winnie winter wsxedc yamaha yankees yellow youtube zeppelin zxcvbn zxcvbnm
    """.split()  # noqa: SIM905 - as a list each word would take a line
)


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
    elif is_common(password, about=(*about, "countinghouse")):
        problem = "This is among the first that would be guessed. Choose another one."
    if problem is not None:
        raise PasswordUnfit(problem, fields={field: problem})


def is_common(password: str, *, about: tuple[str, ...] = ()) -> bool:
    """Whether the password is a common word, a pattern, or one of the person's own words, however dressed up."""
    own = {word for text in about for word in re.split(r"[^a-z]+", text.lower()) if len(word) >= 4}
    text = password.lower()
    bare, unnumbered = _bare(text), re.sub(r"\W*\d{0,4}\W*$", "", text)
    candidates = {
        text,
        bare,
        unnumbered.translate(_LEET),
        unnumbered.translate(_LEET | {ord("1"): "i"}),
        bare.translate(_LEET),
        _bare(text.translate(_LEET)),
        _bare(_undoubled(text)),
        re.sub(r"[^a-z]", "", text),
    }
    if any(word in _COMMON or word in own for word in candidates):
        return True
    return _is_pattern(text) or any(_made_of_words(word, _COMMON | own) for word in candidates if word)


def _bare(text: str) -> str:
    return re.sub(r"^[^a-z]+|[^a-z]+$", "", text)


def _undoubled(text: str) -> str:
    half = len(text) // 2
    return text[:half] if len(text) % 2 == 0 and text[:half] == text[half:] else text


def _made_of_words(text: str, words: frozenset[str] | set[str]) -> bool:
    """Two listed words, or one and a few letters more: "adminpassword", "lovemonkey1"."""
    for cut in range(4, len(text) - 3):
        if text[:cut] in words and text[cut:] in words:
            return True
    return any(len(word) >= 6 and word in text and len(text) - len(word) <= 2 for word in words)


def _is_pattern(text: str) -> bool:
    """Few different characters, a run along the keyboard or the alphabet, or only a date or a number."""
    if len(set(text)) <= 3 or re.fullmatch(r"[0-9]{1,12}", re.sub(r"[\W_]", "", text)):
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
