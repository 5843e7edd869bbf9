//! The model: what `confxml.xml` says, typed. `read` is the only place that knows
//! element and attribute names; everything else sees these structs.
//!
//! Text that ends in an argument vector or a system call is an [`OsString`]: config files in
//! GBK or ISO-8859-1 have always passed their bytes through, and they still do.

mod diagnostic;
mod dump;
mod durability;
mod launch;
mod logs;
mod page;
mod params;
mod places;
mod privileges;
mod read;
mod sharing;
mod status;
mod xml;

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

pub use diagnostic::{Diagnostic, Severity, render, render_all};
pub use dump::dump;
pub use durability::{DeleteGuard, GuardScope, Repair, StateConfig, Verify};
pub use logs::{LogConfig, LogForm, LogTarget};
pub use page::{PageConfig, PagePlace};
pub use places::Places;
pub use privileges::{LimitsTable, Privileges, RoleLimits};
pub use read::{Parsed, closest, parse, parse_for_plugin};
pub use sharing::{Bandwidth, HOURS, Sharing};
pub use status::{MAX_SOCKET, StatusConfig};

/// Largest config file that is read, in bytes.
pub const MAX_CONFIG: usize = 1 << 20;
/// Most bytes that all filter expressions of a config may hold together: the watcher's
/// slice travels in one bounded message.
pub const MAX_FILTER_BYTES: usize = 32 << 10;
/// Most watched roots in a config.
pub const MAX_TREES: usize = 64;
/// Most remotes of one root.
pub const MAX_REMOTES: usize = 256;
/// Most jobs of one remote at a time: a long batch, what does not wait for it, and a full sync.
pub const MAX_CONNECTIONS: u8 = 3;

/// A whole config file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "these are the file's own switches")]
pub struct Config {
    /// `<host hostip port start>`: printed at start, and the page.
    pub host: Host,
    /// `<debug start>`: say every watch, event and rsync command.
    pub debug: bool,
    /// `<fileSystem xfs>`: accepted; the scanner never needs it.
    pub xfs: bool,
    /// `<filter start>` with its `<exclude expression>`s; empty when off.
    pub filter: Vec<FilterExpression>,
    /// `<inotify>`.
    pub switches: Switches,
    /// `<inotify watcher>`.
    pub watcher: WatcherKind,
    /// `<delete guard>`: the brake.
    pub delete_guard: DeleteGuard,
    /// `<localpath>` blocks, in order. At least one, each with at least one remote.
    pub trees: Vec<Tree>,
    /// `program` of `<rsync>`: an absolute path; otherwise rsync is looked up in PATH.
    pub rsync_program: Option<OsString>,
    /// `<failLog>`.
    pub fail_log: FailLog,
    /// `<crontab>`, when on.
    pub crontab: Option<Crontab>,
    /// `<verify>`, when on.
    pub verify: Option<Verify>,
    /// `<crontabfilter>`'s rsync patterns, verbatim, when on; they apply to `-r` too.
    pub sync_excludes: Vec<OsString>,
    /// `<plugin start="true" name>`: those that run after each change, in order, each once.
    /// Each has its block in `plugins`. A command plugin that would run what changed is left out.
    pub plugins_on: Vec<PluginName>,
    /// The `<plugin name>` blocks below `<head>`, at most one of each name; those that are
    /// neither on nor usable are left out.
    pub plugins: Vec<Plugin>,
    /// `<privileges>`.
    pub privileges: Privileges,
    /// `<limits>`.
    pub limits: LimitsTable,
    /// `<sandbox start>`: what rsync and the roles may do is bounded beyond their uid.
    pub sandbox: bool,
    /// `<warm start idle>`: after a transfer an rsync waits, connected, for the next one; for how many
    /// seconds. `None` where it is off.
    pub warm: Option<u32>,
    /// `<connections>` and `<bandwidth>`: what all remotes share.
    pub sharing: Sharing,
    /// `<state>`: what is kept on disk, and where.
    pub state: StateConfig,
    /// `<status>`: who may look on, and where.
    pub status: StatusConfig,
    /// `<log>`: where the log goes.
    pub log: LogConfig,
}

/// `<host hostip="localhost" port="8008" start="false"/>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Address, as written.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// The page, where it is on.
    pub page: Option<PageConfig>,
}

