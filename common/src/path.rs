//! [`RelPath`]: a validated path below a watched root.
//!
//! Paths are bytes. Whoever holds a `RelPath` need not check it again; every process
//! makes its own from the raw bytes it receives (invariant I4).

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bstr::ByteSlice;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest path accepted, in bytes; the kernel's `PATH_MAX` without its terminator.
pub const MAX_PATH: usize = 4095;

/// A path relative to a watched root: no leading or trailing `/`, no empty, `.` or `..`
/// component, no NUL, at most [`MAX_PATH`] bytes. The empty path is the root itself. Clones
/// share their bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Arc<[u8]>);

/// Why bytes are no [`RelPath`].
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum BadPath {
    /// Longer than [`MAX_PATH`].
    #[error("path is longer than {MAX_PATH} bytes")]
    TooLong,
    /// A NUL byte.
    #[error("path holds a NUL byte")]
    Nul,
    /// Absolute, with an empty component or a trailing slash.
    #[error("path has an empty component")]
    EmptyComponent,
    /// `.` or `..` as a component.
    #[error("path has a dot component")]
    DotComponent,
}

impl RelPath {
    /// Checks `bytes` and takes them over.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<RelPath, BadPath> {
        let bytes = bytes.into();
        check(&bytes)?;
        Ok(RelPath(bytes.into()))
    }

    /// The root itself: the empty path.
    pub fn root() -> RelPath {
        RelPath(Arc::default())
    }

    /// True for the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path of the entry `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Result<RelPath, BadPath> {
        // What is here already is checked; this is done for every entry of a tree.
        match name {
            b"" => return Err(BadPath::EmptyComponent),
            b"." | b".." => return Err(BadPath::DotComponent),
            name if name.contains(&b'/') => return Err(BadPath::EmptyComponent),
            name if name.contains(&0) => return Err(BadPath::Nul),
            _ => {}
        }
        let slash: &[u8] = if self.is_root() { b"" } else { b"/" };
        let bytes = [&self.0, slash, name].concat();
        if bytes.len() > MAX_PATH { Err(BadPath::TooLong) } else { Ok(RelPath(bytes.into())) }
    }

    /// The directory that holds this entry; `None` for the root.
    pub fn parent(&self) -> Option<RelPath> {
        if self.is_root() {
            return None;
        }
        let end = self.0.rfind_byte(b'/').unwrap_or(0);
        Some(RelPath(self.0.get(..end).unwrap_or_default().into()))
    }

    /// True when this is an entry of the directory `dir`.
    pub fn is_in(&self, dir: &RelPath) -> bool {
        let above = self.0.rfind_byte(b'/').and_then(|end| self.0.get(..end)).unwrap_or_default();
        !self.is_root() && above == dir.as_bytes()
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// Every proper ancestor but the root, outermost first: `a`, `a/b` for `a/b/c`.
    pub fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .enumerate()
            .filter(|&(_, &b)| b == b'/')
            .map(|(i, _)| self.0.get(..i).unwrap_or_default())
    }

    /// True when this path lies strictly below `other`.
    pub fn is_below(&self, other: &RelPath) -> bool {
        match self.0.strip_prefix(other.as_bytes()) {
            Some(rest) if other.is_root() => !rest.is_empty(),
            Some(rest) => rest.first() == Some(&b'/'),
            None => false,
        }
    }

    /// True when one of the two paths is the other or lies below it.
    pub fn overlaps(&self, other: &RelPath) -> bool {
        self == other || self.is_below(other) || other.is_below(self)
    }

    /// The raw bytes, without a leading `./`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For system calls relative to a descriptor of the root; the root itself is `.`.
    pub fn as_path(&self) -> &Path {
        if self.is_root() { Path::new(".") } else { Path::new(OsStr::from_bytes(&self.0)) }
    }
}

