"""Mail: sealed until it is sent, sent once, tried again under the same id, in no log and no event."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from app.core import clock, mail
from app.core.db import unit_of_work
from app.core.embedded import Urls
from app.core.mail import Letter
from app.core.settings import settings
from app.web.letters import letter as written
from tests.support.post import mail_server

LETTER = Letter(subject="Grüße", text="Open https://pay.example/x/planted-link-key\n", html="<p>Open</p>\n")


@contextmanager
def mail_url(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("MAIL_URL", url)
        settings.cache_clear()
        yield
    settings.cache_clear()


async def write() -> UUID:
    async with unit_of_work(None) as session:
        return await mail.write(session, to="ada@example.test", letter=LETTER)


async def test_a_mail_is_sent_once_and_then_forgotten(
    database: Urls, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_id = await write()
    stored = superuser.execute("select row_to_json(m)::text || (select json_agg(o)::text from outbox o) from mail m").fetchone()
    assert stored and "planted-link-key" not in stored[0], "the link stands nowhere in the clear"
    async with mail_server() as (server, url):
        with mail_url(url, monkeypatch):
            assert [await mail.send_due(), await mail.send_due()] == [1, 0]
    (sent,) = server.taken
    assert (sent["To"], sent["Subject"], sent["Message-ID"]) == ("ada@example.test", "Grüße", f"<{mail_id.hex}@localhost>")
    body = sent.get_body(("plain",))
    assert body and "planted-link-key" in body.get_content()
    assert superuser.execute("select state, sealed_body from mail").fetchone() == ("sent", None)


async def test_what_is_refused_is_tried_again_and_at_last_given_up(
    database: Urls, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await write()
    async with mail_server() as (server, url):
        with mail_url(url, monkeypatch):
            server.refuses = True
            assert [await mail.send_due(), await mail.send_due()] == [0, 0]
            assert superuser.execute("select attempts, state from mail").fetchone() == (1, "waiting"), "not again at once"
            with clock.travel(timedelta(days=4)):
                await mail.send_due()
            assert superuser.execute("select attempts, state, sealed_body from mail").fetchone() == (2, "given_up", None)
            await write()
            server.refuses = False
            assert await mail.send_due() == 1
    said = capsys.readouterr()
    assert "planted-link-key" not in said.out + said.err


async def test_a_worker_that_was_lost_is_followed_by_another(database: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(BaseException):
        pass

    ids: list[str] = []

    def lose(envelope: mail.smtp.Envelope) -> None:
        ids.append(envelope.id)
        raise Lost

    await write()
    with mail_url("smtp://127.0.0.1:1", monkeypatch):
        with pytest.raises(Lost):
            await mail.send_due(lose)
        assert await mail.send_due(lambda envelope: ids.append(envelope.id)) == 0, "it may still be sending"
        with clock.travel(timedelta(minutes=6)):
            assert await mail.send_due(lambda envelope: ids.append(envelope.id)) == 1
    assert len(ids) == 2 and ids[0] == ids[1]


def test_a_letter_is_the_same_as_text_and_as_html(monkeypatch: pytest.MonkeyPatch) -> None:
    import jinja2

    from app.web import letters

    source = jinja2.DictLoader({"x.txt": "For {{ page.name }}\n\nDear {{ page.name }},\nopen {{ here }}/a?b=c now.\n\nBye\n"})
    monkeypatch.setattr(letters._texts(), "loader", source)
    made = written("x", {"name": "<b>Ada</b>"})
    assert made.subject == "For <b>Ada</b>"
    assert "<b>Ada</b>" in made.text
    assert "<b>" not in made.html
    assert f'<a href="{settings().public_url}/a?b=c">' in made.html
    assert json.dumps(made.html).count("<p>") == 2
