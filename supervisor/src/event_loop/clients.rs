//! Operators' commands: from the control socket to the core, and back.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use common::log::Shown;
use common::path::RelPath;

use super::EventLoop;
use crate::control::protocol::{DeletesWhat as Word, MAX_REPLY, Request};
use crate::control::server::{Client, Control};
use crate::core::{Ask, ClientId, DeletesWhat, Input};

impl EventLoop {
    /// Listens there.
    pub fn listen(&mut self, control: Option<Control>) {
        self.control = control;
    }

    /// Takes what was asked since, if anybody was `heard` or is waited for.
    pub(super) fn serve(&mut self, heard: bool) {
        let now = self.now();
        let Some(control) = &mut self.control else { return };
        let is_due = heard || control.is_unread() || control.deadline().is_some_and(|at| now >= at);
        let asked = if is_due { control.serve(now) } else { Vec::new() };
        let gone = control.gone();
        for (client, request) in asked {
            self.clients = self.clients.wrapping_add(1);
            let id = ClientId(self.clients);
            self.asking.insert(id, client);
            self.tell(Input::Asked(id, ask(request)));
        }
        for client in gone {
            let Some(id) = self.asking.iter().find(|(_, other)| **other == client).map(|(id, _)| *id) else {
                continue;
            };
            self.asking.remove(&id);
            self.cut.remove(&id);
            self.tell(Input::AskerGone(id));
        }
    }

    pub(super) fn say_to(&mut self, id: ClientId, text: &str) {
        let Some((control, client)) = self.client(id) else { return };
        // What a slow terminal has no room for is left out, rather than the answer.
        if control.room(client) > MAX_REPLY.saturating_mul(2) {
            control.say(client, text);
        } else if self.cut.insert(id) {
            self.say_cut(id);
        }
    }

    fn say_cut(&mut self, id: ClientId) {
        if let Some((control, client)) = self.client(id) {
            control.say(client, "(more than can be shown at once is left out)");
        }
    }

    pub(super) fn end_client(&mut self, id: ClientId, exit: u8) {
        if let Some((control, client)) = self.client(id) {
            control.end(client, exit);
        }
        self.asking.remove(&id);
        self.cut.remove(&id);
    }

    fn client(&mut self, id: ClientId) -> Option<(&mut Control, Client)> {
        let client = *self.asking.get(&id)?;
        Some((self.control.as_mut()?, client))
    }
}

/// In the core's words, where trees go by the names that logs give them.
fn ask(request: Request) -> Ask {
    match request {
        Request::Wait { remote, timeout } => Ask::Wait { remote, timeout: timeout.map(Duration::from_secs) },
        Request::Verify { remote, repair, by } => Ask::Verify { remote, repair, by },
        Request::Explain { tree, path } => Ask::Explain {
            tree: Shown(&tree).to_string(),
            // It was one when it was read.
            path: RelPath::new(path.into_vec()).unwrap_or_else(|_| RelPath::root()),
        },
        Request::Deletes { tree, what } => {
            let what = match what {
                Word::List => DeletesWhat::List,
                Word::Approve => DeletesWhat::Approve,
                Word::Drop => DeletesWhat::Drop,
            };
            Ask::Deletes { tree: tree.map(|tree| Shown(OsStr::new(&tree)).to_string()), what }
        }
    }
}
