//! `<limits>`: what the processes of each role may use up.
//!
//! Each role has bounds below which it could not work at all; what is not said keeps its default.
//! Only this file knows the bounds: a limit in the model is one that can be set.

use std::ops::RangeInclusive;

use super::super::diagnostic::quote;
use super::super::xml::{Attribute, Element};
use super::super::{LimitsTable, RoleLimits};
use super::names::closest;
use super::values::Reader;
use crate::confine::IoPriority;

const MIB: u64 = 1 << 20;
/// A terabyte: more than any of them could use.
const MAX_MEMORY: u64 = 1 << 40;
const MAX_PIDS: u32 = 4096;
const MAX_FILES: u32 = 65_536;
/// A month, in seconds.
const MAX_CPU: u32 = 2_592_000;
/// The kernel's own bounds of a weight.
const WEIGHTS: RangeInclusive<u32> = 1..=10_000;
const MAX_NICE: u32 = 19;
const ROLES: &str = "the roles are watcher, syncer, plugin and command";
const SIZE: &str = "bytes, or a number with K, M or G; `none` or `0` for no limit";

/// Whose limits a `<limits>` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Watcher,
    Syncer,
    Plugin,
    Command,
}

/// The least that a role can work with.
struct Least {
    memory: u64,
    pids: u32,
    files: u32,
}

impl Whose {
    const ALL: [Whose; 4] = [Whose::Watcher, Whose::Syncer, Whose::Plugin, Whose::Command];

    fn as_str(self) -> &'static str {
        match self {
            Whose::Watcher => "watcher",
            Whose::Syncer => "syncer",
            Whose::Plugin => "plugin",
            Whose::Command => "command",
        }
    }

    fn least(self) -> Least {
        match self {
            Whose::Watcher | Whose::Command => Least { memory: 16 * MIB, pids: 1, files: 16 },
            // rsync is two processes, ssh a third, and each syncer has a warm one beside that.
            Whose::Syncer => Least { memory: 64 * MIB, pids: 8, files: 64 },
            // A thread looks up names.
            Whose::Plugin => Least { memory: 16 * MIB, pids: 4, files: 16 },
        }
    }

    fn limits(self, table: &mut LimitsTable) -> &mut RoleLimits {
        match self {
            Whose::Watcher => &mut table.watcher,
            Whose::Syncer => &mut table.syncer,
            Whose::Plugin => &mut table.plugin,
            Whose::Command => &mut table.command,
        }
    }
}

impl Reader {
    /// Every `<limits>` below `<head>`, over the defaults.
    pub(super) fn limits(&mut self, head: &Element) -> LimitsTable {
        let mut table = LimitsTable::default();
        let mut seen = Vec::new();
        for element in head.children("limits") {
            let Some(whose) = self.whose(element) else { continue };
            if seen.contains(&whose) {
                let message = format!("another `<limits>` of the role `{}`; it is ignored", whose.as_str());
                self.warning(&element.span, message, "only the first one counts");
                continue;
            }
            seen.push(whose);
            self.role_limits(element, whose, whose.limits(&mut table));
        }
        table
    }

    fn whose(&mut self, element: &Element) -> Option<Whose> {
        let example = "<limits role=\"syncer\" memory=\"2G\"/>";
        let attribute = self.required(Some(element), "role", &element.span, example)?;
        let found = Whose::ALL.into_iter().find(|whose| whose.as_str() == attribute.value);
        if found.is_none() {
            let close = closest(&attribute.value, Whose::ALL.into_iter().map(Whose::as_str));
            let help = close.map_or(ROLES.to_owned(), |close| format!("did you mean `{close}`?"));
            let message = format!("there is no role `{}`", quote(&attribute.value));
            self.problem(&attribute.place(), message, &help);
        }
        found
    }

