//! From a command line to an exit code: reads the config, claims what one supervisor owns,
//! and runs the event loop. Also where a role is entered.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use common::config::{Config, LogConfig, MAX_CONFIG, PluginName, parse, parse_for_plugin, render};
use common::confine::{Footing, Identity};
use common::exit::Exit;
use common::log::Shown;
use log::{error, warn};
use nix::fcntl::{Flock, OFlag};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::cgroup::Cgroups;
use crate::cli::{Command, Detach, Settings};
use crate::control::server::Control;
use crate::core::PluginId;
use crate::core::dispatch::Dispatcher;
use crate::event_loop::{EventLoop, Host, Screen, Source};
use crate::fail_log::FailLog;
use crate::lowering;
use crate::notify::Notify;
use crate::operator_file::Owner;
use crate::pid_file::PidFile;
use crate::plan::Plan;
use crate::privileges::Grounds;
use crate::recent::{Left, Recent};
use crate::runtime::{self, Runtime};
use crate::say::say;
use crate::uids::Uids;
use crate::{check, cli, demo, detach, doctor, explain, guardian, keeper, logging, preview, secrets, state};

/// The whole program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    match cli::parse(args.clone()) {
        Ok(Command::Role(name, channel)) => role(&name, &channel),
        Ok(Command::Demo) => demo::run(),
        Ok(Command::Doctor(config)) => doctor::run(Path::new(&config)),
        Ok(Command::Status(wish)) => crate::status::client::run(&wish),
        Ok(Command::Check(config, wants)) => check::run(Path::new(&config), wants),
        Ok(Command::Plan(config, remote)) => preview::run(Path::new(&config), remote.as_deref()),
        Ok(Command::Explain(config, path)) => explain::run(Path::new(&config), &path),
        Ok(Command::Control(config, request)) => crate::control::client::run(Path::new(&config), &request),
        Ok(Command::Run(settings)) if settings.detach == Detach::Start => detach::start(&settings, &args),
        Ok(Command::Run(settings)) => {
            if settings.detach == Detach::Detached {
                detach::keep_name(&args);
            }
            mirror(&settings)
        }
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Ok }
        }
    }
}

/// Enters a role. Its page begins by making itself powerless.
pub fn role(name: &str, channel: &str) -> Exit {
    match name {
        "watcher" => {
            // What `top` shows; the command line says it with the remote's number.
            let _ = nix::sys::prctl::set_name(c"sersync-watcher");
            watcher::run(channel)
        }
        "syncer" => {
            let _ = nix::sys::prctl::set_name(c"sersync-syncer");
            syncer::run(channel)
        }
        "plugin" => {
            let _ = nix::sys::prctl::set_name(c"sersync-plugin");
            plugins::run(channel)
        }
        "keeper" => {
            let _ = nix::sys::prctl::set_name(c"sersync-keeper");
            keeper::run(channel)
        }
        "page" => {
            let _ = nix::sys::prctl::set_name(c"sersync-page");
            plugins::page::run(channel)
        }
        "guardian" => {
            let _ = nix::sys::prctl::set_name(c"sersync-guard");
            guardian::run(channel)
        }
        // The doctor's: a role that attacks, and a program in rsync's place.
        "probe" => doctor::probe::run(channel),
        "probed" => doctor::probe::run_program(),
        _ => {
            complain("roles are started by the supervisor only");
            Exit::Usage
        }
    }
}

/// Mirrors until a signal ends it.
pub fn mirror(settings: &Settings) -> Exit {
    logging::start();
    let mut pid_file = None;
    let exit = match start(settings, &mut pid_file).map(EventLoop::run) {
        Ok(Ok(())) => Exit::Ok,
        Ok(Err(error)) => {
            error!("internal: {error}");
            Exit::Software
        }
        Err(exit) => exit,
    };
    drop(pid_file);
    logging::finish();
    exit
}

