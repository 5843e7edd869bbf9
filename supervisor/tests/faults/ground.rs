//! What the fault tests start from: mirrors whose names are known on disk, and how long a run is.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::support::{Mirror, Setup, scale, write};

/// By when everything is equal again, however long the pauses before a retry have become.
pub const RECOVERED: Duration = Duration::from_mins(3);

/// A number that is larger in the long form; the environment's `name` counts more than both.
pub fn sized(name: &str, short: u64, long: u64) -> u64 {
    scale(name, if is_long() { long } else { short })
}

/// Whether this is the long form.
pub fn is_long() -> bool {
    std::env::var_os("FAULTS").is_some_and(|value| value == "long")
}

/// Everything that exact equality needs, and no `-r`.
pub fn exact() -> Setup {
    Setup::exact().flags(&[])
}

/// A running mirror of this, equal, and its names known on disk: what happens from now on is
/// found by comparing, if nobody sees it.
pub fn known(setup: Setup, fill: impl FnOnce(&Path)) -> Mirror {
    let mut mirror = Mirror::new(setup);
    fill(&mirror.sources[0]);
    mirror.copy();
    mirror.learn();
    mirror
}

/// As many bytes as no content of another number has.
pub fn content(n: usize) -> String {
    format!("{n:05}{}", ".".repeat(n))
}

/// A few files of every kind. No two of them have one size: what shares size and time with another
/// and not what it holds is beyond any rsync without checksums.
pub fn some(root: &Path) {
    for n in 0..40 {
        write(root.join(format!("dir{}/file{n}", n % 4)), content(n));
    }
    write(root.join("dir0/deep/deeper/file"), "deep");
    write(root.join("top"), "top");
    symlink("top", root.join("link")).unwrap();
}
