"""Which IP addresses are no business of a model's.

Sources: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and its updates), RFC 6598 (shared
address space), RFC 4380 (Teredo), RFC 3056 (6to4), RFC 6052 and 8215 (NAT64), RFC 5214 (ISATAP) and the cloud
providers' pages about their metadata services.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

METADATA: frozenset[Address] = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Google, Azure, Oracle, OpenStack, DigitalOcean
        "169.254.170.2",  # AWS ECS, credentials of a task
        "169.254.170.23",  # AWS EKS, credentials of a pod
        "168.63.129.16",  # Azure wire server: a public address
        "192.0.0.192",  # Oracle
        "100.100.100.200",  # Alibaba
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS EKS
        "fd20:ce::254",  # Google
        "fe80::a9fe:a9fe",  # OpenStack
    )
)
"""Where clouds hand out credentials of the machine."""

_SPECIAL: tuple[tuple[str, Network], ...] = tuple(
    (kind, ip_network(text))
    for kind, texts in {
        "unspecified": "0.0.0.0/8 ::/128",
        "loopback": "127.0.0.0/8 ::1/128",
        "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10",
        "shared (carrier NAT)": "100.64.0.0/10",
        "link-local": "169.254.0.0/16 fe80::/10",
        "multicast": "224.0.0.0/4 ff00::/8",
        "broadcast": "255.255.255.255/32",
        "IPv4-in-IPv6": "::ffff:0:0/96 ::ffff:0:0:0/96 ::/96",
        "NAT64": "64:ff9b::/96 64:ff9b:1::/48",
        "Teredo": "2001::/32",
        "6to4": "2002::/16 192.88.99.0/24",
        "documentation": "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
        "benchmarking": "198.18.0.0/15 2001:2::/48",
        "reserved": "192.0.0.0/24 192.31.196.0/24 192.52.193.0/24 192.175.48.0/24 240.0.0.0/4"
        " 2001::/23 2620:4f:8000::/48",
    }.items()
    for text in texts.split()
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")  # all that IANA has given out for the public internet
_ISATAP = {0x00005EFE, 0x02005EFE}


def address_kind(address: Address) -> str | None:
    """What keeps an address from being an ordinary one of the public internet.

    Args:
        address: Any address.

    Returns:
        The kind, such as `"loopback"`; None for a public one.

    Example:
        >>> address_kind(ip_address("10.1.2.3")), address_kind(ip_address("::ffff:8.8.8.8"))
        ('private', 'IPv4-in-IPv6')
        >>> address_kind(ip_address("8.8.8.8")) is None
        True
    """
    if address in METADATA:
        return "cloud metadata"
    for kind, network in _SPECIAL:
        if address.version == network.version and address in network:
            return kind
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return "zoned"
        if address not in _GLOBAL_IPV6:
            return "reserved"
        if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
            return "IPv4-in-IPv6"
    return None if address.is_global else "reserved"  # what Python's own tables know beyond these
