//! `<localpath>`: what is watched. One that is wrong does not hide what is wrong with another.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::super::xml::{Attribute, Element, Span};
use super::super::{MAX_TREES, Tree};
use super::rsync::Block;
use super::values::Reader;

/// How a watched directory is written.
pub(super) const LOCALPATH: &str = "<localpath watch=\"/directory\">";

impl Reader {
    /// All trees of `<sersync>`.
    pub(super) fn trees(&mut self, sersync: Option<&Element>, head: &Span, rsync: &Block) -> Vec<Tree> {
        let Some(sersync) = sersync else {
            let help = format!("write <sersync> with at least one {LOCALPATH}");
            self.error(head, "nothing says what is watched", &help);
            return Vec::new();
        };
        let mut trees = Vec::new();
        let mut seen: Vec<PathBuf> = Vec::new();
        for (count, localpath) in sersync.children("localpath").enumerate() {
            if count == MAX_TREES {
                let message = format!("more than {MAX_TREES} directories are watched");
                self.error(&localpath.span, message, "split the config in two");
                break;
            }
            let watch = self.required(Some(localpath), "watch", &localpath.span, LOCALPATH);
            let remotes = self.remotes(localpath, rsync);
            if let Some(watch) = watch {
                self.compare_roots(watch, &mut seen);
                trees.push(Tree { watch: self.watch(watch), remotes });
            }
        }
        if sersync.child("localpath").is_none() {
            self.error(&sersync.span, "nothing says what is watched", &format!("write {LOCALPATH}"));
        }
        trees
    }

    /// The only tree of a run without remotes: that of the first `<localpath>`.
    pub(super) fn first_tree(&mut self, sersync: Option<&Element>, head: &Span) -> Option<Tree> {
        let localpath = sersync.and_then(|sersync| sersync.child("localpath"));
        let watch = self.required(localpath, "watch", head, LOCALPATH)?;
        Some(Tree { watch: self.watch(watch), remotes: Vec::new() })
    }

    /// All watched roots of `<sersync>`, as [`normal`] has them.
    pub(super) fn roots(&self, sersync: Option<&Element>) -> Vec<PathBuf> {
        let localpaths = sersync.into_iter().flat_map(|sersync| sersync.children("localpath"));
        let watches = localpaths.filter_map(|localpath| localpath.attribute("watch"));
        watches.filter(|watch| !watch.value.is_empty()).map(|watch| normal(&self.os(watch))).collect()
    }

    /// A watched root, less one trailing slash.
    pub(super) fn watch(&self, attribute: &Attribute) -> OsString {
        let path = self.os(attribute);
        match path.as_bytes().strip_suffix(b"/") {
            Some(shorter) if !shorter.is_empty() => OsStr::from_bytes(shorter).to_owned(),
            Some(_) | None => path,
        }
    }

    /// Two roots in one another are two mirrors of the same files.
    fn compare_roots(&mut self, watch: &Attribute, seen: &mut Vec<PathBuf>) {
        let root = normal(&self.os(watch));
        let place = watch.place();
        if seen.contains(&root) {
            self.error(
                &place,
                "this directory is watched twice",
                "put all its <remote>s into one <localpath>",
            );
        } else if let Some(other) =
            seen.iter().find(|other| root.starts_with(other) || other.starts_with(&root))
        {
            let message = format!("this directory and `{}` lie in one another", other.display());
            self.warning(&place, message, "what changes in both is sent for both");
        }
        seen.push(root);
    }
}

/// The path without `.`, and without slashes that mean nothing.
pub(super) fn normal(path: &OsStr) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}
