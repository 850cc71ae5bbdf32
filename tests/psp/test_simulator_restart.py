"""The simulated provider killed and started again on the same journal."""

from pathlib import Path

import httpx2

from app.psp.simulator.store import Store
from tests.psp.test_simulator import BACK, pay
from tests.support.simulator import Simulator


class TestRestart:
    def test_a_killed_provider_knows_everything_it_answered(self, tmp_path: Path) -> None:
        simulator = Simulator(tmp_path / "journal.jsonl").start()
        try:
            account = simulator.account()
            headers = {"authorization": f"Bearer {account.secret_key}"}
            with httpx2.Client(base_url=simulator.url, headers=headers, trust_env=False) as client:
                first = pay(client, key="k", reference="kept", capture=True)
                simulator.restart(kill=True)
                again = pay(client, key="k", reference="kept", capture=True)
                assert again.content == first.content
                assert account.charges("kept")["count"] == 1
                assert pay(client).json()["id"] > first.json()["id"]
        finally:
            simulator.stop()

    def test_what_was_going_to_happen_still_happens(self, tmp_path: Path) -> None:
        simulator = Simulator(tmp_path / "journal.jsonl").start()
        try:
            account = simulator.account()
            headers = {"authorization": f"Bearer {account.secret_key}"}
            with httpx2.Client(base_url=simulator.url, headers=headers, trust_env=False) as client:
                made = [
                    pay(client, token="tok_visa_processing", capture=True),
                    pay(client),
                    pay(client, hosted=True, return_url=BACK),
                ]
                simulator.restart(kill=True)
                simulator.post("/_clock", {"advance_seconds": 8 * 86_400})
                found = [client.get(f"/v1/payments/{payment.json()['id']}").json()["status"] for payment in made]
            assert found == ["captured", "expired", "expired"]
        finally:
            simulator.stop()

    def test_a_half_written_line_is_skipped(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.jsonl"
        Store(path, salt="s")
        with path.open("ab") as file:
            file.write(b'["payment",{"id":"ch')
        assert Store(path).sequence.salt == "s"