/// One `<exclude expression>` of `<filter>`: a regular expression that compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterExpression(pub Vec<u8>);

/// `<inotify>`: which kinds of change travel. Renames are tracked whatever these say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "these are the file's own nine switches")]
pub struct Switches {
    /// Deletions travel. Off: nothing is ever deleted on a remote.
    pub delete: bool,
    /// New directories are sent and watched.
    pub create_folder: bool,
    /// New non-directories are sent when they appear (symlinks, hard links, empty files).
    pub create_file: bool,
    /// Files are sent when a writer closes them.
    pub close_write: bool,
    /// The old name of something renamed or moved out is removed.
    pub move_from: bool,
    /// What is moved in, or renamed, is sent under its new name.
    pub move_to: bool,
    /// Changes of mode, owner and times travel.
    pub attrib: bool,
    /// Files are sent while they are being written.
    pub modify: bool,
    /// `<hiddenFile>`: files named `.*`, `*~` and `4913` travel by their own events.
    pub hidden_file: bool,
}

/// `<inotify watcher>`, ours: how the kernel is asked what changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WatcherKind {
    /// A watch for each directory.
    #[default]
    Inotify,
    /// A mark on the filesystem of each root, which takes `CAP_SYS_ADMIN` to set.
    Fanotify,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            delete: true,
            create_folder: true,
            create_file: false,
            close_write: true,
            move_from: true,
            move_to: true,
            attrib: false,
            modify: false,
            hidden_file: false,
        }
    }
}

/// One `<localpath watch>` with its remotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The watched root as written, less one trailing slash; may be relative to the
    /// directory the supervisor was started in.
    pub watch: OsString,
    /// `<remote>`s, in order.
    pub remotes: Vec<Remote>,
}

/// `<remote ip name/>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Host name or address. Never empty, never with a leading `-`, `@`, `/`, blank or control byte.
    pub host: String,
    /// Module, or with ssh a path. Never empty.
    pub module: OsString,
    /// How it is reached: `<rsync>`, less what attributes of this very `<remote>` override.
    pub rsync: RsyncOptions,
    /// `connections`: most transfers to it at once, 1 to 3. With 1, a full sync and live changes
    /// take turns.
    pub connections: u8,
}

/// `<rsync>`, as it counts for one remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RsyncOptions {
    /// `<commonParams params>` split like shell words; options that would break the protocol
    /// between us and rsync, or run programs, have been refused.
    pub params: Vec<OsString>,
    /// `<auth>`, when on.
    pub auth: Option<Auth>,
    /// The daemon's port: `<userDefinedPort>`, when on; or, also with ssh, the remote's own.
    /// `<userDefinedPort>` does not count with ssh, as in the original.
    pub port: Option<u16>,
    /// `<timeout time>` in seconds, when on.
    pub timeout: Option<u32>,
    /// rsync's `--bwlimit`, in KiB a second.
    pub bwlimit: Option<u32>,
    /// `<ssh start>`.
    pub ssh: Option<Ssh>,
}

/// `<ssh start="true" identity knownhosts/>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ssh {
    /// Private key: an absolute path. Otherwise those of the user that starts the supervisor.
    pub identity: Option<OsString>,
    /// Known host keys: an absolute path. Otherwise those of the user that starts the supervisor.
    pub known_hosts: Option<OsString>,
}

/// `<auth start="true" users passwordfile/>`; each is used only when it is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// User at the remote.
    pub user: Option<String>,
    /// rsync's `--password-file`.
    pub password_file: Option<OsString>,
}

/// `<failLog path timeToExecute/>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailLog {
    /// Where the readable record of what is pending goes; `None` when the path is empty.
    pub path: Option<OsString>,
    /// Minutes between retry sweeps.
    pub minutes: u32,
}

/// `<crontab start="true" schedule/>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crontab {
    /// Minutes between full syncs.
    pub minutes: u32,
}

/// Names of the plugins that the config can switch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginName {
    /// `command`
    Command,
    /// `socket`
    Socket,
    /// `http`
    Http,
    /// `refreshCDN`
    RefreshCdn,
}

impl PluginName {
    /// All of them, in the order shown to people.
    pub const ALL: [PluginName; 4] =
        [PluginName::RefreshCdn, PluginName::Socket, PluginName::Http, PluginName::Command];

