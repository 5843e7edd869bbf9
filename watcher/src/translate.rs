//! What one kernel event means: for the watches, and for whoever wants to know.
//!
//! Pure: bits, path, switches and filter in, a [`Meaning`] out. Renames are followed whatever
//! the switches say; they only decide what is told.

use common::config::Switches;
use common::event::Dirt;
use common::filter::{EntryKind, Filter, is_hidden_file};
use common::path::RelPath;

/// The bits of an event's mask, as the kernel numbers them.
pub(crate) mod bits {
    pub(crate) const MODIFY: u32 = 0x2;
    pub(crate) const ATTRIB: u32 = 0x4;
    pub(crate) const CLOSE_WRITE: u32 = 0x8;
    pub(crate) const MOVED_FROM: u32 = 0x40;
    pub(crate) const MOVED_TO: u32 = 0x80;
    pub(crate) const CREATE: u32 = 0x100;
    pub(crate) const DELETE: u32 = 0x200;
    pub(crate) const DELETE_SELF: u32 = 0x400;
    pub(crate) const MOVE_SELF: u32 = 0x800;
    pub(crate) const UNMOUNT: u32 = 0x2000;
    pub(crate) const Q_OVERFLOW: u32 = 0x4000;
    pub(crate) const IGNORED: u32 = 0x8000;
    pub(crate) const ISDIR: u32 = 0x4000_0000;
}

/// What is to be done about the watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Keep,
    /// A new directory: watch it, and report it and what it holds by name.
    Appeared,
    /// A directory was moved here: watch it, then report all of it.
    Arrived,
    /// A directory was renamed away: where to may follow.
    Left,
    /// A directory is no longer there.
    Gone,
    /// A directory that does not concern us stands here: no watch in it may stay.
    Unwanted,
}

/// What an event means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// For the watches.
    pub(crate) step: Step,
    /// For the supervisor, at once.
    pub(crate) dirt: Option<Dirt>,
}

/// Whether nothing is told of an entry, whatever happens to it: a hidden file, or a filtered name.
pub(crate) fn is_silent(path: &RelPath, kind: EntryKind, switches: Switches, filter: &Filter) -> bool {
    let hidden = match kind {
        EntryKind::File => !switches.hidden_file && is_hidden_file(path.name()),
        EntryKind::Directory => false,
    };
    hidden || filter.excludes(path, kind)
}

/// What the event `mask` on the entry at `path` means.
pub(crate) fn meaning(mask: u32, path: &RelPath, switches: Switches, filter: &Filter) -> Meaning {
    if mask & bits::ISDIR == 0 {
        let silent = is_silent(path, EntryKind::File, switches, filter);
        let dirt = if silent { None } else { of_file(mask, switches) };
        return Meaning { step: Step::Keep, dirt };
    }
    let (step, dirt) = of_directory(mask, switches);
    if !filter.excludes(path, EntryKind::Directory) {
        return Meaning { step, dirt };
    }
    let step = match step {
        Step::Appeared | Step::Arrived => Step::Unwanted,
        Step::Keep | Step::Left | Step::Gone | Step::Unwanted => step,
    };
    Meaning { step, dirt: None }
}

fn of_file(mask: u32, switches: Switches) -> Option<Dirt> {
    let told = |switch: bool, dirt: Dirt| switch.then_some(dirt);
    match mask {
        _ if mask & bits::CLOSE_WRITE != 0 => told(switches.close_write, Dirt::Touched),
        _ if mask & bits::CREATE != 0 => told(switches.create_file, Dirt::Touched),
        _ if mask & bits::DELETE != 0 => told(switches.delete, Dirt::Removed),
        _ if mask & bits::MOVED_FROM != 0 => told(switches.move_from && switches.delete, Dirt::Removed),
        _ if mask & bits::MOVED_TO != 0 => told(switches.move_to, Dirt::Touched),
        _ if mask & bits::MODIFY != 0 => told(switches.modify, Dirt::Touched),
        _ if mask & bits::ATTRIB != 0 => told(switches.attrib, Dirt::Touched),
        _ => None,
    }
}