/// `pid_file` is to be held for as long as the loop runs.
fn start(settings: &Settings, pid_file: &mut Option<PidFile>) -> Result<EventLoop, Exit> {
    // Whoever started us: what we make is closed to others, and not to ourselves.
    umask(Mode::from_bits_truncate(0o077));
    let footing = runtime::footing(|line| warn!("{line}"));
    settings.warnings.iter().for_each(|warning| warn!("{warning}"));
    let (config, metadata) = read_config(Path::new(&settings.config), settings.plugin)?;
    say(&format!("host ip : {}\thost port: {}", Shown(OsStr::new(&config.host.ip)), config.host.port));
    say("config xml parse success");
    let fail = |exit: Exit| {
        move |error: &dyn std::error::Error| {
            complain(&error.to_string());
            exit
        }
    };
    let grounds = Grounds::new(footing, &config);
    lowering::check(&config, grounds).map_err(|lines| no_permission(&lines.join("\n")))?;
    let mut runtime = Runtime::claim(&metadata, config.privileges.first_uid, footing)
        .map_err(|error| fail(error.exit())(&error))?;
    lowering::check_program(runtime.identity).map_err(|line| no_permission(&line))?;
    direct_log(&config.log, runtime.owner())?;
    *pid_file = write_pid(settings, runtime.owner())?;
    let plan = Plan::new(config, runtime.first_uid).map_err(|error| fail(error.exit())(&error))?;
    plan.warnings.iter().for_each(|warning| warn!("{warning}"));
    let source = check_secrets(settings, &metadata, &plan)?;
    own_account(&plan, &runtime, footing)?;
    lowering::check_marks(&plan).map_err(|lines| no_permission(&lines.join("\n")))?;
    lowering::say_footing(footing);
    lowering::give_accounts(&plan, runtime.first_uid, footing);
    // The sockets of the rendezvous go into our private directory, not into /tmp.
    let _ = tempfile::env::override_temp_dir(&runtime.directory);
    let ready = detach::ready_pipe(settings.detach).map_err(|error| fail(Exit::OsError)(&error))?;
    say_purpose(&plan, settings);
    let fail_log = fail_log(&plan, runtime.owner());
    let kept = kept(settings, &plan, footing)?;
    let recent = if kept.is_some() { recent(settings, &runtime) } else { None };
    let control = control(&mut runtime, Path::new(&settings.config));
    let status = crate::status::place::open(&runtime, &plan.config().status);
    let page = crate::page::open(runtime.identity, &plan.config().host);
    // Both need who we still are: systemd's socket, and the cgroup that it delegated.
    let (notify, cgroups) = (Notify::from_env(), Cgroups::find(runtime.identity));
    // From here on nothing is opened, started or changed with more than the supervisor keeps.
    lowering::lower(&plan, &runtime, grounds, &cgroups).map_err(|error| fail(Exit::NoPermission)(&error))?;
    let mut setup = plan.setup(settings.full_sync, settings.workers, seed());
    (setup.keep, setup.page, setup.epoch) = (kept.is_some(), page.is_some(), today());
    let core = Dispatcher::new(setup);
    let uids = Uids::new(runtime.first_uid);
    let mut event_loop =
        EventLoop::new(plan, core, (uids, grounds, Host::new(cgroups, notify)), settings.full_sync)
            .map_err(|error| fail(Exit::OsError)(&error))?;
    event_loop.keep(runtime);
    event_loop.listen(control);
    event_loop.show_at(status, page, Path::new(&settings.config));
    let is_seen = settings.detach == Detach::No && io::stderr().is_terminal();
    event_loop.draw_on(is_seen.then_some(Screen::Errors));
    event_loop.reload_from(source);
    if let Some(kept) = kept {
        event_loop.keep_state(kept, recent);
    }
    if let Some(fail_log) = fail_log {
        event_loop.record_failures(fail_log);
    }
    if let Some(pipe) = ready {
        event_loop.on_ready(move || detach::say_ready(&pipe));
    }
    Ok(event_loop)
}

fn write_pid(settings: &Settings, owner: Owner) -> Result<Option<PidFile>, Exit> {
    let Some(path) = settings.pid_file.as_deref() else { return Ok(None) };
    PidFile::write(Path::new(path), owner).map(Some).map_err(|error| {
        complain(&format!("--pid-file {}: {error}", Shown(path)));
        Exit::CantCreate
    })
}

/// The log goes on where the config says. Somebody who wants it elsewhere will not look here.
fn direct_log(config: &LogConfig, owner: Owner) -> Result<(), Exit> {
    logging::direct(config, owner).map_err(|error| {
        let place =
            logging::file(config).map_or_else(|| Shown(OsStr::new("syslog")), |path| Shown(path.as_os_str()));
        complain(&format!("<log>: {place}: {error}"));
        Exit::CantCreate
    })
}

/// The file of what is kept; none where nothing is mirrored, or the config says so. A place that was
/// named has to work; where none was, mirroring without one is better than none.
fn kept(settings: &Settings, plan: &Plan, footing: Footing) -> Result<Option<Flock<File>>, Exit> {
    let configured = &plan.config().state;
    if !configured.start || !plan.has_remotes() {
        return Ok(None);
    }
    let typed = settings.state_dir.as_deref();
    match state::open(typed, configured, Path::new(&settings.config), footing) {
        Ok(file) => Ok(Some(file)),
        Err(error @ state::Error::InUse(_)) => {
            complain(&error.to_string());
            Err(Exit::AlreadyRunning)
        }
        Err(error) if typed.is_none() && configured.path.is_none() => {
            warn!("{error}; nothing is kept: what happens while the supervisor is down is not found");
            Ok(None)
        }
        Err(error) => {
            complain(&error.to_string());
            Err(Exit::CantCreate)
        }
    }
}

/// Where changes are noted that are not written yet, and what an earlier run left there.
fn recent(settings: &Settings, runtime: &Runtime) -> Option<(Recent, Left)> {
    let files = state::recent(&runtime.base, Path::new(&settings.config));
    match files
        .map_err(|error| error.to_string())
        .and_then(|files| Recent::open(files).map_err(|e| e.to_string()))
    {
        Ok(opened) => Some(opened),
        Err(error) => {
            warn!(
                "{error}; what is made and removed again just before everything is killed may stay on the remotes"
            );
            None
        }
    }
}

