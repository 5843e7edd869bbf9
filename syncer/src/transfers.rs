//! The runs of one job: rsync as often as the lists take it, and the worst outcome of all.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use common::event::RootId;
use common::log::escape;
use common::message::{Comparison, Deletions, Load, Outcome};
use common::path::RelPath;
use nix::sys::resource::{Resource, getrlimit};

use crate::abilities::{Abilities, Hint};
use crate::apart::Part;
use crate::argv::{self, Errand, Form};
use crate::complaints::Complaints;
use crate::doubt::Doubt;
use crate::job::{JobEnd, Worker};
use crate::list::{Kind, Lists, Whole};
use crate::meter::{metered, unmetered};
use crate::outcome::{Ended, outcome};
use crate::root::Root;
use crate::rsync::{Feed, Limits, Pulse, Run, Spawned};
use crate::tail::{Said, Stream};
use crate::warm::Warmth;

/// How much of a list is made at a time, in bytes.
const FEED_BYTES: usize = 32 << 10;

/// So many entries are named as arguments: a cold start pays, and so does a list that is not read
/// byte by byte.
const MANY: usize = 100;
/// What an argument costs beside its bytes.
const ARGUMENT: usize = 1 + size_of::<usize>();
/// Bounds of what the arguments of one run may take, in bytes.
const LEAST_ARGUMENTS: usize = 128 << 10;
const MOST_ARGUMENTS: usize = 1 << 20;

/// The runs of one job.
pub(crate) struct Transfers<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) root: &'a Root,
    pub(crate) id: RootId,
    pub(crate) deletions: Deletions,
    pub(crate) max_delete: Option<u32>,
    pub(crate) by: Comparison,
    pub(crate) load: Load,
    /// Large files that are left out of a light job.
    pub(crate) left: Vec<RelPath>,
    /// KiB a second that each run may send, beside the remote's own limit.
    pub(crate) rate: Option<u32>,
    pub(crate) pulse: Pulse<'a>,
    pub(crate) limits: Limits,
    pub(crate) log_left: u32,
    pub(crate) warm: Warmth,
    pub(crate) abilities: Abilities,
    pub(crate) doubt: Doubt,
    /// What the last run said about the abilities.
    pub(crate) hint: Hint,
    /// What rsync complains of in this part of the job.
    pub(crate) complaints: Complaints,
    /// Parts of which something failed.
    pub(crate) parts: Vec<Part>,
    pub(crate) end: JobEnd,
}