fn of_directory(mask: u32, switches: Switches) -> (Step, Option<Dirt>) {
    let removed = |switch: bool| (switch && switches.delete).then_some(Dirt::RemovedDir);
    match mask {
        // What comes is reported once it is watched, and not before.
        _ if mask & bits::CREATE != 0 && switches.create_folder => (Step::Appeared, None),
        _ if mask & bits::CREATE != 0 => (Step::Unwanted, None),
        _ if mask & bits::DELETE != 0 => (Step::Gone, removed(true)),
        _ if mask & bits::MOVED_FROM != 0 => (Step::Left, removed(switches.move_from)),
        _ if mask & bits::MOVED_TO != 0 && switches.move_to => (Step::Arrived, None),
        _ if mask & bits::MOVED_TO != 0 => (Step::Unwanted, None),
        _ if mask & bits::ATTRIB != 0 => (Step::Keep, switches.attrib.then_some(Dirt::Touched)),
        _ => (Step::Keep, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::FilterExpression;

    const DIR: u32 = bits::ISDIR;

    fn ask(mask: u32, path: &str, switches: Switches) -> Meaning {
        let filter =
            Filter::new(&[FilterExpression(b"x.*".to_vec()), FilterExpression(b"d/".to_vec())]).unwrap();
        meaning(mask, &RelPath::new(path).unwrap(), switches, &filter)
    }

    fn all() -> Switches {
        Switches { create_file: true, attrib: true, modify: true, hidden_file: true, ..Switches::default() }
    }

    #[test]
    fn with_the_shipped_switches() {
        for (mask, path, step, dirt) in [
            (bits::CREATE, "f", Step::Keep, None),
            (bits::CLOSE_WRITE, "f", Step::Keep, Some(Dirt::Touched)),
            (bits::MODIFY, "f", Step::Keep, None),
            (bits::ATTRIB, "f", Step::Keep, None),
            (bits::DELETE, "f", Step::Keep, Some(Dirt::Removed)),
            (bits::MOVED_FROM, "f", Step::Keep, Some(Dirt::Removed)),
            (bits::MOVED_TO, "f", Step::Keep, Some(Dirt::Touched)),
            (bits::CREATE | DIR, "e", Step::Appeared, None),
            (bits::DELETE | DIR, "e", Step::Gone, Some(Dirt::RemovedDir)),
            (bits::MOVED_FROM | DIR, "e", Step::Left, Some(Dirt::RemovedDir)),
            (bits::MOVED_TO | DIR, "e", Step::Arrived, None),
            (bits::ATTRIB | DIR, "e", Step::Keep, None),
            // Hidden: every kind of event, but files only.
            (bits::CLOSE_WRITE, "a/.f", Step::Keep, None),
            (bits::DELETE, "a/f~", Step::Keep, None),
            (bits::MOVED_TO, "4913", Step::Keep, None),
            (bits::MOVED_FROM, ".f", Step::Keep, None),
            (bits::CREATE | DIR, ".e", Step::Appeared, None),
            (bits::MOVED_TO | DIR, "e~", Step::Arrived, None),
            // Filtered.
            (bits::CLOSE_WRITE, "x1", Step::Keep, None),
            (bits::DELETE, "x1", Step::Keep, None),
            (bits::CREATE | DIR, "d", Step::Unwanted, None),
            (bits::MOVED_TO | DIR, "x", Step::Unwanted, None),
            (bits::MOVED_FROM | DIR, "x", Step::Left, None),
            (bits::DELETE | DIR, "d", Step::Gone, None),
            (bits::CLOSE_WRITE, "d", Step::Keep, Some(Dirt::Touched)),
        ] {
            assert_eq!(ask(mask, path, Switches::default()), Meaning { step, dirt }, "{mask:#x} {path}");
        }
    }

    #[test]
    fn with_everything_on() {
        for (mask, path, step, dirt) in [
            (bits::CREATE, ".f", Step::Keep, Some(Dirt::Touched)),
            (bits::MODIFY, "f", Step::Keep, Some(Dirt::Touched)),
            (bits::ATTRIB, "f", Step::Keep, Some(Dirt::Touched)),
            (bits::ATTRIB | DIR, "e", Step::Keep, Some(Dirt::Touched)),
            (bits::ATTRIB | DIR, "x", Step::Keep, None),
            (bits::CREATE, "xf", Step::Keep, None),
        ] {
            assert_eq!(ask(mask, path, all()), Meaning { step, dirt }, "{mask:#x} {path}");
        }
    }

    #[test]
    fn one_switch_off_at_a_time() {
        let on = all();
        for (switches, mask, step, dirt) in [
            (Switches { delete: false, ..on }, bits::DELETE, Step::Keep, None),
            (Switches { delete: false, ..on }, bits::DELETE | DIR, Step::Gone, None),
            (Switches { delete: false, ..on }, bits::MOVED_FROM, Step::Keep, None),
            (Switches { delete: false, ..on }, bits::MOVED_FROM | DIR, Step::Left, None),
            (Switches { move_from: false, ..on }, bits::MOVED_FROM, Step::Keep, None),
            (Switches { move_from: false, ..on }, bits::MOVED_FROM | DIR, Step::Left, None),
            (Switches { move_from: false, ..on }, bits::DELETE | DIR, Step::Gone, Some(Dirt::RemovedDir)),
            (Switches { move_to: false, ..on }, bits::MOVED_TO, Step::Keep, None),
            (Switches { move_to: false, ..on }, bits::MOVED_TO | DIR, Step::Unwanted, None),
            (Switches { create_folder: false, ..on }, bits::CREATE | DIR, Step::Unwanted, None),
            (Switches { create_folder: false, ..on }, bits::CREATE, Step::Keep, Some(Dirt::Touched)),
            (Switches { create_folder: false, ..on }, bits::MOVED_TO | DIR, Step::Arrived, None),
            (Switches { close_write: false, ..on }, bits::CLOSE_WRITE, Step::Keep, None),
            (Switches { create_file: false, ..on }, bits::CREATE, Step::Keep, None),
        ] {
            assert_eq!(ask(mask, "e", switches), Meaning { step, dirt }, "{mask:#x} {switches:?}");
        }
    }
}
