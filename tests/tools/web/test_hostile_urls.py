"""Addresses that must not be reached, tried in each place where an address comes from."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network import PUBLIC, Network

from arriero.tools import ToolDefinitionError, ToolError
from arriero.tools.web.fetch import web_fetch
from arriero.tools.web.guard import BlockedAddress, NetworkPolicy, guarded_client

pytestmark = pytest.mark.anyio

FILE = Path(__file__).parents[2] / "data" / "hostile_urls.jsonl"
HOSTILE: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]


def network_of(entry: dict[str, Any], reply: bytes = Network.reply) -> Network:
    return Network(reply, {entry["url"].split("/")[2]: [entry["resolves"]]} if "resolves" in entry else {})


def test_there_are_many_kinds_of_hostile_addresses() -> None:
    assert len(HOSTILE) >= 300
    assert len({entry["category"] for entry in HOSTILE}) >= 10
    assert all(entry["why"] for entry in HOSTILE)
    assert len({entry["url"] for entry in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize("entry", HOSTILE, ids=lambda entry: f"{entry['why']}: {ascii(entry['url'])[:60]}")
async def test_the_tool_makes_no_connection(entry: dict[str, Any]) -> None:
    network = network_of(entry)
    tool = web_fetch(resolver=network.resolve, backend=network)
    try:
        with pytest.raises(ToolError) as caught:
            await tool.invoke({"url": entry["url"]})
    finally:
        await tool.aclose()
    assert network.connections == []
    assert 10 < len(str(caught.value)) < 500


@pytest.mark.parametrize("category", sorted({entry["category"] for entry in HOSTILE}))
async def test_the_client_reads_an_address_as_harmless_or_refuses_it(category: str) -> None:
    for entry in (entry for entry in HOSTILE if entry["category"] == category):
        network = network_of(entry)
        async with guarded_client(NetworkPolicy(), resolver=network.resolve, backend=network) as client:
            with suppress(ToolError, httpx2.InvalidURL, httpx2.HTTPError, UnicodeError):
                await client.get(entry["url"])
        assert set(network.asked) <= ({"example.com"} if "resolves" not in entry else {entry["url"].split("/")[2]})
        assert network.connections == ([(PUBLIC, 80)] if network.asked == ["example.com"] else []), entry


@pytest.mark.parametrize("category", sorted({entry["category"] for entry in HOSTILE}))
async def test_a_redirect_does_not_lead_there(category: str) -> None:
    for entry in (entry for entry in HOSTILE if entry["category"] == category):
        location = entry["url"].encode("utf-8", "surrogatepass")
        reply = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        network = network_of(entry, reply)
        tool = web_fetch(resolver=network.resolve, backend=network)
        with pytest.raises(ToolError):
            await tool.invoke({"url": "http://public.example.com/"})
        await tool.aclose()
        assert network.connections, entry
        assert {address for address, _ in network.connections} == {PUBLIC}, entry
        assert {port for _, port in network.connections} <= {80, 443}, entry


async def test_the_connection_goes_to_the_checked_address_and_not_to_the_name() -> None:
    network = Network()
    async with guarded_client(NetworkPolicy(), resolver=network.resolve, backend=network) as client:
        assert (await client.get("http://example.com/page")).status_code == 200
    assert network.connections == [(PUBLIC, 80)]
    assert b"Host: example.com\r\n" in network.sent


async def test_tls_is_for_the_name() -> None:
    network = Network()
    async with guarded_client(NetworkPolicy(), resolver=network.resolve, backend=network) as client:
        await client.get("https://example.com/page")
    assert network.connections == [(PUBLIC, 443)]
    assert network.names == ["example.com"]


async def test_a_name_that_resolves_to_something_else_the_second_time_is_asked_once() -> None:
    network = Network(answers={"rebind.example.com": [[PUBLIC], ["127.0.0.1"]]})
    async with guarded_client(NetworkPolicy(), resolver=network.resolve, backend=network) as client:
        assert (await client.get("http://rebind.example.com/")).status_code == 200
        assert network.asked == ["rebind.example.com"]
        with pytest.raises(BlockedAddress, match="loopback"):
            await client.get("http://rebind.example.com/")
    assert network.connections == [(PUBLIC, 80)]


async def test_a_redirect_to_a_name_that_now_resolves_to_something_else_is_refused() -> None:
    reply = b"HTTP/1.1 307 X\r\nLocation: http://rebind.example.com/b\r\nConnection: close\r\n\r\n"
    network = Network(reply, {"rebind.example.com": [[PUBLIC], ["169.254.169.254"]]})
    tool = web_fetch(resolver=network.resolve, backend=network)
    with pytest.raises(BlockedAddress, match="cloud metadata"):
        await tool.invoke({"url": "http://rebind.example.com/a"})
    await tool.aclose()
    assert network.connections == [(PUBLIC, 80)]


async def test_an_address_that_does_not_answer_is_followed_by_the_next_checked_one() -> None:
    class Half(Network):
        async def connect_tcp(self, host: str, port: int, *rest: Any, **more: Any) -> Any:
            stream = await super().connect_tcp(host, port)
            if host == PUBLIC:
                raise httpcore2.ConnectError("refused")
            return stream

    network = Half(answers={"two.example.com": [[PUBLIC, "93.184.215.15"]]})
    async with guarded_client(NetworkPolicy(), resolver=network.resolve, backend=network) as client:
        assert (await client.get("http://two.example.com/")).status_code == 200
    assert network.connections == [(PUBLIC, 80), ("93.184.215.15", 80)]


async def test_a_redirect_from_https_to_http_is_refused() -> None:
    network = Network(b"HTTP/1.1 301 X\r\nLocation: http://example.com/\r\nConnection: close\r\n\r\n")
    tool = web_fetch(resolver=network.resolve, backend=network)
    with pytest.raises(BlockedAddress, match="https to http"):
        await tool.invoke({"url": "https://example.com/"})
    await tool.aclose()
    assert network.connections == [(PUBLIC, 443)]


@pytest.mark.parametrize("location", ["http://xn--", "http://a%xn--b/", "http:////[", "http://[", "http://a]xn--b"])
async def test_a_redirect_to_no_address_is_told(location: str) -> None:
    network = Network(f"HTTP/1.1 302 X\r\nLocation: {location}\r\nConnection: close\r\n\r\n".encode())
    tool = web_fetch(resolver=network.resolve, backend=network)
    with pytest.raises(ToolError):
        await tool.invoke({"url": "http://example.com/"})
    await tool.aclose()
    assert network.connections == [(PUBLIC, 80)]


async def test_a_fragment_that_looks_like_a_host_is_left_out() -> None:
    network = Network()
    tool = web_fetch(resolver=network.resolve, backend=network)
    assert "Mules" in str(await tool.invoke({"url": "http://example.com#@127.0.0.1:22/"}))
    await tool.aclose()
    assert network.asked == ["example.com"]
    assert b"127.0.0.1" not in network.sent


async def test_proxies_and_credentials_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    network = Network()
    async with guarded_client(NetworkPolicy(), resolver=network.resolve, backend=network) as client:
        await client.get("http://example.com/")
    assert network.connections == [(PUBLIC, 80)]
    assert b"uthorization" not in network.sent


@pytest.mark.parametrize(
    ("location", "requests"),
    [
        ("http://example.org/", 1),
        ("//example.org/", 1),
        ("http://example.com:8080/", 1),
        ("http:///other", 3),
        ("https://example.com/", 1),
        ("/other", 3),
        ("http://example.com:80/other", 3),
    ],
)
async def test_a_redirect_takes_secret_headers_to_no_other_origin(location: str, requests: int) -> None:
    reply = f"HTTP/1.1 307 -\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    network = Network(reply.encode())
    policy = NetworkPolicy(max_redirects=2, ports=(80, 443, 8080))
    secrets = {"X-API-Key": "canary", "Authorization": "canary", "Cookie": "c=canary"}
    client = guarded_client(
        policy,
        headers={"X-Other-Key": "canary", "Accept-Language": "qu"},
        follow_redirects=True,
        resolver=network.resolve,
        backend=network,
    )
    async with client:
        with pytest.raises(httpx2.TooManyRedirects):
            await client.get("http://example.com/", headers=secrets)
    sent = bytes(network.sent).split(b"\r\n\r\n")[:-1]
    assert [b"X-API-Key: canary" in request for request in sent] == [position < requests for position in range(3)]
    assert [b"canary" in request for request in sent] == [position < requests for position in range(3)]
    assert all(b"Accept-Language: qu" in request for request in sent)


async def test_cookies_are_not_kept() -> None:
    network = Network(b"HTTP/1.1 200 OK\r\nSet-Cookie: who=you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    async with guarded_client(NetworkPolicy(), resolver=network.resolve, backend=network) as client:
        await client.get("http://example.com/")
        await client.get("http://example.com/")
    assert b"ookie" not in network.sent


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (NetworkPolicy(allow_private=("127.0.0.1:8080",)), "http://127.0.0.1:8080/"),
        (NetworkPolicy(allow_private=("[::1]:8080",)), "http://[::1]:8080/"),
        (NetworkPolicy(allow_private=("::1",)), "http://[::1]/"),
        (NetworkPolicy(allow_private=("10.0.0.0/8",)), "http://10.20.30.40/"),
        (NetworkPolicy(allow_private=("wiki",)), "http://wiki/"),
        (NetworkPolicy(allow_private=("wiki.intranet:9000",)), "http://wiki.intranet:9000/"),
        (NetworkPolicy(allow_private=("169.254.169.254",)), "http://169.254.169.254/"),
        (NetworkPolicy(allow_hosts=("example.com",)), "http://example.com/"),
        (NetworkPolicy(allow_hosts=("*.example.com",)), "http://a.b.example.com/"),
        (NetworkPolicy(ports=(8080,)), "http://example.com:8080/"),
        (NetworkPolicy.only("http://127.0.0.1:9000/v1"), "http://127.0.0.1:9000/v2"),
        (NetworkPolicy.only("https://[fd00::1]/v1"), "https://[fd00::1]/v2"),
    ],
)
async def test_what_a_policy_allows_is_reached(policy: NetworkPolicy, url: str) -> None:
    network = Network(answers={"wiki": [["10.0.0.1"]], "wiki.intranet": [["192.168.1.1", "fd00::1"]]})
    async with guarded_client(policy, resolver=network.resolve, backend=network) as client:
        assert (await client.get(url)).status_code == 200


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (NetworkPolicy(allow_private=("127.0.0.1:8080",)), "http://127.0.0.1/"),
        (NetworkPolicy(allow_private=("127.0.0.1:8080",)), "http://127.0.0.2:8080/"),
        (NetworkPolicy(allow_private=("127.0.0.1:8080",)), "http://example.com:8080/"),
        (NetworkPolicy(allow_private=("127.0.0.1",)), "http://[::ffff:127.0.0.1]/"),
        (NetworkPolicy(allow_private=("169.254.0.0/16",)), "http://169.254.169.254/"),
        (NetworkPolicy(allow_private=("wiki",)), "http://wiki:8080/"),
        (NetworkPolicy(allow_private=("wiki",)), "http://10.0.0.1/"),
        (NetworkPolicy(allow_private=("imds",)), "http://imds/"),
        (NetworkPolicy(allow_hosts=("example.com",)), "http://example.org/"),
        (NetworkPolicy(allow_hosts=("example.com",)), "http://a.example.com/"),
        (NetworkPolicy(allow_hosts=("*.example.com",)), "http://example.com/"),
        (NetworkPolicy(allow_hosts=("*.example.com",)), "http://evilexample.com/"),
        (NetworkPolicy(deny_hosts=("example.com", "*.example.com")), "http://example.com/"),
        (NetworkPolicy(deny_hosts=("example.com", "*.example.com")), "http://a.example.com/"),
        (NetworkPolicy(deny_hosts=("münchen.example.com",)), "http://münchen.example.com/"),
        (NetworkPolicy(deny_hosts=("[2606:4700:0::1111]",)), "http://[2606:4700::1111]/"),
        (NetworkPolicy(deny_hosts=(PUBLIC,)), "http://name.example.com/"),
        (NetworkPolicy(deny_hosts=("[2606:4700::1]",)), "http://six.example.com/"),
        (replace(NetworkPolicy(deny_hosts=("93.184.0.0/16",)), ports=(80,)), "http://name.example.com/"),
        (NetworkPolicy(deny_hosts=("93.184.0.0/16",)), "http://name.example.com/"),
        (NetworkPolicy(deny_hosts=("93.184.0.0/16",)), f"http://{PUBLIC}/"),
        (NetworkPolicy(deny_hosts=("10.0.0.0/8",), allow_private=("wiki",)), "http://wiki/"),
        (NetworkPolicy(schemes=("https",)), "http://example.com/"),
        (NetworkPolicy.only("https://example.com/"), "https://example.org/"),
        (NetworkPolicy.only("https://example.com/"), "https://example.com:8443/"),
        (NetworkPolicy.only("https://example.com/"), "http://example.com/"),
    ],
)
async def test_what_a_policy_does_not_allow_is_not_reached(policy: NetworkPolicy, url: str) -> None:
    answers = {"wiki": [["10.0.0.1"]], "imds": [["169.254.169.254"]], "six.example.com": [["2606:4700::1"]]}
    network = Network(answers=answers)
    async with guarded_client(policy, resolver=network.resolve, backend=network) as client:
        with pytest.raises(BlockedAddress):
            await client.get(url)
    assert network.connections == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"allow_private": ("http://x/",)},
        {"allow_private": ("10.0.0.0/33",)},
        {"allow_private": "10.0.0.0/8"},
        {"deny_hosts": ("https://example.com",)},
        {"deny_hosts": ("example.com:80",)},
        {"allow_hosts": ("example.com/path",)},
        {"allow_hosts": ("",)},
        {"schemes": ("ftp",)},
        {"schemes": ()},
        {"ports": 80},
        {"connect_timeout": 0},
        {"max_redirects": -1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError, match="network policy"):
        NetworkPolicy(**wrong)


async def test_unix_sockets_are_refused() -> None:
    from arriero.tools.web.connection import CheckedBackend

    network = Network()
    with pytest.raises(BlockedAddress, match="Unix"):
        await CheckedBackend(NetworkPolicy(), network.resolve, network).connect_unix_socket("/run/docker.sock")
    assert network.connections == []


@given(st.ip_addresses())
def test_an_address_reaches_the_network_only_if_python_calls_it_global(address: Any) -> None:
    literal = f"[{address}]" if address.version == 6 else str(address)
    try:
        NetworkPolicy().check_url(f"http://{literal}/")
    except BlockedAddress:
        return
    assert address.is_global
    assert not address.is_multicast
    assert not address.is_private


@given(st.text(max_size=60))
def test_any_text_is_refused_or_read_as_one_host(text: str) -> None:
    try:
        target = NetworkPolicy().check_url(f"http://{text}/")
    except BlockedAddress:
        return
    url = httpx2.URL(target.url)
    assert url.raw_host.decode() == target.host
    assert (url.port or 80) == target.port
    assert not url.userinfo
