//! A keeper that was taken over, role and file: it lies about what it kept and what it found, answers
//! what nobody asked, and never stops.

use std::fs::File;
use std::io::{self, Write};
use std::iter;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use common::confine;
use common::event::{Dirt, RootId, TreeId};
use common::keep::{
    Durable, Edit, Find, FindKind, KeeperOrder, KeeperReport, Knowledge, LastRun, MAX_REASON, Pending,
    Trouble,
};
use common::path::RelPath;
use common::wire::Uplink;
use ipc_channel::ipc::IpcReceiver;

use super::{Hostile, begin, flood_for_seconds, idle, send_raw};

/// What is called gone: a file and a directory that are there, and a name that is not.
pub(crate) const LIES: [&str; 2] = ["lie", "lies"];
/// The name that is not.
pub(crate) const TRUTH: &str = "truth";
/// How long a flood of paths lasts: the remotes get all of them, and a change has to wait for that.
const PATHS: Duration = Duration::from_secs(1);
/// Fewest frames of it, on a busy machine.
const FEWEST: u64 = 200;
/// Edits or finds in one frame of a flood.
const MANY: u64 = 100;

/// The keeper.
pub(super) fn run(how: &str, channel: &str) -> io::Result<()> {
    let Hostile { socket, uplink, orders, first } = begin::<KeeperOrder>("keeper", how, channel)?;
    let KeeperOrder::Configure(slice) = first else { return Err(io::Error::other("no order")) };
    // As the honest one takes it. Nothing here prints to it.
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if how != "unconfined" {
        confine::enter(&slice.confinement).map_err(io::Error::other)?;
    }
    let keeper = Keeper { uplink, orders, trees: slice.trees.len() };
    keeper.say(&KeeperReport::Ready)?;
    match how {
        "unconfined" => {}
        "ready-twice" => keeper.say(&KeeperReport::Ready)?,
        "exit-when-ready" => return Ok(()),
        "find-before-loaded" => keeper.find("file", FindKind::Changed)?,
        "answer-before-loaded" => keeper.say(&KeeperReport::Done(0))?,
        // The least that can be said, so that it is much.
        "kept-without-end" => loop {
            keeper.say(&KeeperReport::Kept(iter::repeat_n(Edit::Known(0), 16 << 10).collect()))?;
        },
        "flood-kept" => keeper.flood_kept()?,
        "reasons-forged" => return keeper.forge_reasons(),
        "forgery" => {
            eprintln!("\x1b[31m\r<3>forged line in the log");
            let text = "\nforged line in a report\r\x1b[31m".repeat(2000);
            keeper.say(&KeeperReport::Trouble(Trouble::Unwritable, text))?;
            return Ok(());
        }
        "spoils-its-file" => {
            let mut file = file;
            file.write_all_at(&vec![0xa5; 100 << 10], 0)?;
            return file.flush();
        }
        _ => {
            keeper.loaded()?;
            if let Some(frame) = how.strip_prefix("late ") {
                send_raw(socket, "keeper", frame)?;
            } else if matches!(how, "flood-beats" | "flood-descriptors" | "gigabyte") {
                flood_for_seconds(socket, "keeper", how, &|| Ok(()))?;
            } else {
                keeper.lie(how)?;
            }
        }
    }
    idle()
}

struct Keeper {
    uplink: Uplink,
    orders: IpcReceiver<KeeperOrder>,
    trees: usize,
}

impl Keeper {
    /// What it does when it has told what it kept.
    fn lie(&self, how: &str) -> io::Result<()> {
        match how {
            "loaded-twice" => self.loaded(),
            "kept-after-all" => self.say(&KeeperReport::Kept(vec![Edit::Known(0)])),
            "done-unasked" => self.say(&KeeperReport::Done(0)),
            "committed-unasked" => self.say(&KeeperReport::Committed(0, Durable::Yes)),
            "compared-unasked" => self.say(&KeeperReport::Compared(TreeId(0), path("nowhere")?, 0)),
            "wrong-ticket" => self.say(&KeeperReport::Done(self.asked()? ^ 1)),
            "wrong-answer" => self.say(&KeeperReport::Committed(self.asked()?, Durable::Yes)),
            "done-twice" => {
                let done = KeeperReport::Done(self.asked()?);
                self.say(&done)?;
                self.say(&done)
            }
            "find-of-the-root" => self.find("", FindKind::Gone { directory: true, names: u64::MAX }),
            "find-of-no-tree" => {
                let find = Find { path: path("file")?, kind: FindKind::Changed };
                self.say(&KeeperReport::Found(TreeId(7), vec![find]))
            }
            "found-gone-lies" => self.lie_about_names(),
            "flood-finds" => self.flood_finds(),
            "damaged-again" => loop {
                self.say(&KeeperReport::Trouble(Trouble::Damaged, "\nforged line\r\x1b[31m".to_owned()))?;
            },
            "deaf-beating" => loop {
                self.say(&KeeperReport::Beat)?;
                thread::park_timeout(Duration::from_millis(500));
            },
            // It ignores everything.
            _ => Ok(()),
        }
    }

    fn say(&self, report: &KeeperReport) -> io::Result<()> {
        self.uplink.send(report).map_err(io::Error::other)
    }

