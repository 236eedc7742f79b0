"""How requests to an API prove who they are from. The model sees none of it."""

import base64
import json
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import quote, quote_plus

from arriero.tools.errors import ToolDefinitionError

_HIDDEN = b"[hidden]"
_SHORTEST = 6  # a shorter secret is no secret, and looking for it would spoil what an answer says


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token in the header `Authorization: Bearer ...` (RFC 6750).

    Args:
        token: The token.
    """

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BasicLogin:
    """A user name and password (RFC 7617).

    Args:
        user: Name, without a colon.
        password: Password.
    """

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in a header, a query parameter or a cookie of the API's own.

    Args:
        name: Name of the header, parameter or cookie.
        key: The key.
        place: Where it is sent.
    """

    name: str
    key: str = field(repr=False)
    place: Literal["header", "query", "cookie"] = "header"


Credentials: TypeAlias = BearerToken | BasicLogin | ApiKey


@dataclass(frozen=True, slots=True)
class Proof:
    """Credentials as parts of a request.

    Args:
        headers: Headers.
        query: Query parameters.
        cookies: Cookies.
        secrets: Every form in which they might come back.
    """

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    query: dict[str, str] = field(default_factory=dict, repr=False)
    cookies: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[bytes, ...] = field(default=(), repr=False)

    def hide(self, text: bytes) -> bytes:
        """The text without the credentials, should a server repeat them; those shorter than 6 characters stay.

        Args:
            text: Body of a response.

        Returns:
            The body, with `[hidden]` in their place.
        """
        for secret in self.secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def proof_of(credentials: Credentials | None) -> Proof:
    """Make credentials parts of a request.

    Args:
        credentials: What was configured.

    Returns:
        The parts.

    Raises:
        ToolDefinitionError: They are empty or cannot be sent in a header.
    """
    match credentials:
        case None:
            return Proof()
        case BearerToken(token):
            return Proof(headers={"Authorization": f"Bearer {_sendable(token)}"}, secrets=_forms(token))
        case BasicLogin(user, password):
            if ":" in user:
                raise ToolDefinitionError("a user name for HTTP cannot contain ':'")
            pair = base64.b64encode(f"{user}:{_sendable(password)}".encode()).decode()
            return Proof(headers={"Authorization": f"Basic {pair}"}, secrets=(*_forms(pair), *_forms(password)))
        case ApiKey(name, key, "header"):
            return Proof(headers={_sendable(name): _sendable(key)}, secrets=_forms(key))
        case ApiKey(name, key, "query"):
            return Proof(query={name: key}, secrets=_forms(_sendable(key)))
        case ApiKey(name, key, "cookie"):
            return Proof(cookies={name: key}, secrets=_forms(_sendable(key)))
        case _:
            raise ToolDefinitionError("auth must be a BearerToken, BasicLogin or ApiKey")


def _sendable(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable():
        raise ToolDefinitionError("a credential is empty or contains characters that HTTP cannot carry")
    return text


def _forms(secret: str) -> tuple[bytes, ...]:
    """Longest first, so that a form that contains another one is found."""
    forms = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
    }
    return tuple(sorted((form.encode() for form in forms if len(form) >= _SHORTEST), key=len, reverse=True))
