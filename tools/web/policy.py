"""What a tool may connect to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.web.addresses import METADATA, Address, Network, address_kind

_MAX_URL = 4096
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<name>[^/?#\[\]:@%\\]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>(?:[/?#].*)?)"
)
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOCAL_SUFFIXES = frozenset(
    {
        *("localhost", "localdomain", "local", "internal", "intranet", "private", "lan", "home", "corp", "arpa"),
        *("test", "invalid", "onion", "alt", "consul", "svc"),
    }
)


class BlockedAddress(ToolError):
    """An address that the network policy does not let a tool reach. No connection was made to it."""


@dataclass(frozen=True, slots=True)
class Target:
    """An http(s) address that was taken apart and checked.

    Args:
        scheme: `"http"` or `"https"`.
        host: Name in its ASCII form, or address without brackets; lower case.
        port: TCP port.
        url: The whole in canonical form, without the fragment.
    """

    scheme: str
    host: str
    port: int
    url: str


@dataclass(frozen=True, slots=True)
class _Permit:
    """One entry of `allow_private`: a name or a network, on one port or on those of the policy."""

    host: str | None
    network: Network | None
    port: int | None

    def covers_name(self, host: str, port: int) -> bool:
        return self.host == host and self.port in (None, port)

    def covers_address(self, address: Address, port: int) -> bool:
        if self.network is None or self.port not in (None, port) or self.network.version != address.version:
            return False
        if address in METADATA and self.network.num_addresses > 1:
            return False  # credentials of the machine are never part of "the intranet"
        return address in self.network


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy:
    """What a tool may connect to: by default any host of the public internet, on the web's two ports.

    The same rules hold for the address that the model gives, for every redirect and for every IP address that a name
    resolves to. Addresses of private networks, of the machine itself, of cloud metadata services and all that embed
    an IPv4 address in an IPv6 one are refused.

    Args:
        schemes: `"http"` and `"https"`, or one of them.
        ports: TCP ports.
        allow_hosts: When not empty, only these: `"example.org"` is that name, `"*.example.org"` any below it.
        deny_hosts: Never these; same form. An address (`"203.0.113.9"`) or a network (`"203.0.113.0/24"`), such as
            the public one of one's own servers, is refused also to names that resolve to it.
        allow_private: What may be reached although it is private or has a local name: an exact name
            (`"wiki.intranet"`), an address (`"10.1.2.3"`) or a network (`"10.0.0.0/8"`), a name or address also
            with a port that is then allowed (`"127.0.0.1:8080"`, `"[::1]:8080"`). A name covers whatever it resolves
            to, an address any name that resolves to it. A metadata service must be named by its own address.
        connect_timeout: Seconds for the name and the connection.
        max_redirects: Most redirects of one request.

    Raises:
        ToolDefinitionError: An entry cannot be understood.

    Example:
        >>> policy = NetworkPolicy(allow_private=("127.0.0.1:8080",))
        >>> policy.check_url("http://127.0.0.1:8080/page").port
        8080
        >>> policy.check_url("http://127.0.0.1/page")
        Traceback (most recent call last):
        arriero.tools.web.policy.BlockedAddress: 127.0.0.1 is a loopback address, which this tool may not reach
    """

    schemes: tuple[str, ...] = ("https", "http")
    ports: tuple[int, ...] = (80, 443)
    allow_hosts: tuple[str, ...] = ()
    deny_hosts: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    connect_timeout: float = 10.0
    max_redirects: int = 5
    _permits: tuple[_Permit, ...] = field(init=False, repr=False, compare=False, default=())
    _denied: tuple[Network, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        if not self.schemes or not set(self.schemes) <= set(_DEFAULT_PORTS):
            raise ToolDefinitionError(f"network policy: schemes is {self.schemes!r}; use 'http' and 'https'")
        for name in ("ports", "allow_hosts", "deny_hosts", "allow_private"):
            if isinstance(getattr(self, name), str | int):
                raise ToolDefinitionError(f"network policy: {name} is one value; give a tuple of them")
        if not self.connect_timeout > 0 or self.max_redirects < 0:
            raise ToolDefinitionError("network policy: connect_timeout must be above 0 and max_redirects not below")
        object.__setattr__(self, "_permits", tuple(_permit(entry) for entry in self.allow_private))
        denied = [_network(entry) for entry in self.deny_hosts]
        object.__setattr__(self, "_denied", tuple(network for network in denied if network is not None))
        for name in ("allow_hosts", "deny_hosts"):
            object.__setattr__(self, name, tuple(_host_pattern(name, entry) for entry in getattr(self, name)))

    @classmethod
    def only(cls, url: str, *, connect_timeout: float = 10.0) -> "NetworkPolicy":
        """A policy for a server that was configured by hand: exactly that host and port, be it private or not.

        Args:
            url: Any address of the server.
            connect_timeout: Seconds for the name and the connection.

        Raises:
            ToolDefinitionError: It is not an http(s) address.

        Example:
            >>> NetworkPolicy.only("http://tools.intranet:9000/v1").allow_private
            ('tools.intranet:9000',)
        """
        try:
            target = _split(url)
        except BlockedAddress as error:
            raise ToolDefinitionError(f"{without_secrets(url)!r} cannot be a server's address: {error}") from error
        host = f"[{target.host}]" if ":" in target.host else target.host
        return cls(
            schemes=(target.scheme,),
            ports=(target.port,),
            allow_hosts=(target.host,),
            allow_private=(f"{host}:{target.port}",),
            connect_timeout=connect_timeout,
        )

    def check_url(self, url: str) -> Target:
        """Take an address apart and check all that can be checked without resolving its name.

        Args:
            url: As a model or a server wrote it.

        Returns:
            The parts.

        Raises:
            BlockedAddress: It is malformed, or may not be reached; says why.
        """
        target = _split(url)
        host, port = target.host, target.port
        if target.scheme not in self.schemes:
            raise BlockedAddress(f"{target.scheme} is not allowed here; use {' or '.join(self.schemes)}")
        if _matches(host, self.deny_hosts):
            raise BlockedAddress(f"{host} is on the list of hosts that this tool may not reach")
        if self.allow_hosts and not _matches(host, self.allow_hosts):
            raise BlockedAddress(f"{host} is not on the list of hosts that this tool may reach")
        literal = _literal(host)
        if literal is not None:
            self._check_port(port, [permit for permit in self._permits if permit.covers_address(literal, port)])
            self.check_addresses(host, port, [host])
            return target
        permits = [permit for permit in self._permits if permit.covers_name(host, port)]
        self._check_port(port, [*permits, *(permit for permit in self._permits if permit.network is not None)])
        if not permits and ("." not in host or host.rpartition(".")[2] in _LOCAL_SUFFIXES):
            raise BlockedAddress(f"{host} is a name of a local network, which this tool may not reach")
        return target

    def check_addresses(self, host: str, port: int, addresses: Sequence[str]) -> tuple[str, ...]:
        """Check what a name resolved to. One refused address refuses the name.

        Args:
            host: The name, or the address itself.
            port: The port of the connection.
            addresses: All addresses of the name.

        Returns:
            The addresses in canonical form, in the given order.

        Raises:
            BlockedAddress: There is none, or one of them may not be reached.
        """
        if not addresses:
            raise BlockedAddress(f"{host} has no address")
        named = any(permit.covers_name(host, port) for permit in self._permits)
        checked = []
        for text in addresses:
            address = _literal(text.partition("%")[0])
            if address is None:
                raise BlockedAddress(f"{host} resolves to something that is no IP address")
            if any(address in network for network in self._denied if network.version == address.version):
                raise BlockedAddress(f"{host} is on the list of hosts that this tool may not reach")
            permitted = any(permit.covers_address(address, port) for permit in self._permits)
            if not permitted and not (named and address not in METADATA):
                self._refuse_special(host, address)
                self._check_port(port, [])
            checked.append(str(address))
        return tuple(dict.fromkeys(checked))

    def _check_port(self, port: int, permits: Sequence[_Permit]) -> None:
        if port not in self.ports and not any(permit.port == port for permit in permits):
            allowed = ", ".join(str(number) for number in self.ports)
            raise BlockedAddress(f"port {port} is not allowed; the allowed ports are {allowed}")

    @staticmethod
    def _refuse_special(host: str, address: Address) -> None:
        kind = address_kind(address)
        if kind is not None:
            # what a name resolves to inside of a network is not told: the model could map the network by it
            verb = "is" if host == str(address) else "resolves to"
            raise BlockedAddress(f"{host} {verb} {_article(kind)} {kind} address, which this tool may not reach")


def without_secrets(url: str) -> str:
    """An address as an error may show it: without login and query.

    Example:
        >>> without_secrets("https://me:secret@example.org/v1?key=secret")
        'https://example.org/v1'
    """
    return re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1", url.partition("?")[0])


def _split(url: str) -> Target:
    """The parts of an address in one strict syntax: what two parsers could read in two ways is refused."""
    if len(url) > _MAX_URL:
        raise BlockedAddress(f"the address has {len(url)} characters; at most {_MAX_URL} are read")
    odd = next((char for char in url if char == "\\" or char.isspace() or not char.isprintable()), None)
    if odd is not None:
        raise BlockedAddress(f"the address contains {odd!r}; write it percent-encoded or leave it out")
    scheme, separator, _ = url.partition(":")
    if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) and scheme.lower() not in _DEFAULT_PORTS:
        raise BlockedAddress(f"{scheme[:20]} addresses are not fetched; use https or http")
    match = _URL.fullmatch(url)
    if match is None:
        raise BlockedAddress(
            "the address cannot be read; write it as https://host/path, with no user name and no odd characters"
        )
    scheme = match["scheme"].lower()
    host = _literal_host(match["literal"]) if match["literal"] else _name(match["name"])
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise BlockedAddress(f"there is no port {port}")
    return Target(scheme, host, port, _canonical(scheme, host, port, match["rest"]))


def _canonical(scheme: str, host: str, port: int, rest: str) -> str:
    authority = f"[{host}]" if ":" in host else host
    if port != _DEFAULT_PORTS[scheme]:
        authority = f"{authority}:{port}"
    rest = rest.partition("#")[0]
    url = f"{scheme}://{authority}{rest if rest.startswith('/') else '/' + rest}"
    parts = urlsplit(url)  # a second parser must agree about the host
    if (parts.hostname or "").lower() != host or (parts.port or _DEFAULT_PORTS[scheme]) != port or parts.username:
        raise BlockedAddress("the address can be read in two ways; write it plainly")
    return url


def _literal_host(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError as error:
        raise BlockedAddress(f"[{text[:60]}] is no IPv6 address") from error


def _name(text: str) -> str:
    """A host name in ASCII; a number in any of the forms that resolvers read as an IPv4 address is refused."""
    host = text.lower()
    if not host.isascii():
        import idna

        try:  # IDNA 2008, strict: full-width digits and look-alike dots are not letters of a name
            if any(dot in host for dot in "\u3002\uff0e\uff61"):
                raise idna.IDNAError("a look-alike of the dot")
            host = idna.encode(host).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise BlockedAddress(f"{text[:60]!r} is no host name: {error}") from error
    if host.endswith("."):
        raise BlockedAddress(f"write the host {host[:60]!r} without the dot at its end")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return str(IPv4Address(host))
        except AddressValueError as error:
            raise BlockedAddress(f"{host[:60]} is no IPv4 address; write four decimal numbers") from error
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise BlockedAddress(f"{host[:60]!r} is no host name")
    return host


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _matches(host: str, patterns: Sequence[str]) -> bool:
    for pattern in patterns:
        if host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) >= len(pattern)):
            return True
    return False


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _host_pattern(option: str, entry: str) -> str:
    """An entry as hosts are compared with it; one that would never match is a mistake, in `deny_hosts` a hole."""
    network = _network(entry)
    if network is not None and (option == "deny_hosts" or network.num_addresses == 1):
        return str(network if network.num_addresses > 1 else network.network_address)
    wild, bare = entry[:2] == "*.", entry.removeprefix("*.").rstrip(".")
    try:
        host = _name(bare)
    except BlockedAddress as error:
        raise ToolDefinitionError(f"network policy: {option} has {entry!r}, which is no host: {error}") from error
    return f"*.{host}" if wild else host


def _permit(entry: str) -> _Permit:
    network = _network(entry)
    if network is not None:
        return _Permit(None, network, None)
    try:
        if "/" in entry:
            raise BlockedAddress("a network is written like 10.0.0.0/8, with zeros after its prefix")
        host = _split(f"http://{entry}/")
    except BlockedAddress as error:
        raise ToolDefinitionError(
            f"network policy: allow_private has {entry!r}, which is no name, address or network: {error}"
        ) from error
    port = host.port if re.search(r"(?<!:):[0-9]+$", entry) else None
    literal = _literal(host.host)
    return _Permit(None, ip_network(literal), port) if literal is not None else _Permit(host.host, None, port)


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiouIAEOU" else "a"
