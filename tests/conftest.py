"""What every test relies on."""

import pytest
from loguru import logger


@pytest.fixture(autouse=True)
def logs_are_heard() -> None:
    """The Compute API silences the package's logs in the program that imports it; the tests listen to them."""
    logger.enable("dcp_worker")
