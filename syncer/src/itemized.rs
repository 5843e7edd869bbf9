//! What rsync prints of an entry that it would change (`--out-format='%i %n'`): pure.
//!
//! The code has eleven columns: what would be done, of which type the entry is, and nine letters
//! for what differs (`cstpoguax`). The lines in the tests are rsync's own.

use common::message::DifferenceKind;
use common::path::RelPath;

/// Columns of the code.
const CODE: usize = 11;
/// The code of what would be deleted.
pub(crate) const DELETING: &[u8] = b"*deleting  ";
/// What may stand for each of the nine letters.
const LETTERS: &[u8] = b"cstTpoguaxnb.?+ ";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Where; the root itself is one too.
    pub(crate) path: RelPath,
    /// Whether it is a directory.
    pub(crate) directory: bool,
    /// What differs.
    pub(crate) kind: DifferenceKind,
}

/// Reads a line; `None` for what is no such line or tells of no difference. The time of a directory
/// is none: it changes with all that comes into it, and is set last.
pub(crate) fn item(line: &[u8]) -> Option<Item> {
    let (code, name) = line.split_at_checked(CODE)?;
    let kind = kind(code)?;
    let name = unescape(name.strip_prefix(b" ")?);
    let (name, directory) = match name.strip_suffix(b"/") {
        Some(name) => (name, true),
        None => (&name[..], false),
    };
    let path = if name == b"." { RelPath::root() } else { RelPath::new(name).ok()? };
    Some(Item { path, directory, kind })
}

fn kind(code: &[u8]) -> Option<DifferenceKind> {
    use DifferenceKind::{Attributes, Content, Extra, Missing};
    if code == DELETING {
        return Some(Extra);
    }
    let [what, entry @ (b'f' | b'd' | b'L' | b'D' | b'S'), letters @ ..] = code else { return None };
    if !letters.iter().all(|letter| LETTERS.contains(letter)) {
        return None;
    }
    let says = |wanted: &[u8]| letters.iter().any(|letter| wanted.contains(letter));
    match (what, entry) {
        (b'<' | b'>' | b'c' | b'h', _) if says(b"+") => Some(Missing),
        // A hard link that is to be made; with a letter, another file stands there.
        (b'h', _) if !says(b"cst") => Some(Attributes),
        (b'<' | b'>' | b'c' | b'h', _) => Some(Content),
        (b'.', b'd') => says(b"cspoguaxnb?").then_some(Attributes),
        (b'.', _) => says(b"cstTpoguaxnb?").then_some(Attributes),
        _ => None,
    }
}

/// rsync writes a byte that it does not like to print as `\#ooo`.
pub(crate) fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, after @ ..] = rest {
        if let [b'\\', b'#', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest {
            let digit = |byte: &u8| byte.saturating_sub(b'0');
            bytes.push(digit(a) << 6 | digit(b) << 3 | digit(c));
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use DifferenceKind::{Attributes, Content, Extra, Missing};

    fn read(line: &str) -> Option<(String, bool, DifferenceKind)> {
        item(line.as_bytes()).map(|item| (item.path.to_string(), item.directory, item.kind))
    }

    /// As rsync 3.5.0 printed them, plain, with `--checksum` and with `-H`.
    #[test]
    fn measured_lines() {
        for (line, path, directory, kind) in [
            ("*deleting   extra/sub/f", "extra/sub/f", false, Extra),
            ("*deleting   extra/sub/", "extra/sub", true, Extra),
            ("<f+++++++++ imm", "imm", false, Missing),
            ("cS+++++++++ fifo", "fifo", false, Missing),
            ("cd+++++++++ dd/", "dd", true, Missing),
            ("cL+++++++++ l", "l", false, Missing),
            ("hf+++++++++ hard", "hard", false, Missing),
            ("hf          hard", "hard", false, Attributes),
            ("hf.st...... hard", "hard", false, Content),
            ("cLc.t...... l", "l", false, Content),
            ("cLc.T...... l", "l", false, Content),
            ("<f.s....... sz", "sz", false, Content),
            ("<fc........ ck", "ck", false, Content),
            ("<f..t...... d/c", "d/c", false, Content),
            (">f..T...... d/c", "d/c", false, Content),
            (".f..t...... d/c", "d/c", false, Attributes),
            (".f....o.... a", "a", false, Attributes),
            (".f...p..... b", "b", false, Attributes),
            (".d...p..... d/", "d", true, Attributes),
            (".d..tp..... d/", "d", true, Attributes),
            (".d...p..... ./", "", true, Attributes),
        ] {
            let path = RelPath::new(path).unwrap().to_string();
            assert_eq!(read(line), Some((path, directory, kind)), "{line}");
        }
        let name = item(br"*deleting   we\#012ird\#377").unwrap().path;
        assert_eq!(name.as_bytes(), b"we\nird\xff");
    }

    #[test]
    fn what_tells_of_no_difference() {
        for line in [
            "",
            ".d..t...... d/e/",
            ".d..t...... ./",
            ".f          same",
            "<f+++++++++",
            "<f+++++++++x",
            "cannot delete non-empty directory: z",
            "created directory a",
            "skipping non-regular file \"fifo\"",
            "*deleting   ../../etc/passwd",
            "*deleting   /etc/passwd",
            "Number of files: 5",
            "IO error encountered -- skipping file deletion",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(br"a\#012b\#377\#134#012\#9\x\"), b"a\nb\xff\\#012\\#9\\x\\");
    }
}
