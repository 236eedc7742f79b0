from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from arriero import Stack


@pytest.fixture(params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
async def stack(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """The bundled model on each engine."""
    async with AsyncExitStack() as closing:
        if request.param == "transformers":
            yield await closing.enter_async_context(Stack.local())
        else:
            server = request.getfixturevalue("vllm_server")
            yield await closing.enter_async_context(Stack.connect(server.url))
