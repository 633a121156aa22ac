//! The networks that peers are counted by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network that a peer belongs to, for limits per peer.
///
/// An IPv6 host has as many addresses as it likes within its network, so a limit per address would
/// limit nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerNetwork(IpAddr);

impl PeerNetwork {
    /// The network of one host: an IPv4 address, or a /64 of IPv6, which is the prefix of one link
    /// ([RFC 4291 §2.5.1](https://www.rfc-editor.org/rfc/rfc4291#section-2.5.1)).
    ///
    /// For what every client needs, such as connections: a neighbour must not use up its share.
    #[must_use]
    pub fn host(peer: IpAddr) -> Self {
        Self::of(peer, 32, 64)
    }

    /// The network of one site: a /24 of IPv4, or a /56 of IPv6, which providers assign to one
    /// customer ([RFC 6177](https://www.rfc-editor.org/rfc/rfc6177)).
    ///
    /// For what only an attacker uses up, such as questions about unknown tokens: addresses of one
    /// site are cheap.
    #[must_use]
    pub fn site(peer: IpAddr) -> Self {
        Self::of(peer, 24, 56)
    }

    /// The first bits of an address. An IPv4-mapped IPv6 address counts as IPv4.
    fn of(peer: IpAddr, ipv4: u32, ipv6: u32) -> Self {
        Self(match peer.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX << (u32::BITS - ipv4);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX << (u128::BITS - ipv6);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_belongs_to_a_host_and_to_a_site() {
        for (peer, host, site) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0"),
            (
                "2001:db8:1:2345:3:4:5:6",
                "2001:db8:1:2345::",
                "2001:db8:1:2300::",
            ),
            ("::1", "::", "::"),
        ] {
            let peer = peer.parse().unwrap();
            assert_eq!(PeerNetwork::host(peer).0.to_string(), host);
            assert_eq!(PeerNetwork::site(peer).0.to_string(), site);
        }
    }
}
