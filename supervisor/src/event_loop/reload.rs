//! SIGHUP: the config file is read and checked as at start, compared with what runs, and carried out
//! as a whole or not at all.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::config::PluginName;
use common::log::Shown;
use log::{error, info, warn};
use nix::unistd::Uid;

use super::{EventLoop, Stop};
use crate::core::Input;
use crate::plan::Reloaded;
use crate::{logging, run, secrets};

/// Where the config was read, and what was said of it.
#[derive(Debug)]
pub struct Source {
    /// Absolute: the file may be another one by now.
    path: PathBuf,
    plugin: Option<PluginName>,
    /// Who started the supervisor: beside root the only one who may own the config.
    starter: Uid,
    /// Since how many reloads it runs.
    reloads: u64,
    /// Warnings that were given already.
    said: BTreeSet<String>,
}

impl Source {
    /// The config file at `path`; `said` is what was warned of already.
    pub fn new(path: &Path, plugin: Option<PluginName>, starter: Uid, said: Vec<String>) -> Source {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Source { path, plugin, starter, reloads: 0, said: said.into_iter().collect() }
    }
}

impl EventLoop {
    /// Reads the config there when it is told to.
    pub fn reload_from(&mut self, source: Source) {
        self.source = Some(source);
    }

    /// SIGHUP.
    pub(super) fn reload(&mut self) {
        if let Err(line) = logging::reopen() {
            error!("{line}");
        }
        let Some(source) = self.source.take().filter(|_| self.stop == Stop::No) else { return };
        self.host.reloading();
        self.source = Some(self.reload_config(source));
        self.host.reloaded();
    }

    fn reload_config(&mut self, mut source: Source) -> Source {
        let path = source.path.clone();
        let shown = Shown(path.as_os_str());
        match self.read_again(&source) {
            Ok((reloaded, warnings)) => {
                for warning in warnings.difference(&source.said) {
                    warning.lines().filter(|line| !line.is_empty()).for_each(|line| warn!("{line}"));
                }
                (source.said, source.reloads) = (warnings, source.reloads.saturating_add(1));
                reloaded.warnings.iter().for_each(|warning| warn!("{warning}"));
                self.plan = reloaded.plan;
                info!("reloaded config={shown} {}", reloaded.summary);
                self.tell(Input::Reload(Box::new(reloaded.reload)));
            }
            Err(lines) => {
                let lines = lines.iter().flat_map(|text| text.lines()).filter(|line| !line.is_empty());
                lines.for_each(|line| error!("{line}"));
                let read = if source.reloads == 0 { "start" } else { "the last reload" };
                error!("reload refused config={shown}; still running with the config read at {read}");
            }
        }
        source
    }

    /// What is to be done, and what there is to warn of; or all that is wrong.
    fn read_again(&self, source: &Source) -> Result<(Reloaded, BTreeSet<String>), Vec<String>> {
        let (read, shown) = run::load_config(&source.path, source.plugin);
        let Ok((config, metadata)) = read else { return Err(vec![shown]) };
        let reloaded = self.plan.reloaded(config, self.full_sync)?;
        let keys: Vec<OsString> = reloaded.plan.identities().collect();
        let found = secrets::check(&source.path, &metadata, reloaded.plan.config(), &keys, source.starter);
        if !found.refusals.is_empty() {
            return Err(found.refusals);
        }
        let mut warnings: BTreeSet<String> = found.warnings.into_iter().collect();
        warnings.extend((!shown.is_empty()).then_some(shown));
        Ok((reloaded, warnings))
    }
}
