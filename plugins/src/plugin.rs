//! One order from changes to verdicts, whatever kind of plugin it is.

use std::ffi::OsString;
use std::fs::File;
use std::time::Instant;

use common::config::{Call, PluginKind};
use common::message::{PluginEvent, PluginSlice};
use thiserror::Error;

use crate::answers::Answers;
use crate::command::Commands;
use crate::deliver::{Deliver, Told, Trace, after, note, timeout};
use crate::expression::BadExpression;
use crate::http::Posts;
use crate::news::News;
use crate::refresh_cdn::Refreshes;
use crate::socket::Sockets;

/// Why a plugin cannot begin.
#[derive(Debug, Error)]
pub enum BadPlugin {
    /// An expression of its config does not compile.
    #[error(transparent)]
    Expression(#[from] BadExpression),
    /// The certificates to trust cannot be had.
    #[error("certificates file={file} {reason}")]
    Certificates {
        /// The file, for people.
        file: String,
        /// Why.
        reason: String,
    },
}

/// An event names a root or a remote that this plugin was never told of.
#[derive(Debug, Error)]
#[error("it names a root or a remote that there is not")]
pub struct UnknownPlace;

/// A plugin at work.
pub struct Plugin {
    kind: Box<dyn Deliver>,
    call: Call,
    roots: Vec<OsString>,
    remotes: Vec<String>,
}

impl Plugin {
    /// Makes ready what `slice` says. What a CDN answers goes to `answers`, which should append.
    pub fn new(slice: PluginSlice, answers: File) -> Result<Plugin, BadPlugin> {
        let PluginSlice { kind, call, roots, remotes, debug, confinement: _ } = slice;
        let trace = if debug { Trace::Calls } else { Trace::Off };
        let kind: Box<dyn Deliver> = match kind {
            PluginKind::Command(plugin) => Box::new(Commands::new(plugin, call, trace)?),
            PluginKind::Socket(plugin) => Box::new(Sockets::new(plugin, call, trace)),
            PluginKind::Http(plugin) => Box::new(Posts::new(plugin, call, trace)?),
            PluginKind::RefreshCdn(plugin) => {
                Box::new(Refreshes::new(plugin, call, trace, Answers::new(answers))?)
            }
        };
        Ok(Plugin { kind, call, roots, remotes })
    }

    /// Tells of `events`, in order. No call is begun once the config's timeout is over, and none
    /// takes longer than it; so the whole takes at most twice as long.
    pub fn tell(&mut self, events: &[PluginEvent]) -> Result<Told, UnknownPlace> {
        let until = after(Instant::now(), timeout(self.call));
        let news = events.iter().map(|event| News::new(event, &self.roots, &self.remotes));
        let news = news.collect::<Option<Vec<_>>>().ok_or(UnknownPlace)?;
        let Told { verdicts, note: why } = self.kind.deliver(&news, until);
        Ok(Told { verdicts, note: note(&why) })
    }
}
