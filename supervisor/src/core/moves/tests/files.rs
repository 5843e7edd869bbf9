//! Renames of files, which wait for nothing, and whose old names nobody touches meanwhile.

use super::*;

/// A file's rename as the watcher tells it.
fn rename(remote: &mut Remote, now: u64, from: &str, to: &str) {
    remote.moved(at(now), EntryKind::File, &path(from), &path(to));
    change(remote, now, from, Dirt::Removed);
    change(remote, now, to, Dirt::Touched);
}

/// The paths of the next job.
#[track_caller]
fn paths(job: &Job) -> Vec<String> {
    let Work::Batch(paths) = &job.work else { panic!("{job:?}") };
    paths.iter().map(|(path, _)| path.to_string().replace('"', "")).collect()
}

/// The new name goes at once, as ever, and the old one when it would have gone.
#[test]
fn a_file_waits_for_nothing() {
    let mut remote = remote();
    rename(&mut remote, 0, "old", "new");
    let job = start(&mut remote, 0).unwrap();
    assert_eq!((paths(&job), shown(&job)), (vec!["new".to_owned()], vec!["old>new".to_owned()]));
    end(&mut remote, 30, Outcome::Done);
    assert!(start(&mut remote, 249).is_none());
    let job = start(&mut remote, 250).unwrap();
    assert_eq!((paths(&job), shown(&job)), (vec!["old".to_owned()], vec![]));
    // A remote that is busy gets both in one.
    end(&mut remote, 260, Outcome::Done);
    rename(&mut remote, 300, "old", "new");
    let job = start(&mut remote, 900).unwrap();
    assert_eq!((paths(&job).len(), shown(&job)), (2, vec!["old>new".to_owned()]));
}

/// What is made of the old name is under way: that is not removed meanwhile, and another one there does
/// not wait.
#[test]
fn what_a_file_is_made_of_stays() {
    let mut remote = remote();
    rename(&mut remote, 0, "d/old", "d/new");
    assert_eq!(moves(&mut remote, 0), ["d/old>d/new"]);
    change(&mut remote, 1, "e/x", Dirt::Touched);
    end_without(&mut remote, 2, Outcome::Done, &["d/new"]);
    assert_eq!(paths(&start(&mut remote, 3).unwrap()), ["e/x"]);
    end(&mut remote, 4, Outcome::Done);
    let heavy = start(&mut remote, 5).unwrap();
    assert_eq!((paths(&heavy), shown(&heavy)), (vec!["d/new".to_owned()], vec!["d/old>d/new".to_owned()]));
    let beside = |remote: &mut Remote, now| remote.start(at(now), Lane::Express, ROOT, Deletions::Travel);
    assert!(beside(&mut remote, 600).is_none());
    change(&mut remote, 601, "d/old", Dirt::Touched);
    assert_eq!(paths(&beside(&mut remote, 620).unwrap()), ["d/old"]);
}

/// The large file is left out, and so is the removal of its old name, which goes with it.
#[test]
fn a_large_file_is_carried_later() {
    let mut remote = remote();
    rename(&mut remote, 0, "old", "new");
    assert_eq!(moves(&mut remote, 400), ["old>new"]);
    end_without(&mut remote, 410, Outcome::Done, &["old", "new"]);
    change(&mut remote, 411, "other", Dirt::Touched);
    let light = start(&mut remote, 420).unwrap();
    assert_eq!((paths(&light), shown(&light)), (vec!["other".to_owned()], vec![]));
    end(&mut remote, 430, Outcome::Done);
    let heavy = start(&mut remote, 440).unwrap();
    assert_eq!((paths(&heavy).len(), shown(&heavy)), (2, vec!["old>new".to_owned()]));
}

/// Two files got the same name, the first while it was under way: only the last counts.
#[test]
fn two_that_became_the_same_large_one() {
    let mut remote = remote();
    rename(&mut remote, 0, "snap.1", "snap.2");
    assert_eq!(moves(&mut remote, 0), ["snap.1>snap.2"]);
    rename(&mut remote, 1, "snap.3", "snap.2");
    end_without(&mut remote, 2, Outcome::Done, &["snap.2"]);
    assert_eq!(moves(&mut remote, 3), ["snap.3>snap.2"]);
}

#[test]
fn what_is_no_file_any_more_or_not_what_was_renamed() {
    for (text, dirt) in [
        ("new", Dirt::Removed),
        ("new", Dirt::Deep),
        ("old", Dirt::RemovedDir),
        ("old", Dirt::Deep),
        ("", Dirt::Deep),
        ("", Dirt::Sweep),
    ] {
        let mut remote = remote();
        rename(&mut remote, 0, "old", "new");
        change(&mut remote, 1, text, dirt);
        change(&mut remote, 2, "new", Dirt::Touched);
        let job = start(&mut remote, 900).unwrap();
        assert_eq!(shown(&job), [""; 0], "{text} {dirt:?}");
    }
    // It was about to be sent itself: what the remote has is another.
    let mut dirty = remote();
    change(&mut dirty, 0, "old", Dirt::Touched);
    rename(&mut dirty, 1, "old", "new");
    assert_eq!(moves(&mut dirty, 900), [""; 0]);
    // Its old name was sent without it.
    let mut sent = remote();
    sent.moved(at(0), EntryKind::File, &path("old"), &path("new"));
    change(&mut sent, 0, "old", Dirt::Touched);
    assert_eq!(moves(&mut sent, 900), [""; 0]);
    change(&mut sent, 901, "new", Dirt::Touched);
    end(&mut sent, 902, Outcome::Done);
    assert_eq!(moves(&mut sent, 903), [""; 0]);
    // A job that failed may have done half of it.
    let mut failed = remote();
    rename(&mut failed, 0, "old", "new");
    assert_eq!(moves(&mut failed, 0), ["old>new"]);
    end(&mut failed, 1, Outcome::Unreachable);
    assert_eq!(moves(&mut failed, 3_600_000), [""; 0]);
}

/// A directory's old name is held for the new one; a file's rename inside says nothing of that.
#[test]
fn a_file_within_a_directory_that_was_renamed() {
    let mut remote = remote();
    leave(&mut remote, 0, "old", "new");
    rename(&mut remote, 1, "new/f", "new/g");
    assert_eq!(paths(&start(&mut remote, 900).unwrap()).len(), 2);
    end(&mut remote, 901, Outcome::Done);
    change(&mut remote, 902, "new", Dirt::Deep);
    assert_eq!(moves(&mut remote, 902), ["old>new"]);
}

#[test]
fn files_are_bounded() {
    let mut remote = remote();
    for n in 0..1000 {
        rename(&mut remote, 0, &format!("o{n}"), &format!("n{n}"));
    }
    assert_eq!(moves(&mut remote, 1).len(), MAX_MOVES);
}
