//! Performing what the core decided: starting, configuring, ordering and killing children.

use std::io;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use common::config::PluginName;
use common::confine::Confinement;
use common::message::{Job, PluginEvent, WatcherOrder, Work};
use log::{error, log};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, read};

use super::{EventLoop, Stop, send_kill};
use crate::child::{Child, Met, Orders};
use crate::core::keeping::Keep;
use crate::core::outlet::Event;
use crate::core::{Action, Input, PluginId, Role};
use crate::keeper;
use crate::lowering::CDN_LOG;
use crate::operator_file::{self, Owner};
use crate::privileges;
use crate::recent::Recent;
use crate::runtime::Runtime;

impl EventLoop {
    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Spawn(role) => self.spawn(role),
                Action::Kill(role) => self.kill(role),
                Action::Send(role, job) => self.send(role, job),
                Action::Deliver(id, events) => self.deliver(id, events),
                Action::Keep(keep) => self.send_keep(keep),
                Action::Watch(order) => self.send_watch(order),
                Action::Rotate => self.recent.iter_mut().for_each(Recent::rotate),
                Action::Settle => self.recent.iter_mut().for_each(Recent::settle),
                Action::Recall => self.left.extend(self.recent.iter().flat_map(Recent::recall)),
                Action::EraseKept => self.erase_kept(),
                Action::Say(client, text) => self.say_to(client, &text),
                Action::End(client, exit) => self.end_client(client, exit),
                Action::Log(level, text) => log!(level, "{text}"),
                Action::Drained => self.stop = Stop::Now,
            }
        }
    }

    fn spawn(&mut self, role: Role) {
        match self.start_child(role) {
            Ok(mut child) => {
                if let Some(subject) = self.plan.subject(role) {
                    let limits = subject.limits(self.plan.config());
                    child.put_in(self.host.place(&self.plan.name(role), child.pid, limits));
                }
                self.children.insert(child.pid, child);
            }
            Err(error) => {
                self.uids.release(role);
                self.tell(Input::Exited(role, format!("could not be started: {error}")));
            }
        }
    }

    fn start_child(&mut self, role: Role) -> io::Result<Child> {
        let confinement = self.confinement(role)?;
        let wake = self.wake.1.try_clone()?;
        let output = self.output(role);
        if self.plan.is_command(role) {
            self.spared.insert(confinement.identity.map_or(geteuid().as_raw(), |identity| identity.uid));
        }
        let debug = self.plan.config().debug;
        Child::start(role, self.plan.name(role), confinement, debug, output, (self.met.0.clone(), wake))
    }

    fn confinement(&mut self, role: Role) -> io::Result<Confinement> {
        let uid = self.uids.claim(role)?;
        let none = || io::Error::other("there is no such role");
        let (subject, domain) = (self.plan.subject(role).ok_or_else(none)?, self.plan.domain(role));
        Ok(privileges::confinement(subject, uid, domain, self.plan.config(), self.grounds))
    }

    /// What a role's standard output is, where it is not its log.
    fn output(&mut self, role: Role) -> Option<OwnedFd> {
        if role == Role::Keeper {
            let state = self.state.as_ref()?;
            // Nobody has it open but us: the one that found it damaged is dead.
            if std::mem::take(&mut self.erase)
                && let Err(error) = state.set_len(0).and_then(|()| state.set_len(keeper::LOST))
            {
                error!("state file cannot be emptied: {error}");
            }
            return state.try_clone().ok().map(Into::into);
        }
        if role == Role::Page {
            return self.lookout.new_page();
        }
        let Role::Plugin(id) = role else { return None };
        let (plugin, _) = self.plan.plugin(id)?;
        if plugin.kind.name() != PluginName::RefreshCdn {
            return None;
        }
        let owner = self.runtime.as_ref().map_or_else(|| Owner::new(None), Runtime::owner);
        match std::path::absolute(CDN_LOG).and_then(|path| operator_file::append(owner, &path)) {
            Ok(file) => Some(file.into()),
            Err(error) => {
                error!("plugin refreshCDN: {CDN_LOG}: {error}; the CDN's answers are not recorded");
                open("/dev/null", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()
            }
        }
    }

    pub(super) fn kill(&mut self, role: Role) {
        for child in self.children.values().filter(|child| child.role == role) {
            send_kill(child.pid);
        }
    }

    fn send(&mut self, role: Role, job: Job) {
        let ticket = self.next_ticket();
        let Some(child) = self.children.values_mut().find(|child| child.role == role) else { return };
        if let (Role::Syncer(id, _), Work::Full, true) = (role, &job.work, self.full_sync)
            && let Some(slice) = self.plan.sync_slice(id, child.confinement.clone())
        {
            self.full_syncs.begins(id, ticket, &slice, job.deletions);
        }
        if !child.send_job(ticket, job) {
            // Its death will be reported by the kernel, and the job goes back then.
            send_kill(child.pid);
        }
    }

    fn send_keep(&mut self, keep: Keep) {
        let ticket = self.next_ticket();
        let Some(child) = self.children.values_mut().find(|child| child.role == Role::Keeper) else { return };
        if !child.send_keep(ticket, keep) {
            send_kill(child.pid);
        }
    }

    pub(super) fn send_watch(&mut self, order: WatcherOrder) {
        let number = self.next_ticket();
        let Some(child) = self.children.values_mut().find(|child| child.role == Role::Watcher) else {
            return;
        };
        if !child.send_watch(order, number) {
            send_kill(child.pid);
        }
    }

    fn erase_kept(&mut self) {
        self.erase = true;
        self.kill(Role::Keeper);
    }

    fn deliver(&mut self, id: PluginId, events: Vec<Event>) {
        let ticket = self.next_ticket();
        let events = events.into_iter().map(|event| self.dated(event)).collect();
        let role = Role::Plugin(id);
        let Some(child) = self.children.values_mut().find(|child| child.role == role) else { return };
        if !child.send_delivery(ticket, events) {
            send_kill(child.pid);
        }
    }

    /// The core counts from its start; people count from 1970. The clock of today counts: it may
    /// have been set since.
    fn dated(&self, (tree, settled): Event) -> PluginEvent {
        let ago = self.now().saturating_sub(settled.seen);
        let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(ago).as_millis();
        PluginEvent {
            tree,
            path: settled.path,
            kind: settled.kind,
            directory: settled.directory,
            mask: settled.mask,
            time: u64::try_from(time).unwrap_or(u64::MAX),
            remotes: settled.remotes.into_iter().map(|(id, outcome)| (id.0, outcome)).collect(),
        }
    }

    pub(super) fn take_met(&mut self) {
        let mut sink = [0; 64];
        while read(&self.wake.0, &mut sink).is_ok_and(|length| length == sink.len()) {}
        while let Ok(Met { pid, orders }) = self.met.1.try_recv() {
            if !self.configure(pid, orders) {
                send_kill(pid);
            }
        }
    }

    /// The first order: what the child has to know, and no more.
    fn configure(&mut self, pid: i32, orders: Option<Orders>) -> bool {
        let Some(child) = self.children.get_mut(&pid) else { return true };
        let confinement = child.confinement.clone();
        match (child.role, orders) {
            (Role::Watcher, Some(Orders::Watcher(orders))) => {
                let mut slice = self.plan.watch_slice(self.full_sync, confinement);
                slice.index = self.state.is_some();
                for tree in &mut slice.trees {
                    tree.original = self.originals.get(&tree.id).copied();
                }
                child.configure_watcher(orders, slice)
            }
            (Role::Syncer(id, _), Some(Orders::Syncer(orders))) => {
                let slice = self.plan.sync_slice(id, confinement);
                slice.is_some_and(|slice| child.configure_syncer(orders, slice))
            }
            (Role::Plugin(id), Some(Orders::Plugin(orders))) => {
                let slice = self.plan.plugin_slice(id, confinement);
                slice.is_some_and(|slice| child.configure_plugin(orders, slice))
            }
            (Role::Keeper, Some(Orders::Keeper(orders))) => {
                let slice = self.plan.keep_slice(confinement);
                child.configure_keeper(orders, slice)
            }
            (Role::Page, Some(Orders::Page(orders))) => {
                let slice = self.lookout.page_slice(confinement);
                slice.is_some_and(|slice| child.configure_page(orders, slice))
            }
            (Role::Watcher | Role::Syncer(..) | Role::Plugin(_) | Role::Keeper | Role::Page, _) => false,
        }
    }

    /// Cannot be guessed by a child that has seen all tickets before it: the keys of the hash
    /// are random and stay here.
    fn next_ticket(&mut self) -> u64 {
        use std::hash::BuildHasher;
        self.tickets.1 = self.tickets.1.wrapping_add(1);
        self.tickets.0.hash_one(self.tickets.1)
    }
}
