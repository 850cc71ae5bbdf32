"""The pure rules of passwords, codes and waiting."""

import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Invalid
from app.identity import domain
from app.identity.domain.passwords import PasswordUnfit, check_password

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
NOON = datetime(2026, 11, 21, 12, 0, 7, tzinfo=UTC)
ABOUT = ("ines@halden-rowe.com", "Ines Okafor")


class TestPasswords:
    @pytest.mark.parametrize(
        "password",
        [
            "password",
            "password1",
            "Passw0rd!",
            "P@ssw0rd123",
            "qwerty123",
            "1234567890",
            "11111111",
            "12121212",
            "abcdefgh",
            "Summer2026!",
            "monkey12",
            "iloveyou1",
            "trustno1",
            "1q2w3e4r",
            "letmein1",
            "adminadmin",
            "football1",
            "zaq12wsx",
            "countinghouse",
            "Countinghouse2026",
            "halden-rowe",
            "haldenrowe1",
            "okafor2026",
            "21.11.2026",
            "asdfghjkl",
            "princess1",
        ],
    )
    def test_what_is_guessed_first_is_refused(self, password: str) -> None:
        with pytest.raises(PasswordUnfit):
            check_password(password, about=ABOUT)

    @pytest.mark.parametrize(
        "password",
        [
            "violet tram keeps nine hats",
            "k3Jd92mXq1v7Lw4",
            "Ledger-paper-by-day-7",
            "пароль-не-слово-9",
            "   x7 bq  w8 z   ",
            "ünïcödé-Sätze-7",
        ],
    )
    def test_others_are_taken_as_they_are(self, password: str) -> None:
        check_password(password, about=ABOUT)

    def test_the_first_three_thousand_of_the_list_are_refused_however_dressed_up(self) -> None:
        from zxcvbn.frequency_lists import FREQUENCY_LISTS

        leet = str.maketrans("aeios", "43105")
        words = [word for word in FREQUENCY_LISTS["passwords"] if len(word) >= 4][:3000]
        passed = [word for word in words[::3] if not _refused(word * 4)]
        dressed = [
            text
            for word in words
            if word.isalpha()
            for text in (f"{word}2026!!!!!", f"!!{word.upper()}!!!!", f"{word.translate(leet)}99....")
        ]
        assert passed == []
        long = [text for text in dressed if len(text) >= domain.MIN_PASSWORD][::3]
        assert len(long) > 300
        assert [text for text in long if not _refused(text)] == []

    @pytest.mark.parametrize(
        "words", ["sunshine dolphin", "Willkommen2026!!", "northwindmarket1", "Northwind-Market-2026", "letmeinletmeinletmein1"]
    )
    def test_two_common_words_and_the_merchants_name_are_refused(self, words: str) -> None:
        with pytest.raises(PasswordUnfit, match="tried first"):
            check_password(words, about=(*ABOUT, "Northwind Market"))

    def test_what_is_wrong_is_said(self) -> None:
        with pytest.raises(PasswordUnfit, match="your name"):
            check_password("okafor halden 2026", about=ABOUT)
        with pytest.raises(PasswordUnfit, match="list of common passwords"):
            check_password("passwordpassword", about=ABOUT)

    @pytest.mark.parametrize("length", [1, 14, 257])
    def test_length(self, length: int) -> None:
        with pytest.raises(PasswordUnfit, match="characters"):
            check_password(("ksjdhfuzwe8723hd" * 20)[:length], about=())

    @given(st.text(max_size=domain.MAX_PASSWORD + 20), st.sampled_from([str.upper, str.swapcase, str.capitalize]))
    def test_any_text_is_measured_as_typed_and_its_capitals_make_it_no_better(self, password: str, dressed: Callable[[str], str]) -> None:
        if not domain.MIN_PASSWORD <= len(password) <= domain.MAX_PASSWORD:
            assert _refused(password)
        if dressed(password).lower() == password.lower():
            assert _refused(dressed(password)) == _refused(password)

    @given(st.sampled_from(["correcthorsebatterystaple", "realmadrid", "okafor", "12345678"]), st.text("0123456789!?. ", max_size=4))
    def test_digits_and_signs_behind_what_is_guessed_first_make_it_no_better(self, word: str, more: str) -> None:
        assert len(word) + len(more) < domain.MIN_PASSWORD or _refused(word + more)


def _refused(password: str) -> bool:
    try:
        check_password(password, about=ABOUT)
    except PasswordUnfit:
        return True
    return False


class TestTotp:
    def test_the_window_is_one_step_either_way(self) -> None:
        now = int(NOON.timestamp()) // 30
        codes = {step: pyotp.TOTP(SECRET).generate_otp(now + step) for step in range(-3, 4)}
        found = {step: domain.totp_step(SECRET, code, NOON) for step, code in codes.items()}
        assert found == {-3: None, -2: None, -1: now - 1, 0: now, 1: now + 1, 2: None, 3: None}

    @pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "１２３４５６", "12 34", "000000 or 1=1"])
    def test_what_is_no_code_is_none(self, code: str) -> None:
        assert domain.totp_step(SECRET, code, NOON) is None

    def test_spaces_as_apps_show_them_are_fine(self) -> None:
        code = pyotp.TOTP(SECRET).generate_otp(int(NOON.timestamp()) // 30)
        assert domain.totp_step(SECRET, f" {code[:3]} {code[3:]} ", NOON) is not None


class TestThrottle:
    def test_four_are_free_then_it_doubles_to_half_an_hour(self) -> None:
        pauses = [domain.throttle_pause(n).total_seconds() for n in range(1, 12)]
        assert pauses == [0, 0, 0, 0, 4, 8, 16, 32, 64, 1800, 1800]

    @given(st.integers(min_value=0, max_value=10**9))
    def test_it_never_shrinks_and_never_locks_for_good(self, failures: int) -> None:
        assert domain.throttle_pause(failures) <= domain.throttle_pause(failures + 1) <= timedelta(minutes=30)


class TestRecoveryCodes:
    def test_ten_different_ones(self) -> None:
        codes = domain.new_recovery_codes()
        assert len(set(codes)) == 10
        assert all(len(domain.recovery_code_text(code)) == 24 for code in codes)

    @given(st.text(alphabet=string.printable, max_size=60))
    def test_typing_does_not_matter(self, noise: str) -> None:
        assert domain.recovery_code_text(f" ABC-def {noise.upper()}") == domain.recovery_code_text(f"abcDEF{noise.lower()}")


class TestPeople:
    @pytest.mark.parametrize("email", ["", "x", "@", "a@b", "a b@c.de", "a@b.c@d.ef", "x" * 250 + "@example.com"])
    def test_what_cannot_be_an_address(self, email: str) -> None:
        with pytest.raises(Invalid):
            domain.check_email(email)

    @pytest.mark.parametrize(
        ("name", "letters"), [("Ines Okafor", "IO"), ("Cher", "C"), ("Jean Luc de la Tour", "JT"), ("  ", "?"), ("(x) y", "Y")]
    )
    def test_initials(self, name: str, letters: str) -> None:
        assert domain.initials(name) == letters
