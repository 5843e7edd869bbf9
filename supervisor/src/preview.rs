//! `plan`: what a full sync would do now, deletions first. Each remote is compared by a syncer of its
//! own, confined like a supervisor's, in a dry run with the arguments of the full sync. No supervisor
//! is started, and one that runs is not asked: it may go on meanwhile.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use common::config::{Config, GuardScope};
use common::exit::Exit;
use common::log::{Shown, escape};
use common::message::{Comparison, Difference, DifferenceKind, Outcome, Work};
use common::path::RelPath;
use log::LevelFilter;

use crate::alone::{self, Ended};
use crate::check::remotes::verdict;
use crate::core::RemoteId;
use crate::plan::{Plan, label};
use crate::privileges::Grounds;
use crate::run::{complain, read_config};
use crate::say::say;
use crate::{doctor, lowering, runtime};

/// Most paths of a kind that are named.
const MAX_NAMED: usize = 100;
/// How long a comparison may move nothing: what a large file holds is not read, but a large tree is
/// listed in silence.
const SILENCE: Duration = Duration::from_secs(600);

/// Tells of all remotes of the config at `path`, or of one.
///
/// [`Exit::Ok`] where nothing would be done, [`Exit::No`] where something would, and
/// [`Exit::Unavailable`] where a remote could not be compared.
pub fn run(path: &Path, remote: Option<&str>) -> Exit {
    log::set_max_level(LevelFilter::Off);
    let config = match read_config(path, None) {
        Ok((config, _)) => config,
        Err(exit) => return exit,
    };
    let footing = runtime::footing(|_| {});
    let uids = if footing.gives_uids { doctor::probe::first_uid() } else { None };
    let grounds = Grounds::new(footing, &config);
    let plan = match Plan::new(config, uids) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&error.to_string());
            return error.exit();
        }
    };
    let is_meant = |id: &RemoteId| {
        plan.remote(*id).is_some_and(|(_, it)| remote.is_none_or(|wanted| label(it) == wanted))
    };
    let all = || (0..u16::MAX).map(RemoteId).take_while(|&id| plan.remote(id).is_some());
    let ids: Vec<RemoteId> = all().filter(is_meant).collect();
    if ids.is_empty() {
        let known: Vec<String> = all().filter_map(|id| plan.remote(id)).map(|(_, it)| label(it)).collect();
        complain(&format!("there is no such remote; known={}", known.join(",")));
        return Exit::Usage;
    }
    let private = match tempfile::Builder::new().prefix("sersync-plan-").tempdir() {
        Ok(private) => private,
        Err(error) => {
            complain(&format!("no directory for the sockets: {error}"));
            return Exit::CantCreate;
        }
    };
    // The sockets of the rendezvous go there.
    let _ = tempfile::env::override_temp_dir(private.path());
    lowering::give_accounts(&plan, uids, footing);
    let mut exit = Exit::Ok;
    for id in ids {
        exit = match (one(&plan, id, (uids, grounds)), exit) {
            (Exit::Ok, before) => before,
            (Exit::No, Exit::Ok | Exit::No) => Exit::No,
            _ => Exit::Unavailable,
        };
    }
    exit
}

/// Compares a remote and tells of it.
fn one(plan: &Plan, id: RemoteId, rights: (Option<u32>, Grounds)) -> Exit {
    let Some((root, remote)) = plan.remote(id) else { return Exit::Unavailable };
    let name = label(remote);
    say(&format!("tree {} to remote {name}", Shown(root)));
    let mut seen = Seen::default();
    let work = Work::Verify { tops: vec![RelPath::root()], by: Comparison::Times };
    let mut found = |some: Vec<Difference>| some.into_iter().for_each(|it| seen.add(Path::new(root), it));
    let ended = alone::compare(plan, id, rights, work, SILENCE, &mut found);
    let problem = match &ended {
        Ok(Ended { outcome: Outcome::Done, .. }) => None,
        Ok(Ended { outcome: Outcome::Partial, tail }) => Some(format!(
            "not all could be compared: {}",
            escape(tail.lines().next().unwrap_or_default().as_bytes())
        )),
        Ok(ended) => {
            let verdict = verdict(remote, ended);
            Some(format!("{}; {}", verdict.message, verdict.cure))
        }
        Err(error) => Some(format!("the syncer could not be run: {error}")),
    };
    if problem.is_some() && seen.is_nothing() {
        complain(&problem.unwrap_or_default());
        return Exit::Unavailable;
    }
    seen.tell();
    let is_empty = std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty && seen.extra.count > 0 {
        say("  the watched directory is empty: a full sync refuses to delete all for that");
    }
    if let Some(line) = of_deletions(plan.config(), seen.extra.count) {
        say(&format!("  {line}"));
    }
    say(&format!(
        "  remote={name} deletions={} new={} changed={} attributes={} bytes={}",
        seen.extra.count, seen.missing.count, seen.content.count, seen.attributes.count, seen.bytes
    ));
    match problem {
        Some(problem) => {
            complain(&problem);
            Exit::Unavailable
        }
        None if seen.is_nothing() => Exit::Ok,
        None => Exit::No,
    }
}