impl Transfers<'_> {
    /// Brings all lists over.
    pub(crate) fn all(&mut self, mut lists: Lists) {
        if self.would_empty(&lists) {
            return;
        }
        self.part(Form::Shallow, self.deletions, lists.shallow.iter().cloned().collect());
        for path in std::mem::take(&mut lists.gone) {
            if self.root.kind(path.as_bytes()) == Kind::Directory {
                lists.deepen(path);
            }
        }
        self.part(Form::Deep, self.deletions, lists.deep.into_iter().collect());
        self.part(Form::Deep, Deletions::Held, lists.sweep.into_iter().collect());
        if let Some(whole) = lists.whole {
            let deletions = match whole {
                Whole::Mirror => self.deletions,
                Whole::Sweep => Deletions::Held,
            };
            self.part(Form::Whole, deletions, vec![RelPath::root()]);
        }
    }

    /// One of the lists. It is kept for later if some of it failed.
    pub(crate) fn part(&mut self, form: Form, deletions: Deletions, paths: Vec<RelPath>) {
        if paths.is_empty() || !goes_on(self.end.outcome) {
            return;
        }
        self.complaints = Complaints::default();
        match form {
            Form::Shallow => self.list(form, deletions, paths.iter()),
            Form::Deep | Form::Whole | Form::WholeListed => self.trees(form, deletions, &paths),
        }
        let complaints = std::mem::take(&mut self.complaints);
        if complaints.partial {
            self.parts.push(Part { form, deletions, paths, complaints });
        }
    }

    /// An empty root is more likely an unmounted disk than a wish: it must not empty the remote.
    fn would_empty(&mut self, lists: &Lists) -> bool {
        if lists.whole != Some(Whole::Mirror) || self.deletions == Deletions::Held {
            return false;
        }
        match self.root.is_empty() {
            Ok(false) => return false,
            Ok(true) => self.worst_of(Outcome::RootEmpty, 0, "the root is empty".to_owned()),
            Err(error) => self.end = JobEnd::of_root(&error),
        }
        true
    }

    /// Directories with all below them, or the whole tree.
    pub(crate) fn trees(&mut self, form: Form, deletions: Deletions, tops: &[RelPath]) {
        if tops.is_empty() || !goes_on(self.end.outcome) {
            return;
        }
        if !self.worker.filter.is_empty() {
            self.listed(form, deletions, tops);
        } else if form == Form::Whole {
            self.transfer(Errand::Send(form, deletions), &mut |_| Feed::End);
        } else {
            self.list(form, deletions, tops.iter());
        }
    }

    /// Entries by name.
    fn list<'p>(
        &mut self,
        form: Form,
        deletions: Deletions,
        paths: impl ExactSizeIterator<Item = &'p RelPath> + Clone,
    ) {
        if paths.len() == 0 || !goes_on(self.end.outcome) {
            return;
        }
        if paths.len() >= MANY {
            self.named(form, deletions, paths.clone());
        } else if !self.sent_warm(form, deletions, paths.clone()) {
            let mut paths = paths.clone();
            self.transfer(Errand::Send(form, deletions), &mut |buffer| feed(&mut paths, buffer));
        }
        if self.erases(deletions) && goes_on(self.end.outcome) {
            let is_gone = |path: &&RelPath| self.root.kind(path.as_bytes()) == Kind::Missing;
            let gone: Vec<RelPath> = paths.filter(is_gone).cloned().collect();
            self.erase(&gone);
        }
    }

    /// Many entries by name: as arguments.
    fn named<'p>(&mut self, form: Form, deletions: Deletions, paths: impl Iterator<Item = &'p RelPath>) {
        let (room, mut paths) = (argument_room(), paths.map(argument).peekable());
        while paths.peek().is_some() && goes_on(self.end.outcome) {
            let mut taken = 0_usize;
            let names = std::iter::from_fn(|| {
                paths.next_if(|name| {
                    taken = taken.saturating_add(name.len()).saturating_add(ARGUMENT);
                    taken <= room
                })
            });
            let mut words = argv::named(self.words(Errand::Send(form, deletions)), names);
            unmetered(&mut words);
            self.pulse.meter().ask();
            self.carry(&words, &mut |_| Feed::End, &mut |_| {});
        }
    }

    /// Whether the rsync that waits has done it.
    fn sent_warm<'p>(
        &mut self,
        form: Form,
        deletions: Deletions,
        mut paths: impl Iterator<Item = &'p RelPath>,
    ) -> bool {
        if form != Form::Shallow || self.by == Comparison::Checksums || self.load == Load::Any {
            return false;
        }
        let Some(spawned) = self.warm.take_for(self.id, deletions, self.rate) else {
            return false;
        };
        let argv = argv::argv(&self.worker.slice, Errand::Send(form, deletions), self.abilities);
        let end = self.run(Some(spawned), &argv, &mut |buffer| feed(&mut paths, buffer), &mut |_| {});
        // It may have died while it waited. Only a cold one tells what is the matter.
        let good = goes_on(end.outcome);
        if good {
            self.worst_of(end.outcome, end.status, end.tail);
        } else {
            // What befell it may have befallen the other one.
            self.warm.discard();
        }
        good
    }

    /// Whether names that are missing here take a run of their own to be removed there.
    pub(crate) fn erases(&self, deletions: Deletions) -> bool {
        !self.abilities.missing_args.is_there()
            && argv::possible(&self.worker.slice, deletions, self.abilities) == Deletions::Travel
    }

    /// Runs rsync and keeps the result if it is worse than what there was.
    pub(crate) fn transfer(&mut self, errand: Errand, feed: &mut dyn FnMut(&mut Vec<u8>) -> Feed) -> Outcome {
        self.transfer_with(errand, feed, &mut |_| {})
    }

    /// The same, handing out each line of standard output.
    pub(crate) fn transfer_with(
        &mut self,
        errand: Errand,
        feed: &mut dyn FnMut(&mut Vec<u8>) -> Feed,
        output: &mut dyn FnMut(&[u8]),
    ) -> Outcome {
        let words = self.words(errand);
        self.carry(&words, feed, output)
    }

    /// The command for an errand of this job.
    pub(crate) fn words(&self, errand: Errand) -> Vec<OsString> {
        let mut argv = argv::argv(&self.worker.slice, errand, self.abilities);
        if let (Errand::Send(..), Comparison::Checksums) = (errand, self.by) {
            argv::by_checksums(&mut argv, &self.worker.slice);
        }
        if let (Errand::Send(Form::Shallow, _), Load::Any) = (errand, self.load) {
            // A large file may be put together over there without a word.
            argv::with_timeout(&mut argv, &self.worker.slice);
        }
        if let (Errand::Send(Form::Whole, Deletions::Travel), Some(most)) = (errand, self.max_delete) {
            argv::bound(&mut argv, most);
        }
        match errand {
            // Few files: each may tell of itself.
            Errand::Send(Form::Shallow, _) => metered(&mut argv),
            Errand::Send(Form::Deep | Form::Whole | Form::WholeListed, _) => {
                metered(&mut argv);
                unmetered(&mut argv);
                self.pulse.meter().ask();
            }
            Errand::Look(_) | Errand::Compare(..) | Errand::Erase => {}
        }
        argv
    }

    /// Runs a command and keeps the result if it is worse than what there was.
    fn carry(
        &mut self,
        argv: &[OsString],
        feed: &mut dyn FnMut(&mut Vec<u8>) -> Feed,
        output: &mut dyn FnMut(&[u8]),
    ) -> Outcome {
        let JobEnd { outcome, status, tail, .. } = self.run(None, argv, feed, output);
        self.worst_of(outcome, status, tail);
        outcome
    }

    /// One run, with a process that was started before if there is one.
    pub(crate) fn run(
        &mut self,
        spawned: Option<Spawned>,
        argv: &[OsString],
        feed: &mut dyn FnMut(&mut Vec<u8>) -> Feed,
        output: &mut dyn FnMut(&[u8]),
    ) -> JobEnd {
        self.run_in(self.root.as_fd(), spawned, argv, feed, output)
    }

    /// The same in another directory.
    pub(crate) fn run_in(
        &mut self,
        root: BorrowedFd<'_>,
        spawned: Option<Spawned>,
        argv: &[OsString],
        feed: &mut dyn FnMut(&mut Vec<u8>) -> Feed,
        output: &mut dyn FnMut(&[u8]),
    ) -> JobEnd {
        let mut argv = argv.to_vec();
        argv::slow_down(&mut argv, &self.worker.slice, self.rate);
        let argv = &argv[..];
        let debug = self.worker.slice.debug;
        if debug {
            log::info!("rsync: {}", argv::shown(argv));
        }
        let (mut said, log_left) = (Said::default(), &mut self.log_left);
        let (complaints, meter) = (&mut self.complaints, Rc::clone(self.pulse.meter()));
        let mut line = |stream: Stream, text: &[u8]| {
            if stream == Stream::Output && meter.takes(text, &mut said) {
                return;
            }
            if debug && *log_left > 0 {
                *log_left = log_left.saturating_sub(1);
                log::info!("rsync: {}", escape(text));
            }
            if stream == Stream::Output {
                output(text);
            }
            complaints.push(stream, text);
            said.push(stream, text);
        };
        let confined = &self.worker.confined;
        let limits = match (argv::has_timeout(argv), &spawned) {
            (true, _) => self.limits,
            (false, None) => self.limits.alone(),
            (false, Some(_)) => self.limits.resumed(),
        };
        let run = Run { argv, root, confined, feed, line: &mut line, limits };
        let ended = match spawned {
            Some(spawned) => run.resume(spawned, &mut self.pulse),
            None => run.finish(&mut self.pulse),
        };
        let mut tail = said.text();
        meter.end_run(&tail);
        if let Ended::Failed(error) = &ended {
            tail = format!("cannot run rsync: {error}");
        }
        if ended.is_suspicious() {
            log::error!(
                "violation role=rsync what=\"a system call that only an intruder makes\"; the kernel ended it"
            );
        }
        let mut outcome = outcome(&ended, &tail);
        // "Some directory is missing", says rsync. If it is ours, we see that ourselves: no
        // remote is to make us believe that the root is gone.
        if outcome == Outcome::Refused && Root::open(&self.worker.slice.root, self.id).is_err() {
            outcome = Outcome::RootGone;
        }
        self.hint = Hint::None;
        if goes_on(outcome) || outcome == Outcome::NoSpace {
            self.abilities.prove(argv);
        } else if let Ended::Exited(status) = ended
            && outcome != Outcome::RootGone
        {
            self.hint = self.abilities.hint(argv, status, &tail);
        }
        JobEnd { outcome, status: ended.status(), tail, failed: None, left: Vec::new() }
    }

    /// What the last run said about the remote's abilities; asked once.
    pub(crate) fn take_hint(&mut self) -> Hint {
        std::mem::replace(&mut self.hint, Hint::None)
    }

    /// The worst so far.
    pub(crate) fn outcome(&self) -> Outcome {
        self.end.outcome
    }

    /// Keeps the worse of what there was and what is new.
    pub(crate) fn worst_of(&mut self, outcome: Outcome, status: i32, tail: String) {
        self.complaints.partial |= outcome == Outcome::Partial;
        if severity(outcome) > severity(self.end.outcome) || self.end.outcome == Outcome::Done {
            self.end = JobEnd { outcome, status, tail, failed: None, left: Vec::new() };
        }
    }
}

