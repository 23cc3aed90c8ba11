//! What records are made of: small values, each with its own way to be written
//! in a journal (short) and as JSON (as people write it).
//!
//! Everything is written so that a value has one encoding, and read so that a
//! stranger's bytes are refused and nothing panics.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use minicbor::decode::Error as Wrong;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use portcullis_domain::Timestamp;
use serde::{Serialize, Serializer};

/// An instant; RFC 3339 in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(at) => write!(f, "{at:.3}"),
            // Later than the year 9999: still an instant.
            Err(_) => self.0.fmt(f),
        }
    }
}

impl<C> Encode<C> for Time {
    fn encode<W: Write>(&self, to: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        to.u64(self.0.as_millis())?.ok()
    }
}

impl<C> Decode<'_, C> for Time {
    fn decode(from: &mut Decoder<'_>, _: &mut C) -> Result<Self, Wrong> {
        Ok(Self(Timestamp::from_millis(from.u64()?)))
    }
}

/// SHA-256 of a plugin or of settings; hexadecimal in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl<C> Encode<C> for Digest {
    fn encode<W: Write>(&self, to: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        to.bytes(&self.0)?.ok()
    }
}

impl<C> Decode<'_, C> for Digest {
    fn decode(from: &mut Decoder<'_>, _: &mut C) -> Result<Self, Wrong> {
        let digest = from.bytes()?.try_into();
        digest.map(Self).map_err(|_| Wrong::message("a digest has 32 bytes"))
    }
}

/// Bytes of a state; hexadecimal in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(self.0, f)
    }
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(self.0, f)
    }
}

impl<C> Encode<C> for Bytes<'_> {
    fn encode<W: Write>(&self, to: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        to.bytes(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Bytes<'b> {
    fn decode(from: &mut Decoder<'b>, _: &mut C) -> Result<Self, Wrong> {
        Ok(Self(from.bytes()?))
    }
}

/// A keyed hash of id and secret; hexadecimal in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub u32);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl<C> Encode<C> for Fingerprint {
    fn encode<W: Write>(&self, to: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        to.u32(self.0)?.ok()
    }
}

impl<C> Decode<'_, C> for Fingerprint {
    fn decode(from: &mut Decoder<'_>, _: &mut C) -> Result<Self, Wrong> {
        Ok(Self(from.u32()?))
    }
}

/// An address: 4 or 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(pub IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C> Encode<C> for Address {
    fn encode<W: Write>(&self, to: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self.0 {
            IpAddr::V4(v4) => to.bytes(&v4.octets())?.ok(),
            IpAddr::V6(v6) => to.bytes(&v6.octets())?.ok(),
        }
    }
}

impl<C> Decode<'_, C> for Address {
    fn decode(from: &mut Decoder<'_>, _: &mut C) -> Result<Self, Wrong> {
        Ok(Self(address(from.bytes()?)?))
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, Wrong> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(v6).ok_or_else(|| Wrong::message("an address has 4 or 16 bytes"))
}

/// A network: the bytes of its address, and one more for its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(pub IpNet);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C> Encode<C> for Network {
    fn encode<W: Write>(&self, to: &mut Encoder<W>, _: &mut C) -> Result<(), minicbor::encode::Error<W::Error>> {
        let (mut bytes, prefix) = ([0; 17], self.0.prefix_len());
        let width = match self.0.addr() {
            IpAddr::V4(v4) => {
                bytes[..4].copy_from_slice(&v4.octets());
                4
            }
            IpAddr::V6(v6) => {
                bytes[..16].copy_from_slice(&v6.octets());
                16
            }
        };
        bytes[width] = prefix;
        to.bytes(&bytes[..=width])?.ok()
    }
}

impl<C> Decode<'_, C> for Network {
    fn decode(from: &mut Decoder<'_>, _: &mut C) -> Result<Self, Wrong> {
        let (prefix, bytes) = from.bytes()?.split_last().ok_or_else(|| Wrong::message("a network of no bytes"))?;
        let network = IpNet::new(address(bytes)?, *prefix);
        network.map(Self).map_err(|_| Wrong::message("a network has at most as many bits as its address"))
    }
}

/// JSON says it as people do.
macro_rules! as_text {
    ($($type:ty),*) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        })*
    };
}

as_text!(Time, Digest, Bytes<'_>, Fingerprint, Address, Network);

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
