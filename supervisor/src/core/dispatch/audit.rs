//! Proof that a remote is equal to its source: comparisons that an operator asks for, and those
//! that come round by themselves, slice by slice, within a share of the time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::config::Repair;
use common::event::{Change, DOUBTED, Dirt, TreeId};
use common::keep::NameOp;
use common::message::{Comparison, Difference, DifferenceKind, Outcome};
use common::path::RelPath;
use log::Level;

use super::Dispatcher;
use super::requests::{FINE, NOT_SO, say};
use crate::core::backlog::MAX_PATHS;
use crate::core::remote::Slice;
use crate::core::schedule::Schedule;
use crate::core::{Action, ClientId, JobEnd, RemoteId, notice};

/// Most differences that are named to one client.
const MAX_NAMED: u64 = 10_000;
/// Names in a root that are slices of their own; a root with more is one slice.
const MAX_TOPS: usize = 10_000;
/// How a comparison that could not be made ends.
const UNAVAILABLE: u8 = 69;

/// How a tree is compared by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPlan {
    /// From the start of one round to that of the next.
    pub every: Duration,
    /// What becomes of differences.
    pub repair: Repair,
    /// How files are compared.
    pub by: Comparison,
    /// Of the time, so many parts in a hundred.
    pub budget: u8,
    /// Whether a tree is compared at once, and not in slices.
    pub whole: bool,
}

/// All comparisons.
#[derive(Debug, Default)]
pub(super) struct Audits {
    plan: Option<(AuditPlan, Schedule)>,
    /// Of each remote, the one under way first.
    queues: BTreeMap<RemoteId, VecDeque<Audit>>,
    /// What stands in each root, as far as it was told.
    tops: BTreeMap<TreeId, BTreeSet<RelPath>>,
}

#[derive(Debug)]
struct Audit {
    client: Option<ClientId>,
    /// What is left to compare.
    slices: VecDeque<Slice>,
    repair: Repair,
    by: Comparison,
    started: Duration,
    not_before: Duration,
    running: bool,
    found: u64,
    pending: u64,
    first: Option<RelPath>,
    fixes: Vec<Change>,
    extras: Vec<Change>,
}

impl Audits {
    pub(super) fn new(plan: Option<AuditPlan>) -> Audits {
        let plan = plan.map(|plan| (plan, Schedule::new(Duration::ZERO, plan.every)));
        Audits { plan, ..Audits::default() }
    }

    /// Another plan counts. What stands in the roots was not noted while there was none.
    pub(super) fn replan(&mut self, now: Duration, plan: Option<AuditPlan>) {
        let before = self.plan.take();
        let whole = before.is_none_or(|(before, _)| before.whole);
        self.plan = plan.map(|plan| {
            let plan = AuditPlan { whole: plan.whole || whole, ..plan };
            let schedule = before.map_or(Schedule::new(now, plan.every), |(_, it)| it.every(now, plan.every));
            (plan, schedule)
        });
    }

    pub(super) fn gone(&mut self, client: ClientId) {
        for queue in self.queues.values_mut() {
            // The one under way ends by itself.
            queue.retain(|audit| audit.running || audit.client != Some(client));
            for audit in queue.iter_mut().filter(|audit| audit.client == Some(client)) {
                audit.client = None;
                audit.slices.clear();
            }
        }
    }

