//! What the core tells the operator: one place for the words, so that they stay in step.
//! Lines state facts as `key=value`; one line a change of state, none a failure.

use common::event::Dirt;
use common::log::in_quotes;
use common::message::{Deletions, LossCause, Outcome, RootLoss};
use common::path::RelPath;
use log::Level;

use super::backlog::Collapsed;
use super::dispatch::{Repair, Sight};
use super::outlet::{MAX_TRIES, MAX_WAITING, Outlet};
use super::remote::{Remote, Turn};
use super::{Action, JobEnd};

/// Most bytes of rsync's own words in a line.
const MAX_SAID: usize = 400;

/// Paths gave way to what stands for them.
pub fn collapsed(remote: &str, collapsed: &Collapsed) -> Action {
    let text = match collapsed {
        Collapsed::Into(path, deletions, count) => {
            let done = match deletions {
                Deletions::Travel => "made equal",
                Deletions::Held => "sent",
            };
            format!(
                "backlog full remote={remote} paths={count} first_directory={path}: what holds many of them is {done} as a whole"
            )
        }
        Collapsed::Whole(Deletions::Travel) => {
            format!("backlog full remote={remote}: a full sync with deletions takes its place")
        }
        Collapsed::Whole(Deletions::Held) => {
            format!("backlog full remote={remote}: a full sync takes its place, and removals wait on")
        }
    };
    Action::Log(Level::Warn, text)
}

/// Sight of a subtree was lost; and of `more` others, of which nothing was said.
pub fn rescan(tree: &str, path: &RelPath, cause: LossCause, repair: Repair, more: u64) -> Action {
    let cause = match cause {
        LossCause::Overflow => "the kernel's queue was full",
        LossCause::Unwatched => "directories without a watch",
        LossCause::Backlog => "too many changes at once",
        LossCause::Unreadable => "a directory could not be read",
        // Said if it has, see `caught_up`.
        LossCause::Linked => "a file may have been changed through a name that is gone",
    };
    let deletions = deletions(repair);
    let more = if more > 0 { format!(" more_since_last={more}") } else { String::new() };
    let text = format!("rescan tree={tree} path={path} cause=\"{cause}\" deletions=\"{deletions}\"{more}");
    Action::Log(Level::Warn, text)
}

/// The watcher was away, or the root was.
pub fn blind(tree: &str, repair: Repair, sight: Sight) -> Action {
    let deletions = deletions(repair);
    let (level, cause) = match sight {
        Sight::Replaced => (Level::Info, "the config has changed"),
        Sight::Whole | Sight::Lost => (Level::Warn, "nobody watched for a while"),
    };
    Action::Log(level, format!("rescan tree={tree} cause=\"{cause}\" deletions=\"{deletions}\""))
}

/// The last run did not end in order.
pub fn unclean() -> Action {
    Action::Log(
        Level::Info,
        "state: the last run did not end in order; what it had to do is known".to_owned(),
    )
}

/// What happened before cannot be found by comparing.
pub fn reconcile(tree: &str, cause: &str, mirror: bool) -> Action {
    let deletions = deletions(if mirror { Repair::Mirror } else { Repair::Send });
    let text = format!(
        "state tree={tree}: {cause}; a full sync takes the place of a comparison deletions=\"{deletions}\""
    );
    Action::Log(Level::Warn, text)
}

/// What happened while nobody watched is known.
pub fn caught_up(tree: &str, changed: u64, gone: u64) -> Action {
    Action::Log(Level::Info, format!("caught up tree={tree} changed={changed} gone={gone}"))
}

/// Something was carried while perhaps nobody watched, and is not carried once more.
pub fn unproven(tree: &str) -> Action {
    let text = format!(
        "sent unseen tree={tree}: what was made and removed again while nobody watched may have been sent, and stay on \
         the remotes; find it with: sersync-supervisor verify --repair"
    );
    Action::Log(Level::Warn, text)
}

