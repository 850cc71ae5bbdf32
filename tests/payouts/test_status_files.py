"""What a bank answers to a file (pain.002): accepted orders move on, refused ones give the wallet its money back, twice is once."""

import io

import pytest
from psycopg import Connection

from app.core.db import unit_of_work
from app.payouts import flows
from app.payouts.domain import PayoutBatchId, PayoutStatus, Rail
from app.payouts.domain.port import BankWord
from app.payouts.domain.status_files import StatusFileRefused, read_status_file
from app.payouts.models import Payout
from app.payouts.service import batches, status_files
from app.payouts.service.status_files import StatusFile
from tests.payouts.conftest import Books
from tests.payouts.test_files import download, pay_by
from tests.support.factories.payouts import Till

P = PayoutStatus


def status_file(*orders: tuple[str, str, str], whole: str = "", file: str = "BT1") -> bytes:
    """A status report: orders with their status and reason, and a word on the whole file."""
    said = "".join(
        f"<TxInfAndSts><OrgnlEndToEndId>{name}</OrgnlEndToEndId><TxSts>{status}</TxSts>"
        + (f"<StsRsnInf><Rsn><Cd>{code}</Cd></Rsn><AddtlInf>Account closed</AddtlInf></StsRsnInf>" if code else "")
        + "</TxInfAndSts>"
        for name, status, code in orders
    )
    group = f"<OrgnlGrpInfAndSts><OrgnlMsgId>{file}</OrgnlMsgId>{f'<GrpSts>{whole}</GrpSts>' if whole else ''}</OrgnlGrpInfAndSts>"
    payment = f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{file}</OrgnlPmtInfId>{said}</OrgnlPmtInfAndSts>" if said else ""
    return (
        '<?xml version="1.0"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>'
        f"<GrpHdr><MsgId>S1</MsgId></GrpHdr>{group}{payment}</CstmrPmtStsRpt></Document>"
    ).encode()


def test_every_word_is_read() -> None:
    found = read_status_file(io.BytesIO(status_file(("A", "ACSP", ""), ("B", "RJCT", "AC04"), whole="PART")))
    assert [(status.end_to_end_id, status.word, status.code, status.message) for status in found] == [
        ("A", BankWord.IN_TRANSIT, None, None),
        ("B", BankWord.REFUSED, "AC04", "Account closed"),
    ]
    (whole,) = read_status_file(io.BytesIO(status_file(whole="RJCT", file="BT7")))
    assert (whole.end_to_end_id, whole.file, whole.word) == (None, "BT7", BankWord.REFUSED)


@pytest.mark.parametrize(
    "content",
    [
        b"no xml",
        b"<Document/>",
        status_file(("A", "MAYBE", "")),
        status_file(("", "ACCP", "")),
        b'<!DOCTYPE x [<!ENTITY e "e">]>' + status_file(("A", "ACCP", ""))[21:],
    ],
)
def test_what_is_no_status_file_is_refused(content: bytes) -> None:
    with pytest.raises(StatusFileRefused):
        read_status_file(io.BytesIO(content))


async def answered(till: Till, batch_id: PayoutBatchId, content: bytes) -> StatusFile:
    async with unit_of_work(till.merchant_id) as session:
        return await status_files.apply_status_file(session, till.actor, batch_id=batch_id, content=io.BytesIO(content))


async def a_file(till: Till, superuser: Connection, *amounts: int) -> tuple[PayoutBatchId, list[Payout]]:
    await pay_by(till, Rail.SEPA)
    payouts = [await till.approved(minor) for minor in amounts]
    await flows.send_due()
    batch_id = PayoutBatchId(superuser.execute("select id from payout_batch").fetchone()[0])  # type: ignore[index]
    await download(till, batch_id)
    return batch_id, payouts


async def test_orders_follow_their_own_words(till: Till, books: Books, superuser: Connection) -> None:
    batch_id, (carried, taken, refused) = await a_file(till, superuser, 1_000, 2_000, 4_000)
    before = books()
    content = status_file(
        (carried.end_to_end_id, "ACSP", ""), (refused.end_to_end_id, "RJCT", "AC04"), (taken.end_to_end_id, "ACCP", ""), ("POX", "RJCT", "")
    )
    for _ in range(2):
        assert await answered(till, batch_id, content) == StatusFile(accepted=2, refused=1)
        assert [await till.status(payout) for payout in (carried, taken, refused)] == [P.IN_TRANSIT, P.SUBMITTED, P.FAILED]
    # an older answer that comes late moves nothing back
    await answered(till, batch_id, status_file((carried.end_to_end_id, "ACTC", ""), (taken.end_to_end_id, "RCVD", "")))
    assert [await till.status(payout) for payout in (carried, taken)] == [P.IN_TRANSIT, P.SUBMITTED]
    assert books()["2150", ""] == before["2150", ""] + 4_000
    assert books()["2110", "anna"] == before["2110", "anna"] - 4_000
    assert superuser.execute("select status from payout_batch").fetchone() == ("sent",)


async def test_a_word_on_the_whole_file(till: Till, superuser: Connection) -> None:
    batch_id, payouts = await a_file(till, superuser, 1_000, 2_000)
    async with unit_of_work(till.merchant_id) as session:
        name = batches.reference(await batches.locked(session, merchant_id=till.merchant_id, batch_id=batch_id))
    with pytest.raises(StatusFileRefused, match="other orders"):
        await answered(till, batch_id, status_file(whole="RJCT", file="BT7"))
    assert await answered(till, batch_id, status_file(whole="RJCT", file=name)) == StatusFile(accepted=0, refused=2)
    assert {await till.status(payout) for payout in payouts} == {P.FAILED}