    /// What stands in a root is told among the names.
    pub(super) fn note(&mut self, tree: TreeId, ops: &[NameOp]) {
        if self.plan.is_none() {
            return;
        }
        let tops = self.tops.entry(tree).or_default();
        for op in ops {
            match op {
                NameOp::Listing { directory, entries, .. } if directory.is_root() => {
                    let names = entries.iter().filter_map(|(name, _)| RelPath::new(name.clone()).ok());
                    tops.extend(names.take(MAX_TOPS.saturating_sub(tops.len())));
                }
                NameOp::Entry(path, _) if path.parent().is_some_and(|parent| parent.is_root()) => {
                    tops.extend((tops.len() < MAX_TOPS).then(|| path.clone()));
                }
                NameOp::Gone(path) => {
                    tops.remove(path);
                }
                NameOp::Listing { .. } | NameOp::Entry(..) => {}
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let due = self.plan.map(|(_, schedule)| schedule.deadline());
        let waits = |queue: &VecDeque<Audit>| queue.front().filter(|it| !it.running).map(|it| it.not_before);
        self.queues.values().filter_map(waits).chain(due).min()
    }
}

impl Dispatcher {
    /// An operator wants remotes compared, as a whole.
    pub(super) fn audit(
        &mut self,
        now: Duration,
        client: ClientId,
        remotes: Vec<RemoteId>,
        (repair, by): (Repair, Comparison),
        out: &mut Vec<Action>,
    ) {
        for id in remotes {
            let all = [Slice::Below(RelPath::root())].into();
            let audit = Audit::new(now, Some(client), all, repair, by);
            self.audits.queues.entry(id).or_default().push_back(audit);
        }
        self.tick_audits(now, out);
    }

    /// Starts what is due, and hands out the next slices.
    pub(super) fn tick_audits(&mut self, now: Duration, out: &mut Vec<Action>) {
        if let Some((plan, schedule)) = &mut self.audits.plan
            && schedule.is_due(now)
        {
            let plan = *plan;
            self.start_round(now, plan);
        }
        for id in self.remote_ids() {
            let Some(queue) = self.audits.queues.get_mut(&id) else { continue };
            let Some(audit) = queue.front_mut() else { continue };
            if audit.running || now < audit.not_before {
                continue;
            }
            let Some(slice) = audit.slices.pop_front() else {
                self.end_audit(now, id, None, out);
                continue;
            };
            if let Some(remote) = self.remotes.get_mut(usize::from(id.0)) {
                audit.running = true;
                audit.started = now;
                remote.want_audit(now, slice, audit.by);
            }
        }
    }

    fn start_round(&mut self, now: Duration, plan: AuditPlan) {
        for id in self.remote_ids() {
            let Some(remote) = self.remotes.get(usize::from(id.0)) else { continue };
            let tops = self.audits.tops.get(&remote.tree).cloned().unwrap_or_default();
            let slices = if tops.is_empty() || tops.len() >= MAX_TOPS || plan.whole {
                [Slice::Below(RelPath::root())].into()
            } else {
                // What only the remote has in its root is in no slice of ours.
                tops.into_iter().map(Slice::Below).chain([Slice::Root]).collect()
            };
            let queue = self.audits.queues.entry(id).or_default();
            // A round that takes longer than its pause is not overtaken.
            if queue.iter().all(|audit| audit.client.is_some()) {
                queue.push_back(Audit::new(now, None, slices, plan.repair, plan.by));
            }
        }
    }

    /// Differences that the comparison under way has found.
    pub(super) fn differs(&mut self, id: RemoteId, found: Vec<Difference>, out: &mut Vec<Action>) {
        let Some(remote) = self.remotes.get(usize::from(id.0)) else { return };
        let Some(audit) = self.audits.queues.get_mut(&id).and_then(VecDeque::front_mut) else { return };
        if !audit.running {
            return;
        }
        for difference in found {
            let pending = remote.explains(&difference.path, audit.started);
            audit.take(&remote.label, difference, pending, out);
        }
    }

    /// A comparison is over.
    pub(super) fn audited(&mut self, now: Duration, id: RemoteId, end: &JobEnd, out: &mut Vec<Action>) {
        let budget = self.audits.plan.map_or(100, |(plan, _)| plan.budget.clamp(1, 100));
        let Some(audit) = self.audits.queues.get_mut(&id).and_then(VecDeque::front_mut) else { return };
        audit.running = false;
        if end.outcome != Outcome::Done {
            self.end_audit(now, id, Some(end), out);
            return;
        }
        if audit.client.is_none() {
            let took = now.saturating_sub(audit.started);
            let rest = took.saturating_mul(u32::from(100_u8.saturating_sub(budget))) / u32::from(budget);
            audit.not_before = now.saturating_add(rest);
        }
        self.tick_audits(now, out);
    }

    /// All slices are compared, or one could not be.
    fn end_audit(&mut self, now: Duration, id: RemoteId, failed: Option<&JobEnd>, out: &mut Vec<Action>) {
        let Some(queue) = self.audits.queues.get_mut(&id) else { return };
        let Some(audit) = queue.pop_front() else { return };
        let client = audit.client;
        let last =
            client.is_some() && !self.audits.queues.values().flatten().any(|other| other.client == client);
        let Some(remote) = self.remotes.get(usize::from(id.0)) else { return };
        let (label, tree) = (remote.label.clone(), remote.tree);
        let repaired = if audit.repair == Repair::On { self.fix(now, id, tree, &audit, out) } else { 0 };
        let text = match failed {
            Some(end) => notice::not_compared(&label, end),
            None => format!(
                "compared remote={label} differences={} pending={} repairing={repaired}",
                audit.found, audit.pending
            ),
        };
        match client {
            Some(client) => {
                say(out, client, text);
                let exit = match failed {
                    Some(_) => UNAVAILABLE,
                    None if audit.found == 0 => FINE,
                    None => NOT_SO,
                };
                let worst = self.audit_exits.entry(client).or_insert(FINE);
                *worst = exit.max(*worst);
                if last {
                    let exit = self.audit_exits.remove(&client).unwrap_or(exit);
                    out.push(Action::End(client, exit));
                }
            }
            None if audit.found > audit.pending => {
                let first = audit.first.as_ref().map_or_else(String::new, |path| format!(" first={path}"));
                let text = format!(
                    "drift remote={label} differences={} unexplained={}{first} repairing={repaired}: our transfers do \
                     not explain it, somebody else writes there",
                    audit.found,
                    audit.found.saturating_sub(audit.pending)
                );
                out.push(Action::Log(Level::Warn, text));
            }
            None => out.push(Action::Log(Level::Info, text)),
        }
    }

    /// The remote is configured no more: who waits for its comparison is told so.
    pub(super) fn forget_audits(&mut self, now: Duration, id: RemoteId, out: &mut Vec<Action>) {
        let tail = "it is configured no more".to_owned();
        let end = JobEnd { outcome: Outcome::Misconfigured, status: 0, tail, failed: None, left: vec![] };
        while self.audits.queues.get(&id).is_some_and(|queue| !queue.is_empty()) {
            self.end_audit(now, id, Some(&end), out);
        }
        self.audits.queues.remove(&id);
    }

    /// Sends what differs. What only the remote has goes too, as far as the brake lets it.
    fn fix(
        &mut self,
        now: Duration,
        id: RemoteId,
        tree: TreeId,
        audit: &Audit,
        out: &mut Vec<Action>,
    ) -> usize {
        let most = self.trees.get(usize::from(tree.0)).and_then(|tree| tree.brake.max_delete());
        let too_many =
            most.is_some_and(|most| audit.extras.len() > usize::try_from(most).unwrap_or(usize::MAX));
        let extras: &[Change] = if too_many || !self.delete { &[] } else { &audit.extras };
        let Some(remote) = self.remotes.get_mut(usize::from(id.0)) else { return 0 };
        if too_many {
            let text = format!(
                "extra names remote={} names={}: more than the brake lets go; a full sync (-r) removes them",
                remote.label,
                audit.extras.len()
            );
            out.push(Action::Log(Level::Warn, text));
        }
        remote.insert(now, &audit.fixes);
        remote.insert(now, extras);
        audit.fixes.len().saturating_add(extras.len())
    }
}

impl Audit {
    fn new(
        now: Duration,
        client: Option<ClientId>,
        slices: VecDeque<Slice>,
        repair: Repair,
        by: Comparison,
    ) -> Audit {
        Audit {
            client,
            slices,
            repair,
            by,
            started: now,
            not_before: now,
            running: false,
            found: 0,
            pending: 0,
            first: None,
            fixes: Vec::new(),
            extras: Vec::new(),
        }
    }

    fn take(&mut self, label: &str, it: Difference, pending: bool, out: &mut Vec<Action>) {
        self.found = self.found.saturating_add(1);
        self.pending = self.pending.saturating_add(u64::from(pending));
        let (how, dirt) = match it.kind {
            DifferenceKind::Missing => ("missing", Dirt::Touched),
            DifferenceKind::Content => ("content", Dirt::Touched),
            DifferenceKind::Attributes => ("attributes", Dirt::Touched),
            DifferenceKind::Extra if it.directory => ("extra", Dirt::RemovedDir),
            DifferenceKind::Extra => ("extra", Dirt::Removed),
        };
        if let Some(client) = self.client
            && self.found <= MAX_NAMED
        {
            let pending = if pending { " pending" } else { "" };
            say(out, client, format!("differs remote={label} how={how}{pending} path={}", it.path));
        }
        if pending {
            return;
        }
        self.first.get_or_insert_with(|| it.path.clone());
        let fixes = if it.kind == DifferenceKind::Extra { &mut self.extras } else { &mut self.fixes };
        if fixes.len() < MAX_PATHS {
            let mask = if self.by == Comparison::Checksums { DOUBTED } else { 0 };
            fixes.push(Change { path: it.path, dirt, mask });
        }
    }
}
