//! `<state>`, the brake of `<delete>`, and `<verify>`.
//!
//! What is wrong here is refused, not guessed: a misspelt brake must not become none.

use std::ffi::OsString;

use super::super::diagnostic::quote;
use super::super::xml::{Attribute, Element};
use super::super::{DeleteGuard, GuardScope, Repair, StateConfig, Verify};
use super::MAX_MINUTES;
use super::values::Reader;
use crate::message::Comparison;

/// Minutes between comparisons when nothing usable is said.
const DEFAULT_SCHEDULE: u32 = 1440;
/// Percent of the time that comparing takes when nothing is said.
const DEFAULT_BUDGET: u8 = 10;
/// More names than any tree has.
const MAX_NAMES: u32 = 1_000_000_000;

impl Reader {
    /// `<state>`; on when it is not there.
    pub(super) fn state(&mut self, state: Option<&Element>) -> StateConfig {
        let path = state.and_then(|state| state.attribute("path")).filter(|path| !path.value.is_empty());
        StateConfig {
            start: self.switch(state, "start").unwrap_or(true),
            path: path.and_then(|path| self.directory(path)),
        }
    }

    /// The brake of `<delete>`.
    pub(super) fn delete_guard(&mut self, delete: Option<&Element>) -> DeleteGuard {
        let given = |name| delete.and_then(|delete| delete.attribute(name));
        let default = DeleteGuard::default();
        let names = given("maxDelete").and_then(|names| self.number(names, &(0..=MAX_NAMES)));
        let percent = given("maxDeletePercent").and_then(|percent| self.percent(percent, 0));
        DeleteGuard {
            scope: given("guard").and_then(|scope| self.guard_scope(scope)).unwrap_or(default.scope),
            names: names.map_or(default.names, u64::from),
            percent: percent.unwrap_or(default.percent),
        }
    }

    /// `<verify>`, when on.
    pub(super) fn verify(&mut self, verify: Option<&Element>) -> Option<Verify> {
        let verify = verify.filter(|verify| self.is_on(Some(verify)))?;
        let repair = self.switch(Some(verify), "repair").unwrap_or(true);
        let checksum = self.switch(Some(verify), "checksum").unwrap_or(false);
        let budget = verify.attribute("budget").and_then(|budget| self.percent(budget, 1));
        Some(Verify {
            minutes: self.lenient(Some(verify), "schedule", &(1..=MAX_MINUTES), DEFAULT_SCHEDULE),
            repair: if repair { Repair::On } else { Repair::Off },
            by: if checksum { Comparison::Checksums } else { Comparison::Times },
            budget: budget.unwrap_or(DEFAULT_BUDGET),
        })
    }

    fn guard_scope(&mut self, attribute: &Attribute) -> Option<GuardScope> {
        match attribute.value.as_str() {
            "off" => Some(GuardScope::Off),
            "unseen" => Some(GuardScope::Unseen),
            "all" => Some(GuardScope::All),
            other => {
                let message = format!("`{}` is neither `off`, `unseen` nor `all`", quote(other));
                let help = "`unseen` holds deletions that nobody saw happen, `all` those that were seen too";
                self.problem(&attribute.place(), message, help);
                None
            }
        }
    }

    fn percent(&mut self, attribute: &Attribute, least: u32) -> Option<u8> {
        self.number(attribute, &(least..=100)).and_then(|percent| u8::try_from(percent).ok())
    }

    /// The directory of the state. All of the disk is nobody's.
    fn directory(&mut self, attribute: &Attribute) -> Option<OsString> {
        let path = self.absolute_as(attribute, "/var/lib/sersync")?;
        if std::path::Path::new(&path).parent().is_none() {
            let help = "write path=\"/var/lib/sersync\", or leave it empty for the usual place";
            self.problem(&attribute.place(), "this is no directory for the state alone", help);
            return None;
        }
        Some(path)
    }
}
