"""An application behind a real socket in the test's own event loop, for callers that are other processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from litestar import Litestar


@asynccontextmanager
async def served(app: Litestar, *, certificate: Path | None = None) -> AsyncIterator[str]:
    """The address of the application while the block runs; over TLS with a certificate (a file that holds its key, too)."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", lifespan="on", timeout_graceful_shutdown=1, ssl_certfile=certificate
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve())
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


def self_signed(folder: Path) -> Path:
    """A certificate of a day for 127.0.0.1 that nobody trusts, and its key, in one file."""
    key, name, today = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]),
        datetime.now(UTC),
    )
    asked = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), today, today + timedelta(days=1))
    signed = asked.sign(key, hashes.SHA256())
    kept = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "server.pem"
    file.write_bytes(kept + signed.public_bytes(serialization.Encoding.PEM))
    return file
