//! The way down to a child: its first order, those that follow, and what proves that it reads them.

use common::event::TreeId;
use common::keep::{KeepSlice, KeeperOrder};
use common::message::{
    Job, PageOrder, PageSlice, PluginEvent, PluginOrder, PluginSlice, SyncSlice, SyncerOrder, WatchSlice,
    WatcherOrder,
};
use common::path::RelPath;
use common::wire::ring;
use ipc_channel::ipc::IpcSender;

use super::Child;
use crate::core::keeping::Keep;

/// Orders to a watcher that need no proof that they were read; and most of them without one. The
/// channel takes some hundred.
const PROVE_AFTER: u32 = 16;
const MAX_UNPROVEN: u32 = 64;

/// The way down to a child.
pub enum Orders {
    /// To the watcher.
    Watcher(IpcSender<WatcherOrder>),
    /// To a syncer.
    Syncer(IpcSender<SyncerOrder>),
    /// To a plugin.
    Plugin(IpcSender<PluginOrder>),
    /// To the keeper.
    Keeper(IpcSender<KeeperOrder>),
    /// To the page.
    Page(IpcSender<PageOrder>),
}

/// How a keeper's answer has to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// Its order was carried out.
    Done,
    /// What was listed is compared.
    Compared(TreeId, RelPath),
    /// A commit.
    Committed,
}

impl Child {
    /// The child came to the rendezvous: its first order.
    pub fn configure_watcher(&mut self, orders: IpcSender<WatcherOrder>, slice: WatchSlice) -> bool {
        let sent = orders.send(WatcherOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Watcher(orders));
        sent
    }

    /// The child came to the rendezvous: its first order.
    pub fn configure_syncer(&mut self, orders: IpcSender<SyncerOrder>, slice: SyncSlice) -> bool {
        let sent = orders.send(SyncerOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Syncer(orders));
        sent
    }

    /// The child came to the rendezvous: its first order.
    pub fn configure_plugin(&mut self, orders: IpcSender<PluginOrder>, slice: PluginSlice) -> bool {
        let sent = orders.send(PluginOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Plugin(orders));
        sent
    }

    /// The child came to the rendezvous: its first order.
    pub fn configure_keeper(&mut self, orders: IpcSender<KeeperOrder>, slice: KeepSlice) -> bool {
        let sent = orders.send(KeeperOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Keeper(orders));
        sent
    }

    /// The child came to the rendezvous: its only order.
    pub fn configure_page(&mut self, orders: IpcSender<PageOrder>, slice: PageSlice) -> bool {
        let sent = orders.send(PageOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Page(orders));
        sent
    }

    /// Gives the keeper an order whose ticket it cannot guess. Does not block: few are unanswered.
    pub fn send_keep(&mut self, ticket: u64, keep: Keep) -> bool {
        let Some(Orders::Keeper(orders)) = &self.orders else { return false };
        let (order, awaited) = match keep {
            Keep::Names(tree, ops) => (KeeperOrder::Names(ticket, tree, ops), Awaited::Done),
            Keep::Listed(tree, path) => {
                (KeeperOrder::Listed(ticket, tree, path.clone()), Awaited::Compared(tree, path))
            }
            Keep::Edits(edits) => (KeeperOrder::Edits(ticket, edits), Awaited::Done),
            Keep::Commit { heard, last } => (KeeperOrder::Commit { ticket, heard, last }, Awaited::Committed),
        };
        self.keeps.push_back((ticket, awaited));
        orders.send(order).is_ok()
    }

    /// Gives the watcher an order, and rings. False when it reads none, or is gone. `number` cannot
    /// be guessed: what it repeats proves that it has read all before.
    pub fn send_watch(&mut self, order: WatcherOrder, number: u64) -> bool {
        let Some(Orders::Watcher(orders)) = &self.orders else { return false };
        self.unproven = self.unproven.saturating_add(1);
        let order = match order {
            WatcherOrder::Flush(asked) => {
                self.flushes.push_back((number, asked));
                WatcherOrder::Flush(number)
            }
            WatcherOrder::Look(_) => {
                self.look = Some(number);
                WatcherOrder::Look(number)
            }
            other @ (WatcherOrder::Configure(_)
            | WatcherOrder::Room(_)
            | WatcherOrder::List(_)
            | WatcherOrder::Prove(_)) => other,
        };
        let mut sent = self.unproven <= MAX_UNPROVEN && orders.send(order).is_ok();
        if sent && self.unproven >= PROVE_AFTER && self.proof.is_none() {
            let proof = number.rotate_left(17);
            self.proof = Some(proof);
            sent = orders.send(WatcherOrder::Prove(proof)).is_ok();
        }
        ring(self.reports());
        sent
    }

    /// It repeated a number, which proves that it has read all until then.
    pub fn proves(&mut self, number: u64) -> Result<(), String> {
        if self.proof.take() == Some(number) {
            self.unproven = 0;
            Ok(())
        } else {
            Err("a proof that it was not asked for".to_owned())
        }
    }

    /// It has reported all that happened before the last look.
    pub fn looked(&mut self, number: u64) -> Result<(), String> {
        if self.look.take_if(|look| *look == number).is_some() {
            Ok(())
        } else {
            Err("a look that it was not asked for".to_owned())
        }
    }

    /// It has reported all that happened before a flush; which one that is.
    pub fn flushed(&mut self, number: u64) -> Result<u64, String> {
        match self.flushes.pop_front() {
            Some((told, asked)) if told == number => Ok(asked),
            Some(_) | None => Err("a flush that it was not asked for".to_owned()),
        }
    }

    /// Gives a plugin something to tell; under a ticket, as [`Child::send_job`].
    pub fn send_delivery(&mut self, ticket: u64, events: Vec<PluginEvent>) -> bool {
        let Some(Orders::Plugin(orders)) = &self.orders else { return false };
        (self.ticket, self.events) = (Some(ticket), events.len());
        orders.send(PluginOrder::Deliver { ticket, events }).is_ok()
    }

    /// Gives a syncer a job under a ticket that it cannot guess. Does not block: the syncer
    /// has proved that it read every order before this one.
    pub fn send_job(&mut self, ticket: u64, job: Job) -> bool {
        let Some(Orders::Syncer(orders)) = &self.orders else { return false };
        self.ticket = Some(ticket);
        orders.send(SyncerOrder::Sync { ticket, job }).is_ok()
    }
}