    /// The name in the config file and after `-m`.
    pub fn as_str(self) -> &'static str {
        match self {
            PluginName::Command => "command",
            PluginName::Socket => "socket",
            PluginName::Http => "http",
            PluginName::RefreshCdn => "refreshCDN",
        }
    }

    /// The plugin of that name.
    pub fn from_name(name: &str) -> Option<PluginName> {
        PluginName::ALL.into_iter().find(|plugin| plugin.as_str() == name)
    }
}

/// A `<plugin name="…">` block below `<head>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// `user`: the account it runs under; otherwise a uid of its own.
    pub user: Option<String>,
    /// How it speaks.
    pub call: Call,
    /// What it does.
    pub kind: PluginKind,
}

/// What all plugins have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// `batch`: one call for many changes, instead of one for each.
    pub batch: bool,
    /// `format`.
    pub format: Format,
    /// `timeout`: how long one call may take, in seconds, 1 to 3600.
    pub timeout: u32,
}

/// How a plugin tells of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// As the original did.
    Original,
    /// `format="json"`: one object a change.
    Json,
}

/// What a plugin does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginKind {
    /// `name="command"`.
    Command(CommandPlugin),
    /// `name="socket"`.
    Socket(SocketPlugin),
    /// `name="http"`.
    Http(HttpPlugin),
    /// `name="refreshCDN"`.
    RefreshCdn(RefreshCdnPlugin),
}

impl PluginKind {
    /// Which one.
    pub fn name(&self) -> PluginName {
        match self {
            PluginKind::Command(_) => PluginName::Command,
            PluginKind::Socket(_) => PluginName::Socket,
            PluginKind::Http(_) => PluginName::Http,
            PluginKind::RefreshCdn(_) => PluginName::RefreshCdn,
        }
    }

    /// `localpath/@watch`: the root that takes the place of the configured one.
    pub fn watch(&self) -> Option<&OsString> {
        match self {
            PluginKind::Command(_) => None,
            PluginKind::Socket(plugin) => Some(&plugin.watch),
            PluginKind::Http(plugin) => Some(&plugin.watch),
            PluginKind::RefreshCdn(plugin) => Some(&plugin.watch),
        }
    }
}

/// `<plugin name="command">`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandPlugin {
    /// `param/@prefix`, split like shell words: the program and its first arguments. Never empty.
    pub prefix: Vec<String>,
    /// `param/@suffix`, split like shell words.
    pub suffix: Vec<String>,
    /// `param/@ignoreError`: what it says and how it ends does not matter.
    pub ignore_error: bool,
    /// `filter/include/@expression`, when `filter/@start` is on.
    pub include: Vec<FilterExpression>,
    /// `allowShell`: the changed file itself may be what is run.
    pub allow_shell: bool,
}

impl CommandPlugin {
    /// True when it would execute the changed file itself, or have it interpreted, and
    /// `allowShell` does not say that this is meant.
    pub fn runs_what_changed(&self) -> bool {
        !self.allow_shell && launch::runs_what_changed(&self.prefix)
    }
}

/// `<plugin name="socket">`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketPlugin {
    /// `localpath/@watch`.
    pub watch: OsString,
    /// `deshost/@ip`.
    pub host: String,
    /// `deshost/@port`.
    pub port: u16,
}

/// `<plugin name="http">`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpPlugin {
    /// `localpath/@watch`.
    pub watch: OsString,
    /// `deshost/@url` with `deshost/@port`: a whole URL, `http:` or `https:`, without user and
    /// password.
    pub url: String,
    /// `deshost/@ca`: a file of PEM certificates to trust instead of the system's; absolute.
    pub ca: Option<OsString>,
}

/// `<plugin name="refreshCDN">`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshCdnPlugin {
    /// `localpath/@watch`.
    pub watch: OsString,
    /// `cdninfo/@domainname`.
    pub domain: String,
    /// `cdninfo/@port`.
    pub port: u16,
    /// `cdninfo/@username`.
    pub user: String,
    /// `cdninfo/@passwd`.
    pub password: String,
    /// `sendurl/@base`.
    pub base: String,
    /// `regexurl/@match`, when `regexurl/@regex` is `true`.
    pub pattern: Option<FilterExpression>,
}

/// The password never reaches a log.
impl std::fmt::Debug for RefreshCdnPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefreshCdnPlugin").field("domain", &self.domain).finish_non_exhaustive()
    }
}