    /// What is said replaces the default; what is wrong has been reported.
    fn role_limits(&mut self, element: &Element, whose: Whose, limits: &mut RoleLimits) {
        let given = |name| element.attribute(name);
        let least = whose.least();
        let sizes = least.memory..=MAX_MEMORY;
        self.size(given("memory"), &sizes, &mut limits.memory);
        self.size(given("memoryHigh"), &sizes, &mut limits.memory_high);
        self.compare_memory(element, limits);
        if let Some(pids) = given("pids").and_then(|pids| self.number(pids, &(least.pids..=MAX_PIDS))) {
            limits.pids = pids;
        }
        if let Some(files) = given("files").and_then(|files| self.number(files, &(least.files..=MAX_FILES))) {
            limits.files = files;
        }
        if let Some(cpu) = given("cpu") {
            self.cpu(cpu, whose, limits);
        }
        limits.cpu_weight = given("cpuWeight").and_then(|weight| self.weight(weight)).or(limits.cpu_weight);
        limits.io_weight = given("ioWeight").and_then(|weight| self.weight(weight)).or(limits.io_weight);
        limits.nice = given("nice").and_then(|nice| self.nice(nice)).unwrap_or(limits.nice);
        limits.ionice = given("ionice").and_then(|ionice| self.ionice(ionice)).or(limits.ionice);
    }

    /// A size in bytes.
    fn size(&mut self, attribute: Option<&Attribute>, range: &RangeInclusive<u64>, limit: &mut Option<u64>) {
        let Some(attribute) = attribute else { return };
        if is_unlimited(&attribute.value) {
            *limit = None;
        } else if let Some(size) = size(&attribute.value).filter(|size| range.contains(size)) {
            *limit = Some(size);
        } else {
            let (least, most) = (range.start() >> 20, range.end() >> 30);
            let message = format!("`{}` is no size from {least}M to {most}G", quote(&attribute.value));
            self.problem(&attribute.place(), message, &format!("write {}=\"2G\": {SIZE}", attribute.name));
        }
    }

    fn compare_memory(&mut self, element: &Element, limits: &RoleLimits) {
        let Some(attribute) = element.attribute("memoryHigh") else { return };
        if let (Some(high), Some(most)) = (limits.memory_high, limits.memory)
            && high > most
        {
            let help = format!("`memory` is {most} bytes here; write less than that, or leave it out");
            self.warning(&attribute.place(), "`memoryHigh` above `memory` never counts", &help);
        }
    }

    fn cpu(&mut self, attribute: &Attribute, whose: Whose, limits: &mut RoleLimits) {
        if whose != Whose::Syncer {
            let message = "`cpu` counts only for the role `syncer`: it is the CPU time of one transfer";
            self.warning(&attribute.name_span, message, "leave it out; `cpuWeight` counts for every role");
        } else if is_unlimited(&attribute.value) {
            limits.cpu = None;
        } else if let Some(seconds) = self.number(attribute, &(1..=MAX_CPU)) {
            limits.cpu = Some(seconds);
        }
    }

    fn weight(&mut self, attribute: &Attribute) -> Option<u16> {
        self.number(attribute, &WEIGHTS).and_then(|weight| u16::try_from(weight).ok())
    }

    fn nice(&mut self, attribute: &Attribute) -> Option<u8> {
        if attribute.value.trim().starts_with('-') {
            let help = format!("write nice=\"0\" to nice=\"{MAX_NICE}\"");
            self.problem(&attribute.place(), "only a lower priority can be asked for", &help);
            return None;
        }
        self.number(attribute, &(0..=MAX_NICE)).and_then(|nice| u8::try_from(nice).ok())
    }

    fn ionice(&mut self, attribute: &Attribute) -> Option<IoPriority> {
        let priority = io_priority(&attribute.value);
        if priority.is_none() {
            let message = format!("`{}` is no priority for the disk", quote(&attribute.value));
            let help = "write `be:0` (first) to `be:7` (last), or `idle`";
            self.problem(&attribute.place(), message, help);
        }
        priority
    }
}

fn is_unlimited(text: &str) -> bool {
    matches!(text.trim(), "0" | "none")
}

/// Digits, and at most one of `K`, `M` and `G`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let units = [("K", 1 << 10), ("M", MIB), ("G", 1 << 30)];
    let (digits, unit) = units
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))
        .unwrap_or((text, 1));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse::<u64>().ok()?.checked_mul(unit)).flatten()
}

fn io_priority(text: &str) -> Option<IoPriority> {
    match text.trim() {
        "idle" => Some(IoPriority::Idle),
        text => match text.strip_prefix("be:")?.as_bytes() {
            [place @ b'0'..=b'7'] => Some(IoPriority::BestEffort(place.saturating_sub(b'0'))),
            _ => None,
        },
    }
}
