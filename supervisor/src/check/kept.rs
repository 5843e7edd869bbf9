//! Where the state and the fail log go: whether they can be made there, and are not mirrored themselves.

use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::config::{Config, Severity};
use common::log::Shown;
use nix::unistd::{AccessFlags, access, geteuid};

use super::Findings;
use crate::accounts::{self, absolute};
use crate::privileges::Grounds;
use crate::{runtime, state};

/// Looks at both.
pub(super) fn look(findings: &mut Findings, config: &Config, grounds: Grounds) {
    let roots: Vec<PathBuf> = config.trees.iter().filter_map(|tree| absolute(&tree.watch).ok()).collect();
    let is_watched = |path: &Path| roots.iter().any(|root| path.starts_with(root));
    if config.state.start {
        let place = findings.places.attribute("state", "path", |_| true);
        // A place that was named has to work; elsewhere mirroring goes on without one.
        let severity = if config.state.path.is_some() { Severity::Error } else { Severity::Warning };
        match state::place(&config.state, grounds.footing) {
            Err(error) => findings.line(Severity::Warning, place, &error.to_string(), ""),
            Ok(directory) => {
                state_directory(findings, severity, &place, &directory);
                if is_watched(&directory) {
                    let message = "the state lies in a watched directory, and would be mirrored all the time";
                    let cure = "name a directory outside: path=\"/var/lib/sersync\"";
                    findings.say(severity, place, message, cure);
                }
            }
        }
    }
    let Some(path) = config.fail_log.path.as_ref().and_then(|path| absolute(path).ok()) else { return };
    let place = findings.places.attribute("failLog", "path", |_| true);
    if is_watched(&path) {
        let message = "the fail log lies in a watched directory, and would be mirrored with each failure";
        findings.warning(place.clone(), message, "name a place outside, or write path=\"\" for none");
    }
    if path.parent().is_some_and(|directory| !directory.is_dir()) {
        let message = "the directory of the fail log does not exist, and the log is not written";
        findings.warning(place, message, "make the directory, name another, or write path=\"\" for none");
    }
}

/// Whether the state could be kept there.
fn state_directory(findings: &mut Findings, severity: Severity, place: &Range<usize>, directory: &Path) {
    let shown = Shown(directory.as_os_str());
    match directory.metadata() {
        Ok(found) if !found.is_dir() => {
            let message = format!("state {shown} is not a directory");
            findings.say(
                severity,
                place.clone(),
                message,
                "name a directory of its own: path=\"/var/lib/sersync\"",
            );
        }
        Ok(found) if found.mode() & 0o022 != 0 => {
            let message = format!("state {shown} may be written by others, and is refused");
            findings.say(severity, place.clone(), message, "chmod 700, or name another directory");
        }
        Ok(found) => {
            let account = accounts::identity(runtime::ACCOUNT).ok().map(|account| account.uid);
            let own = geteuid().as_raw();
            if found.uid() != own && (own != 0 || account != Some(found.uid())) {
                let message = format!("state {shown} belongs to uid={}, and is refused", found.uid());
                findings.say(
                    severity,
                    place.clone(),
                    message,
                    format!("chown {own}, or name another directory"),
                );
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let above = directory.ancestors().find(|above| above.exists());
            if above.is_some_and(|above| access(above, AccessFlags::W_OK).is_err()) {
                let message = format!("state {shown} cannot be made by this user");
                findings.warning(place.clone(), message, "make it for this user, or name another directory");
            }
        }
        Err(error) => {
            let message = format!("state {shown} cannot be looked at: {error}");
            findings.say(
                severity,
                place.clone(),
                message,
                "check the directories above it: namei -l shows them",
            );
        }
    }
}
