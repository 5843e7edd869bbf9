//! `/healthz`: whether all is well, and if not, why, a line each. Behind is normal while files change; only
//! what stays behind is a complaint.

use common::status::{Health, Remote, Snapshot, Stage, Tree, TreeState};

/// Most lines: one would do for a machine, and a person opens the page.
const MAX_LINES: usize = 50;

/// What is wrong where a remote may be behind for `lag` seconds.
pub(super) fn complaints(snapshot: &Snapshot, lag: f64) -> Vec<String> {
    let mut lines = Vec::new();
    match snapshot.supervisor.state {
        Stage::Starting => lines.push("not all trees have been watched yet".to_owned()),
        Stage::Running | Stage::Stopping => {}
    }
    lines.extend(snapshot.trees.iter().filter_map(of_tree));
    lines.extend(snapshot.remotes.iter().filter_map(|remote| of_remote(remote, lag)));
    let left_out = lines.len().saturating_sub(MAX_LINES);
    if left_out > 0 {
        lines.truncate(MAX_LINES);
        lines.push(format!("and {left_out} more"));
    }
    lines
}

fn of_tree(tree: &Tree) -> Option<String> {
    let what = match tree.state {
        TreeState::Watched | TreeState::Replaced => return None,
        TreeState::Starting => "is not watched yet",
        TreeState::Lost => "is lost",
        TreeState::Unwatched => "is not watched",
    };
    let why = tree.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    Some(format!("tree {} {what}{why}", tree.path))
}

fn of_remote(remote: &Remote, lag: f64) -> Option<String> {
    let behind = remote.behind_seconds.filter(|&seconds| seconds > lag);
    let why = match &remote.last_error {
        Some(error) if !error.over => format!(": {}", error.words),
        Some(_) | None => String::new(),
    };
    let how_far = behind.map_or_else(String::new, |seconds| format!(", {seconds:.0} s behind"));
    let name = format!("remote {} of {}", remote.name, remote.tree);
    match remote.health {
        Health::Down => Some(format!("{name} is down{how_far}{why}")),
        Health::Unwatched => Some(format!("{name} may lack what nobody sees: its tree is not watched")),
        Health::InSync | Health::Behind | Health::Held | Health::Failing => {
            behind.map(|seconds| format!("{name} is {seconds:.0} s behind, {} paths{why}", remote.pending))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::example;

    fn healthy() -> Snapshot {
        let mut snapshot = example();
        snapshot.trees.truncate(1);
        snapshot.remotes.truncate(1);
        snapshot.health = Health::InSync;
        snapshot
    }

    #[test]
    fn all_is_well() {
        assert_eq!(complaints(&healthy(), 300.0), [""; 0]);
        let mut behind = healthy();
        behind.remotes[0].health = Health::Behind;
        behind.remotes[0].behind_seconds = Some(300.0);
        assert_eq!(complaints(&behind, 300.0), [""; 0]);
        behind.remotes[0].health = Health::Held;
        assert_eq!(
            complaints(&behind, 300.0),
            [""; 0],
            "that is for the operator to decide, and takes its time"
        );
    }

    #[test]
    fn what_is_wrong() {
        let mut snapshot = healthy();
        snapshot.remotes[0].behind_seconds = Some(301.0);
        snapshot.remotes[0].health = Health::Failing;
        assert!(complaints(&snapshot, 300.0)[0].contains("301 s behind"));
        snapshot.supervisor.state = Stage::Starting;
        assert!(complaints(&snapshot, 300.0)[0].contains("not all trees"));
        let said = complaints(&example(), 300.0).join("\n");
        for words in [
            "tree /mnt/usb is lost: it was unmounted",
            "is down, 760 s behind: it does not answer",
            "nobody sees",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn a_thousand_of_them() {
        let mut snapshot = example();
        let down = snapshot.remotes.iter().find(|remote| remote.health == Health::Down).unwrap().clone();
        snapshot.remotes = vec![down; 1000];
        let lines = complaints(&snapshot, 300.0);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (MAX_LINES + 1, "and 951 more"));
    }
}
