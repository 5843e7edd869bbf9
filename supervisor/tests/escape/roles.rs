//! The roles of the test's own supervisor. One that was taken over starts a coordinator, whose
//! attackers are confined by the order that the supervisor gave this very role; then it is an
//! honest idler, until it makes a last attempt itself. One that is a victim only idles. Both block
//! the signal that is sent to everybody: what reaches them stays visible.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use common::confine::attempts::{self, EVERYBODY};
use common::confine::{self, Confinement};
use common::keep::{Durable, KeeperOrder, KeeperReport, Knowledge, LastRun};
use common::message::{
    Outcome, PageOrder, PageReport, PluginOrder, PluginReport, SyncerOrder, SyncerReport, Verdict,
    WatcherOrder, WatcherReport,
};
use common::wire::{self, FrameReader, Received, Uplink, report_socket};
use ipc_channel::ipc::IpcReceiver;
use ipc_channel::{IpcError, TryRecvError};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::attack;
use crate::plan::{FINALE, Plan};

/// The word with which a coordinator is started.
pub(crate) const WORD: &str = "coordinate";
/// How often it is looked whether there is a plan by now.
const GLANCE: Duration = Duration::from_millis(20);

/// The supervisor, or one of its roles. `mode` holds one line for each role that is not honest:
/// `attack NAME` or `victim NAME`.
pub(crate) fn enter(mode: &str, arguments: Vec<OsString>) -> ExitCode {
    let word = |n: usize| arguments.get(n).map(|word| word.to_string_lossy().into_owned());
    let (name, channel) = (word(0).unwrap_or_default(), word(3).unwrap_or_default());
    let name = name.strip_prefix("sersync: ").unwrap_or_default().to_owned();
    let Some((manner, _)) =
        mode.lines().filter_map(|line| line.split_once(' ')).find(|(_, role)| *role == name)
    else {
        return supervisor::run::main(arguments).into();
    };
    let role = Role { name: name.clone(), is_attacker: manner == "attack" };
    let result = match name.as_str() {
        "watcher" => role.watcher(&channel),
        "keeper" => role.keeper(&channel),
        "page" => role.page(&channel),
        name if name.starts_with("syncer") => role.syncer(&channel),
        _ => role.plugin(&channel),
    };
    if let Err(error) = result {
        eprintln!("escape {name}: {error}");
    }
    ExitCode::SUCCESS
}

/// Whoever plans puts it beside the image.
fn plan_file() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("escape-plan"))
}

struct Role {
    name: String,
    is_attacker: bool,
}

impl Role {
    fn watcher(&self, channel: &str) -> io::Result<()> {
        let (uplink, orders, first) = begin::<WatcherOrder>(channel)?;
        let WatcherOrder::Configure(slice) = first else { return Err(io::Error::other("no order")) };
        let plan = self.confine(&slice.confinement)?;
        uplink.send(&WatcherReport::Ready).map_err(io::Error::other)?;
        self.idle(&orders, &plan, |_| Ok(()))
    }

    /// Its file stays as it is: standard output, to which nothing is printed.
    fn keeper(&self, channel: &str) -> io::Result<()> {
        let (uplink, orders, first) = begin::<KeeperOrder>(channel)?;
        let KeeperOrder::Configure(slice) = first else { return Err(io::Error::other("no order")) };
        let plan = self.confine(&slice.confinement)?;
        let say = |report: KeeperReport| uplink.send(&report).map_err(io::Error::other);
        say(KeeperReport::Ready)?;
        let (trees, names) = (vec![Knowledge::None; slice.trees.len()], vec![0; slice.trees.len()]);
        say(KeeperReport::Loaded { last: LastRun::None, trees, names })?;
        self.idle(&orders, &plan, |order| match order {
            KeeperOrder::Configure(_) => Ok(()),
            KeeperOrder::Names(ticket, ..) | KeeperOrder::Edits(ticket, _) => say(KeeperReport::Done(ticket)),
            KeeperOrder::Listed(_, tree, path) => say(KeeperReport::Compared(tree, path, 0)),
            KeeperOrder::Commit { ticket, .. } => say(KeeperReport::Committed(ticket, Durable::Yes)),
        })
    }

    /// It asks for nothing: who comes to it gets no answer.
    fn page(&self, channel: &str) -> io::Result<()> {
        let (uplink, orders, first) = begin::<PageOrder>(channel)?;
        let PageOrder::Configure(slice) = first;
        let plan = self.confine(&slice.confinement)?;
        uplink.send(&PageReport::Ready).map_err(io::Error::other)?;
        self.idle(&orders, &plan, |_| Ok(()))
    }

