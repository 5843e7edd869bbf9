//! Names that shells, rsync and globs read as something else: each travels, and its removal
//! removes nothing else.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::case::Case;
use crate::support::scene::{directory, file};

/// Taken from what was tried on the original, and what broke it.
const NAMES: [&[u8]; 34] = [
    b"a b",
    b" lead",
    b"trail ",
    b"it's",
    b"say \"x\"",
    b"`id`",
    b"$HOME",
    b"\\$HOME",
    b"$(touch pwned)",
    b"back\\slash",
    b"trail\\",
    b"\\#012",
    b"new\nline",
    b"tab\tbed",
    b"a;b",
    b"a&&b",
    b"a|b",
    b"a>b",
    b"#comment",
    b"~x",
    b"!x",
    b"- x",
    b"-rf",
    b"--delete",
    b"--exclude=zz",
    b"*",
    b"**",
    b"?",
    b"[ab]",
    b"{a,b}",
    b"a:b",
    b"host::module",
    b"caf\xe9",
    b"\xff\xfe",
];

/// Beside every name: what a pattern of that name would match.
const BYSTANDERS: [&str; 3] = ["a", "b", "bystander"];

/// A file of each name, in the root and below.
pub fn files() -> Vec<Case> {
    let longest = vec![b'n'; 255];
    NAMES.into_iter().chain([&longest[..]]).map(of_file).collect()
}

/// A directory of each name that is a pattern, an option or no text.
pub fn directories() -> Vec<Case> {
    let awkward = [&b"*"[..], b"**", b"?", b"[ab]", b"-rf", b"\\", b"new\nline", b"\"", b"\xff\xfe", b" "];
    awkward.into_iter().map(of_directory).collect()
}

fn of_file(bytes: &[u8]) -> Case {
    let name = OsString::from_vec(bytes.to_vec());
    let below = Path::new("d").join(&name);
    let mut rest: Vec<String> = BYSTANDERS.iter().map(|name| file(name, "stays")).collect();
    rest.extend(BYSTANDERS.iter().map(|name| file(format!("d/{name}"), "stays")));
    rest.push(directory("d"));
    let with = |content: &str| [&rest[..], &[file(&name, content), file(&below, content)]].concat();
    let (first, second) = (with("1"), with("second"));
    let paths = [PathBuf::from(&name), below.clone()];
    let [write, rewrite, remove] = [paths.clone(), paths.clone(), paths];
    Case::new(format!("name {}", bytes.escape_ascii()))
        .becomes(
            move |s| {
                for bystander in BYSTANDERS {
                    s.write(bystander, "stays").write(format!("d/{bystander}"), "stays");
                }
                write.iter().fold(s, |s, path| s.write(path, "1"))
            },
            &first,
        )
        .becomes(move |s| rewrite.iter().fold(s, |s, path| s.write(path, "second")), &second)
        .becomes(move |s| remove.iter().fold(s, |s, path| s.remove(path)), &rest)
}

fn of_directory(bytes: &[u8]) -> Case {
    let name = PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let mut rest: Vec<String> = BYSTANDERS.iter().map(|name| file(format!("{name}/f"), "stays")).collect();
    rest.extend(BYSTANDERS.iter().map(directory));
    let with =
        |name: &Path, content: &str| [&rest[..], &[directory(name), file(name.join("f"), content)]].concat();
    let renamed = name.join("same name");
    let (first, second) = (with(&name, "1"), with(&name, "second"));
    let third = [&second[..], &[directory(&renamed), file(renamed.join("f"), "1")]].concat();
    let names = [(); 4].map(|()| name.clone());
    let [write, rewrite, add, remove] = names;
    Case::new(format!("directory name {}", bytes.escape_ascii()))
        .becomes(
            move |s| {
                for bystander in BYSTANDERS {
                    s.write(format!("{bystander}/f"), "stays");
                }
                s.write(write.join("f"), "1")
            },
            &first,
        )
        .becomes(move |s| s.write(rewrite.join("f"), "second"), &second)
        .becomes(move |s| s.write(add.join("same name/f"), "1"), &third)
        .becomes(move |s| s.remove(&remove), &rest)
}
