"""The filters of the list of payments as SQL.

Written as text: it is the same for a page and for the file (COPY), and building the statement from objects would cost more than running it.
Every value travels apart from the statement; nothing that came from outside is part of its text.
"""

from collections.abc import Sequence

from app.core.errors import Invalid
from app.core.ids import MerchantId, first_id_at, parse_id
from app.core.money import CURRENCIES, MalformedAmount, Money
from app.payments.domain import PaymentStatus
from app.payments.schemas.lists import PaymentFilters

LAST = "\U0010ffff"
"""Sorts after every other character. ``text <= x and x < text + LAST`` is a prefix search that row security lets into the index; LIKE is not."""
MOST_HITS = 500
"""A search looks at so many hits of each kind; one that finds more is asked to be more precise."""


class Conditions:
    """Conditions of one statement, with their values."""

    def __init__(self, merchant_id: MerchantId) -> None:
        self.parts = ["merchant_id = %(merchant)s"]
        self.values: dict[str, object] = {"merchant": merchant_id}

    def add(self, condition: str, **values: object) -> None:
        """One more condition; its values keep their names."""
        self.parts.append(condition)
        self.values |= values

    def sql(self, *more: str) -> str:
        """All of them, and some more."""
        return " and ".join([*self.parts, *more])


def conditions(merchant_id: MerchantId, filters: PaymentFilters) -> Conditions:
    """What a payment must be to match; the states are left to the caller, who may scan one after the other."""
    where = Conditions(merchant_id)
    begin, end = filters.id_range()
    if begin is not None:
        where.add("id >= %(begin)s", begin=first_id_at(begin))
    if end is not None:
        where.add("id < %(end)s", end=first_id_at(end))
    if filters.currency:
        where.add("currency = %(currency)s", currency=filters.currency)
    if filters.least is not None:
        where.add("amount_minor >= %(least)s", least=filters.least.minor)
    if filters.most is not None:
        where.add("amount_minor <= %(most)s", most=filters.most.minor)
    if filters.connection_id is not None:
        where.add("connection_id = %(connection)s", connection=filters.connection_id)
    if filters.method:
        # not as coalesce(…), which row security does not let into an index
        where.add("case when method_brand is null then method_kind else method_brand end = %(method)s", method=filters.method)
    if filters.searches:
        _add_search(where, filters.searches, filters.statuses)
    return where


def one_state(status: PaymentStatus) -> str:
    """The state as a word of the statement: as a value of its own it would be planned for without knowing how rare it is."""
    return f"status = '{status.value}'"


def any_state(statuses: Sequence[PaymentStatus]) -> list[str]:
    """One of the states; no condition when none is asked for."""
    return [f"status in ({', '.join(repr(status.value) for status in statuses)})"] if statuses else []


def _add_search(where: Conditions, asked: str, statuses: Sequence[PaymentStatus]) -> None:
    """Find the ids first: one index scan for each kind of thing that may have been typed, none of which reads or sorts more than its limit."""
    noun = asked.partition("_")[0]
    if noun in {"pay", "ord"}:
        _add_exact(where, noun, asked)
        return
    where.values |= {"typed": asked, "typed_last": asked + LAST, "lower": asked.lower(), "lower_last": asked.lower() + LAST}
    base = where.sql(*any_state(statuses))
    scans = [
        f"(select id from payment where {base} and {condition} order by {order} limit {MOST_HITS})"  # noqa: S608 - fixed words of our own
        for condition, order in _scans(where, asked)
    ]
    where.add(f"id = any(array({' union all '.join(scans)}))")


def _add_exact(where: Conditions, noun: str, asked: str) -> None:
    try:
        where.add("id = %(exact)s" if noun == "pay" else "order_id = %(exact)s", exact=parse_id(noun, asked))
    except Invalid:
        where.add("false")


def _scans(where: Conditions, asked: str) -> list[tuple[str, str]]:
    """Condition and order of each scan. The exact name comes apart from the names that begin so: it must not be cut off by them."""
    newest = "id desc"
    email = [
        ("buyer_email_lc = %(lower)s", newest),
        ("buyer_email_lc >= %(lower)s and buyer_email_lc < %(lower_last)s", "buyer_email_lc desc"),
    ]
    if "@" in asked:
        return email
    scans = [("last4 = %(typed)s", newest)] if len(asked) == 4 and asked.isdigit() else []
    for number, (minor, currencies) in enumerate(_amounts(asked).items()):
        where.values |= {f"amount_{number}": minor, f"currencies_{number}": currencies}
        scans.append((f"amount_minor = %(amount_{number})s and currency = any(%(currencies_{number})s)", newest))
    return [
        *scans,
        ("order_reference >= %(typed)s and order_reference < %(typed_last)s", "order_reference desc"),
        ("provider_reference >= %(typed)s and provider_reference < %(typed_last)s", "provider_reference desc"),
        ("buyer_name_lc = %(lower)s", newest),
        ("buyer_name_lc >= %(lower)s and buyer_name_lc < %(lower_last)s", "buyer_name_lc desc"),
        *email,
    ]


_BY_PLACES = {places: [code for code, other in CURRENCIES.items() if other == places] for places in set(CURRENCIES.values())}


def _amounts(asked: str) -> dict[int, list[str]]:
    """The amount in each kind of currency: 12.50 is 1250 where there are two decimals and 12500 where there are three."""
    found = {}
    for currencies in _BY_PLACES.values():
        try:
            minor = Money.parse(asked, currencies[0]).minor
        except MalformedAmount:
            continue
        if minor > 0:
            found[minor] = currencies
    return found
