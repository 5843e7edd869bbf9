//! Names that shells, rsync and careless parsers read as something else.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The longest name that Linux knows.
pub fn longest() -> OsString {
    OsString::from_vec(vec![b'n'; 255])
}

/// All of them.
pub fn hostile() -> Vec<OsString> {
    let names: [&[u8]; 30] = [
        b"$(touch pwned)",
        b"`touch pwned`",
        b"`id`",
        b"a;touch pwned;",
        b"|touch pwned",
        b"--delete",
        b"--rsh=touch pwned",
        b"-rf",
        b"a\"b",
        b"a'b",
        b"#x",
        b";y",
        b"new\nline",
        b"\n",
        b"tab\tbed",
        b"\xff\xfe\x80",
        b"half\xe5\x9b",
        "\u{56fe}\u{7247}".as_bytes(),
        b"back\\",
        b"\\#012",
        b" lead",
        b"trail ",
        b"*",
        b"[a-z]?",
        b"host::module",
        b"- exclude",
        b"..x",
        b"...",
        b"%s%n",
        b"\x1b[31m",
    ];
    names.into_iter().map(|name| OsString::from_vec(name.to_vec())).chain([longest()]).collect()
}
