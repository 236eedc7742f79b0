"""An HTTP server in OpenAI's shape over a stack. Needs the extra `serve`."""

from arriero.stack.server.app import create_app

__all__ = ["create_app"]
