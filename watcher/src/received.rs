//! Files that come the way an rsync brings them: written as `.NAME.XXXXXX`, then renamed to
//! `NAME`. Pure.

use std::collections::VecDeque;

use common::event::RECEIVED;

use crate::translate::bits;

/// Most renames that are remembered between their two events, which the kernel queues together.
const MAX_RENAMES: usize = 64;
/// Length of the random part of rsync's temporary names.
const RANDOM: usize = 6;
/// Longest name that rsync makes; a longer one loses its end.
const MAX_NAME: usize = 255;

/// Renames that began at a temporary name.
#[derive(Default)]
pub(crate) struct Received {
    /// Cookie, and the name that was made a temporary one of.
    begun: VecDeque<(u32, Box<[u8]>)>,
}

impl Received {
    /// [`RECEIVED`], if this event of `name` says that it was received; otherwise 0.
    pub(crate) fn bit(&mut self, mask: u32, cookie: u32, name: &[u8]) -> u32 {
        match mask & (bits::ISDIR | bits::MOVED_FROM | bits::MOVED_TO) {
            bits::MOVED_FROM => self.left(cookie, name),
            bits::MOVED_TO if self.is(cookie, name) => return RECEIVED,
            _ => {}
        }
        0
    }

    /// A file lost this name in the rename `cookie`.
    fn left(&mut self, cookie: u32, name: &[u8]) {
        if let Some(stem) = stem(name) {
            if self.begun.len() >= MAX_RENAMES {
                self.begun.pop_front();
            }
            self.begun.push_back((cookie, stem.into()));
        }
    }

    /// Whether the file that got this name in the rename `cookie` was received.
    fn is(&mut self, cookie: u32, name: &[u8]) -> bool {
        let Some(at) = self.begun.iter().position(|(begun, _)| *begun == cookie) else { return false };
        // To a name that begins with a dot rsync adds no second one.
        let name = name.strip_prefix(b".").unwrap_or(name);
        self.begun.remove(at).is_some_and(|(_, stem)| *stem == *name || is_cut(&stem, name))
    }
}

/// `NAME` of `.NAME.XXXXXX`.
fn stem(name: &[u8]) -> Option<&[u8]> {
    let (stem, random) = name.strip_prefix(b".")?.split_last_chunk::<RANDOM>()?;
    let stem = stem.strip_suffix(b".")?;
    (!stem.is_empty() && random.iter().all(u8::is_ascii_alphanumeric)).then_some(stem)
}

/// Whether the temporary name had no room for all of `name`.
fn is_cut(stem: &[u8], name: &[u8]) -> bool {
    name.starts_with(stem) && name.len().saturating_add(RANDOM).saturating_add(2) > MAX_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_rsync_brings() {
        let long = "n".repeat(250);
        let cut = format!(".{}.aB3dE9", &long[..247]);
        for (from, to, received) in [
            (".f.aB3dE9", "f", true),
            (".a.b.tar.aB3dE9", "a.b.tar", true),
            (".hidden.aB3dE9", ".hidden", true),
            ("..odd.aB3dE9", "..odd", true),
            (&cut, &long, true),
            (".f.aB3dE9", "g", false),
            (".f.aB3dE", "f", false),
            (".f.aB-dE9", "f", false),
            ("f.aB3dE9", "f", false),
            ("..aB3dE9", "", false),
            ("f", "f", false),
        ] {
            let mut renames = Received::default();
            renames.left(7, from.as_bytes());
            assert!(!renames.is(8, to.as_bytes()));
            assert_eq!(renames.is(7, to.as_bytes()), received, "{from} {to}");
            assert!(!renames.is(7, to.as_bytes()), "once");
        }
    }

    #[test]
    fn bounded() {
        let mut renames = Received::default();
        for cookie in 0..1000 {
            renames.left(cookie, b".f.abcdef");
        }
        assert_eq!(renames.begun.len(), MAX_RENAMES);
        assert!(renames.is(999, b"f"));
    }
}
