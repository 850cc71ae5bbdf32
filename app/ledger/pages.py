"""Pages of the ledger: accounts, journal, transaction, statement, trial balance."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import date

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response, Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.core.ids import MerchantId
from app.core.money import Money
from app.ledger import queries
from app.ledger.domain import AccountId, AccountNotFound, TransactionId, TransactionNotFound
from app.ledger.schemas import Filters, TrialBalance
from app.web.context import HttpRequest
from app.web.downloads import csv_download
from app.web.guards import may_export, requires
from app.web.rendering import render

ENTRY_COLUMNS = ["transaction", "line", "posted_at", "effective_on", "kind", "description", "source_type", "source", "clear_key"]
STATEMENT_COLUMNS = [*ENTRY_COLUMNS, "debit", "credit", "balance", "currency"]
TRIAL_BALANCE_COLUMNS = ["currency", "code", "name", "class", "accounts", "debit", "credit"]


@get(["/ledger", "/ledger/accounts"], name="ledger:accounts", guards=[requires("ledger.read")])
async def list_accounts(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Every account with its balance."""
    asked = request.query_params
    page = await queries.account_list_page(
        session,
        merchant_id=actor.merchant,
        query=asked.get("q", "").strip()[:100],
        currency=asked.get("currency", "")[:8],
        after=asked.get("after"),
    )
    return render(request, "ledger/accounts.html", page, fragment="ledger/_account_rows.html")


@get("/ledger/accounts/{account_id:str}", name="ledger:statement", guards=[requires("ledger.read")])
async def show_statement(
    request: HttpRequest, account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One account, line by line."""
    page = await queries.statement_page(
        session, merchant_id=actor.merchant, account_id=_account(account_id), after=request.query_params.get("after")
    )
    return render(request, "ledger/statement.html", page)


@get("/ledger/accounts/{account_id:str}/statement.csv", name="ledger:statement_csv", guards=[may_export()])
async def download_statement(account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Stream:
    """The whole statement of an account as a file, newest first."""
    actor.require("ledger.read")
    account = await queries.account(session, merchant_id=actor.merchant, account_id=_account(account_id))
    return csv_download(f"{account.number}-statement", STATEMENT_COLUMNS, _statement_lines(actor.merchant, account.id))


@get("/ledger/transactions", name="ledger:transactions", guards=[requires("ledger.read")])
async def list_transactions(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The journal, newest first."""
    asked = request.query_params
    filters = Filters(
        since=_day(asked.get("since"), "since"),
        until=_day(asked.get("until"), "until"),
        kind=asked.get("kind", "")[:60],
        source=asked.get("source", "").strip()[:60],
    )
    page = await queries.journal_page(session, merchant_id=actor.merchant, filters=filters, after=asked.get("after"))
    return render(request, "ledger/journal.html", page, fragment="ledger/_journal_days.html")


@get("/ledger/transactions/{transaction_id:str}", name="ledger:transaction", guards=[requires("ledger.read")])
async def show_transaction(
    request: HttpRequest, transaction_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One transaction with its lines and what else its source caused."""
    page = await queries.transaction_page(session, merchant_id=actor.merchant, transaction_id=_transaction(transaction_id))
    return render(request, "ledger/transaction.html", page)


@get("/ledger/trial-balance", name="ledger:trial_balance", guards=[requires("ledger.read")])
async def show_trial_balance(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Both sides of every account, per currency."""
    as_of = _day(request.query_params.get("as_of"), "as_of")
    page = await queries.trial_balance_page(session, merchant_id=actor.merchant, as_of=as_of)
    return render(request, "ledger/trial_balance.html", page)


@get("/ledger/trial-balance.csv", name="ledger:trial_balance_csv", guards=[may_export()])
async def download_trial_balance(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Stream:
    """The trial balance as a file."""
    actor.require("ledger.read")
    as_of = _day(request.query_params.get("as_of"), "as_of")
    page = await queries.trial_balance_page(session, merchant_id=actor.merchant, as_of=as_of)
    return csv_download(f"trial-balance-{as_of or 'now'}", TRIAL_BALANCE_COLUMNS, _trial_balance_lines(page.balances))


async def _statement_lines(merchant_id: MerchantId, account_id: AccountId) -> AsyncIterator[Sequence[Sequence[object]]]:
    async with unit_of_work(merchant_id) as session:
        async for rows in queries.statement_rows(session, merchant_id=merchant_id, account_id=account_id):
            yield [
                [
                    *(f"txn_{row.transaction_id}", row.line, row.at.isoformat(timespec="seconds"), row.effective_on, row.kind),
                    *(row.description, row.source.type, row.source.text, row.clear_key),
                    *(_figure(row.debit), _figure(row.credit), row.balance.decimal(), row.balance.currency),
                ]
                for row in rows
            ]


async def _trial_balance_lines(balances: list[TrialBalance]) -> AsyncIterator[Sequence[Sequence[object]]]:
    for balance in balances:
        lines: list[Sequence[object]] = [
            [balance.currency, row.code, row.name, row.class_.name.lower(), row.accounts, _figure(row.debit), _figure(row.credit)]
            for row in balance.rows
        ]
        yield [*lines, [balance.currency, "", "Total", "", "", balance.debits.decimal(), balance.credits.decimal()]]


def _figure(amount: Money | None) -> str:
    return amount.decimal() if amount is not None else ""


def _account(text: str) -> AccountId:
    number = _number("acc_", text)
    if number is None:
        raise AccountNotFound("An account's number looks like acc_12.")
    return AccountId(number)


def _transaction(text: str) -> TransactionId:
    number = _number("txn_", text)
    if number is None:
        raise TransactionNotFound("A transaction's number looks like txn_12.")
    return TransactionId(number)


def _number(prefix: str, text: str) -> int | None:
    digits = text.removeprefix(prefix)
    return int(digits) if text.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def _day(text: str | None, field: str) -> date | None:
    if not text:
        return None
    with suppress(ValueError):
        return date.fromisoformat(text)
    raise Invalid("Write the day as year, month and day: 2026-11-30.", fields={field: "This is not a day."})


ROUTES = [
    list_accounts,
    show_statement,
    download_statement,
    list_transactions,
    show_transaction,
    show_trial_balance,
    download_trial_balance,
]
