from collections.abc import Iterator

import documented
import pytest


@pytest.fixture(scope="module")
def running_services() -> Iterator[documented.Services]:
    with documented.running() as services:
        yield services


@pytest.fixture
def services(running_services: documented.Services) -> documented.Services:
    running_services.reset()
    return running_services
