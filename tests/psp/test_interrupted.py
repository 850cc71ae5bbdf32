"""A connection test whose process fails or dies after the provider answered keeps nothing, and can simply be done again."""

import os
import signal
import subprocess
import sys

import pytest
from psycopg import Connection

from app.core import failpoints
from app.core.failpoints import FailpointRaised
from app.psp import flows, service
from tests.support.factories.tenancy import make_tenant
from tests.support.shop import SETTINGS, ScriptedPsp, add_connection, open_shop
from tests.support.simulator import SimulatedAccount

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


TEST_IT = """
import asyncio, sys
from uuid import UUID
from app.core.actors import Actor
from app.core.ids import ConnectionId, MerchantId
from app.psp import flows

actor = Actor.system(MerchantId(UUID(sys.argv[1])))
print(asyncio.run(flows.test_connection(actor, connection_id=ConnectionId(UUID(sys.argv[2])))).outcome)
"""


async def test_a_process_that_is_killed_there_keeps_nothing_either(account: SimulatedAccount, superuser: Connection) -> None:
    tenant = await make_tenant()
    settings = SETTINGS | {"api_base_url": account.simulator.url, "secret_key": account.secret_key}
    connection_id = await add_connection(tenant.actor(), settings)
    before = superuser.execute(STATE).fetchall()
    command = [sys.executable, "-c", TEST_IT, str(tenant.id), str(connection_id)]
    killed = subprocess.run(
        command, env=os.environ | {"COUNTINGHOUSE_FAILPOINTS": "psp.tested=kill"}, capture_output=True, text=True, check=False
    )
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, ""), killed.stderr
    assert superuser.execute(STATE).fetchall() == before
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.stdout.strip() == "succeeded", again.stderr
    assert superuser.execute("select tested ->> 'outcome' from psp_connection").fetchone() == ("succeeded",)
