use alloc::vec::Vec;
use core::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::{Error, MAX_LEN, base64url};
use crate::{PeerId, varint};

/// Longest host or zone name in an address, in bytes: that of a DNS name.
pub const MAX_NAME_LEN: usize = 253;

/// Longest digest of a certificate hash, in bytes: that of SHA-512.
const MAX_DIGEST_LEN: u64 = 64;

/// Longest base64url text of a whole address.
const MAX_BASE64_LEN: usize = MAX_LEN.div_ceil(3).saturating_mul(4);

/// One component of a [`Multiaddr`](super::Multiaddr). `Display` writes it with its leading slash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Protocol<'a> {
    /// `/ip4/192.0.2.1`
    Ip4(Ipv4Addr),
    /// `/tcp/4001`
    Tcp(u16),
    /// `/ip6/2001:db8::1`
    Ip6(Ipv6Addr),
    /// `/ip6zone/eth0`: the interface of the link-local address behind it.
    Ip6zone(&'a str),
    /// `/dns/example.com`: a name with addresses of either version.
    Dns(&'a str),
    /// `/dns4/example.com`
    Dns4(&'a str),
    /// `/dns6/example.com`
    Dns6(&'a str),
    /// `/dnsaddr/example.com`: a name whose TXT records hold addresses.
    Dnsaddr(&'a str),
    /// `/udp/4001`
    Udp(u16),
    /// `/webrtc-direct`
    WebrtcDirect,
    /// `/webrtc`
    Webrtc,
    /// `/p2p-circuit`: relayed by the peer before it.
    P2pCircuit,
    /// `/p2p/12D3Koo...`: the peer that must answer there.
    P2p(PeerId),
    /// `/tls`
    Tls,
    /// `/noise`
    Noise,
    /// `/quic`: the draft version.
    Quic,
    /// `/quic-v1`
    QuicV1,
    /// `/webtransport`
    Webtransport,
    /// `/certhash/u...`: a multihash of the certificate that the server shows.
    Certhash(&'a [u8]),
    /// `/ws`
    Ws,
    /// `/wss`: the same as `/tls/ws`.
    Wss,
    /// `/memory/1`: within one process.
    Memory(u64),
    /// `/unknown/u...`: a component that is not known here and everything behind it, code included.
    /// This text form is our own.
    Unknown(&'a [u8]),
}

/// The components that have no value.
const MARKERS: [Protocol<'static>; 10] = [
    Protocol::WebrtcDirect,
    Protocol::Webrtc,
    Protocol::P2pCircuit,
    Protocol::Tls,
    Protocol::Noise,
    Protocol::Quic,
    Protocol::QuicV1,
    Protocol::Webtransport,
    Protocol::Ws,
    Protocol::Wss,
];

impl<'a> Protocol<'a> {
    /// Code in the multicodec table and name in text. `Unknown` brings its own code.
    fn code_and_name(&self) -> (Option<u64>, &'static str) {
        let (code, name) = match self {
            Self::Ip4(_) => (4, "ip4"),
            Self::Tcp(_) => (6, "tcp"),
            Self::Ip6(_) => (41, "ip6"),
            Self::Ip6zone(_) => (42, "ip6zone"),
            Self::Dns(_) => (53, "dns"),
            Self::Dns4(_) => (54, "dns4"),
            Self::Dns6(_) => (55, "dns6"),
            Self::Dnsaddr(_) => (56, "dnsaddr"),
            Self::Udp(_) => (273, "udp"),
            Self::WebrtcDirect => (280, "webrtc-direct"),
            Self::Webrtc => (281, "webrtc"),
            Self::P2pCircuit => (290, "p2p-circuit"),
            Self::P2p(_) => (421, "p2p"),
            Self::Tls => (448, "tls"),
            Self::Noise => (454, "noise"),
            Self::Quic => (460, "quic"),
            Self::QuicV1 => (461, "quic-v1"),
            Self::Webtransport => (465, "webtransport"),
            Self::Certhash(_) => (466, "certhash"),
            Self::Ws => (477, "ws"),
            Self::Wss => (478, "wss"),
            Self::Memory(_) => (777, "memory"),
            Self::Unknown(_) => return (None, "unknown"),
        };
        (Some(code), name)
    }

    /// Takes one component off the front of `bytes`, without [`check`](Self::check)ing it.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (code, rest) = take_varint(bytes, varint::MAX_VALUE)?;
        Ok(match code {
            4 => take_array(rest, |ip: [u8; 4]| Self::Ip4(ip.into()))?,
            6 => take_array(rest, |port| Self::Tcp(u16::from_be_bytes(port)))?,
            41 => take_array(rest, |ip: [u8; 16]| Self::Ip6(ip.into()))?,
            42 => take_name(rest, Self::Ip6zone)?,
            53 => take_name(rest, Self::Dns)?,
            54 => take_name(rest, Self::Dns4)?,
            55 => take_name(rest, Self::Dns6)?,
            56 => take_name(rest, Self::Dnsaddr)?,
            273 => take_array(rest, |port| Self::Udp(u16::from_be_bytes(port)))?,
            421 => {
                let (peer, rest) = take_prefixed(rest)?;
                (Self::P2p(PeerId::from_bytes(peer)?), rest)
            }
            466 => {
                let (hash, rest) = take_prefixed(rest)?;
                (Self::Certhash(hash), rest)
            }
            777 => take_array(rest, |id| Self::Memory(u64::from_be_bytes(id)))?,
            _ => match MARKERS.iter().find(|marker| marker.code_and_name().0 == Some(code)) {
                Some(marker) => (*marker, rest),
                None => (Self::Unknown(bytes), &[]),
            },
        })
    }

    /// Reads a component named `name` whose value, if it has one, is the next of `values`.
    pub(super) fn parse<'t: 'a>(
        name: &str,
        values: &mut impl Iterator<Item = &'t str>,
        decoded: &'a mut Vec<u8>,
    ) -> Result<Self, Error> {
        if let Some(marker) = MARKERS.iter().find(|marker| marker.code_and_name().1 == name) {
            return Ok(*marker);
        }
        let mut value = || values.next().ok_or(Error::MissingValue);
        Ok(match name {
            "ip4" => Self::Ip4(value()?.parse().map_err(|_| Error::Value)?),
            "tcp" => Self::Tcp(parse_number(value()?)?),
            "ip6" => Self::Ip6(value()?.parse().map_err(|_| Error::Value)?),
            "ip6zone" => Self::Ip6zone(value()?),
            "dns" => Self::Dns(value()?),
            "dns4" => Self::Dns4(value()?),
            "dns6" => Self::Dns6(value()?),
            "dnsaddr" => Self::Dnsaddr(value()?),
            "udp" => Self::Udp(parse_number(value()?)?),
            "p2p" | "ipfs" => Self::P2p(value()?.parse()?),
            "certhash" => Self::Certhash(parse_multibase(value()?, decoded)?),
            "memory" => Self::Memory(parse_number(value()?)?),
            "unknown" => Self::Unknown(parse_multibase(value()?, decoded)?),
            _ => return Err(Error::UnknownName),
        })
    }

    /// Checks what neither the type nor the framing ensures.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Ip6zone(name) | Self::Dns(name) | Self::Dns4(name) | Self::Dns6(name) | Self::Dnsaddr(name) => {
                check_name(name)
            }
            Self::Certhash(hash) => check_multihash(hash).ok_or(Error::Certhash),
            Self::Unknown(bytes) => match Protocol::decode(bytes)? {
                (Protocol::Unknown(_), _) => Ok(()),
                _ => Err(Error::NotUnknown),
            },
            _ => Ok(()),
        }
    }

    pub(super) fn encode_to(&self, out: &mut Vec<u8>) {
        if let (Some(code), _) = self.code_and_name() {
            varint::encode_to(code, out);
        }
        match self {
            Self::Ip4(ip) => out.extend_from_slice(&ip.octets()),
            Self::Ip6(ip) => out.extend_from_slice(&ip.octets()),
            Self::Tcp(port) | Self::Udp(port) => out.extend_from_slice(&port.to_be_bytes()),
            Self::Ip6zone(name) | Self::Dns(name) | Self::Dns4(name) | Self::Dns6(name) | Self::Dnsaddr(name) => {
                encode_prefixed(name.as_bytes(), out);
            }
            Self::P2p(peer) => encode_prefixed(peer.as_bytes(), out),
            Self::Certhash(hash) => encode_prefixed(hash, out),
            Self::Memory(id) => out.extend_from_slice(&id.to_be_bytes()),
            Self::Unknown(bytes) => out.extend_from_slice(bytes),
            _ => {}
        }
    }
}

impl fmt::Display for Protocol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = self.code_and_name();
        write!(f, "/{name}")?;
        match self {
            Self::Ip4(ip) => write!(f, "/{ip}"),
            Self::Ip6(ip) => write!(f, "/{ip}"),
            Self::Tcp(port) | Self::Udp(port) => write!(f, "/{port}"),
            Self::Ip6zone(name) | Self::Dns(name) | Self::Dns4(name) | Self::Dns6(name) | Self::Dnsaddr(name) => {
                write!(f, "/{name}")
            }
            Self::P2p(peer) => write!(f, "/{peer}"),
            Self::Memory(id) => write!(f, "/{id}"),
            Self::Certhash(bytes) | Self::Unknown(bytes) => {
                f.write_str("/u")?;
                base64url::encode(bytes, f)
            }
            _ => Ok(()),
        }
    }
}

