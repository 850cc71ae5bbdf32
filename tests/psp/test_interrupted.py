"""A connection test whose process fails after the provider answered keeps nothing, and can simply be done again."""

import pytest
from psycopg import Connection

from app.core import failpoints
from app.core.failpoints import FailpointRaised
from app.psp import flows, service
from tests.support.shop import ScriptedPsp, open_shop

pytestmark = pytest.mark.usefixtures("database")
STATE = "select to_jsonb(c) from psp_connection c"


async def test_nothing_half_is_kept_and_the_next_test_counts(superuser: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedPsp()

    async def adapter_for(*_args: object, **_options: object) -> ScriptedPsp:
        return scripted

    monkeypatch.setattr(service, "adapter_for", adapter_for)
    shop = await open_shop(scripted)
    before = superuser.execute(STATE).fetchall()
    failpoints.enable("psp.tested", "raise")
    try:
        with pytest.raises(FailpointRaised):
            await flows.test_connection(shop.actor, connection_id=shop.connection_id)
    finally:
        failpoints.enable("psp.tested", "off")
    assert superuser.execute(STATE).fetchall() == before
    await flows.test_connection(shop.actor, connection_id=shop.connection_id)
    assert superuser.execute(STATE).fetchall() != before
