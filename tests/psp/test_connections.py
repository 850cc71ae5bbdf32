"""Connections: what is stored of them, who may change their credentials, and what never leaves the database again."""

import json
from collections.abc import Mapping
from functools import partial

import msgspec
import pytest
import pytest_asyncio
from psycopg import Connection as Sql
from psycopg.errors import CheckViolation

from app.core.actors import Actor, PermissionMissing
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.core.ids import ConnectionId, PersonId, new_id
from app.core.money import Money
from app.core.secrets import SecretUnreadable, unseal
from app.core.settings import settings
from app.core.state import IllegalTransition
from app.psp import flows, queries, service
from app.psp.adapters import ADAPTERS
from app.psp.domain import (
    ChangeIsStale,
    ChangeNeedsSecondPerson,
    ChangePolicy,
    ChangeStatus,
    ConnectionNameTaken,
    ConnectionNotActive,
    ConnectionNotFound,
    ConnectionSettingsInvalid,
    CredentialChangeId,
    Outcome,
    ProviderUnknown,
    connection_id_of,
    settings_of,
)
from app.psp.models import Connection
from app.tenancy.domain import Role, permissions_of
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.simulator import SimulatedAccount, new_webhook_secret

SECRET = "sk_sim_0123456789abcdef0123456789abcdef"
VALUES = {
    "api_base_url": "http://127.0.0.1:9",
    "account": "halden",
    "secret_key": SECRET,
    "webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


@pytest_asyncio.fixture
async def tenant(database: object) -> Tenant:
    return await make_tenant()


@pytest.fixture
def owner(tenant: Tenant) -> Actor:
    return tenant.actor()


@pytest_asyncio.fixture
async def second(tenant: Tenant) -> Actor:
    """Another person of the same merchant who may change connections."""
    person = await make_member(tenant, Role.ADMIN)
    return tenant.actor(Role.ADMIN, person_id=PersonId(person.id))


async def add(actor: Actor, *, name: str = "Main", values: Mapping[str, str] = VALUES) -> ConnectionId:
    async with unit_of_work(actor.merchant) as session:
        row = await service.add_connection(session, actor, psp="simulated", name=name, values=values)
    return ConnectionId(row.id)


async def read(actor: Actor, connection_id: ConnectionId) -> Connection:
    async with unit_of_work(actor.merchant) as session:
        return await queries.connection(session, merchant_id=actor.merchant, connection_id=connection_id)


async def propose(actor: Actor, connection_id: ConnectionId, **values: str) -> CredentialChangeId:
    async with unit_of_work(actor.merchant) as session:
        change = await service.propose_change(
            session, actor, connection_id=connection_id, values={**dict.fromkeys(VALUES, ""), **PUBLIC, **values}
        )
    return CredentialChangeId(change.id)


PUBLIC = {name: VALUES[name] for name in ("api_base_url", "account")}


async def need_two(actor: Actor) -> None:
    async with unit_of_work(actor.merchant) as session:
        await service.set_policy(session, actor, policy=ChangePolicy.FOUR_EYES)


class TestAddConnection:
    async def test_it_starts_as_a_draft_and_its_secrets_are_sealed(self, owner: Actor, superuser: Sql) -> None:
        connection_id = await add(owner)
        row = await read(owner, connection_id)
        assert row.status == "draft"
        assert row.config == PUBLIC
        stored = json.dumps(superuser.execute("select row_to_json(c) from psp_connection c").fetchone())
        assert SECRET not in stored
        assert VALUES["webhook_secret"] not in stored
        assert row.fingerprints["secret_key"].startswith("…cdef · ")

    async def test_the_seal_opens_in_its_own_row_only(self, owner: Actor) -> None:
        first, other = await read(owner, await add(owner)), await read(owner, await add(owner, name="Other"))
        assert json.loads(unseal(first.credentials, f"psp.credentials:{owner.merchant}:{first.id}"))["secret_key"] == SECRET
        with pytest.raises(SecretUnreadable):
            unseal(first.credentials, f"psp.credentials:{owner.merchant}:{other.id}")

    async def test_nothing_of_the_secret_reaches_audit_or_outbox(self, owner: Actor, superuser: Sql) -> None:
        connection_id = await add(owner)
        await propose(owner, connection_id, secret_key="sk_sim_anotherone9999")
        for table in ("audit_entry", "outbox", "psp_credential_change", "psp_connection"):
            rows = superuser.execute(f"select coalesce(json_agg(t)::text, '') from {table} t").fetchone()  # type: ignore[arg-type]
            assert rows
            assert rows[0], table
            assert SECRET not in rows[0]
            assert "anotherone" not in rows[0]

    async def test_each_act_leaves_an_event_and_an_entry_with_what_was_before(self, owner: Actor, superuser: Sql) -> None:
        connection_id = await add(owner)
        async with unit_of_work(owner.merchant) as session:
            await service.enable_connection(session, owner, connection_id=connection_id)
            await service.disable_connection(session, owner, connection_id=connection_id)
        before = (await read(owner, connection_id)).fingerprints["secret_key"]
        await propose(owner, connection_id, secret_key="sk_sim_anotherone9999")
        statuses = superuser.execute("select payload ->> 'status' from outbox where topic = 'connection.changed' order by id").fetchall()
        assert [status for (status,) in statuses] == ["draft", "active", "disabled", "disabled"]
        rows = superuser.execute(
            "select action, before ->> 'status', before ->> 'secret_key', after ->> 'secret_key' from audit_entry where object_type = 'connection' order by id"
        ).fetchall()
        after = (await read(owner, connection_id)).fingerprints["secret_key"]
        assert rows == [
            ("connection.added", None, None, before),
            ("connection.enabled", "draft", None, None),
            ("connection.disabled", "active", None, None),
            ("connection.credentials_proposed", None, before, after),
            ("connection.credentials_changed", None, before, after),
        ]

    async def test_everything_wrong_is_said_at_once(self, owner: Actor) -> None:
        with pytest.raises(Invalid) as caught:
            await add(owner, values={"api_base_url": "nonsense", "account": "", "secret_key": "short", "webhook_secret": "abc"})
        assert set(caught.value.fields) == set(VALUES)
        assert "short" not in str(caught.value.fields)

    async def test_a_name_is_taken_once(self, owner: Actor) -> None:
        await add(owner)
        with pytest.raises(ConnectionNameTaken):
            await add(owner)

    async def test_an_unknown_provider_is_refused(self, owner: Actor) -> None:
        with pytest.raises(ProviderUnknown):
            async with unit_of_work(owner.merchant) as session:
                await service.add_connection(session, owner, psp="acme", name="x", values=VALUES)

    @pytest.mark.parametrize(
        "url",
        [
            "http://api.example.com",
            "https://127.0.0.1",
            "https://10.0.0.1",
            "https://[::1]",
            "https://user:pw@example.com",
            "https://example.com:8443",
        ],
    )
    async def test_only_public_https_unless_the_installation_allows_more(
        self, owner: Actor, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("COUNTINGHOUSE_ALLOW_INSECURE_PSP_URLS", "false")
        settings.cache_clear()
        try:
            with pytest.raises(Invalid) as caught:
                await add(owner, values={**VALUES, "api_base_url": url})
            assert set(caught.value.fields) == {"api_base_url"}
        finally:
            monkeypatch.undo()
            settings.cache_clear()


class TestSwitching:
    async def test_enabled_it_takes_payments_and_disabled_it_does_not(self, owner: Actor) -> None:
        connection_id = await add(owner)
        async with unit_of_work(owner.merchant) as session:
            with pytest.raises(ConnectionNotActive):
                await queries.default_connection(session, merchant_id=owner.merchant)
            await service.enable_connection(session, owner, connection_id=connection_id)
            assert await queries.default_connection(session, merchant_id=owner.merchant) == connection_id
            await service.disable_connection(session, owner, connection_id=connection_id)
            with pytest.raises(ConnectionNotActive):
                await service.adapter_for(session, merchant_id=owner.merchant, connection_id=connection_id, must_be_active=True)
            assert (await service.adapter_for(session, merchant_id=owner.merchant, connection_id=connection_id)).name == "simulated"

    async def test_what_does_not_fit_is_refused(self, owner: Actor) -> None:
        connection_id = await add(owner)
        async with unit_of_work(owner.merchant) as session:
            await service.enable_connection(session, owner, connection_id=connection_id)
            with pytest.raises(IllegalTransition):
                await service.enable_connection(session, owner, connection_id=connection_id)


class TestOtherMerchants:
    async def test_see_and_touch_nothing(self, owner: Actor) -> None:
        connection_id = await add(owner)
        stranger = (await make_tenant()).actor()
        async with unit_of_work(stranger.merchant) as session:
            for merchant_id in (stranger.merchant, owner.merchant):
                with pytest.raises(ConnectionNotFound):
                    await queries.connection(session, merchant_id=merchant_id, connection_id=connection_id)
            with pytest.raises(ConnectionNotFound):
                await service.enable_connection(session, stranger, connection_id=connection_id)
            with pytest.raises(ConnectionNotFound):
                await service.propose_change(session, stranger, connection_id=connection_id, values=VALUES)

    async def test_a_malformed_id_names_nothing(self) -> None:
        for text in ("", "con_", "con_!!", "pay_01", str(new_id())):
            with pytest.raises(ConnectionNotFound):
                connection_id_of(text)


class TestOnePerson:
    async def test_new_credentials_are_used_at_once_and_empty_ones_kept(self, owner: Actor) -> None:
        connection_id = await add(owner)
        await propose(owner, connection_id, secret_key="sk_sim_freshfreshfresh", account="renamed")
        row = await read(owner, connection_id)
        opened = json.loads(unseal(row.credentials, f"psp.credentials:{owner.merchant}:{connection_id}"))
        assert opened == {"secret_key": "sk_sim_freshfreshfresh", "webhook_secret": VALUES["webhook_secret"]}
        assert (row.config["account"], row.credentials_version) == ("renamed", 2)

    async def test_a_kept_secret_is_never_sent_to_another_server(self, owner: Actor) -> None:
        connection_id = await add(owner)
        elsewhere = "http://127.0.0.1:10/v1"
        with pytest.raises(ConnectionSettingsInvalid) as refused:
            await propose(owner, connection_id, api_base_url=elsewhere, secret_key="sk_sim_freshfreshfresh")
        assert set(refused.value.fields) == {"webhook_secret"}
        assert (await read(owner, connection_id)).config["api_base_url"] == VALUES["api_base_url"]
        await propose(owner, connection_id, api_base_url="http://127.0.0.1:9/v2")
        await propose(owner, connection_id, **{**VALUES, "api_base_url": elsewhere})
        assert (await read(owner, connection_id)).config["api_base_url"] == elsewhere


class TestTwoPeople:
    async def test_nothing_changes_until_somebody_else_agrees(self, owner: Actor, second: Actor) -> None:
        connection_id = await add(owner)
        await need_two(owner)
        change_id = await propose(owner, connection_id, secret_key="sk_sim_freshfreshfresh")
        assert (await read(owner, connection_id)).credentials_version == 1
        async with unit_of_work(owner.merchant) as session:
            seen = await queries.credential_change(session, merchant_id=owner.merchant, change_id=change_id)
            with pytest.raises(ChangeNeedsSecondPerson):
                await service.approve_change(session, owner, change_id=change_id, digest=seen.digest)
        async with unit_of_work(owner.merchant) as session:
            with pytest.raises(ChangeIsStale):
                await service.approve_change(session, second, change_id=change_id, digest="0" * 64)
        async with unit_of_work(owner.merchant) as session:
            await service.approve_change(session, second, change_id=change_id, digest=seen.digest)
        row = await read(owner, connection_id)
        assert row.credentials_version == 2
        assert row.fingerprints == seen.fingerprints

    async def test_a_rejected_change_is_over(self, owner: Actor, second: Actor) -> None:
        connection_id = await add(owner)
        await need_two(owner)
        change_id = await propose(owner, connection_id, secret_key="sk_sim_freshfreshfresh")
        async with unit_of_work(owner.merchant) as session:
            change = await service.reject_change(session, second, change_id=change_id)
            assert change.status == ChangeStatus.REJECTED
            with pytest.raises(IllegalTransition):
                await service.approve_change(session, second, change_id=change_id, digest=change.digest)
        assert (await read(owner, connection_id)).credentials_version == 1

    async def test_a_newer_proposal_replaces_the_older(self, owner: Actor, second: Actor) -> None:
        connection_id = await add(owner)
        await need_two(owner)
        older = await propose(owner, connection_id, secret_key="sk_sim_olderolderolder")
        newer = await propose(owner, connection_id, secret_key="sk_sim_newernewernewer")
        async with unit_of_work(owner.merchant) as session:
            assert (await queries.credential_change(session, merchant_id=owner.merchant, change_id=older)).status == ChangeStatus.REJECTED
            pending = await queries.pending_change(session, merchant_id=owner.merchant, connection_id=connection_id)
            assert pending is not None
            assert pending.id == newer

    async def test_the_database_refuses_the_same_person_twice(self, owner: Actor, superuser: Sql) -> None:
        connection_id = await add(owner)
        await need_two(owner)
        await propose(owner, connection_id, secret_key="sk_sim_freshfreshfresh")
        for statement in (
            "update psp_credential_change set approved_by = requested_by",
            "update psp_credential_change set status = 'applied'",
        ):
            with pytest.raises(CheckViolation, match="ck_psp_credential_change"):
                superuser.execute(statement)

    @pytest.mark.parametrize("role", [Role.ADMIN, Role.DEVELOPER])
    async def test_only_who_sets_the_rules_goes_back_to_one_person(self, owner: Actor, second: Actor, role: Role) -> None:
        """An admin changes credentials: were the rule theirs too, they would be both persons."""
        await need_two(second)
        other = msgspec.structs.replace(second, permissions=permissions_of(role, sandbox=False) | {"connections.write"})
        async with unit_of_work(owner.merchant) as session:
            with pytest.raises(PermissionMissing):
                await service.set_policy(session, other, policy=ChangePolicy.SINGLE)
            await service.set_policy(session, owner, policy=ChangePolicy.SINGLE)
            assert await queries.change_policy(session, merchant_id=owner.merchant) is ChangePolicy.SINGLE


class TestTestConnection:
    async def test_it_really_calls_and_keeps_the_answer(self, owner: Actor, account: SimulatedAccount) -> None:
        connection_id = await add(owner, values=account.settings)
        assert (await flows.test_connection(owner, connection_id=connection_id)).outcome is Outcome.SUCCEEDED
        row = await read(owner, connection_id)
        assert (row.tested["outcome"], row.tested_at is not None) == ("succeeded", True)
        await propose(owner, connection_id, **{**account.settings, "secret_key": "sk_sim_wrongwrong"})
        assert (await flows.test_connection(owner, connection_id=connection_id)).code == "credentials_refused"
        assert account.secret_key not in json.dumps((await read(owner, connection_id)).tested)


class TestCommandLine:
    async def test_a_call_by_hand_says_in_one_line_what_happened(self, account: SimulatedAccount) -> None:
        call = partial(flows.call, psp="simulated", credentials=account.settings)
        paid = await call(verb="authorise", key="k1", amount=_eur("20.00"), token="tok_visa")
        assert (paid["outcome"], paid["amount"], paid["retryable"]) == ("succeeded", "20.00 EUR", False)
        reference = str(paid["provider_reference"])
        taken = await call(verb="capture", key="k2", amount=_eur("20.00"), reference=reference)
        back = await call(verb="refund", key="k3", amount=_eur("5.00"), reference=reference)
        asked_again = await call(verb="lookup", key="", reference="k1")
        assert [one["outcome"] for one in (taken, back, asked_again)] == ["succeeded"] * 3
        refused = await call(verb="authorise", key="k4", amount=_eur("20.00"), token="tok_visa_lost_card")
        assert (refused["outcome"], refused["code"], refused["category"]) == ("declined", "lost_card", "hard")
        json.dumps([paid, refused])

    async def test_an_unknown_verb_is_refused(self, account: SimulatedAccount) -> None:
        with pytest.raises(flows.VerbUnknown):
            await flows.call(psp="simulated", credentials=account.settings, verb="steal", key="k")

    def test_describe_tells_what_is_needed_and_possible(self) -> None:
        told = json.loads(json.dumps(flows.describe("simulated")))
        assert set(told["credentials"]["$defs"]["Config"]["properties"]) == set(VALUES)
        assert "capture" in str(told["capabilities"])
        assert "payment.captured" in told["webhook_kinds"]


def _eur(text: str) -> Money:
    return Money.parse(text, "EUR")


@pytest.mark.parametrize("psp", ADAPTERS)
def test_every_setting_of_every_provider_has_words_and_some_are_secret(psp: str) -> None:
    form = settings_of(ADAPTERS[psp].config)
    assert all(setting.title and setting.description for setting in form)
    assert any(setting.is_secret for setting in form)


def test_webhook_secrets_of_the_simulator_pass_the_form() -> None:
    config = service.read_config(ADAPTERS["simulated"], {**VALUES, "webhook_secret": new_webhook_secret()})
    assert config.api_base_url == VALUES["api_base_url"]
