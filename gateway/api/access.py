"""Access to a route: requires a bearer token that has the scope and is within its rate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gateway.api.problems import Problem
from gateway.api.state import Shared, shared
from gateway.api.tokens import NO_TOKEN, Scope, Token

bearer = HTTPBearer(auto_error=False, description="Token, made by `labelwright gateway token`.")


def caller(scope: Scope) -> Callable[..., Awaitable[Token]]:
    """Return the dependency of a route that requires the scope. It returns the token, or raises Problem 401, 403 or 429."""

    async def require(
        request: Request,
        parts: Annotated[Shared, Depends(shared)],
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> Token:
        token = _token(parts, credentials, request.headers.get("Authorization"))
        request.state.caller = token.name
        if not token.may(scope):
            raise Problem(
                403, "scope-missing", f"The token {token.name} has the scopes {', '.join(token.scopes)}: expected {scope}."
            )
        await parts.rates.count(token)
        return token

    return require


def _token(parts: Shared, credentials: HTTPAuthorizationCredentials | None, header: str | None) -> Token:
    if credentials is not None:
        if found := parts.tokens.find(credentials.credentials):
            return found
        raise _unauthorized("The token is not known.", 'Bearer error="invalid_token"')
    if header is not None:
        raise _unauthorized('The header Authorization is not understood: expected "Bearer TOKEN".', "Bearer")
    if parts.config.anonymous:
        return NO_TOKEN
    raise _unauthorized("The header Authorization is missing: expected a bearer token.", "Bearer")


def _unauthorized(detail: str, challenge: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})