/// A remote is new to the config. `deletions`: what becomes of what only it has.
pub fn seeded(remote: &str, deletions: Deletions) -> Action {
    let what = match deletions {
        Deletions::Held => "it gets the whole tree; nothing is deleted there",
        Deletions::Travel => "a full sync makes it equal, and deletes what only it has",
    };
    let text = format!("remote new remote={remote}: {what}");
    Action::Log(Level::Info, text)
}

/// A remote is in the config no more.
pub fn removed(remote: &str) -> Action {
    let text =
        format!("remote removed remote={remote}: what it has stays there, and what it lacks is forgotten");
    Action::Log(Level::Info, text)
}

/// Deletions are held by the brake.
pub fn held(tree: &str, names: u64) -> Action {
    let text = format!(
        "deletions held tree={tree} names={names}: more than <delete maxDelete= maxDeletePercent=> lets go at once; \
         decide with: sersync-supervisor deletes list|approve|drop"
    );
    Action::Log(Level::Error, text)
}

/// Nothing is left in a tree, and nobody saw it go.
pub fn emptied(tree: &str, names: u64) -> Action {
    let text = format!(
        "root empty tree={tree} names={names}: nobody saw what was in it go; deletions are held. Decide with: \
         sersync-supervisor deletes list|approve|drop"
    );
    Action::Log(Level::Error, text)
}

/// The file of what is kept is damaged.
pub fn state_damaged(why: &str) -> Action {
    let text = format!("state file damaged: {why}; it is made anew, and a full sync finds what was pending");
    Action::Log(Level::Error, text)
}

/// The file of what is kept cannot be written.
pub fn state_unwritable(why: &str) -> Action {
    let text = format!(
        "state cannot be written: {why}; mirroring goes on, but after a restart a comparison may find more than is \
         needed. It is tried again"
    );
    Action::Log(Level::Error, text)
}

/// A path has arrived, or is gone there as it is here.
pub fn arrived(remote: &str, path: &RelPath, dirt: Dirt) -> Action {
    let what = match dirt {
        Dirt::Touched => "sent",
        Dirt::Deep | Dirt::Sweep => "sent_with_all_below",
        Dirt::Removed | Dirt::RemovedDir => "removed",
    };
    Action::Log(Level::Info, format!("arrived remote={remote} path={path} what={what}"))
}

/// A comparison could not be made.
pub fn not_compared(remote: &str, end: &JobEnd) -> String {
    format!(
        "not compared remote={remote}{} status={}{}",
        fact("reason", reason(end.outcome)),
        end.status,
        said(&end.tail)
    )
}

/// Every directory is watched.
pub fn watching(tree: &str, directories: u64) -> Action {
    Action::Log(Level::Info, format!("watching tree={tree} directories={directories}"))
}

/// Another directory stands in the root's place.
pub fn root_replaced(tree: &str) -> Action {
    let text = format!(
        "root replaced tree={tree}: another directory stands in its place. What is in it is sent; deletions are held \
         until the old one is back. Restart the supervisor to accept the new one"
    );
    Action::Log(Level::Error, text)
}

/// The root is gone.
pub fn root_lost(tree: &str, cause: RootLoss) -> Action {
    let cause = match cause {
        RootLoss::Missing => "it is missing",
        RootLoss::Unreadable => {
            "it may not be read: see the watcher's line about its path, <privileges readAll>, and its mode"
        }
        RootLoss::Replaced => "it was renamed or replaced",
        RootLoss::Unmounted => "it was unmounted",
    };
    let text = format!("root lost tree={tree}: {cause}. Nothing is deleted on the remotes; waiting for it");
    Action::Log(Level::Error, text)
}

/// A child died and is started again.
pub fn child_died(child: &str, how: &str) -> Action {
    Action::Log(Level::Warn, format!("child died {child} how=\"{how}\"; restarting it"))
}

/// What a remote still lacks when the supervisor stops.
pub fn not_sent(remote: &Remote) -> Action {
    let text = format!(
        "not sent remote={} pending={} held_deletions={}",
        remote.label,
        remote.pending(),
        remote.parked()
    );
    Action::Log(Level::Warn, text)
}

/// The transfer under way moves nothing. It is given up after its own time limits.
pub fn stalled(remote: &Remote) -> Action {
    let text = format!(
        "remote stalled remote={} pending={}: its transfer moves nothing",
        remote.label,
        remote.pending()
    );
    Action::Log(Level::Warn, text)
}

/// It does again.
pub fn moves_again(remote: &str) -> Action {
    Action::Log(Level::Info, format!("remote moves again remote={remote}"))
}

/// A remote did what it was asked to, for the first time since it failed.
pub fn remote_up(remote: &Remote) -> Action {
    Action::Log(Level::Info, format!("remote up remote={} pending={}", remote.label, remote.pending()))
}

/// Whoever a plugin speaks to does not answer.
pub fn plugin_down(plugin: &Outlet, note: &str) -> Action {
    let text = format!(
        "plugin down plugin={} pending={}{}; it is tried again",
        plugin.label,
        plugin.pending(),
        said(note)
    );
    Action::Log(Level::Error, text)
}

/// A plugin is heard again.
pub fn plugin_up(plugin: &Outlet) -> Action {
    Action::Log(Level::Info, format!("plugin up plugin={} pending={}", plugin.label, plugin.pending()))
}

/// A plugin was refused too often, or has too much to tell.
pub fn plugin_dropped(plugin: &Outlet, changes: u64) -> Action {
    let text = format!(
        "plugin dropped changes plugin={} changes={changes}: refused {MAX_TRIES} times each, or more than {MAX_WAITING} waited",
        plugin.label
    );
    Action::Log(Level::Error, text)
}

/// What a plugin has not been told when the supervisor stops.
pub fn not_told(plugin: &Outlet, pending: usize) -> Action {
    Action::Log(Level::Warn, format!("not told plugin={} pending={pending}", plugin.label))
}

/// How a job's end changed a remote's standing.
pub fn turn(remote: &Remote, turn: Turn, end: &JobEnd) -> Option<Action> {
    let (label, status, said, pending) = (&remote.label, end.status, said(&end.tail), remote.pending());
    let (level, text) = match turn {
        Turn::None => return None,
        Turn::Failed => {
            let reason = fact("reason", reason(end.outcome));
            let text = format!(
                "remote down remote={label} state={}{reason} status={status} pending={pending}{said}",
                remote.standing().as_str()
            );
            (Level::Error, text)
        }
        Turn::Partial => (
            Level::Warn,
            format!("some paths failed and will be tried again remote={label} status={status}{said}"),
        ),
        Turn::Quarantined(paths) => {
            let first = remote.quarantined().next();
            let first = first.map_or_else(String::new, |(path, entry, reason)| {
                format!(" first={path} attempts={}{}", entry.attempts, fact("reason", reason))
            });
            let text = format!(
                "quarantine remote={label} paths={paths}{first}; they are tried again, ever less often, and keep nobody waiting"
            );
            (Level::Error, text)
        }
        Turn::Recovered(paths) => {
            (Level::Info, format!("quarantine over remote={label} paths={paths}: they are as they should be"))
        }
        Turn::FullFailed => {
            let reason = fact("reason", reason(end.outcome));
            let text =
                format!("full sync failed remote={label}{reason} status={status}{said}; it is tried again");
            (Level::Error, text)
        }
        Turn::Synced => (Level::Info, format!("full sync done remote={label}")),
        Turn::Braked => {
            let text = format!(
                "deletions held remote={label}: a full sync found more to delete than <delete maxDelete= \
                 maxDeletePercent=> lets go; decide with: sersync-supervisor deletes approve|drop"
            );
            (Level::Error, text)
        }
        Turn::RootEmpty => {
            let text =
                format!("root empty remote={label}: a full sync would delete all of it; deletions are held");
            (Level::Error, text)
        }
    };
    Some(Action::Log(level, text))
}

/// An outcome in the operator's words.
pub fn reason(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Partial => "some paths failed",
        Outcome::Unreachable => "it does not answer or broke off",
        Outcome::Refused => "it refuses: check module, password and rights",
        Outcome::UnknownHost => {
            "ssh does not know its host key, or knows another one: get it with ssh-keyscan, compare it with the \
             machine's own, and append it to the known_hosts file"
        }
        Outcome::Hostile => "what it says breaks rsync's protocol: find out who answers there",
        Outcome::NoSpace => "it has no space left",
        Outcome::ReadOnly => "its filesystem cannot be written",
        Outcome::Misconfigured => "rsync does not accept its parameters",
        Outcome::RootGone => "the watched root is missing or replaced",
        Outcome::RootEmpty => "the watched root is empty",
        Outcome::TimedOut => "the transfer hung and was killed",
        Outcome::Broken => "rsync failed",
        Outcome::Limit => "rsync used up its CPU time, memory or processes: see <limits role=\"syncer\">",
    }
}

/// An outcome in one word, for programs.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Partial => "partial",
        Outcome::Unreachable => "unreachable",
        Outcome::Refused => "refused",
        Outcome::UnknownHost => "unknown_host",
        Outcome::Hostile => "hostile",
        Outcome::NoSpace => "no_space",
        Outcome::ReadOnly => "read_only",
        Outcome::Misconfigured => "misconfigured",
        Outcome::RootGone => "root_gone",
        Outcome::RootEmpty => "root_empty",
        Outcome::TimedOut => "timed_out",
        Outcome::Broken => "broken",
        Outcome::Limit => "limit",
    }
}

/// What the operator can do about an outcome.
pub fn cure(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "nothing",
        Outcome::Partial => "look at what rsync said and at the paths in quarantine; they are tried again",
        Outcome::Unreachable => {
            "see whether the host is up and its rsync or ssh port is open; it is tried again"
        }
        Outcome::Refused => {
            "check the module's name, the password file, hosts allow and read only over there"
        }
        Outcome::UnknownHost => {
            "get its key with ssh-keyscan, compare it, and append it to the known_hosts file"
        }
        Outcome::Hostile => "find out who answers on that port",
        Outcome::NoSpace => "free space over there; it is tried again",
        Outcome::ReadOnly => "see why its filesystem is read-only; it is tried again",
        Outcome::Misconfigured => {
            "read what it said: an option that one of both rsyncs lacks, or an account that ssh misses"
        }
        Outcome::RootGone => "bring the watched directory back, or mount it; nothing is deleted meanwhile",
        Outcome::RootEmpty => "mount the watched directory; if it is to be empty, see `deletes`",
        Outcome::TimedOut => "look at the network and at the remote's load; it is tried again",
        Outcome::Broken => "look at what rsync said and at both logs; it is tried again",
        Outcome::Limit => "raise cpu, memory or processes in <limits role=\"syncer\">",
    }
}

fn deletions(repair: Repair) -> &'static str {
    match repair {
        Repair::Compare => "found by comparing; only what differs is sent",
        Repair::Mirror => "mirrored",
        Repair::Send => "those made meanwhile are not known, and not mirrored",
    }
}

/// The end of what rsync said, in one line.
fn said(tail: &str) -> String {
    let tail = tail.trim_end();
    if tail.is_empty() {
        return String::new();
    }
    let from = tail.ceil_char_boundary(tail.len().saturating_sub(MAX_SAID));
    fact("said", &tail.get(from..).unwrap_or_default().replace('\n', "; "))
}

/// ` key="words"`. They may be anybody's: rsync repeats the names of files.
pub fn fact(key: &str, words: &str) -> String {
    format!(" {key}=\"{}\"", in_quotes(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of a file became facts of its own.
    #[test]
    fn what_rsync_says_forges_no_fact() {
        let tail = "rsync: mkstemp \"a\" status=0 said=\"\\#377\" (in m) failed: Permission denied (13)\n";
        let wanted =
            r#" said="rsync: mkstemp \"a\" status=0 said=\"\\#377\" (in m) failed: Permission denied (13)""#;
        assert_eq!(said(tail), wanted);
        // What is cut off is cut off before.
        let long = said(&"\"".repeat(2 * MAX_SAID));
        assert_eq!(long, format!(" said=\"{}\"", "\\\"".repeat(MAX_SAID)));
    }
}
