"""Setting up a merchant's single sign-on: what is refused and why, whose a domain is, and who keeps a way in."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import msgspec
import psycopg
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from app.core.db import unit_of_work
from app.core.errors import Conflict, Invalid
from app.core.ids import PersonId, public_id
from app.core.resolver import NameServersSilent
from app.core.secrets import unseal
from app.identity import oauth
from app.tenancy import service as members
from app.tenancy.domain import BreakGlassOwner, Role
from app.tenancy.models import SsoProvider
from app.tenancy.roles import service as roles
from app.tenancy.sso import flows, queries, service
from app.tenancy.sso.domain import (
    DomainNotProven,
    DomainTaken,
    RoleRule,
    SsoNotReady,
    SsoSettings,
    SsoSettingsInvalid,
    check_domain,
    check_proof,
    domain_of,
    proof_name,
    proof_text,
    read_rules,
    role_for,
)
from tests.support.factories.identity import make_person
from tests.support.factories.sso import SECRET, SETTINGS, enforce, make_provider
from tests.support.factories.tenancy import Tenant, make_member, make_tenant
from tests.support.name_server import NameServer, name_server
from tests.support.web import Browser, text_of

words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=12)
rules = st.builds(RoleRule, claim=words, value=words, role=words)


class TestRules:
    @given(st.lists(rules, max_size=8))
    def test_what_was_written_is_read_back(self, written: list[RoleRule]) -> None:
        assert read_rules([*map(str, written), "  "]) == written

    @given(st.lists(rules, max_size=8), words, st.dictionaries(words, st.lists(words, max_size=4), max_size=4))
    def test_the_first_that_fits_counts_and_nothing_else_gives_a_role(
        self, held: list[RoleRule], default: str, claims: dict[str, list[str]]
    ) -> None:
        fitting = [rule.role for rule in held if rule.value in claims.get(rule.claim, [])]
        assert role_for(held, default, claims) == (fitting[0] if fitting else default)
        assert role_for([], None, claims) is None

    @pytest.mark.parametrize("line", ["groups", "groups = : x", "= a : b", "a = b"])
    def test_a_line_that_says_nothing_is_named(self, line: str) -> None:
        with pytest.raises(SsoSettingsInvalid, match="Line 2"):
            read_rules(["a = b : c", line])


class TestDomains:
    @pytest.mark.parametrize("text", ["example", "exa mple.com", "-a.com", "a..com", "ex.com/x", "1.2.3.4", "bücher.example", "*.a.com"])
    def test_what_is_no_domain(self, text: str) -> None:
        with pytest.raises(SsoSettingsInvalid):
            check_domain(text)

    @given(words, st.sampled_from(["Example.COM", "a-b.example", "xn--bcher-kva.example"]))
    def test_an_address_is_of_its_domain_and_of_no_other(self, name: str, domain: str) -> None:
        assert domain_of(f"{name}@{domain} ") == check_domain(f"{domain}.")
        assert domain_of(f"{name}@x{domain}") != check_domain(domain)

    @given(st.lists(words), words)
    def test_only_the_record_that_was_asked_for_proves(self, others: list[str], token: str) -> None:
        found = [*others, *(proof_text(other) for other in others if other != token)]
        with pytest.raises(DomainNotProven):
            check_proof("a.test", token, found)
        check_proof("a.test", token, [*found, proof_text(token)])


@pytest_asyncio.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NameServer]:
    with monkeypatch.context() as patch:
        async with name_server(patch.setenv) as server:
            yield server


async def proven_at(tenant: Tenant, row: SsoProvider) -> list[bool]:
    async with unit_of_work(tenant.id) as session:
        return [one.proven_at is not None for one in await queries.domains(session, tenant.actor(), provider_id=row.id)]


async def prove(tenant: Tenant, row: SsoProvider, names: NameServer | None = None) -> None:
    """Look for the proof; with the name server given, after putting the right record there."""
    async with unit_of_work(tenant.id) as session:
        held = (await queries.domains(session, tenant.actor(), provider_id=row.id))[0]
    if names is not None:
        names.texts.setdefault(proof_name(held.domain), []).append(proof_text(held.token))
    await flows.prove_domain(tenant.actor(), provider_id=row.id, domain_id=held.id)


class TestProof:
    async def test_a_domain_counts_after_its_record_was_seen(self, tenant: Tenant, names: NameServer) -> None:
        row = await make_provider(tenant.actor(), proven=False)
        for texts, said in ((None, "has no TXT record"), (["v=spf1 -all"], "1 other record"), ([proof_text("x")], "another entry")):
            if texts is not None:
                names.texts[proof_name("corp.test")] = texts
            with pytest.raises(DomainNotProven, match=said):
                await prove(tenant, row)
        names.broken = True
        with pytest.raises(NameServersSilent):
            await prove(tenant, row)
        names.broken = False
        assert await proven_at(tenant, row) == [False]
        await prove(tenant, row, names)
        assert await proven_at(tenant, row) == [True]

    async def test_it_belongs_to_one_merchant(self, tenant: Tenant, names: NameServer) -> None:
        other = await make_tenant()
        mine, theirs = await make_provider(tenant.actor(), proven=False), await make_provider(other.actor(), proven=False)
        await prove(tenant, mine, names)
        with pytest.raises(DomainNotProven, match="another entry"):
            await prove(other, theirs)
        with pytest.raises(DomainTaken, match="Another merchant"):
            await prove(other, theirs, names)
        async with unit_of_work(tenant.id) as session:
            await service.remove_provider(session, tenant.actor(), provider_id=mine.id)
        await prove(other, theirs)
        assert await proven_at(other, theirs) == [True]


def wrong(**changes: object) -> SsoSettings:
    return msgspec.structs.replace(SETTINGS, **changes)


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "field", "said"),
        [
            (wrong(issuer="ftp://x"), "issuer", "not an address"),
            (wrong(scopes="email"), "scopes", "openid"),
            (wrong(default_role="owner"), "default_role", "Nobody becomes an owner"),
            (wrong(role_rules=["groups = root : owner"]), "role_rules", "Nobody becomes an owner"),
            (wrong(role_rules=["groups = root : emperor"]), "role_rules", "“emperor”: Choose one"),
        ],
    )
    async def test_what_cannot_be_used_is_named(self, tenant: Tenant, given: SsoSettings, field: str, said: str) -> None:
        with pytest.raises(Invalid) as refused:
            await make_provider(tenant.actor(), given, active=False)
        assert said in refused.value.fields[field]

    async def test_nobody_lets_others_join_in_a_role_they_could_not_give(self, tenant: Tenant) -> None:
        async with unit_of_work(tenant.id) as session:
            role = await roles.create_role(session, tenant.actor(), name="IT", summary="", permissions=["sso.write", "team.read"])
            person = await make_person(session)
            await members.add_member(session, tenant.actor(), merchant_id=tenant.id, person_id=PersonId(person.id), role=role.id)
        it = msgspec.structs.replace(tenant.actor(person_id=person.id), permissions=frozenset({"sso.write", "team.read"}))
        with pytest.raises(Invalid) as refused:
            await make_provider(it, active=False)
        assert "You cannot give what you do not hold" in refused.value.fields["default_role"]

    async def test_the_secret_is_learned_by_nobody(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        row = await make_provider(tenant.actor(), active=False)
        async with unit_of_work(tenant.id) as session:
            held = await queries.provider(session, tenant.actor(), provider_id=row.id)
            assert unseal(held.sealed_secret, queries.secret_context(held)) == SECRET
            with pytest.raises(SsoSettingsInvalid) as refused:
                await service.change_provider(
                    session, tenant.actor(), provider_id=row.id, given=wrong(issuer="https://evil.example"), secret=""
                )
        assert "Enter it again" in refused.value.fields["client_secret"]
        for table in ("sso_provider", "audit_entry", "outbox"):
            assert SECRET not in str(superuser.execute(f"select t::text from {table} t").fetchall()), table

    async def test_another_issuer_parts_its_accounts_and_each_change_is_told(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        row = await make_provider(tenant.actor())
        fields = "merchant_id, provider_id, subject, person_id, email, created_at"
        values = [tenant.id, row.id, tenant.owner.id]
        superuser.execute(f"insert into sso_identity ({fields}) values (%s, %s, 'x', %s, '', now())", values)
        elsewhere = wrong(issuer="https://other.example")
        async with unit_of_work(tenant.id) as session:
            with pytest.raises(SsoSettingsInvalid, match="Disable the provider"):
                await service.change_provider(session, tenant.actor(), provider_id=row.id, given=elsewhere, secret="new")
        async with unit_of_work(tenant.id) as session:
            await service.disable(session, tenant.actor(), provider_id=row.id)
            await service.change_provider(session, tenant.actor(), provider_id=row.id, given=elsewhere, secret="new")
        assert superuser.execute("select count(*) from sso_identity").fetchone() == (0,)
        told = superuser.execute("select before, after from audit_entry where action = 'sso.changed'").fetchone()
        assert told
        assert (told[0]["issuer"], told[1]["issuer"]) == (SETTINGS.issuer, "https://other.example")
        assert told[0]["client_secret"] != told[1]["client_secret"]
        assert set(told[0]) == {"issuer", "client_secret"}, "what changed, and nothing else"
        async with unit_of_work(tenant.id) as session:
            with pytest.raises(SsoNotReady, match="Test the connection"):
                await service.enable(session, tenant.actor(), provider_id=row.id)

    async def test_a_sandbox_has_none_of_its_own(self, tenant: Tenant) -> None:
        with pytest.raises(Conflict, match="holds for this sandbox"):
            await make_provider(tenant.actor(sandbox=True), active=False)


class TestEnforcing:
    async def test_somebody_keeps_a_way_in(self, tenant: Tenant, superuser: psycopg.Connection) -> None:
        row = await make_provider(tenant.actor(), proven=False)
        actor, owner = tenant.actor(), tenant.owner.id
        with pytest.raises(SsoNotReady, match="Prove a domain"):
            await enforce(actor, row.id, break_glass=owner)
        superuser.execute("update sso_domain set proven_at = now()")
        viewer = await make_member(tenant, Role.VIEWER)
        with pytest.raises(SsoNotReady, match="Choose an owner"):
            await enforce(actor, row.id, break_glass=viewer.id)
        superuser.execute("update person set password_hash = '!' where id = %s", [owner])
        with pytest.raises(SsoNotReady, match="Choose an owner"):
            await enforce(actor, row.id, break_glass=owner)
        second = await make_member(tenant, Role.OWNER)
        await enforce(actor, row.id, break_glass=second.id)
        found = superuser.execute("select id from membership where merchant_id = %s and person_id = %s", [tenant.id, second.id]).fetchone()
        assert found
        for act in (members.remove_member, lambda *a, **k: members.change_role(*a, role=Role.VIEWER, **k)):
            with pytest.raises(BreakGlassOwner):
                async with unit_of_work(tenant.id) as session:
                    await act(session, actor, member_id=found[0])
        for undo in (service.disable, service.remove_provider):
            with pytest.raises(SsoNotReady, match="Stop enforcing"):
                async with unit_of_work(tenant.id) as session:
                    await undo(session, actor, provider_id=row.id)


@pytest_asyncio.fixture
async def publisher() -> AsyncIterator[tuple[str, dict[str, object]]]:
    """A server and what it publishes, by path."""
    pages: dict[str, object] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        body = json.dumps(pages[path]).encode() if path in pages else b""
        head = f"HTTP/1.1 {200 if path in pages else 404} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", pages
    server.close()
    await server.wait_closed()


class TestTheTest:
    async def test_every_failure_has_its_sentence(self, tenant: Tenant, publisher: tuple[str, dict[str, object]]) -> None:
        at, pages = publisher
        row = await make_provider(tenant.actor(), wrong(issuer=at), active=False)
        good = {"issuer": at, "authorization_endpoint": f"{at}/a", "token_endpoint": f"{at}/t", "jwks_uri": f"{at}/k"}
        key = {"kty": "RSA", "kid": "1", "n": "AQAB", "e": "AQAB"}
        cases: list[tuple[dict[str, object] | None, list[dict[str, str]] | None, str | None]] = [
            (None, None, "answered 404 when asked for its configuration"),
            ({"issuer": at}, None, "in a form that cannot be read"),
            (good | {"issuer": "https://x.example"}, None, "calls itself “https://x.example”"),
            (good | {"jwks_uri": ""}, None, "does not say where its keys are"),
            (good | {"code_challenge_methods_supported": ["plain"]}, None, "does not support PKCE"),
            (good | {"id_token_signing_alg_values_supported": ["HS256"]}, None, "signs with HS256 only"),
            (good | {"token_endpoint_auth_methods_supported": ["client_secret_post"]}, None, "it takes client_secret_post"),
            (good | {"scopes_supported": ["openid"]}, None, "does not know the scope email, profile"),
            (good, None, "answered 404 when asked for its keys"),
            (good, [{"kty": "oct", "k": "x"}], "no public key that signs"),
            (good, [key], None),
        ]
        for configuration, keys, said in cases:
            pages.clear()
            if configuration is not None:
                pages["/.well-known/openid-configuration"] = configuration
            if keys is not None:
                pages["/k"] = {"keys": keys}
            problem = await flows.test_provider(tenant.actor(), provider_id=row.id)
            assert (problem or "").endswith(".") is bool(said)
            assert (said or "") in (problem or ""), problem
        oauth.forget()


class TestPages:
    async def test_from_nothing_to_enforced(self, owner: Browser, tenant: Tenant, names: NameServer, superuser: psycopg.Connection) -> None:
        assert "No provider yet" in text_of(await owner.get("/single-sign-on"))
        await owner.get("/single-sign-on/new")
        form = {"name": "Acme", "issuer": "https://login.acme.example", "client_id": "c", "client_secret": SECRET, "scopes": "openid email"}
        answer = await owner.post("/single-sign-on", form | {"issuer": "acme", "role_rules": "x"})
        assert (answer.status_code, SECRET in answer.text) == (422, False)
        assert "Line 1 is not like" in text_of(answer)
        at = (await owner.post("/single-sign-on", form | {"default_role": "viewer"})).headers["location"]
        page = await owner.get(at)
        assert f"{at.removeprefix('/single-sign-on')}/callback" in page.text
        assert (await owner.post(f"{at}/domains", {"domain": "nonsense"})).status_code == 422
        await owner.post(f"{at}/domains", {"domain": "Corp.test"})
        page = await owner.get(at)
        assert "_countinghouse.corp.test" in text_of(page)
        proof = page.text.partition("/domains/")[2].partition("/prove")[0]
        answer = await owner.post(f"{at}/domains/{proof}/prove")
        assert (answer.status_code, "has no TXT record" in text_of(answer)) == (422, True)
        names.texts["_countinghouse.corp.test"] = re.findall(r"countinghouse-domain=[\w-]+", page.text)[:1]
        assert (await owner.post(f"{at}/domains/{proof}/prove")).status_code == 303
        assert (await owner.post(f"{at}/enable")).status_code == 409
        superuser.execute("update sso_provider set tested_at = now()")
        assert (await owner.post(f"{at}/enable")).status_code == 303
        assert tenant.owner.email in text_of(await owner.get(f"{at}/enforce"))
        chosen = {"owner": public_id("per", tenant.owner.id)}
        assert (await owner.post(f"{at}/enforce", chosen)).status_code == 303
        assert (await owner.post(f"{at}/remove")).status_code == 409
        assert "Only way in" in text_of(await owner.get("/single-sign-on"))
        for path in ("relax", "disable", "remove"):
            assert (await owner.post(f"{at}/{path}")).status_code == 303, path
        told = superuser.execute("select action from audit_entry where object_type = 'sso_provider' order by id").fetchall()
        acts = ["added", "domain_added", "domain_proven", "enabled", "enforced", "relaxed", "disabled", "removed"]
        assert [action for (action,) in told] == [f"sso.{act}" for act in acts]