/// False after an outcome that the next run would only meet again.
pub(crate) fn goes_on(outcome: Outcome) -> bool {
    severity(outcome) <= severity(Outcome::Partial)
}

/// Appends entries until there is enough for now. The `./` in front keeps rsync from taking
/// names that begin with `#` or `;` for comments.
pub(crate) fn feed<'p>(paths: &mut impl Iterator<Item = &'p RelPath>, buffer: &mut Vec<u8>) -> Feed {
    while buffer.len() < FEED_BYTES {
        let Some(path) = paths.next() else { return Feed::End };
        append(buffer, path);
    }
    Feed::More
}

/// An entry as an argument. The `./` in front keeps it from being an option or the name of a host.
fn argument(path: &RelPath) -> OsString {
    let mut bytes = Vec::new();
    append(&mut bytes, path);
    bytes.pop();
    OsString::from_vec(bytes)
}

/// Bytes of arguments that a program surely takes: the kernel's bound is a quarter of that for the
/// stack, and never below 128 KiB (execve(2)).
fn argument_room() -> usize {
    let stack = getrlimit(Resource::RLIMIT_STACK).map_or(0, |(soft, _)| soft);
    usize::try_from(stack / 4).unwrap_or(MOST_ARGUMENTS).clamp(LEAST_ARGUMENTS, MOST_ARGUMENTS) / 4 * 3
}

/// Appends one entry of a list.
pub(crate) fn append(buffer: &mut Vec<u8>, path: &RelPath) {
    buffer.extend_from_slice(b"./");
    buffer.extend_from_slice(path.as_bytes());
    buffer.push(0);
}

/// The order of outcomes: what is above [`Outcome::Partial`] ends the job.
fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Done => 0,
        Outcome::Partial => 1,
        Outcome::Broken | Outcome::Limit => 2,
        Outcome::TimedOut => 3,
        Outcome::Unreachable => 4,
        Outcome::NoSpace | Outcome::ReadOnly => 5,
        Outcome::Refused | Outcome::UnknownHost | Outcome::Hostile => 6,
        Outcome::Misconfigured => 7,
        Outcome::RootEmpty => 8,
        Outcome::RootGone => 9,
    }
}