    fn syncer(&self, channel: &str) -> io::Result<()> {
        let (uplink, orders, first) = begin::<SyncerOrder>(channel)?;
        let SyncerOrder::Configure(slice) = first else { return Err(io::Error::other("no order")) };
        let plan = self.confine(&slice.confinement)?;
        uplink.send(&SyncerReport::Ready).map_err(io::Error::other)?;
        self.idle(&orders, &plan, |order| {
            let SyncerOrder::Sync { ticket, .. } = order else { return Ok(()) };
            let done = SyncerReport::Done {
                ticket,
                outcome: Outcome::Done,
                status: 0,
                tail: String::new(),
                failed: None,
                left: vec![],
                bytes: 0,
            };
            uplink.send(&done).map_err(io::Error::other)
        })
    }

    fn plugin(&self, channel: &str) -> io::Result<()> {
        let (uplink, orders, first) = begin::<PluginOrder>(channel)?;
        let PluginOrder::Configure(slice) = first else { return Err(io::Error::other("no order")) };
        let plan = self.confine(&slice.confinement)?;
        uplink.send(&PluginReport::Ready).map_err(io::Error::other)?;
        self.idle(&orders, &plan, |order| {
            let PluginOrder::Deliver { ticket, events } = order else { return Ok(()) };
            let verdicts = vec![Verdict::Delivered; events.len()];
            uplink
                .send(&PluginReport::Done { ticket, verdicts, note: String::new() })
                .map_err(io::Error::other)
        })
    }

    /// The real thing, after the coordinator was started: it is not confined, its attackers are.
    fn confine(&self, confinement: &Confinement) -> io::Result<File> {
        let plan = File::open(plan_file()?)?;
        if self.is_attacker {
            let (ours, theirs) = report_socket()?;
            Uplink::new(ours).send(confinement).map_err(io::Error::other)?;
            let mut command = Command::new("/proc/self/exe");
            command.args([WORD, &self.name]).env_clear().stdin(theirs).stdout(Stdio::null());
            confine::die_with_parent(&mut command);
            command.spawn()?;
        }
        confine::enter(confinement).map_err(io::Error::other)?;
        let mask: SigSet = Signal::try_from(EVERYBODY).into_iter().collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
        Ok(plan)
    }

    /// Obeys, until the plan says that it is time for a last attempt.
    fn idle<O: Serialize + DeserializeOwned>(
        &self,
        orders: &IpcReceiver<O>,
        plan: &File,
        mut obey: impl FnMut(O) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match orders.try_recv_timeout(GLANCE) {
                Ok(order) => obey(order)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::IpcError(IpcError::Disconnected)) => return Ok(()),
                Err(TryRecvError::IpcError(error)) => return Err(io::Error::other(format!("{error:?}"))),
            }
            let mut bytes = vec![0; 16 << 10];
            let length = plan.read_at(&mut bytes, 0)?;
            let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
            if self.is_attacker
                && text.lines().any(|line| line == FINALE)
                && let Some(plan) = Plan::read(&text)
                && let Some(attempt) = attempts::find("ptrace-supervisor")
            {
                let verdict = attempts::run(attempt, &plan.targets(&self.name));
                return Err(io::Error::other(format!("it lives: {verdict:?}")));
            }
        }
    }
}

/// What comes before the first report in an honest role as well.
fn begin<O: Serialize + DeserializeOwned>(channel: &str) -> io::Result<(Uplink, IpcReceiver<O>, O)> {
    confine::start_clean().map_err(io::Error::other)?;
    let uplink = Uplink::from_stdin()?;
    let orders = wire::meet::<O>(channel)?;
    let first = orders.recv().map_err(|error| io::Error::other(format!("{error:?}")))?;
    Ok((uplink, orders, first))
}

/// The coordinator of a role: waits for the plan, and reports.
pub(crate) fn coordinate(subject: &str) -> ExitCode {
    let run = || -> io::Result<()> {
        let mut frames = FrameReader::default();
        let Received::Frame(order) = frames.receive::<Confinement>(io::stdin().as_fd()) else {
            return Err(io::Error::other("no order"));
        };
        let path = plan_file()?;
        let plan = loop {
            match Plan::read(&fs::read_to_string(&path)?) {
                Some(plan) => break plan,
                None => std::thread::park_timeout(GLANCE),
            }
        };
        let report = attack::coordinate(subject, &plan, Some(&order))?;
        attack::report(subject, plan.collector, &report)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("escape {subject}: {error}");
            ExitCode::FAILURE
        }
    }
}
