"""Which network addresses a webhook may have: public ones only, unless the operator allows all."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# https://www.iana.org/assignments/iana-ipv6-special-registry
GLOBAL_UNICAST = IPv6Network("2000::/3")
# Addresses that contain an IPv4 address, at a place that only the relay knows, or that are special.
NOT_PUBLIC = (IPv6Network("2001::/23"), IPv6Network("2001:db8::/32"), IPv6Network("2002::/16"))
# The addresses that NAT64 translates to the IPv4 address in the last 32 bits (RFC 6052).
NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether a numeric address is a unicast address of the public internet.

    The IPv4 address within a mapped or a NAT64 address decides about it.
    """
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        if parsed in NAT64:
            parsed = IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            parsed = parsed.ipv4_mapped or parsed
    if isinstance(parsed, IPv6Address) and (
        parsed not in GLOBAL_UNICAST or any(parsed in network for network in NOT_PUBLIC)
    ):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved
