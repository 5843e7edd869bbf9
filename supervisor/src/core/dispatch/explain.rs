//! What becomes of one path, told to whoever asks: a line for each remote of its tree.

use std::time::Duration;

use common::event::TreeId;
use common::path::RelPath;

use super::Dispatcher;
use super::requests::{FINE, UNKNOWN, say};
use crate::core::notice::{fact, word};
use crate::core::remote::{Remote, Whereabouts};
use crate::core::{Action, ClientId};

impl Dispatcher {
    /// Answers at once: it is a look, and no order.
    pub(super) fn explain(
        &self,
        now: Duration,
        client: ClientId,
        (name, path): (&str, &RelPath),
        out: &mut Vec<Action>,
    ) {
        let mut trees = (0_u16..).map(TreeId).zip(&self.trees);
        let Some((id, tree)) = trees.find(|(_, tree)| tree.label == name) else {
            say(
                out,
                client,
                "the supervisor that runs does not watch this tree; it takes a restart".to_owned(),
            );
            return out.push(Action::End(client, UNKNOWN));
        };
        if self.permits(id).is_none() {
            say(out, client, "the watched directory is not seen at the moment".to_owned());
        }
        if self.is_finding(now, id) {
            say(out, client, "the tree is being compared with what was kept".to_owned());
        }
        if tree.brake.held().any(|(held, _)| held == path || path.is_below(held)) {
            say(out, client, "its deletion is held; see `deletes`".to_owned());
        }
        for remote in self.remotes.iter().filter(|remote| remote.tree == id && !remote.is_gone()) {
            say(out, client, line(now, remote, &remote.whereabouts(path)));
        }
        out.push(Action::End(client, FINE));
    }
}

fn line(now: Duration, remote: &Remote, found: &Whereabouts) -> String {
    let mut words = Vec::new();
    words.extend(found.in_flight.then(|| "in_flight=yes".to_owned()));
    if let Some(waits) = &found.waits {
        let (since, next) = (now.saturating_sub(waits.since), waits.ready.saturating_sub(now));
        words.push(format!("waits_s={} next_try_s={}", since.as_secs(), next.as_secs()));
        if waits.attempts > 0 {
            let quarantine = if waits.in_quarantine { " quarantine=yes" } else { "" };
            words.push(format!("failed={}{quarantine}{}", waits.attempts, fact("reason", &waits.reason)));
        }
    }
    words.extend(found.covered.then(|| "waits_with=a directory above it".to_owned()));
    words.extend(found.parked.then(|| "removal=parked until the watched directory is back".to_owned()));
    words.extend(found.full.map(|_| "full_sync=covers it".to_owned()));
    if words.is_empty() {
        // Not that it has arrived: it may never have been seen.
        words.push("nothing waits".to_owned());
    }
    words.extend(remote.holds_full().then(|| "full_sync_deletions=held, see `deletes`".to_owned()));
    words.extend(remote.tally.mishap().map(|mishap| {
        let ago = now.saturating_sub(mishap.at).as_secs();
        let over = if mishap.is_over { "yes" } else { "no" };
        format!("last_error={} last_error_s={ago} over={over}", word(mishap.outcome))
    }));
    format!("remote={} state={} {}", remote.label, remote.standing().as_str(), words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::backlog::Traffic;
    use crate::core::dispatch::Setup;
    use crate::core::{Ask, Input, JobEnd, Lane, RemoteId, Role};
    use common::event::{Change, Dirt, RootId};
    use common::message::Outcome;

    const NOW: Duration = Duration::from_secs(100);

    fn asked(core: &mut Dispatcher, tree: &str, path: &str) -> (Vec<String>, u8) {
        let mut out = Vec::new();
        let ask = Ask::Explain { tree: tree.to_owned(), path: RelPath::new(path).unwrap() };
        core.on(NOW, Input::Asked(ClientId(1), ask), &mut out);
        let (mut lines, mut end) = (Vec::new(), None);
        for action in out {
            match action {
                Action::Say(_, text) => lines.push(text),
                Action::End(_, exit) => end = Some(exit),
                _ => {}
            }
        }
        (lines, end.unwrap())
    }

    #[test]
    fn each_remote_of_the_tree_tells() {
        let labels = ["a::m", "b::m"].map(|label| (label.to_owned(), Traffic::OneWay)).to_vec();
        let mut core = Dispatcher::new(Setup {
            trees: vec![
                ("/t".to_owned(), labels),
                ("/u".to_owned(), vec![("c::m".to_owned(), Traffic::OneWay)]),
            ],
            hosts: ["a", "b", "c"].map(str::to_owned).to_vec(),
            workers: 1,
            max_syncers: 8,
            ..Setup::default()
        });
        let mut out = Vec::new();
        core.start(NOW, &mut out);
        let root = RootId { device: 1, inode: 2, born: 3 };
        core.on(NOW, Input::Watching(TreeId(0), root, 1), &mut out);
        let change = Change { path: RelPath::new("d/f").unwrap(), dirt: Dirt::Touched, mask: 8 };
        core.on(NOW, Input::Changes(TreeId(0), vec![change]), &mut out);
        // No syncer is ready yet, so it waits.
        let (lines, end) = asked(&mut core, "/t", "d/f");
        assert_eq!((lines.len(), end), (2, FINE), "{lines:?}");
        assert!(lines[0].starts_with("remote=a::m state=up waits_s=0 next_try_s="), "{lines:?}");
        let (lines, _) = asked(&mut core, "/t", "d/g");
        assert!(lines.iter().all(|line| line.ends_with("state=up nothing waits")), "{lines:?}");
        let (lines, _) = asked(&mut core, "/u", "d/f");
        assert!(
            lines[0].contains("not seen at the moment") && lines[1].starts_with("remote=c::m"),
            "{lines:?}"
        );
        assert_eq!(asked(&mut core, "/v", "d/f").1, UNKNOWN);
    }

    /// "What was seen of it is confirmed" was said of what a held full sync had not deleted.
    #[test]
    fn what_full_syncs_left_undone_is_told() {
        let full = Role::Syncer(RemoteId(0), Lane::Full);
        let trees = vec![("/t".to_owned(), vec![("r::m".to_owned(), Traffic::OneWay)])];
        let setup =
            Setup { trees, full_sync: true, mirror: true, workers: 1, max_syncers: 8, ..Setup::default() };
        let mut core = Dispatcher::new(setup);
        let mut out = Vec::new();
        core.start(NOW, &mut out);
        let root = RootId { device: 1, inode: 2, born: 3 };
        core.on(NOW, Input::Watching(TreeId(0), root, 1), &mut out);
        let (lines, _) = asked(&mut core, "/t", "f");
        assert_eq!(lines, ["remote=r::m state=up full_sync=covers it"]);
        core.on(NOW, Input::Ready(full), &mut out);
        let end = JobEnd {
            outcome: Outcome::Partial,
            status: 25,
            tail: "Deletions stopped due to --max-delete limit (3 skipped)".to_owned(),
            failed: None,
            left: Vec::new(),
        };
        core.on(NOW, Input::Done(full, end), &mut out);
        let (lines, _) = asked(&mut core, "/t", "f");
        let held = "full_sync_deletions=held, see `deletes`";
        let expected =
            format!("remote=r::m state=up nothing waits {held} last_error=partial last_error_s=0 over=no");
        assert_eq!(lines, [expected]);
    }
}
