"""Operations of an HTTP API as tools, from its OpenAPI document."""

from arriero.tools.openapi.credentials import ApiKey, BasicLogin, BearerToken, Credentials
from arriero.tools.openapi.tools import openapi_tools

__all__ = ["ApiKey", "BasicLogin", "BearerToken", "Credentials", "openapi_tools"]
