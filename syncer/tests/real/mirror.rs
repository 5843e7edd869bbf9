//! A source, a replica, and an rsync daemon that serves the replica as module `m`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::config::{FilterExpression, Remote, RsyncOptions};
use common::confine::{Confined, Confinement};
use common::event::{Dirt, RootId};
use common::message::{Comparison, Deletions, Job, Load, Move, Outcome, SyncSlice, Terms, Work};
use common::path::RelPath;
use syncer::{JobEnd, Worker};

/// Source and replica; the daemon ends with it.
pub(crate) struct Mirror {
    pub(crate) source: PathBuf,
    pub(crate) replica: PathBuf,
    pub(crate) slice: SyncSlice,
    pub(crate) deletions: Deletions,
    pub(crate) max_delete: Option<u32>,
    daemon: Child,
    pub(crate) directory: tempfile::TempDir,
}

impl Mirror {
    /// With both sides empty.
    pub(crate) fn start() -> Mirror {
        Mirror::start_with("")
    }

    /// `module` is added to the module's section; `DIR` in it becomes the temporary directory.
    pub(crate) fn start_with(module: &str) -> Mirror {
        let directory = tempfile::tempdir().unwrap();
        let (source, replica) = (directory.path().join("source"), directory.path().join("replica"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&replica).unwrap();
        let (daemon, port) = start_daemon(directory.path(), module);
        let slice = slice(&source, port);
        Mirror { source, replica, slice, deletions: Deletions::Travel, max_delete: None, daemon, directory }
    }

    /// With `files` on both sides, as the first full sync leaves them.
    pub(crate) fn with(files: &[&str]) -> Mirror {
        let mirror = Mirror::start();
        for file in files {
            mirror.write(file);
        }
        let end = mirror.run(Work::Full);
        assert!(files.is_empty() || end.outcome == Outcome::Done, "{end:?}");
        mirror
    }

    /// Makes a source file with its directories; a name that ends in `/` makes a directory.
    pub(crate) fn write(&self, name: impl AsRef<OsStr>) {
        write(&self.source.join(name.as_ref()));
    }

    /// The same on the replica.
    pub(crate) fn write_there(&self, name: impl AsRef<OsStr>) {
        write(&self.replica.join(name.as_ref()));
    }

    /// Removes a source file, link or tree.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) {
        let path = self.source.join(name.as_ref());
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    /// Runs a job on the root as it is now.
    pub(crate) fn run(&self, work: Work) -> JobEnd {
        let meta = fs::metadata(&self.source).unwrap();
        self.run_on(RootId::from(&meta), work)
    }

    /// Runs a job on the root of that identity.
    pub(crate) fn run_on(&self, root: RootId, work: Work) -> JobEnd {
        self.run_job(&mut self.worker(), root, work, Load::Any, Vec::new())
    }

    /// One that knows nothing of the remote yet.
    pub(crate) fn worker(&self) -> Worker {
        Worker::new(self.slice.clone(), Confined::not()).unwrap()
    }

    /// Runs a job on the root as it is now, with renames.
    pub(crate) fn run_with(&self, worker: &mut Worker, work: Work, load: Load, moves: Vec<Move>) -> JobEnd {
        let root = RootId::from(&fs::metadata(&self.source).unwrap());
        self.run_job(worker, root, work, load, moves)
    }

    fn run_job(&self, worker: &mut Worker, root: RootId, work: Work, load: Load, moves: Vec<Move>) -> JobEnd {
        let job = Job {
            root,
            deletions: self.deletions,
            max_delete: self.max_delete,
            terms: Terms::default(),
            by: Comparison::Times,
            load,
            work,
            moves,
        };
        worker.run(&job, &mut |_| {}, &mut |_| {})
    }

    /// Runs a batch that carries a directory from one name to another, and says that it does.
    pub(crate) fn run_moved(&self, from: &str, to: &str, more: &[(&str, Dirt)]) -> JobEnd {
        let both = [(from, Dirt::RemovedDir), (to, Dirt::Deep)];
        let hint = Move { from: RelPath::new(from).unwrap(), to: RelPath::new(to).unwrap() };
        let work = batch(&[&both[..], more].concat());
        self.run_with(&mut self.worker(), work, Load::Any, vec![hint])
    }

    /// How many bytes the daemon got so far, by its log, once all connections are over.
    pub(crate) fn received(&self) -> usize {
        let mut total = 0;
        wait_for("the end of all connections", || {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
            total = log.lines().filter_map(received).sum();
            // One that failed says so, and not how much it got.
            let failures = ["rsync error: ", "file has vanished", "could not make way"];
            let says = |line: &str| failures.iter().any(|it| line.contains(it));
            let is_end = |line: &&str| received(line).is_some() || says(line);
            let of = |line: &str| line.split(' ').nth(2).map(str::to_owned);
            let ended: BTreeSet<_> = log.lines().filter(is_end).filter_map(of).collect();
            log.lines()
                .filter(|line| line.contains(" rsync to "))
                .filter_map(of)
                .all(|it| ended.contains(&it))
        });
        total
    }

    /// How many times somebody sent something.
    pub(crate) fn connections(&self) -> usize {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains(" rsync to ")).count()
    }