    fn loaded(&self) -> io::Result<()> {
        let (trees, names) = (vec![Knowledge::None; self.trees], vec![0; self.trees]);
        self.say(&KeeperReport::Loaded { last: LastRun::None, trees, names })
    }

    fn find(&self, name: &str, kind: FindKind) -> io::Result<()> {
        self.say(&KeeperReport::Found(TreeId(0), vec![Find { path: path(name)?, kind }]))
    }

    fn next(&self) -> io::Result<KeeperOrder> {
        self.orders.recv().map_err(|error| io::Error::other(format!("{error:?}")))
    }

    /// The ticket of the next order that is done when it is done. The others are answered.
    fn asked(&self) -> io::Result<u64> {
        loop {
            match self.next()? {
                KeeperOrder::Names(ticket, ..) | KeeperOrder::Edits(ticket, _) => return Ok(ticket),
                other => self.obey(other)?,
            }
        }
    }

    /// As an honest one, but that nothing is kept.
    fn obey(&self, order: KeeperOrder) -> io::Result<()> {
        match order {
            KeeperOrder::Names(ticket, ..) | KeeperOrder::Edits(ticket, _) => {
                self.say(&KeeperReport::Done(ticket))
            }
            KeeperOrder::Listed(_, tree, path) => self.say(&KeeperReport::Compared(tree, path, 100)),
            KeeperOrder::Commit { ticket, .. } => self.say(&KeeperReport::Committed(ticket, Durable::Yes)),
            KeeperOrder::Configure(_) => Err(io::Error::other("configured twice")),
        }
    }

    /// When the tree is compared, what is there is called gone.
    fn lie_about_names(&self) -> io::Result<()> {
        let [file, directory] = LIES;
        loop {
            let order = self.next()?;
            if let KeeperOrder::Listed(..) = order {
                self.find(file, FindKind::Gone { directory: false, names: 1 })?;
                self.find(directory, FindKind::Gone { directory: true, names: 2 })?;
                self.find(TRUTH, FindKind::Gone { directory: false, names: 1 })?;
            }
            self.obey(order)?;
        }
    }

    /// A reason that is none, and things that do not exist. Says what came back of the reason.
    fn forge_reasons(&self) -> io::Result<()> {
        let pending = || Pending {
            dirt: Dirt::Touched,
            since: u64::MAX,
            attempts: u32::MAX,
            reason: "\nforged line in a reason\r\x1b[31m".repeat(100),
        };
        let poisoned = path("poisoned")?;
        let nowhere = RootId { device: 0, inode: 0, born: 0 };
        self.say(&KeeperReport::Kept(vec![
            Edit::Pending(0, poisoned.clone(), Some(pending())),
            Edit::Pending(9, poisoned.clone(), Some(pending())),
            Edit::Parked(u16::MAX, poisoned.clone(), Some(pending())),
            Edit::Known(u16::MAX),
            Edit::Root(TreeId(7), nowhere),
            Edit::Complete(TreeId(7), u64::MAX),
        ]))?;
        self.loaded()?;
        loop {
            let order = self.next()?;
            if let KeeperOrder::Edits(_, edits) = &order {
                for edit in edits {
                    if let Edit::Pending(0, at, Some(Pending { reason, .. })) = edit
                        && *at == poisoned
                    {
                        let is_clean = reason.len() <= MAX_REASON && !reason.contains(char::is_control);
                        eprintln!("a reason came back clean={is_clean} bytes={}", reason.len());
                        return Ok(());
                    }
                }
            }
            self.obey(order)?;
        }
    }

    /// Paths that there are not, and never the same, as what a remote lacks.
    fn flood_kept(&self) -> io::Result<()> {
        let (end, mut n, mut frames) = (Instant::now() + PATHS, 0, 0_u64);
        let pending =
            || Pending { dirt: Dirt::Touched, since: 1, attempts: 3, reason: "x".repeat(MAX_REASON) };
        while Instant::now() < end || frames < FEWEST {
            let edit = |n: u64| Ok(Edit::Pending(0, path(&format!("{n:020}"))?, Some(pending())));
            self.say(&KeeperReport::Kept((n..n + MANY).map(edit).collect::<io::Result<_>>()?))?;
            (n, frames) = (n + MANY, frames + 1);
        }
        eprintln!("flood frames={frames}");
        self.loaded()
    }

    /// The same as finds, half of them gone.
    fn flood_finds(&self) -> io::Result<()> {
        let (end, mut n, mut frames) = (Instant::now() + PATHS, 0, 0_u64);
        while Instant::now() < end || frames < FEWEST {
            let find = |n: u64| {
                let gone = FindKind::Gone { directory: false, names: 1 };
                let kind = if n.is_multiple_of(2) { FindKind::Changed } else { gone };
                Ok(Find { path: path(&format!("{n:020}"))?, kind })
            };
            let finds = (n..n + MANY).map(find).collect::<io::Result<_>>()?;
            self.say(&KeeperReport::Found(TreeId(0), finds))?;
            (n, frames) = (n + MANY, frames + 1);
        }
        eprintln!("flood frames={frames}");
        Ok(())
    }
}

fn path(name: &str) -> io::Result<RelPath> {
    RelPath::new(name).map_err(io::Error::other)
}
