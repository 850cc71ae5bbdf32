"""A month of business against the simulator, in one process: its own code charges, refunds, carries out payouts and writes the files.

Everything follows from the seed: which payments, refunds and payouts there are, what the provider and the bank get wrong, and when. What is
planted is known by comparing each day's entries with and without it, so that what has to be found is not told by the code that finds it.
"""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import msgspec

from app.core.clock import travel
from app.core.db import unit_of_work
from app.core.ids import PaymentId
from app.core.money import Money
from app.payments.domain import CaptureMode
from app.payouts import flows as payout_flows
from app.payouts.domain.port import BankAnswer, BankOrder, BankWord
from app.payouts.models import Payout
from app.payouts.service import records
from app.psp.domain import Instruction, ProviderStatus, Result
from app.psp.simulator import operations, payments, settlements, transfers
from app.psp.simulator.domain import Account, Operation, TransferStatus
from app.psp.simulator.operations import OperationRequest
from app.psp.simulator.payments import PaymentRequest
from app.psp.simulator.scenario import Dice, Scenario, SimulatedClock
from app.psp.simulator.settlements import Plant
from app.psp.simulator.store import Store
from app.psp.simulator.transfers import TransferRequest
from app.psp.simulator.world import EVERYBODY, World
from tests.reconciliation.conftest import Desk
from tests.support.factories.payouts import ScriptedBank, Till
from tests.support.shop import ScriptedPsp, ok

FIRST = date(2027, 3, 1)
QUIET_DAYS, PATIENCE = 4, 12
"""Days after the last business in which orders still travel, and after which the bank’s and the provider’s silence means something."""
OF_THE_PROVIDER = {
    Plant.MISSING: ["missing_in_psp"],
    Plant.AMOUNT: ["amount"],
    Plant.ROUNDING: [],
    Plant.FEE: ["fee"],
    Plant.DUPLICATE: ["duplicate_psp"],
    Plant.UNBOOKED: ["missing_in_ledger"],
    Plant.DISPUTE: ["status"],
    Plant.ORPHAN_REFUND: ["orphan_refund"],
    Plant.ORPHAN_DISPUTE: ["orphan_dispute"],
    Plant.UNKNOWN_TYPE: ["unknown_type"],
    Plant.ACCOUNT_FEE: [],
    Plant.RESERVE_HOLD: [],
    Plant.RESERVE_RELEASE: [],
}
OF_THE_BANK = {
    Plant.BANK_SHORT: ["amount"],
    Plant.BANK_MISSING: ["missing_in_bank"],
    Plant.BANK_STRAY: ["bank_unidentified"],
    Plant.BANK_FEE: [],
    Plant.BANK_FEE_HIGH: ["fee"],
    Plant.BANK_DEBIT: ["bank_unidentified"],
    Plant.BANK_TWICE: ["duplicate_bank"],
    Plant.BANK_UNPAID: [],
    Plant.BANK_MORE: ["amount"],
}
"""What a rule has to make of each thing that is planted; nothing where it settles it. A debit that is missing or another is, beside this, one
that the books have and no statement has, when the bank had given its word on the payout (see ``Month.expected``)."""
ON_BATCHES = (Plant.BANK_SHORT, Plant.BANK_MISSING)
ON_ORDERS = (Plant.BANK_TWICE, Plant.BANK_UNPAID, Plant.BANK_MORE)


class _Clock(SimulatedClock):
    """The provider's clock, set by hand."""

    def __init__(self) -> None:
        self.moment = 0.0

    def now(self) -> float:
        return self.moment