/// The socket for commands. Mirroring goes on without it.
fn control(runtime: &mut Runtime, config: &Path) -> Option<Control> {
    let path = runtime.control_socket();
    if let Err(error) = runtime.be_found_by(config) {
        warn!(
            "control socket {}: {error}; it is found by the file of the config only",
            Shown(path.as_os_str())
        );
    }
    Control::bind(&path, runtime.identity)
        .inspect_err(|error| warn!("control socket {}: {error}", Shown(path.as_os_str())))
        .ok()
}

/// Milliseconds since 1970.
fn today() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Refuses files that others may write, and secrets that others may read. Where the config is read
/// again, and whose it may be then.
fn check_secrets(settings: &Settings, metadata: &Metadata, plan: &Plan) -> Result<Source, Exit> {
    let config = Path::new(&settings.config);
    let own_keys: Vec<OsString> = plan.identities().collect();
    let found = secrets::check(config, metadata, plan.config(), &own_keys, geteuid());
    found.warnings.iter().for_each(|warning| warn!("{warning}"));
    if found.refusals.is_empty() {
        return Ok(Source::new(config, settings.plugin, geteuid(), found.warnings));
    }
    complain(&found.refusals.join("\n"));
    Err(Exit::Config)
}

/// A plugin whose account is the supervisor's could end it, and read what all roles report.
fn own_account(plan: &Plan, runtime: &Runtime, footing: Footing) -> Result<(), Exit> {
    let own = runtime.identity.map_or_else(|| geteuid().as_raw(), |identity| identity.uid);
    let plugins = (0..=u8::MAX).map_while(|id| plan.plugin(PluginId(id)));
    let same = |account: Option<Identity>| account.is_some_and(|account| account.uid == own);
    match plugins.filter(|_| footing.gives_uids).find(|(_, account)| same(*account)) {
        None => Ok(()),
        Some((plugin, _)) => {
            let name = plugin.kind.name().as_str();
            complain(&format!(
                "plugin {name}: user: uid {own} is the supervisor's own; give it another account"
            ));
            Err(Exit::Config)
        }
    }
}

/// The lines with which the original named its module, its clock and its plugin.
fn say_purpose(plan: &Plan, settings: &Settings) {
    match settings.plugin {
        Some(PluginName::RefreshCdn) => say("启动刷新CDN模块"),
        Some(PluginName::Socket) => say("启动SOCKET接口"),
        Some(PluginName::Command) => say("start command interface"),
        Some(PluginName::Http) => say("start http interface"),
        None => {
            let config = plan.config();
            if let Some(crontab) = &config.crontab {
                let minutes = crontab.minutes;
                say(&format!(
                    "Start the crontab \tEvery {minutes} minutes rsync all the files to the remote servers entirely"
                ));
            }
            for plugin in &config.plugins_on {
                say(&format!("after each synchronize run the plugin \tplugin name is: {}", plugin.as_str()));
            }
        }
    }
}

/// The fail log, where one is configured and something can fail.
fn fail_log(plan: &Plan, owner: Owner) -> Option<FailLog> {
    let path = plan.config().fail_log.path.as_ref().filter(|_| plan.has_remotes())?;
    match std::path::absolute(path) {
        Ok(path) => Some(FailLog::new(path, owner)),
        Err(error) => {
            error!("fail log path={}: {error}; it is not written", Shown(path));
            None
        }
    }
}

/// Reads and checks the config file; says everything that is wrong with it at once.
pub(crate) fn read_config(path: &Path, plugin: Option<PluginName>) -> Result<(Config, Metadata), Exit> {
    let (config, shown) = load_config(path, plugin);
    if !shown.is_empty() {
        complain(&shown);
    }
    config
}

/// The same, and says nothing: what is wrong with it, for people, is the second.
pub(crate) fn load_config(
    path: &Path,
    plugin: Option<PluginName>,
) -> (Result<(Config, Metadata), Exit>, String) {
    let name = Shown(path.as_os_str()).to_string();
    let (bytes, metadata) = match read_file(path) {
        Ok(read) => read,
        Err(error) => return (Err(Exit::NoInput), format!("config file {name}: {error}")),
    };
    let parsed = match plugin {
        Some(plugin) => parse_for_plugin(&bytes, plugin),
        None => parse(&bytes),
    };
    let shown = render(&parsed, &name).trim_end().to_owned();
    (parsed.config.map(|config| (config, metadata)).ok_or(Exit::Config), shown)
}

/// What stands in a config file, and no more of it than one byte too many.
pub(crate) fn read_file(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    // A pipe without a writer keeps nobody waiting.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_CONFIG).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, metadata))
}

fn seed() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0)
}

fn no_permission(message: &str) -> Exit {
    complain(message);
    Exit::NoPermission
}

pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}
