"""Addresses, keys and proxies, looked at before anything is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from genrlhf.errors import ConfigError, excerpt

__all__ = ["NO_KEY", "behind_proxy", "checked_key", "has_proxy", "is_azure", "needs_key", "redactor", "split_address"]

T = TypeVar("T")

NO_KEY = "none"
"""Sent to servers that ask for no key."""

_AZURE = re.compile(r"\.(openai\.azure|services\.ai\.azure|cognitiveservices\.azure)\.(com|us|cn)$")


def is_azure(host: str) -> bool:
    """Say whether a host is one of Azure's, which wants the key in a header of its own."""
    return bool(_AZURE.search(host))


def needs_key(host: str) -> bool:
    """Say whether a host answers nobody without a key."""
    return host == "api.openai.com" or is_azure(host)


def split_address(url: str) -> SplitResult:
    """Return the parts of an address that a request can go to."""
    shown = re.sub(r"//[^/@]*@", "//", url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"base_url {excerpt(shown)} is no address ({excerpt(str(error))}).") from None
    if parts.scheme not in ("http", "https") or not host:
        bare = shown if "//" not in shown else shown.split("//", 1)[1]
        raise ConfigError(
            f"base_url {excerpt(shown)} does not begin with http:// or https://; did you mean http://{bare}?"
        )
    if re.search(r"\s", url):
        raise ConfigError(f"base_url {excerpt(shown)} has a blank in it.")
    path = parts.path.rstrip("/")
    for end in ("/chat/completions", "/completions", "/embeddings", "/responses"):
        if path.endswith(end):
            raise ConfigError(f"base_url {excerpt(shown)} must end before {end}, which is added to it.")
    if is_azure(host) and not re.search(r"/openai/(v1|deployments/[^/]+)$", path):
        raise ConfigError(
            f"base_url {excerpt(shown)} is Azure's, and has to be https://{host}/openai/v1 or "
            f"https://{host}/openai/deployments/NAME?api-version=VERSION."
        )
    return parts


def checked_key(key: str | None) -> str:
    """Return the key, or what stands for none."""
    key = (key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError("The key (OPENAI_API_KEY) has a blank, a line end or a character beyond ASCII in it.")
    return key or NO_KEY


def behind_proxy(build: Callable[[], T]) -> T:
    """Build a client, or say what is wrong with the proxy that the environment names."""
    try:
        return build()
    except ImportError:
        raise ConfigError(
            "The environment names a SOCKS proxy (ALL_PROXY or such), and the package for it is not installed: `pip "
            "install socksio`, or unset the variable."
        ) from None
    except ValueError as error:
        reason = re.sub(r"//[^/@]*@", "//", str(error))
        raise ConfigError(
            f"The proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) cannot be used: "
            f"{excerpt(reason)}."
        ) from None


def has_proxy(address: str) -> bool:
    """Say whether requests to an address go through a proxy that the environment names."""
    parts, proxies = urlsplit(address), getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    return bool(named) and not proxy_bypass(parts.hostname or "")


def redactor(secrets: list[str], password: str | None) -> Callable[[str], str]:
    """Return what replaces key and password in a text; as words alone where they are so short that others hold them."""
    found = {secret: "[key]" for secret in secrets}
    found |= {secret: "[password]" for secret in {password or "", unquote(password or "")} - {""}}
    if not found:
        return lambda text: text
    words = [
        rf"(?<!\w){re.escape(secret)}(?!\w)" if len(secret) < 8 else re.escape(secret)
        for secret in sorted(found, key=len, reverse=True)
    ]
    pattern = re.compile("|".join(words))
    return lambda text: pattern.sub(lambda match: found[match[0]], text)
