//! The paths of a batch on the wire: of each only what it does not share with the one before it. Paths
//! of one burst are much alike, and an order has to fit one message of the channel.
//!
//! Each entry is two numbers of 16 bits, the bytes shared and those that follow, then one byte for the
//! [`Dirt`], then the bytes that follow.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

use crate::event::Dirt;
use crate::path::{MAX_PATH, RelPath};

/// Most bytes that the paths of one batch may come to when they are spelled out.
const MAX_BYTES: usize = 64 << 20;

/// How many bytes `path` has in common with the beginning of `before`.
pub fn shared(before: &[u8], path: &[u8]) -> usize {
    before.iter().zip(path).take_while(|(a, b)| a == b).count()
}

pub(super) fn serialize<S: Serializer>(paths: &[(RelPath, Dirt)], serializer: S) -> Result<S::Ok, S::Error> {
    let (mut bytes, mut before) = (Vec::new(), &[][..]);
    for (path, dirt) in paths {
        let path = path.as_bytes();
        let (_, rest) = path.split_at(shared(before, path));
        for number in [path.len().saturating_sub(rest.len()), rest.len()] {
            // A path is far shorter.
            bytes.extend(u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
        }
        bytes.push(dirt.number());
        bytes.extend_from_slice(rest);
        before = path;
    }
    serializer.serialize_bytes(&bytes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(RelPath, Dirt)>, D::Error> {
    deserializer.deserialize_bytes(Packed)
}

struct Packed;

impl Visitor<'_> for Packed {
    type Value = Vec<(RelPath, Dirt)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the paths of a batch")
    }

    fn visit_bytes<E: Error>(self, mut bytes: &[u8]) -> Result<Self::Value, E> {
        let (mut paths, mut before, mut total) = (Vec::new(), Vec::new(), 0_usize);
        while !bytes.is_empty() {
            let (dirt, after) =
                next(&mut before, bytes).ok_or_else(|| E::custom("a batch that is cut off"))?;
            total = total.saturating_add(before.len());
            if total > MAX_BYTES {
                return Err(E::custom("a batch that is too long"));
            }
            paths.push((RelPath::new(before.clone()).map_err(E::custom)?, dirt));
            bytes = after;
        }
        Ok(paths)
    }
}

/// Makes the next path out of the one before it, and says what it is and what is left.
fn next<'b>(path: &mut Vec<u8>, bytes: &'b [u8]) -> Option<(Dirt, &'b [u8])> {
    let (shared, bytes) = bytes.split_first_chunk()?;
    let (length, bytes) = bytes.split_first_chunk()?;
    let (&dirt, bytes) = bytes.split_first()?;
    let shared = usize::from(u16::from_le_bytes(*shared));
    let (rest, bytes) = bytes.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    if shared > path.len() || shared.saturating_add(rest.len()) > MAX_PATH {
        return None;
    }
    path.truncate(shared);
    path.extend_from_slice(rest);
    Some((Dirt::of_number(dirt)?, bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Batch(#[serde(with = "super")] Vec<(RelPath, Dirt)>);

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(paths in proptest::collection::vec(("([ab]{1,2}/){0,3}[abc]{1,3}", 0..5_u8), 0..50)) {
            let paths = paths.into_iter().map(|(path, dirt)| (RelPath::new(path).unwrap(), Dirt::of_number(dirt).unwrap()));
            let batch = Batch(paths.collect());
            let bytes = postcard::to_stdvec(&batch).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<Batch>(&bytes).unwrap(), &batch);
            for cut in 0..bytes.len() {
                prop_assert!(postcard::from_bytes::<Batch>(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let mut framed = postcard::to_stdvec(&bytes.len()).unwrap();
            framed.extend(&bytes);
            if let Ok(Batch(paths)) = postcard::from_bytes::<Batch>(&framed) {
                prop_assert!(paths.iter().all(|(path, _)| path.as_bytes().len() <= MAX_PATH));
            }
        }
    }

    #[test]
    fn what_is_alike_takes_little() {
        let path = |n| RelPath::new(format!("usr/share/a/long/way/down/file{n:04}")).unwrap();
        let batch = Batch((0..1000).map(|n| (path(n), Dirt::Touched)).collect());
        assert!(postcard::to_stdvec(&batch).unwrap().len() < 10_000);
    }
}
