use super::*;
use crate::core::Lane;
use common::event::IN_CREATE;

const WRITTEN: u32 = 8;

struct Fixture {
    ledger: Ledger,
    remotes: u16,
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn batch(paths: &[(&str, Dirt)]) -> Work {
    Work::Batch(paths.iter().map(|(text, dirt)| (path(text), *dirt)).collect())
}

impl Fixture {
    fn new(remotes: u16) -> Fixture {
        Fixture { ledger: Ledger::default(), remotes }
    }

    fn note(&mut self, text: &str, dirt: Dirt, mask: u32) {
        let standings: Vec<Standing> = (0..self.remotes).map(|id| (RemoteId(id), None)).collect();
        self.ledger.note(Duration::ZERO, &Change { path: path(text), dirt, mask }, &standings);
    }

    fn begin(&mut self, remote: u16, work: &Work) {
        self.ledger.begin(Role::Syncer(RemoteId(remote), Lane::Batch), work);
    }

    fn end(&mut self, remote: u16, outcome: Option<RemoteOutcome>) {
        self.ledger.end(Role::Syncer(RemoteId(remote), Lane::Batch), RemoteId(remote), outcome, |_| false);
    }

    fn told(&mut self) -> Vec<(String, u32)> {
        let settled = self.ledger.take_settled();
        settled
            .into_iter()
            .map(|it| (String::from_utf8_lossy(it.path.as_bytes()).into_owned(), it.mask))
            .collect()
    }
}

fn told(paths: &[(&str, u32)]) -> Vec<(String, u32)> {
    paths.iter().map(|(text, mask)| ((*text).to_owned(), *mask)).collect()
}

#[test]
fn told_once_all_remotes_have_it() {
    let mut it = Fixture::new(2);
    it.note("f", Dirt::Touched, IN_CREATE);
    it.note("f", Dirt::Touched, WRITTEN);
    for remote in [0, 1] {
        assert_eq!(it.told(), []);
        it.begin(remote, &batch(&[("f", Dirt::Touched)]));
        it.end(remote, Some(RemoteOutcome::Done));
    }
    assert_eq!(it.told(), told(&[("f", IN_CREATE | WRITTEN)]));
    assert!(it.ledger.is_empty());
}

#[test]
fn a_change_during_a_job_is_told_after_the_next_one() {
    let mut it = Fixture::new(1);
    it.note("f", Dirt::Touched, 1);
    it.begin(0, &batch(&[("f", Dirt::Touched)]));
    it.note("f", Dirt::Touched, 2);
    it.note("f", Dirt::Touched, 4);
    it.end(0, Some(RemoteOutcome::Done));
    assert_eq!(it.told(), told(&[("f", 1)]));
    it.begin(0, &batch(&[("f", Dirt::Touched)]));
    it.end(0, Some(RemoteOutcome::Done));
    assert_eq!(it.told(), told(&[("f", 6)]));
}

/// A fast remote may be three changes ahead of a slow one.
#[test]
fn a_file_that_never_rests_is_told_of_again_and_again() {
    let mut it = Fixture::new(2);
    let work = batch(&[("f", Dirt::Touched)]);
    let mut count = 0;
    it.note("f", Dirt::Touched, 1);
    for round in 0..10 {
        it.begin(0, &work);
        if round % 3 == 0 {
            it.begin(1, &work);
        }
        it.note("f", Dirt::Touched, 1);
        it.end(0, Some(RemoteOutcome::Done));
        if round % 3 == 2 {
            it.end(1, Some(RemoteOutcome::Done));
        }
        count += it.told().len();
    }
    assert!(count >= 2, "{count}");
}

#[test]
fn a_remote_that_failed_or_is_down_delays_nobody() {
    let mut it = Fixture::new(3);
    it.note("f", Dirt::Touched, 1);
    it.begin(0, &batch(&[("f", Dirt::Touched)]));
    it.end(0, Some(RemoteOutcome::Failed));
    it.ledger.give_up_on(RemoteId(1));
    assert_eq!(it.told(), []);
    it.begin(2, &batch(&[("f", Dirt::Touched)]));
    it.end(2, None);
    assert_eq!(it.told(), [], "a job that dealt with nothing");
    it.begin(2, &Work::Full);
    it.end(2, Some(RemoteOutcome::Done));
    let settled = it.ledger.take_settled();
    let outcomes: Vec<RemoteOutcome> = settled[0].remotes.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, [RemoteOutcome::Failed, RemoteOutcome::Down, RemoteOutcome::Done]);
}

#[test]
fn a_tree_covers_what_is_below_it_and_nothing_else() {
    let mut it = Fixture::new(1);
    for text in ["d", "d/a", "d/b/c", "d0", "e"] {
        it.note(text, Dirt::Touched, 1);
    }
    it.begin(0, &batch(&[("d", Dirt::RemovedDir)]));
    it.end(0, Some(RemoteOutcome::Done));
    assert_eq!(it.told(), told(&[("d", 1), ("d/a", 1), ("d/b/c", 1)]));
    it.begin(0, &batch(&[("d0", Dirt::Touched), ("e", Dirt::Removed)]));
    it.end(0, Some(RemoteOutcome::Done));
    assert_eq!(it.told(), told(&[("d0", 1), ("e", 1)]));
}

#[test]
fn told_in_the_order_of_events() {
    let mut it = Fixture::new(1);
    for text in ["z", "a", "m", "a"] {
        it.note(text, Dirt::Touched, 1);
    }
    it.begin(0, &Work::Full);
    it.end(0, Some(RemoteOutcome::Done));
    assert_eq!(it.told(), told(&[("z", 1), ("m", 1), ("a", 1)]));
}

#[test]
fn a_full_sync_does_not_answer_for_what_a_batch_carries() {
    let mut it = Fixture::new(1);
    it.note("page.php", Dirt::Touched, 1);
    it.note("", Dirt::Sweep, 0);
    let role = Role::Syncer(RemoteId(0), Lane::Full);
    it.ledger.begin(role, &Work::Full);
    it.ledger.end(role, RemoteId(0), Some(RemoteOutcome::Done), |path| *path == self::path("page.php"));
    assert_eq!(it.told(), told(&[("", 0)]));
}

#[test]
fn without_remotes_at_once() {
    let mut it = Fixture::new(0);
    it.note("f", Dirt::Removed, 0x200);
    let settled = it.ledger.take_settled();
    assert_eq!((settled[0].kind, settled[0].directory), (EventKind::Removed, false));
    it.note("", Dirt::Sweep, 0);
    let settled = it.ledger.take_settled();
    assert_eq!((settled[0].kind, settled[0].directory), (EventKind::Rescanned, true));
}

#[test]
fn no_more_than_there_is_room_for() {
    let mut it = Fixture::new(1);
    for n in 0..MAX_PATHS + 3 {
        it.note(&format!("f{n}"), Dirt::Touched, 1);
    }
    it.note("f1", Dirt::Touched, 2);
    assert_eq!((it.ledger.len(), it.ledger.take_untold(), it.ledger.take_untold()), (MAX_PATHS, 3, 0));
}