class Provider(ScriptedPsp):
    """The simulator as the PSP of the shop and the bank of its payouts, called without a wire."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.world = World(Store(None, salt=f"{seed:06x}"), base_url="http://simulator.test")
        self.clock = _Clock()
        self.world.clock = self.clock
        self.world.dice[EVERYBODY] = Dice(Scenario(seed=seed, payout_seconds=20_000, payout_returned=0.3))
        self.account = Account(name="shop", secret_keys=["sk"], webhook_secret="whsec")
        self.world.store.save(self.account)
        self.told: set[str] = set()

    async def authorise(self, instruction: Instruction) -> Result:
        asked = PaymentRequest(
            amount=instruction.amount.minor, currency="EUR", reference=instruction.reference, token="tok_visa", capture=instruction.capture
        )
        made = payments.create(self.world, self.account, asked)
        fee = Money(made.fee, "EUR") if instruction.capture else None
        status = ProviderStatus.CAPTURED if instruction.capture else ProviderStatus.AUTHORISED
        return msgspec.structs.replace(ok(status, amount=instruction.amount, fee=fee), provider_reference=made.id)

    async def capture(self, instruction: Instruction) -> Result:
        return self._did(operations.capture(self.world, self.world.store.payments[instruction.original or ""], self._asked(instruction)))

    async def refund(self, instruction: Instruction) -> Result:
        return self._did(operations.refund(self.world, self.world.store.payments[instruction.original or ""], self._asked(instruction)))

    @staticmethod
    def _asked(instruction: Instruction) -> OperationRequest:
        return OperationRequest(reference=instruction.reference, amount=instruction.amount.minor, currency="EUR")

    @staticmethod
    def _did(operation: Operation) -> Result:
        answer = ok(amount=Money(operation.amount, "EUR"), fee=Money(operation.fee, "EUR") if operation.kind == "capture" else None)
        return msgspec.structs.replace(answer, provider_reference=operation.id)


class Bank(ScriptedBank):
    """The simulator's bank without a wire."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider

    async def send(self, order: BankOrder) -> BankAnswer:
        asked = TransferRequest(
            end_to_end_id=order.end_to_end_id, amount=order.amount.minor, currency="EUR", creditor=order.creditor_name, number=order.number
        )
        made = transfers.send(self.provider.world, self.provider.account, asked)
        return BankAnswer(word=BankWord.ACCEPTED, provider_reference=made.id, amount=order.amount)


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the month, and whose it is."""

    name: str
    is_bank: bool
    content: bytes
    is_torn: bool = False


class Month(msgspec.Struct, kw_only=True):
    """What was done, what is wrong, and the files that tell of it."""

    desk: Desk
    till: Till
    provider: Provider
    dice: random.Random
    days: int
    plants: dict[date, list[Plant]] = {}
    expected: Counter[str] = msgspec.field(default_factory=Counter)
    files: list[File] = []
    payouts: list[Payout] = []
    paid: list[tuple[PaymentId, int]] = []
    closing: int = 0

    @property
    def last(self) -> date:
        """The last day with a file."""
        return FIRST + timedelta(days=self.days + QUIET_DAYS)

    async def live(self) -> None:
        """Do the month's business day by day."""
        for ahead in range(self.days + QUIET_DAYS + 1):
            day = FIRST + timedelta(days=ahead)
            for hour in (6, 12, 18, 23):
                moment = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
                self.provider.clock.moment = moment.timestamp()
                with travel(moment):
                    if ahead < self.days and hour == 12:
                        await self._business(day)
                    await self._carry_out()

    async def _business(self, day: date) -> None:
        shop, dice = self.desk.shop, self.dice
        for _ in range(dice.randint(3, 4)):
            # never an amount the simulator takes for a decline
            anna, bert = dice.randrange(11_001, 60_000, 2), dice.randrange(0, 9_000, 2)
            order = await shop.order(anna=anna, bert=bert)
            self.provider.clock.moment += dice.randint(1, 600)
            if dice.random() < 0.25:
                made = await shop.pay(order, mode=CaptureMode.MANUAL)
                await shop.capture(PaymentId(made.payment_id), dice.randint(1_000, 9_000))
                await shop.capture(PaymentId(made.payment_id), is_final=True)
            else:
                made = await shop.pay(order)
            self.paid.append((PaymentId(made.payment_id), anna + bert))
        if dice.random() < 0.6:
            payment_id, whole = self.paid.pop(dice.randrange(len(self.paid)))
            await shop.refund(payment_id, dice.randint(100, whole))
        if day.weekday() < 5:
            for _ in range(dice.randint(1, 2)):
                # one after the other: what the bank makes of each is drawn when it comes
                self.payouts.append(await self.till.approved(dice.randint(1_000, 30_000)))
                await payout_flows.send_due()

    async def _carry_out(self) -> None:
        """Orders go on at the bank; it gives its word on some of those that were carried out, the statement has to tell of the others."""
        world = self.provider.world
        for name in sorted(world.due()):
            transfer = world.store.transfers.get(name)
            if transfer is None:
                continue
            transfers.later(world, transfer)
            if transfer.status is TransferStatus.PAID and self.dice.random() < 0.5:
                self.provider.told.add(transfer.reference)
                async with unit_of_work(self.desk.shop.merchant_id) as session:
                    await records.record_by_order(
                        session,
                        self.desk.shop.actor,
                        merchant_id=self.desk.shop.merchant_id,
                        end_to_end_id=transfer.reference,
                        answer=BankAnswer(word=BankWord.PAID, amount=Money(transfer.amount, "EUR")),
                    )

    def spoil(self) -> None:
        """Choose what goes wrong on which day: everything once at least, where there is something to spoil."""
        store, account = self.provider.world.store, self.provider.account.name
        business = [FIRST + timedelta(days=ahead) for ahead in range(self.days)]
        room = {day: sum(line.type == "charge" for line in settlements.lines_of(store, account, day)) for day in business}
        for kind in self.dice.sample(list(OF_THE_PROVIDER), len(OF_THE_PROVIDER)):
            # two at most, so that there is always something that is right beside it
            free = [day for day in business if len(self._of(day, OF_THE_PROVIDER)) < min(2, room[day] - 1)]
            self.plants.setdefault(self.dice.choice(free), []).append(kind)
        for kind in sorted(self.dice.sample(list(OF_THE_BANK), len(OF_THE_BANK)), key=lambda kind: kind not in ON_ORDERS):
            free = [day + timedelta(days=1) for day in business]
            free = [
                day
                for day in free
                if len(self._of(day, OF_THE_BANK)) < 2 and not any(self._clash(kind, other) for other in self.plants.get(day, []))
            ]
            if kind in ON_ORDERS:
                free = [day for day in free if any(entry.minor < 0 for entry in settlements.orders(store, account, day, "EUR", []))]
            self.plants.setdefault(self.dice.choice(free), []).append(kind)

    @staticmethod
    def _clash(kind: Plant, other: Plant) -> bool:
        """Two that would spoil the same line."""
        return any(kind in same and other in same for same in (ON_ORDERS, ON_BATCHES))

    def _of(self, day: date, kinds: dict[Plant, list[str]]) -> list[Plant]:
        return [kind for kind in self.plants.get(day, []) if kind in kinds]

    def write(self) -> None:
        """The files of every day, and what has to be found in them."""
        store, account = self.provider.world.store, self.provider.account.name
        silent: set[str] = set()
        for number in range(self.days + QUIET_DAYS + 1):
            day = FIRST + timedelta(days=number)
            lines = settlements.plant(settlements.lines_of(store, account, day), self._of(day, OF_THE_PROVIDER))
            self.files.append(File(name=f"{day}.csv", is_bank=False, content=settlements.settlement_file(lines, account, day).encode()))
            entries = self._entries(day, spoiled=True)
            text = settlements.bank_statement(entries, number=number + 1, opening=self.closing, currency="EUR", day=day)
            self.closing += sum(entry.minor for entry in entries)
            self.files.append(File(name=f"{day}.xml", is_bank=True, content=text.encode()))
            right = {(entry.reference, entry.minor) for entry in self._entries(day, spoiled=False)}
            silent |= {
                name for name, minor in right - {(entry.reference, entry.minor) for entry in entries} if name.startswith("PO") and minor < 0
            }
        # a file that does not add up is refused whole, whatever of it came in another
        charge = next(file for file in self.files if b",charge," in file.content)
        torn = File(name="torn.csv", is_bank=False, content=charge.content[: charge.content.rindex(b"\n", 0, -1) + 1], is_torn=True)
        self.files.append(torn)
        self.expected["batch_total"] += 1
        for kinds in self.plants.values():
            self.expected.update(found for kind in kinds for found in (OF_THE_PROVIDER | OF_THE_BANK)[kind])
        # what only a return tells of is booked when it is read, and the statement has days from then on
        self.expected.update("missing_in_bank" for name in silent & self.provider.told)
        self.expected += Counter()

    def _entries(self, day: date, *, spoiled: bool) -> list[settlements.Entry]:
        store, account, settled = self.provider.world.store, self.provider.account.name, day - timedelta(days=1)
        lines = settlements.plant(settlements.lines_of(store, account, settled), self._of(settled, OF_THE_PROVIDER))
        wanted = self._of(day, OF_THE_BANK) if spoiled else []
        return [
            *settlements.credits(lines, account, settled, "EUR", wanted),
            *settlements.orders(store, account, day, "EUR", wanted),
        ]