fn take_varint(bytes: &[u8], max: u64) -> Result<(u64, &[u8]), Error> {
    let (value, len) = varint::decode(bytes, max)?.ok_or(Error::Truncated)?;
    Ok((value, bytes.get(len..).unwrap_or_default()))
}

fn take_prefixed(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (len, rest) = take_varint(bytes, u64::try_from(MAX_LEN).unwrap_or(u64::MAX))?;
    let len = usize::try_from(len).map_err(|_| Error::Truncated)?;
    rest.split_at_checked(len).ok_or(Error::Truncated)
}

fn take_array<'a, const N: usize>(
    bytes: &'a [u8],
    component: impl FnOnce([u8; N]) -> Protocol<'a>,
) -> Result<(Protocol<'a>, &'a [u8]), Error> {
    let (array, rest) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
    Ok((component(*array), rest))
}

fn take_name<'a>(
    bytes: &'a [u8],
    component: impl FnOnce(&'a str) -> Protocol<'a>,
) -> Result<(Protocol<'a>, &'a [u8]), Error> {
    let (name, rest) = take_prefixed(bytes)?;
    Ok((component(core::str::from_utf8(name).map_err(|_| Error::Name)?), rest))
}

fn encode_prefixed(value: &[u8], out: &mut Vec<u8>) {
    varint::encode_to(u64::try_from(value.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(value);
}

// A slash would turn into another component in text; white space and control characters would
// confuse whoever reads a log.
fn check_name(name: &str) -> Result<(), Error> {
    let foreign = |char: char| char == '/' || char.is_whitespace() || char.is_control();
    match name.len() {
        1..=MAX_NAME_LEN if !name.contains(foreign) => Ok(()),
        _ => Err(Error::Name),
    }
}

fn check_multihash(bytes: &[u8]) -> Option<()> {
    let (_, rest) = take_varint(bytes, varint::MAX_VALUE).ok()?;
    let (len, digest) = take_varint(rest, MAX_DIGEST_LEN).ok()?;
    (usize::try_from(len) == Ok(digest.len())).then_some(())
}

// One number has one text: `FromStr` would also take a plus sign and leading zeros.
fn parse_number<T: FromStr>(text: &str) -> Result<T, Error> {
    match text.as_bytes() {
        [b'0'] | [b'1'..=b'9', ..] => text.parse().map_err(|_| Error::Value),
        _ => Err(Error::Value),
    }
}

fn parse_multibase<'a>(text: &str, decoded: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
    let digits = text.strip_prefix('u').ok_or(Error::Value)?;
    if digits.len() > MAX_BASE64_LEN {
        return Err(Error::TooLong);
    }
    base64url::decode(digits, decoded).ok_or(Error::Value)?;
    Ok(decoded)
}