impl TryFrom<Vec<u8>> for RelPath {
    type Error = BadPath;
    fn try_from(bytes: Vec<u8>) -> Result<RelPath, BadPath> {
        RelPath::new(bytes)
    }
}

/// Bytes, and not a sequence of numbers: it is the same on the wire, and many times faster.
impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RelPath, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Makes a path of what is decoded.
struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = RelPath;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a path")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<RelPath, E> {
        check(bytes).map_err(E::custom)?;
        Ok(RelPath(bytes.into()))
    }
}

/// Whether `bytes` are a path.
fn check(bytes: &[u8]) -> Result<(), BadPath> {
    if bytes.is_empty() {
        return Ok(());
    }
    if bytes.len() > MAX_PATH {
        return Err(BadPath::TooLong);
    }
    if bytes.contains(&0) {
        return Err(BadPath::Nul);
    }
    for component in bytes.split(|&b| b == b'/') {
        match component {
            b"" => return Err(BadPath::EmptyComponent),
            b"." | b".." => return Err(BadPath::DotComponent),
            _ => {}
        }
    }
    Ok(())
}

impl From<RelPath> for Vec<u8> {
    fn from(path: RelPath) -> Vec<u8> {
        path.0.to_vec()
    }
}

impl Borrow<[u8]> for RelPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// For logs: control and invalid bytes are escaped, text stays readable.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("\".\"") } else { write!(f, "{:?}", self.0.as_bstr()) }
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(s: &str) -> RelPath {
        RelPath::new(s).unwrap()
    }

    #[test]
    fn what_is_refused() {
        for (bytes, why) in [
            (&b"/a"[..], BadPath::EmptyComponent),
            (b"a/", BadPath::EmptyComponent),
            (b"a//b", BadPath::EmptyComponent),
            (b"..", BadPath::DotComponent),
            (b"a/../b", BadPath::DotComponent),
            (b"./a", BadPath::DotComponent),
            (b"a\0b", BadPath::Nul),
        ] {
            assert_eq!(RelPath::new(bytes).unwrap_err(), why, "{:?}", bytes.as_bstr());
        }
        assert_eq!(RelPath::new(vec![b'a'; MAX_PATH + 1]).unwrap_err(), BadPath::TooLong);
        assert_eq!(path("a").join(b"b/c").unwrap_err(), BadPath::EmptyComponent);
    }

    #[test]
    fn relations() {
        assert!(path("a/b").is_below(&path("a")));
        assert!(!path("ab").is_below(&path("a")));
        assert!(path("a").is_below(&RelPath::root()));
        assert!(!RelPath::root().is_below(&RelPath::root()));
        assert_eq!(path("a/b/c").ancestors().collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
        assert_eq!(path("a").parent(), Some(RelPath::root()));
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a/b").name(), b"b");
        assert!(path("a/b").is_in(&path("a")) && path("a").is_in(&RelPath::root()));
        assert!(!path("a/b/c").is_in(&path("a")) && !RelPath::root().is_in(&RelPath::root()));
        assert_eq!(path("a").join(b"b").unwrap(), path("a/b"));
        assert_eq!(RelPath::root().join(b"b").unwrap(), path("b"));
        for (name, why) in [
            (&b""[..], BadPath::EmptyComponent),
            (b"..", BadPath::DotComponent),
            (b"a\0", BadPath::Nul),
            (&[b'a'; MAX_PATH - 1], BadPath::TooLong),
        ] {
            assert_eq!(path("a").join(name), Err(why));
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(path) = RelPath::new(bytes.clone()) {
                prop_assert_eq!(path.as_bytes(), &bytes[..]);
                let again = postcard::from_bytes::<RelPath>(&postcard::to_stdvec(&path).unwrap()).unwrap();
                prop_assert_eq!(again, path.clone());
                // As it was when it was encoded as a sequence: the state file holds such.
                prop_assert_eq!(postcard::to_stdvec(&path).unwrap(), postcard::to_stdvec(&bytes).unwrap());
            }
        }
    }
}
