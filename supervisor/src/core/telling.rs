//! Telling plugins: every change that all remotes have dealt with goes into every plugin's
//! queue, and from there to the plugin when it is ready for more. Nothing here ever keeps a
//! remote waiting.

use std::collections::BTreeSet;
use std::time::Duration;

use common::event::{Change, TreeId};
use common::message::{Outcome, RemoteOutcome, Verdict, Work};
use common::path::RelPath;

use super::ledger::{Ledger, Standing};
use super::outlet::{Event, Outlet, Turn};
use super::pool::Pool;
use super::remote::Remote;
use super::retry::Jitter;
use super::{Action, Blame, Lane, Pace, PluginId, RemoteId, Role, earliest, notice};

/// How long a stop waits for a plugin that is being started.
const ABSENT: Duration = Duration::from_secs(2);
/// What was dropped is spoken of at most this often.
const DROPPED_PAUSE: Duration = Duration::from_secs(10);
/// Added to twice a plugin's own deadline before it is killed over a delivery.
const GRACE: Duration = Duration::from_secs(15);

/// The plugins' side of the core.
#[derive(Debug)]
pub struct Telling {
    ledgers: Vec<Ledger>,
    outlets: Vec<Outlet>,
    /// When dropped changes were last spoken of.
    said: Option<Duration>,
    untold: u64,
}

impl Telling {
    /// For that many trees, and those plugins with the longest duration of one call.
    pub fn new(trees: usize, plugins: Vec<(String, Duration)>) -> Telling {
        Telling {
            ledgers: std::iter::repeat_with(Ledger::default).take(trees).collect(),
            outlets: plugins.into_iter().map(|(label, timeout)| Outlet::new(label, timeout)).collect(),
            said: None,
            untold: 0,
        }
    }

