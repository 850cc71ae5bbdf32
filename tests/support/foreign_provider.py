"""A real sign-in provider of foreign make (npm oidc-provider on Node), installed once into a cache and started on loopback."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest

from tests.support.simulator import free_port

_HERE = Path(__file__).parent / "oidc"
REQUIRED = "FOREIGN_PROVIDER_REQUIRED"
CLIENT, SECRET = "countinghouse", "a secret:of/the client & more than thirty-two"


def _modules() -> Path:
    """The installed packages: those of the lock file, kept between runs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        if os.environ.get(REQUIRED):
            pytest.fail("Node and npm are not on this machine, and a merge must not go past the foreign sign-in provider.")
        pytest.skip("Node and npm are not on this machine; the foreign sign-in provider needs them.")
    locked = hashlib.sha256((_HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(tempfile.gettempdir()) / f"countinghouse-oidc-{locked}"
    cache.mkdir(exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "installed").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(_HERE / name, cache / name)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
            subprocess.run(command, cwd=cache, check=True, capture_output=True, timeout=120)
            (cache / "installed").touch()
    return cache / "node_modules"


class ForeignProvider:
    """The provider as a process, and a browser window on it."""

    def __init__(self, directory: Path, *, redirect_uris: list[str], logout_uri: str, back: str) -> None:
        self.issuer = f"http://127.0.0.1:{free_port()}"
        person = {"email_verified": True, "name": "Ines Okafor"}
        client = {
            "client_id": CLIENT,
            "client_secret": SECRET,
            "redirect_uris": redirect_uris,
            "post_logout_redirect_uris": [back],
            "backchannel_logout_uri": logout_uri,
            "backchannel_logout_session_required": True,
        }
        accounts: dict[str, dict[str, object]] = {
            name: {"email": f"{name}@{domain}", **person, **({"email_verified": False} if name == "unproven" else {})}
            for name, domain in (("ines", "example.test"), ("omar", "example.test"), ("strong", "example.test"), ("newcomer", "corp.test"),
                                 ("stranger", "elsewhere.test"), ("unproven", "corp.test"))
        }  # fmt: skip
        accounts["newcomer"]["groups"] = ["staff", "accounting"]
        self.file = directory / f"provider-{urlsplit(self.issuer).port}.json"
        self.file.write_text(json.dumps({"issuer": self.issuer, "clients": [client], "accounts": accounts, "mfa": ["strong"]}))
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "ForeignProvider":
        """Start it and wait until it listens."""
        modules = _modules()
        command = ["node", str(_HERE / "provider.mjs"), str(modules), str(self.file)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == "ready":
                return self
        raise RuntimeError("the foreign provider did not start")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)
            if self.process.stdout is not None:
                self.process.stdout.close()

    async def rotate_keys(self) -> None:
        """Sign with a new key from now on; the old one is gone."""
        await self._pull("rotate")

    async def accept_redirect(self, address: str) -> None:
        """Send people back to this address, too."""
        await self._pull("redirect", address)

    async def shift_clock(self, *, seconds: int) -> None:
        """Let the provider's clock run ahead of ours by so much."""
        await self._pull("clock", str(seconds))

    async def _pull(self, lever: str, to: str = "") -> None:
        async with httpx2.AsyncClient() as client:
            (await client.get(f"{self.issuer}/levers/{lever}", params={"to": to})).raise_for_status()

    async def sign_in(self, address: str, account: str, *, client: httpx2.AsyncClient | None = None) -> str:
        """Sign in on the provider's own pages; gives the address to which it sends the browser back, not yet visited."""
        window = client or httpx2.AsyncClient()
        try:
            answer = await window.get(address)
            for _ in range(12):
                if answer.is_redirect:
                    target = urljoin(str(answer.url), answer.headers["location"])
                    if not target.startswith(self.issuer):
                        return target
                    answer = await window.get(target)
                    continue
                form = re.search(r'action="([^"]+)"', answer.text)
                assert form, answer.text[:400]
                prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
                fields = {"prompt": prompt[1] if prompt else "consent", "login": account, "password": "anything"}
                answer = await window.post(urljoin(str(answer.url), form[1]), data=fields)
            raise AssertionError("the provider never sent the browser back")
        finally:
            if client is None:
                await window.aclose()


def query_of(address: str) -> dict[str, str]:
    """The parameters of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def started(directory: Path, **addresses: object) -> Iterator[ForeignProvider]:
    """A running provider, ended afterwards."""
    provider = ForeignProvider(directory, **addresses).start()  # type: ignore[arg-type]
    yield provider
    provider.stop()
