"""The reports a merchant's server may fetch with its key: what was settled, and the statement of the bank, one of each per finished day."""

import re
from datetime import UTC, date, datetime, timedelta

from app.psp.simulator.domain import Refusal
from app.psp.simulator.settlements import SettlementLine, all_lines, bank_statement, batches, credits, settlement_file
from app.psp.simulator.world import World

MOST = 400
_SETTLEMENT = re.compile(r"settlement_(\d{4}-\d\d-\d\d)\.csv")
_STATEMENT = re.compile(r"statement_([A-Z]{3})_(\d{4}-\d\d-\d\d)\.xml")


def offered(world: World, account: str, kind: str, since: date) -> list[str]:
    """The names of a kind's reports, oldest first: of days that are over, so that a name always stands for the same bytes."""
    days = _days(world, account)
    if kind == "settlement":
        return [f"settlement_{day}.csv" for day in sorted(days) if since <= day < _today(world)][:MOST]
    if kind != "statement":
        raise Refusal(404, "not_found", "There are reports of two kinds: settlement and statement.")
    first = {currency: min(day for day, lines in days.items() if currency in _currencies(lines)) for currency in _all_currencies(days)}
    names: list[str] = []
    for currency, begin in sorted(first.items()):
        day = max(since, begin + timedelta(days=1))
        while day < _today(world) and len(names) < MOST:
            names.append(f"statement_{currency}_{day}.xml")
            day += timedelta(days=1)
    return names


def owed(world: World, account: str, since: date) -> list[dict[str, object]]:
    """What every batch of a day or later comes to, and the one of today, which is open still."""
    return [
        {"batch": batch, "amount": sum(line.net for line in some), "currency": some[0].currency, "is_open": day >= _today(world)}
        for day, lines in sorted(_days(world, account).items())
        if day >= min(since, _today(world))
        for batch, some in batches(lines, account, day).items()
    ]


def report(world: World, account: str, name: str) -> str:
    """One report."""
    days = _days(world, account)
    if (found := _SETTLEMENT.fullmatch(name)) and (day := day_of(found[1])) < _today(world) and day in days:
        return settlement_file(days[day], account, day)
    if (found := _STATEMENT.fullmatch(name)) and (day := day_of(found[2])) < _today(world) and found[1] in _all_currencies(days):
        return _statement(days, account, found[1], day)
    raise Refusal(404, "not_found", "There is no such report.")


def _statement(days: dict[date, list[SettlementLine]], account: str, currency: str, day: date) -> str:
    """The statement of a day: the batches of the day before reach the bank then."""
    first = min(settled for settled, lines in days.items() if currency in _currencies(lines))
    before = [settled for settled in days if settled < day - timedelta(days=1)]
    opening = sum(credit.minor for settled in before for credit in credits(days[settled], account, settled, currency, []))
    settled = day - timedelta(days=1)
    entries = credits(days.get(settled, []), account, settled, currency, [])
    return bank_statement(entries, number=(day - first).days, opening=opening, currency=currency, day=day)


def _days(world: World, account: str) -> dict[date, list[SettlementLine]]:
    found: dict[date, list[SettlementLine]] = {}
    for line in all_lines(world.store, account):
        found.setdefault(datetime.fromtimestamp(line.at, UTC).date(), []).append(line)
    return found


def _today(world: World) -> date:
    return datetime.fromtimestamp(world.clock.now(), UTC).date()


def _currencies(lines: list[SettlementLine]) -> set[str]:
    return {line.currency for line in lines}


def _all_currencies(days: dict[date, list[SettlementLine]]) -> set[str]:
    return {line.currency for lines in days.values() for line in lines}


def day_of(text: str) -> date:
    """A day as it is written."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refusal(422, "malformed", "Write the day as 2026-11-30.") from None