/// Whether a supervisor would delete so many names, as far as the config says; `None` where nothing is
/// to be said. How many names the tree has is not known here: the brake counts them by and by.
fn of_deletions(config: &Config, count: u64) -> Option<String> {
    if !config.switches.delete {
        return Some("deletions: none, and none are looked for: <delete start=\"false\"/>".to_owned());
    }
    if count == 0 {
        return None;
    }
    let when = match config.crontab {
        Some(_) => "by the next full sync",
        None => "by the full sync of a start with -r, and by no other since no <crontab> is on",
    };
    let guard = config.delete_guard;
    let brake = match guard.scope {
        GuardScope::Off => "all at once, since guard=\"off\"".to_owned(),
        GuardScope::Unseen | GuardScope::All if count <= guard.names => {
            format!("all at once, since maxDelete={} is not exceeded", guard.names)
        }
        GuardScope::Unseen | GuardScope::All => format!(
            "once the tree was counted, at most maxDelete={} or maxDeletePercent={} of its names, whichever is more; \
             the rest is held until `deletes` decides",
            guard.names, guard.percent
        ),
    };
    Some(format!("deletions: {when}; {brake}"))
}

/// What would be done, bounded.
#[derive(Debug, Default)]
struct Seen {
    extra: Named,
    missing: Named,
    content: Named,
    attributes: Named,
    /// Of files that would be sent, as large as they are here: rsync may need fewer.
    bytes: u64,
}

/// Paths of a kind.
#[derive(Debug, Default)]
struct Named {
    paths: Vec<String>,
    count: u64,
}

impl Named {
    fn add(&mut self, path: String) {
        self.count = self.count.saturating_add(1);
        if self.paths.len() < MAX_NAMED {
            self.paths.push(path);
        }
    }

    fn tell(&self, word: &str) {
        self.paths.iter().for_each(|path| say(&format!("  {word:10} {path}")));
        let more = self.count.saturating_sub(u64::try_from(self.paths.len()).unwrap_or(u64::MAX));
        if more > 0 {
            say(&format!("  {word:10} … and {more} more"));
        }
    }
}

impl Seen {
    fn add(&mut self, root: &Path, difference: Difference) {
        let Difference { path, kind, directory } = difference;
        let slash = if directory { "/" } else { "" };
        let name = if path.is_root() { ".".to_owned() } else { escape(path.as_bytes()) };
        let shown = format!("{name}{slash}");
        let size = || {
            let at = root.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
            at.symlink_metadata().map_or(0, |found| if found.is_file() { found.len() } else { 0 })
        };
        let named = match kind {
            DifferenceKind::Extra => &mut self.extra,
            DifferenceKind::Missing => {
                self.bytes = self.bytes.saturating_add(size());
                &mut self.missing
            }
            DifferenceKind::Content => {
                self.bytes = self.bytes.saturating_add(size());
                &mut self.content
            }
            DifferenceKind::Attributes => &mut self.attributes,
        };
        named.add(shown);
    }

    fn tell(&self) {
        self.extra.tell("delete");
        self.missing.tell("new");
        self.content.tell("change");
        self.attributes.tell("attributes");
    }

    fn is_nothing(&self) -> bool {
        [&self.extra, &self.missing, &self.content, &self.attributes].iter().all(|named| named.count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `plan` counted deletions of which it did not say that the brake would hold them, or that no full sync deletes.
    #[test]
    fn whether_deletions_would_go() {
        let told = |delete: &str, crontab: &str, count| {
            let text = format!("<head><inotify>{delete}</inotify><sersync>{crontab}</sersync></head>");
            of_deletions(&common::config::parse(text.as_bytes()).draft.unwrap(), count).unwrap_or_default()
        };
        let crontab = r#"<crontab start="true" schedule="600"/>"#;
        assert_eq!(told("<delete/>", crontab, 0), "");
        assert!(told(r#"<delete start="false"/>"#, crontab, 0).starts_with("deletions: none"));
        assert!(told("<delete/>", "", 1).starts_with("deletions: by the full sync of a start with -r"));
        let small = r#"<delete maxDelete="5" maxDeletePercent="7"/>"#;
        assert_eq!(
            told(small, crontab, 5),
            "deletions: by the next full sync; all at once, since maxDelete=5 is not exceeded"
        );
        assert!(told(small, crontab, 6).contains("at most maxDelete=5 or maxDeletePercent=7 of its names"));
        assert!(told(r#"<delete guard="off" maxDelete="5"/>"#, crontab, 6).contains("since guard=\"off\""));
    }
}
