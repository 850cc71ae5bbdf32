"""Reads of the ledger. A balance is always exact: the balance row and what waits to be folded into it, read in one statement."""

from app.ledger.queries.accounts import account, account_list_page, balance, balances
from app.ledger.queries.checks import check
from app.ledger.queries.statements import statement_page, statement_rows
from app.ledger.queries.transactions import journal_page, transaction_page, transactions_of
from app.ledger.queries.trial_balance import trial_balance_page

__all__ = [
    "account",
    "account_list_page",
    "balance",
    "balances",
    "check",
    "journal_page",
    "statement_page",
    "statement_rows",
    "transaction_page",
    "transactions_of",
    "trial_balance_page",
]
