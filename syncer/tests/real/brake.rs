//! The second belt: how many names a full sync may remove on the remote.

use common::message::{Deletions, Outcome, Work};

use crate::mirror::{Mirror, expressions};

fn with_extras() -> Mirror {
    let mirror = Mirror::start();
    mirror.write("here");
    for name in ["a/1", "a/2", "a/3", "b", "c"] {
        mirror.write_there(name);
    }
    mirror
}

#[test]
fn no_more_than_allowed() {
    for (filter, most, left) in [
        (&[][..], 0, 6),
        (&[], 4, 2),
        (&[], 6, 0),
        // What goes goes as a whole there.
        (&["never"], 0, 6),
        (&["never"], 4, 2),
        (&["never"], 3, 4),
        (&["never"], 6, 0),
    ] {
        let mut mirror = with_extras();
        mirror.slice.filter = expressions(filter);
        mirror.max_delete = Some(most);
        let end = mirror.run(Work::Full);
        let names = mirror.replica_names();
        assert_eq!(names.len(), left + 1, "{most} {names:?} {end:?}");
        assert!(names.contains(&"here".to_owned()), "creations flow: {names:?}");
        if left == 0 {
            assert_eq!(end.outcome, Outcome::Done, "{end:?}");
        } else {
            assert_eq!((end.outcome, &end.failed), (Outcome::Partial, &None), "{end:?}");
            assert!(end.tail.contains("--max-delete limit ("), "{end:?}");
        }
    }
}

#[test]
fn the_users_bound_and_held_deletions() {
    let mut mirror = with_extras();
    mirror.max_delete = Some(6);
    mirror.slice.remote.rsync.params.push("--max-delete=1".into());
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Partial);
    assert_eq!(mirror.replica_names().len(), 6);
    mirror.deletions = Deletions::Held;
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    assert_eq!(mirror.replica_names().len(), 6);
}
