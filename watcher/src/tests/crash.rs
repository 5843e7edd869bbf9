//! The end of everything, at any moment: what the index says then is all that the next start has to
//! go by. It must never believe that it knows more than was reported.

use std::fs;

use common::config::Switches;
use common::event::Dirt;
use common::message::{WatcherOrder, WatcherReport};
use common::path::RelPath;

use super::keeper::{Indexed, path};
use super::races::seeds;
use super::replica::{Random, Remote, play};

/// Does what was reported and found. Directories that were brought over as a whole, with what
/// nobody had told of yet, are added to `wholes`.
fn obey(indexed: &mut Indexed, remote: &mut Remote, wholes: &mut Vec<RelPath>) {
    for report in std::mem::take(&mut indexed.reports) {
        match &report {
            WatcherReport::Names(..) | WatcherReport::Listed { .. } | WatcherReport::Flushed(_) => continue,
            WatcherReport::Changes(_, changes) => {
                let whole = changes.iter().filter(|change| change.dirt != Dirt::Touched);
                wholes.extend(whole.map(|change| change.path.clone()));
            }
            _ => {}
        }
        remote.obey(&report);
    }
    for path in std::mem::take(&mut indexed.found) {
        remote.bring(path.as_bytes(), true);
        wholes.push(path);
    }
}

/// Where index and tree agree, the remote has what is there; and what only the remote has, the
/// index knows, but below what was brought over as a whole a moment ago.
fn check(indexed: &Indexed, remote: &Remote, wholes: &[RelPath], moment: &str) {
    let (root, there) = (indexed.bench.at(""), indexed.there(&[]));
    for (path, stamp) in &there {
        let known = indexed.index.names.get(path) == Some(stamp);
        let content = fs::read(root.join(path.as_path())).ok().filter(|_| !stamp.directory);
        let brought = remote.replica.get(path.as_bytes());
        assert!(!known || brought == Some(&content), "{moment}: {path} {brought:?}");
    }
    for path in remote.replica.keys().map(|bytes| path(bytes.clone())) {
        let known = there.contains_key(&path) || indexed.index.names.contains_key(&path);
        assert!(known || wholes.iter().any(|whole| whole.overlaps(&path)), "{moment}: {path}");
    }
}

#[test]
fn the_index_never_knows_more_than_was_reported() {
    for seed in 0..seeds() {
        let mut random = Random(seed);
        let mut indexed = Indexed::listed(Switches::default(), &[], |bench| {
            bench.mkdir("0/1/2");
            bench.write("0/1/2/3");
        });
        let root = indexed.bench.at("");
        let (mut remote, mut wholes) = (Remote::of(&indexed.bench), Vec::new());
        for round in 0..80 {
            let operations = random.below(30);
            play(&mut random, &root, operations);
            if random.below(8) == 0 {
                indexed.bench.order(WatcherOrder::List(round));
            }
            for _ in 0..random.below(4) {
                indexed.turn();
                obey(&mut indexed, &mut remote, &mut wholes);
            }
            check(&indexed, &remote, &wholes, &format!("seed {seed} round {round}"));
            if random.below(4) == 0 {
                indexed.rest();
                obey(&mut indexed, &mut remote, &mut wholes);
                wholes.clear();
            }
        }
        indexed.rest();
        obey(&mut indexed, &mut remote, &mut wholes);
        assert!(remote.is_equal(), "seed {seed}");
        // What is not known by now is found by the next pass, and then all of it is known.
        indexed.bench.order(WatcherOrder::List(1000));
        indexed.until_listed("", 1000);
        indexed.check();
    }
}