    /// Runs a batch, which must be done.
    pub(crate) fn batch(&self, paths: &[(&str, Dirt)]) -> JobEnd {
        let end = self.run(batch(paths));
        assert_eq!(end.outcome, Outcome::Done, "{end:?}");
        end
    }

    /// Runs a batch, after which both sides must be equal.
    pub(crate) fn equal_after(&self, paths: &[(&str, Dirt)]) {
        let end = self.batch(paths);
        assert_eq!(tree(&self.replica), tree(&self.source), "{end:?}");
    }

    /// Names on the replica, directories with a slash.
    pub(crate) fn replica_names(&self) -> Vec<String> {
        tree(&self.replica).into_keys().map(|name| name.to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // Its own children end with their connections.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// The bytes of a connection that is over: `... sent 35 bytes  received 105 bytes  total size 7`.
fn received(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once(" bytes  received ")?;
    rest.split_once(" bytes  total size ")?.0.replace(',', "").parse().ok()
}

/// Paths for a batch.
pub(crate) fn batch(paths: &[(&str, Dirt)]) -> Work {
    Work::Batch(paths.iter().map(|&(path, dirt)| (RelPath::new(path).unwrap(), dirt)).collect())
}

/// Filter expressions.
pub(crate) fn expressions(texts: &[&str]) -> Vec<FilterExpression> {
    texts.iter().map(|text| FilterExpression(text.as_bytes().to_vec())).collect()
}

/// What stands where: type, mode and content or target. Directories end in `/`.
pub(crate) fn tree(root: &Path) -> BTreeMap<OsString, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let path = directory.join(entry.unwrap().file_name());
            let meta = fs::symlink_metadata(root.join(&path)).unwrap();
            let mut name = path.clone().into_os_string();
            let what = if meta.is_dir() {
                name.push("/");
                pending.push(path);
                format!("directory {:o}", meta.mode())
            } else if meta.is_symlink() {
                format!("link to {:?}", fs::read_link(root.join(&path)).unwrap())
            } else {
                format!(
                    "file {:o} {}.{} {:?}",
                    meta.mode(),
                    meta.mtime(),
                    meta.mtime_nsec(),
                    fs::read(root.join(&path)).unwrap()
                )
            };
            found.insert(name, what);
        }
    }
    found
}

/// Makes a script. It is written by a child: were the file open for writing here, a parallel fork
/// could hold on to it.
pub(crate) fn write_program(file: &Path, script: &str) {
    let mut command = Command::new("/bin/bash");
    command.args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(file).arg(script);
    assert!(command.status().unwrap().success());
}

/// Waits until `condition` holds, or fails.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn write(path: &Path) {
    if path.as_os_str().as_bytes().ends_with(b"/") {
        fs::create_dir_all(path).unwrap();
    } else {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{:?}", path.file_name().unwrap())).unwrap();
    }
}

fn slice(source: &Path, port: u16) -> SyncSlice {
    let rsync = RsyncOptions {
        params: vec!["-artz".into()],
        auth: None,
        port: Some(port),
        timeout: Some(20),
        bwlimit: None,
        ssh: None,
    };
    SyncSlice {
        root: source.into(),
        remote: Remote { host: "127.0.0.1".into(), module: "m".into(), connections: 2, rsync },
        rsync_program: "/usr/bin/rsync".into(),
        rsync_version: (3, 5, 0),
        ssh: None,
        delete: true,
        filter: vec![],
        excludes: vec![],
        warm: None,
        debug: false,
        confinement: Confinement::none(),
    }
}

/// Another process may take the free port before rsync does; then the next one is tried.
fn start_daemon(directory: &Path, module: &str) -> (Child, u16) {
    let place = directory.to_str().unwrap();
    let module = module.replace("DIR", place);
    let ids = if nix::unistd::geteuid().is_root() { "uid = root\ngid = root\n" } else { "" };
    let config = format!(
        "{ids}use chroot = no\nmunge symlinks = no\nlog file = {place}/log\n[m]\npath = {place}/replica\nread only = no\n{module}\n"
    );
    let file = directory.join("rsyncd.conf");
    fs::write(&file, config).unwrap();
    for _ in 0..20 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut daemon = Command::new("/usr/bin/rsync")
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", file.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut up = false;
        wait_for("the rsync daemon", || {
            up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            up || daemon.try_wait().unwrap().is_some()
        });
        if up && daemon.try_wait().unwrap().is_none() {
            return (daemon, port);
        }
        let _ = daemon.kill();
        let _ = daemon.wait();
    }
    panic!("no port for the rsync daemon");
}
