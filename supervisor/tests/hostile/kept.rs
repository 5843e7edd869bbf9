//! What is tried by a keeper that was taken over, and what is looked at then beside what counts for
//! each role: both remotes are honest, and get every change.

use std::fs;
use std::time::Duration;

use crate::roles::keeper::{LIES, TRUTH};
use crate::support::setup::STATE;
use crate::support::{Mirror, SOON, holds, wait_until, write};
use crate::{Expect, Scenario};

/// Those of a keeper, what takes long first.
pub(crate) const SCENARIOS: &[Scenario] = {
    use Expect::{Line, Nothing, Violation};
    &[
        ("keeper", "never-come", Line("restarting it")),
        ("keeper", "flood-kept", Line("flood frames=")),
        ("keeper", "flood-finds", Line("flood frames=")),
        ("keeper", "flood-beats", Line("flood frames=")),
        ("keeper", "flood-descriptors", Line("flood frames=")),
        ("keeper", "gigabyte", Line("it logs too much")),
        // Too little.
        ("keeper", "exit-at-once", Line("restarting it")),
        ("keeper", "exit-when-ready", Line("restarting it")),
        ("keeper", "deaf", Nothing),
        ("keeper", "deaf-beating", Nothing),
        ("keeper", "unconfined", Violation("confinement")),
        ("keeper", "forgery", Line("state cannot be written: ")),
        ("keeper", "reasons-forged", Line("a reason came back clean=true bytes=200")),
        ("keeper", "spoils-its-file", Line("restarting it")),
        ("keeper", "damaged-again", Violation("a report after its last")),
        // Reports out of turn.
        ("keeper", "ready-twice", Violation("ready twice")),
        ("keeper", "find-before-loaded", Violation("a find before all was told")),
        ("keeper", "answer-before-loaded", Violation(UNASKED)),
        ("keeper", "kept-without-end", Violation("it kept more than it was given")),
        ("keeper", "loaded-twice", Violation("it told twice what it kept")),
        ("keeper", "kept-after-all", Violation("it told twice what it kept")),
        ("keeper", "done-unasked", Violation(UNASKED)),
        ("keeper", "committed-unasked", Violation(UNASKED)),
        ("keeper", "compared-unasked", Violation(UNASKED)),
        ("keeper", "wrong-ticket", Violation(UNASKED)),
        ("keeper", "wrong-answer", Violation(UNASKED)),
        ("keeper", "done-twice", Violation(UNASKED)),
        // Finds.
        ("keeper", "find-of-the-root", Violation("a find that cannot be")),
        ("keeper", "find-of-no-tree", Violation("a find that cannot be")),
        ("keeper", "found-gone-lies", Line("caught up tree=")),
    ]
};

/// Those that have not told what they kept, for which a start waits some seconds. It is enough that a
/// few of them show that this ends.
const SEEN_FIRST: [&str; 7] = [
    "unconfined",
    "ready-twice",
    "find-before-loaded",
    "answer-before-loaded",
    "exit-when-ready",
    "forgery",
    "spoils-its-file",
];

const UNASKED: &str = "an answer to what it was not asked";
const CONTENT: &str = "still here";

/// What lies are told of stands here and on each remote.
pub(crate) fn prepare(mirror: &Mirror, mode: &str) {
    if mode != "found-gone-lies" {
        return;
    }
    let [file, directory] = LIES;
    for top in mirror.replicas.iter().chain([&mirror.sources[0]]) {
        write(top.join(file), CONTENT);
        write(top.join(directory).join("file"), CONTENT);
    }
    mirror.replicas.iter().for_each(|replica| write(replica.join(TRUTH), CONTENT));
}

/// True when an honest one takes over before the first change.
pub(crate) fn is_seen_first(role: &str, mode: &str) -> bool {
    let is_early = mode.starts_with("early") && mode != "early empty";
    role == "keeper" && (is_early || SEEN_FIRST.contains(&mode))
}

/// What became of the lies, and of the file.
pub(crate) fn look(mirror: &Mirror, mode: &str) {
    match mode {
        "found-gone-lies" => {
            // One job carries all of them; the next one begins when it is over.
            let gone = || mirror.replicas.iter().all(|replica| !replica.join(TRUTH).exists());
            wait_until("what is gone goes", SOON, gone);
            write(mirror.source("afterwards"), CONTENT);
            let over = || mirror.replicas.iter().all(|replica| holds(replica.join("afterwards"), CONTENT));
            wait_until("the next job is done", SOON, over);
            let [file, directory] = LIES;
            for replica in &mirror.replicas {
                assert!(holds(replica.join(file), CONTENT), "a file that is there was removed");
                assert!(holds(replica.join(directory).join("file"), CONTENT), "a directory was removed");
            }
        }
        "damaged-again" => wait_kept(mirror),
        "spoils-its-file" => {
            mirror.wait_logged("state file damaged");
            wait_kept(mirror);
        }
        _ => {}
    }
}

/// An honest keeper took over, and has made a file of what was none, or rubbish.
fn wait_kept(mirror: &Mirror) {
    let is_kept = || {
        let files = fs::read_dir(mirror.dir.join(STATE)).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read(file.path()).ok()).any(|bytes| bytes.starts_with(b"redb"))
    };
    wait_until("it is kept again", Duration::from_mins(1), is_kept);
}
