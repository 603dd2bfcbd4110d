//! IP networks, the unit by which addresses are counted, limited and banned.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::{Multiaddr, multiaddr::Protocol};

/// Prefix lengths under which an address is counted, IPv4 and IPv6, finest first. Where too many networks of one size
/// are told apart already, further ones share the place of a coarser one.
pub(super) const SIZES: [(u8, u8); 3] = [(32, 64), (24, 48), (16, 32)];

/// An IP network: an address whose bits behind the first `len` are zero.
///
/// IPv4-mapped IPv6 addresses (`::ffff:0:0/96`, RFC 4291 section 2.5.5.2) are IPv4 here, or whoever
/// reaches us through a dual-stack socket would count twice. `Display` and `FromStr` use `10.0.0.0/8`
/// and `2001:db8::/32`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: IpAddr,
    len: u8,
}

/// The address and the length, or the text, are not a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPrefix {
    /// The text before the slash is not an IP address.
    #[error("the network does not begin with an IP address")]
    Address,
    /// There is no slash, or no decimal number without sign and leading zeros behind it.
    #[error("the network has no prefix length")]
    Length,
    /// The prefix is longer than an address of its family.
    #[error("the prefix length is more than {max}")]
    TooLong {
        /// 32 or 128.
        max: u8,
    },
    /// The address has bits behind the prefix: a typing error or one host of the network.
    #[error("the address has bits behind its prefix; the network is {network}")]
    HostBits {
        /// The network without them.
        network: Prefix,
    },
}

impl Prefix {
    /// The network of the first `len` bits of `ip`; the other bits are cleared.
    pub fn new(ip: IpAddr, len: u8) -> Result<Self, InvalidPrefix> {
        let max = address_len(ip);
        if len > max {
            return Err(InvalidPrefix::TooLong { max });
        }
        // A mapped address of which less than the mark is left is a network of IPv6.
        Ok(match (ip.to_canonical(), ip) {
            (IpAddr::V4(ip), IpAddr::V6(_)) if len >= MAPPED_LEN => {
                Self::truncate(ip.into(), len.saturating_sub(MAPPED_LEN))
            }
            _ => Self::truncate(ip, len),
        })
    }

    /// What one host holds at least: its address in IPv4, the /64 it may number freely in IPv6.
    pub fn host(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::truncate(ip.into(), 32),
            IpAddr::V6(ip) => Self::truncate(ip.into(), 64),
        }
    }

    /// The network of the first `len` bits of `ip`, taken as it is; no longer than the address.
    pub(super) fn truncate(ip: IpAddr, len: u8) -> Self {
        let len = len.min(address_len(ip));
        let network = match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(len))).unwrap_or(0);
                Ipv4Addr::from_bits(ip.to_bits() & mask).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(len))).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
        };
        Self { network, len }
    }

    /// The network of one of the [`SIZES`] around this one.
    pub(super) fn of_size(self, (v4, v6): (u8, u8)) -> Self {
        self.coarser(if self.network.is_ipv4() { v4 } else { v6 })
    }

    /// The first address.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// How many bits all addresses have in common, at most 32 or 128.
    #[expect(clippy::len_without_is_empty, reason = "a length in bits; no network is empty")]
    pub fn len(&self) -> u8 {
        self.len
    }

    /// Whether `ip` belongs to the network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        Self::truncate(ip.to_canonical(), self.len) == *self
    }

    /// The network of `len` bits around this one; this one itself if it is not longer than that.
    #[must_use]
    pub fn coarser(&self, len: u8) -> Self {
        Self::truncate(self.network, len.min(self.len))
    }
}

/// The address that `addr` begins with, if it begins with `ip4`, `ip6` or a zoned `ip6`.
pub fn leading_ip(addr: &Multiaddr) -> Option<IpAddr> {
    let mut protocols = addr.protocols();
    let first = match protocols.next()? {
        Protocol::Ip6zone(_) => protocols.next()?,
        first => first,
    };
    match first {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

/// Bits before the IPv4 address in an IPv4-mapped one.
const MAPPED_LEN: u8 = 96;

fn address_len(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let (ip, len) = text.split_once('/').ok_or(InvalidPrefix::Length)?;
        let ip: IpAddr = ip.parse().map_err(|_| InvalidPrefix::Address)?;
        let prefix = Self::new(ip, parse_len(len).ok_or(InvalidPrefix::Length)?)?;
        let given = if prefix.network.is_ipv4() { ip.to_canonical() } else { ip };
        if prefix.network == given { Ok(prefix) } else { Err(InvalidPrefix::HostBits { network: prefix }) }
    }
}

// One number has one text: `FromStr` would also take a plus sign and leading zeros. A number past 255 is
// longer than every address.
fn parse_len(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => Some(text.parse().unwrap_or(u8::MAX)),
        _ => None,
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
