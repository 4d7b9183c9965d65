"""The configuration document of a scheduler."""

import json

import pytest

from dcp_worker.protocol.dcp import bootstrap, kvin

SERVICES = {"jobSubmit": "/job-submit/", "eventRouter": "/event-router/", "bankTeller": "/bank-teller/"}


@pytest.mark.parametrize(("version", "kvin_version"), [("2.1.0", "v9"), ("2.0.0", "v8"), ("", "v9")])
def test_what_is_served_is_what_is_read(version: str, kvin_version: str) -> None:
    """A document tells where each service is, in the KVIN version that the peer asked for."""
    text = bootstrap.config_document("http://127.0.0.1:9100/", SERVICES, version)
    config = bootstrap.read_config(text)

    assert json.loads(text)["_serializeVerId"] == kvin_version
    assert config.location == "http://127.0.0.1:9100/"
    assert config.services["jobSubmit"] == "http://127.0.0.1:9100/job-submit/"
    assert config.services["bankTeller"] == "http://127.0.0.1:9100/bank-teller/"
    assert config.bulk == 1
    assert config.job["uploadSlicesTarget"] == 1_000_000


def test_locations_are_below_a_path() -> None:
    """A scheduler behind a path keeps it in all its locations."""
    config = bootstrap.read_config(bootstrap.config_document("https://lab.example/dcp/", SERVICES))

    assert config.services["eventRouter"] == "https://lab.example/dcp/event-router/"


def test_urls_are_the_clients_own_type() -> None:
    """npm programs only take a location of this type."""
    text = bootstrap.config_document("http://h/", SERVICES)

    assert '{"ctr":"dcpUrl$$DcpURL","ps":{},"arg":"http://h/job-submit/"}' in text


@pytest.mark.parametrize("bulk", [None, 0, -1, "1", True, 1.5])
def test_a_scheduler_without_bulk_operations(bulk: object) -> None:
    """Only a positive number turns the bulk operations on."""
    document = kvin.serialize({"scheduler": {"bulk": bulk, "services": {}}})

    assert bootstrap.read_config(document, "http://h/").bulk == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "{}",
        "[]",
        "null",
        kvin.serialize(5),
        kvin.serialize({"scheduler": 5}),
        kvin.serialize({"x": {}}),
    ],
)
def test_what_is_no_configuration(text: str) -> None:
    """Anything else is an error that says so."""
    with pytest.raises(bootstrap.ConfigError, match="no DCP scheduler"):
        bootstrap.read_config(text, "http://h/")


def test_strange_parts_are_left_out() -> None:
    """A service without a usable location is not there; the rest is."""
    services = {
        "a": 5,
        "b": {},
        "c": {"location": "file:///etc/passwd"},
        "d": {"location": kvin.DcpUrl("http://h/d/")},
    }
    document = kvin.serialize({"scheduler": {"services": services}, "bank": [1]})
    config = bootstrap.read_config(document, "http://h/")

    assert dict(config.services) == {"d": "http://h/d/"}
    assert config.location == "http://h/"
