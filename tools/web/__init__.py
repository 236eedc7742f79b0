"""The web as a tool: pages fetched through a guard that lets no request into a private network."""

from arriero.tools.web.fetch import web_fetch
from arriero.tools.web.guard import BlockedAddress, NetworkPolicy, guarded_client

__all__ = ["BlockedAddress", "NetworkPolicy", "guarded_client", "web_fetch"]