    /// The plugins' roles.
    pub fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        (0_u8..).take(self.outlets.len()).map(|id| Role::Plugin(PluginId(id)))
    }

    /// For people.
    pub fn label(&self, id: PluginId) -> &str {
        self.outlets.get(usize::from(id.0)).map_or("?", |outlet| &outlet.label)
    }

    /// Changes of a tree whose remotes stand like this.
    pub fn note(&mut self, now: Duration, tree: TreeId, changes: &[Change], remotes: &[Standing]) {
        if self.outlets.is_empty() {
            return;
        }
        let Some(ledger) = self.ledgers.get_mut(usize::from(tree.0)) else { return };
        for change in changes {
            ledger.note(now, change, remotes);
        }
    }

    /// A job begins.
    pub fn begin(&mut self, tree: TreeId, role: Role, work: &Work) {
        if let Some(ledger) = self.ledger(tree) {
            ledger.begin(role, work);
        }
    }

    /// A job is over, and what it left out; `None` when its syncer died. `remote` is what it was for,
    /// as it is now.
    pub fn end(&mut self, role: Role, id: RemoteId, remote: &Remote, end: Option<(Outcome, &[RelPath])>) {
        let Some(ledger) = self.ledger(remote.tree) else { return };
        let outcome = end.map_or(Some(RemoteOutcome::Failed), |(outcome, _)| standing(outcome));
        if let Role::Syncer(_, Lane::Full) = role {
            let in_flight: BTreeSet<&RelPath> = remote.in_flight().collect();
            ledger.end(role, id, outcome, |path| in_flight.contains(path) || remote.carries(path));
        } else {
            let left = end.map_or(&[][..], |(_, left)| left);
            ledger.end(role, id, outcome, |path| left.contains(path));
        }
    }

    /// Nobody waits for this remote.
    pub fn give_up_on(&mut self, tree: TreeId, remote: RemoteId) {
        if let Some(ledger) = self.ledger(tree) {
            ledger.give_up_on(remote);
        }
    }

    /// The remote is configured no more.
    pub fn forget_remote(&mut self, tree: TreeId, remote: RemoteId) {
        if let Some(ledger) = self.ledger(tree) {
            ledger.forget_remote(remote);
        }
    }

    /// What these are told of does not travel any more; `excludes` as for [`Ledger::forget_paths`].
    pub fn forget_paths(&mut self, excludes: impl Fn(&RelPath, bool) -> bool) {
        self.ledgers.iter_mut().for_each(|ledger| ledger.forget_paths(&excludes));
    }

    /// The longest duration of one call, of each plugin.
    pub fn set_timeouts(&mut self, timeouts: Vec<Duration>) {
        for (outlet, timeout) in self.outlets.iter_mut().zip(timeouts) {
            outlet.timeout = timeout;
        }
    }

    /// True while a plugin tells somebody.
    pub fn is_busy(&self, id: PluginId) -> bool {
        self.outlets.get(usize::from(id.0)).is_some_and(Outlet::is_busy)
    }

    /// A plugin did what it was told.
    pub fn done(
        &mut self,
        now: Duration,
        id: PluginId,
        report: (&[Verdict], &str),
        jitter: &mut Jitter,
    ) -> Option<Action> {
        let outlet = self.outlets.get_mut(usize::from(id.0))?;
        let (verdicts, note) = report;
        match outlet.done(now, verdicts, note, jitter) {
            Turn::None => None,
            Turn::Down => Some(notice::plugin_down(outlet, note)),
            Turn::Up => Some(notice::plugin_up(outlet)),
        }
    }

    /// A plugin died.
    pub fn abandon(&mut self, now: Duration, id: PluginId, blame: Blame) {
        if let Some(outlet) = self.outlets.get_mut(usize::from(id.0)) {
            outlet.abandon(now, blame);
        }
    }

    /// Moves what is settled into the queues, and gives every plugin that is ready its next
    /// delivery.
    pub fn pump(&mut self, now: Duration, pool: &mut Pool, out: &mut Vec<Action>) {
        if self.outlets.is_empty() {
            return;
        }
        for (tree, ledger) in (0_u16..).map(TreeId).zip(&mut self.ledgers) {
            self.untold = self.untold.saturating_add(ledger.take_untold());
            for settled in ledger.take_settled() {
                for outlet in &mut self.outlets {
                    outlet.push(now, (tree, settled.clone()));
                }
            }
        }
        for (id, outlet) in (0_u8..).map(PluginId).zip(&mut self.outlets) {
            let role = Role::Plugin(id);
            let events: Vec<Event> = if pool.is_ready(role) { outlet.take(now) } else { Vec::new() };
            if !events.is_empty() {
                let most = outlet.timeout.saturating_mul(2).saturating_add(GRACE);
                pool.pace(now, role, Pace::Until(most), out);
                out.push(Action::Deliver(id, events));
            }
        }
        self.say_dropped(now, out);
    }

    /// When time alone changes something.
    pub fn deadline(&self, pool: &Pool) -> Option<Duration> {
        let ready = self.roles().zip(&self.outlets).filter(|(role, _)| pool.is_ready(*role));
        ready.map(|(_, outlet)| outlet.deadline()).fold(None, earliest)
    }

    /// Lets everything go that waits for its next try.
    pub fn hurry(&mut self, now: Duration) {
        self.outlets.iter_mut().for_each(|outlet| outlet.hurry(now));
    }

    /// True when all that could be told has been told. A plugin that is not there is waited for
    /// only for a moment; `waited` is how long that has been.
    pub fn is_quiet(&self, pool: &Pool, waited: Duration) -> bool {
        let absent = |role| waited >= ABSENT && !pool.is_ready(role);
        self.roles().zip(&self.outlets).all(|(role, outlet)| outlet.is_quiet() || absent(role))
    }

    /// What plugins have not been told when the supervisor stops.
    pub fn say_untold(&mut self, out: &mut Vec<Action>) {
        let untold = std::mem::take(&mut self.untold);
        let unsettled = self.ledgers.iter().map(Ledger::len).fold(0, usize::saturating_add);
        for outlet in &mut self.outlets {
            let dropped = outlet.take_dropped().saturating_add(untold);
            if dropped > 0 {
                out.push(notice::plugin_dropped(outlet, dropped));
            }
            let pending = outlet.pending().saturating_add(unsettled);
            if pending > 0 {
                out.push(notice::not_told(outlet, pending));
            }
        }
    }

    /// True when nothing waits to be told.
    #[cfg(test)]
    pub(super) fn is_done(&self) -> bool {
        self.ledgers.iter().all(Ledger::is_empty) && self.outlets.iter().all(|outlet| outlet.pending() == 0)
    }

    fn say_dropped(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.said.is_some_and(|said| now.saturating_sub(said) < DROPPED_PAUSE) {
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        for outlet in &mut self.outlets {
            let dropped = outlet.take_dropped().saturating_add(untold);
            if dropped > 0 {
                self.said = Some(now);
                out.push(notice::plugin_dropped(outlet, dropped));
            }
        }
    }

    fn ledger(&mut self, tree: TreeId) -> Option<&mut Ledger> {
        if self.outlets.is_empty() { None } else { self.ledgers.get_mut(usize::from(tree.0)) }
    }
}

/// What a job's end means for the changes it carried; `None` when they have not been tried.
fn standing(outcome: Outcome) -> Option<RemoteOutcome> {
    match outcome {
        Outcome::Done => Some(RemoteOutcome::Done),
        Outcome::RootGone => None,
        Outcome::Partial
        | Outcome::Unreachable
        | Outcome::Refused
        | Outcome::UnknownHost
        | Outcome::Hostile
        | Outcome::NoSpace
        | Outcome::ReadOnly
        | Outcome::Misconfigured
        | Outcome::RootEmpty
        | Outcome::TimedOut
        | Outcome::Limit
        | Outcome::Broken => Some(RemoteOutcome::Failed),
    }
}
