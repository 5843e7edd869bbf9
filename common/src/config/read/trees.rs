//! `<localpath>` and `<remote>`: what is watched, and where it goes.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::super::xml::{Attribute, Element, Span};
use super::super::{MAX_REMOTES, MAX_TREES, Remote, Tree};
use super::values::{Reader, attribute_place};

const LOCALPATH: &str = "<localpath watch=\"/directory\">";
const REMOTE: &str = "<remote ip=\"host\" name=\"module\"/>";

impl Reader {
    /// All trees of `<sersync>`; what is wrong with one does not hide what is wrong with another.
    pub(super) fn trees(&mut self, sersync: Option<&Element>, head: &Span) -> Vec<Tree> {
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
            let remotes = self.remotes(localpath);
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

    /// A watched root, less one trailing slash.
    pub(super) fn watch(&self, attribute: &Attribute) -> std::ffi::OsString {
        let path = self.os(attribute);
        match path.as_bytes().strip_suffix(b"/") {
            Some(shorter) if !shorter.is_empty() => std::ffi::OsStr::from_bytes(shorter).to_owned(),
            Some(_) | None => path,
        }
    }

    /// Two roots in one another are two mirrors of the same files.
    fn compare_roots(&mut self, watch: &Attribute, seen: &mut Vec<PathBuf>) {
        let root: PathBuf =
            Path::new(&self.os(watch)).components().filter(|part| *part != Component::CurDir).collect();
        let place = attribute_place(watch);
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

    fn remotes(&mut self, localpath: &Element) -> Vec<Remote> {
        let mut remotes = Vec::new();
        for (count, remote) in localpath.children("remote").enumerate() {
            if count == MAX_REMOTES {
                let message = format!("more than {MAX_REMOTES} remotes");
                self.error(&remote.span, message, "split the config in two");
                break;
            }
            remotes.extend(self.remote(remote));
        }
        if localpath.child("remote").is_none() {
            let message = "nothing says where this directory is sent to";
            self.error(&localpath.span, message, &format!("write {REMOTE} into this <localpath>"));
        }
        remotes
    }

    fn remote(&mut self, remote: &Element) -> Option<Remote> {
        let host = self.required(Some(remote), "ip", &remote.span, REMOTE);
        let module = self.required(Some(remote), "name", &remote.span, REMOTE);
        let host = host.and_then(|host| self.host(host));
        let module = module.filter(|module| {
            let one_line = !module.value.contains(['\n', '\r']);
            if !one_line {
                self.error(
                    &module.span,
                    "a module name cannot hold a line break",
                    &format!("write {REMOTE}"),
                );
            }
            one_line
        });
        Some(Remote { host: host?, module: self.os(module?) })
    }
}
