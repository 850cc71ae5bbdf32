"""What the simulated provider says in words that we do not know: never a no, and never an exception."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.outbound import Answer
from app.psp.adapters.simulated import translate
from app.psp.domain import Outcome, Result

PAYMENT = {"id": "ch_1", "object": "payment", "status": "captured", "reference": "att_1", "amount": 100, "currency": "EUR"}
CAPTURE = {**PAYMENT, "id": "cp_1", "object": "capture", "status": "succeeded", "payment": PAYMENT}


def said(subject: object, status: int = 200) -> Answer:
    return Answer(status=status, body=json.dumps(subject).encode())


def one(subject: object) -> Result:
    return translate.found(said(subject))


def listed(subject: object) -> Result:
    return translate.first_found(said({"data": [subject]}))


READERS = pytest.mark.parametrize("read", [one, listed, lambda subject: translate.result(said(subject, 201))])


@READERS
@pytest.mark.parametrize("subject", [PAYMENT, CAPTURE])
def test_an_unknown_status_is_unknown(read: Callable[[object], Result], subject: dict[str, object]) -> None:
    assert read(subject).outcome is Outcome.SUCCEEDED
    assert read(subject | {"status": "being_looked_into"}).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        (["declined", "captured"], Outcome.SUCCEEDED),
        (["declined", "processing"], Outcome.PENDING),
        (["declined", "no_word_of_ours"], Outcome.UNKNOWN),
        (["no_word_of_ours", "captured"], Outcome.SUCCEEDED),
        (["declined", "declined"], Outcome.DECLINED),
    ],
)
def test_of_several_under_one_reference_a_no_counts_only_when_all_are_no(statuses: list[str], outcome: Outcome) -> None:
    found = [{**PAYMENT, "status": status, "decline": {"code": "do_not_honor"}} for status in statuses]
    for order in (found, found[::-1]):
        assert translate.first_found(said({"data": order})).outcome is outcome


@given(
    status=st.sampled_from([200, 201, 204, 302, 400, 402, 404, 408, 409, 429, 500]),
    body=st.binary(max_size=40)
    | st.dictionaries(st.sampled_from([*CAPTURE, "data", "error"]), st.text(max_size=5) | st.integers()).map(
        lambda odd: json.dumps({**CAPTURE, **odd}).encode()
    ),
)
def test_whatever_comes_back_is_a_result(status: int, body: bytes) -> None:
    answer = Answer(status=status, body=body)
    for read in (translate.result, translate.found, translate.first_found, translate.account):
        assert isinstance(read(answer), Result)
