//! A snapshot as metrics. docs/metrics.md tells of each family; a test compares it with the table here.
//!
//! Labels: `tree` and `remote` as the status names them; `role`, and of a syncer its `remote` and `lane`.

use std::collections::BTreeMap;

use common::status::{Health, Remote, Role, Snapshot, Stage, Transfers, Tree, TreeState};

use super::exposition::{Family, Format, Kind, Labels, Writer};

macro_rules! families {
    ($($id:ident $name:literal $kind:ident $help:literal;)*) => {
        $(const $id: Family = Family { name: $name, kind: Kind::$kind, help: $help };)*
        /// All families, in the order in which they are written.
        pub const FAMILIES: &[Family] = &[$($id),*];
    };
}

families! {
    BUILD "sersync_build_info" Info "The version that runs.";
    START "sersync_start_time_seconds" Gauge "When the supervisor started, since 1970.";
    STATE "sersync_running" Gauge "1 once all trees have been watched, and until the supervisor stops.";
    WATCHES "sersync_watches" Gauge "inotify watches that all trees take.";
    WATCHES_LIMIT "sersync_watches_limit" Gauge "inotify watches that one user may have.";
    SEEN "sersync_watcher_seen_timestamp_seconds" Gauge "All that happened before was reported, since 1970.";
    OVERFLOWS "sersync_overflows_total" Counter "How often the kernel's queue was full.";
    TREE_WATCHED "sersync_tree_watched" Gauge "1 while the tree is watched.";
    TREE_DIRECTORIES "sersync_tree_directories" Gauge "Directories that are watched.";
    TREE_HELD "sersync_tree_held_deletions" Gauge "Names whose deletion waits for the operator.";
    TREE_COMPARING "sersync_tree_comparing" Gauge "1 while what nobody saw is being found.";
    UP "sersync_remote_up" Gauge "0 while transfers to the remote fail, or the one under way stands still.";
    IN_SYNC "sersync_remote_in_sync" Gauge "1 while all that was reported has arrived.";
    HEALTH "sersync_remote_health" Gauge "0 in sync, 1 behind, 2 held, 3 failing, 4 unwatched, 5 down.";
    BACKLOG "sersync_backlog_paths" Gauge "Paths that wait or are under way.";
    OLDEST "sersync_oldest_pending_seconds" Gauge "How long the oldest change waits that the remote lacks.";
    PARKED "sersync_parked_deletions" Gauge "Deletions that wait for a lost or replaced root.";
    QUARANTINED "sersync_quarantined_paths" Gauge "Paths that failed again and again.";
    IN_FLIGHT "sersync_transfers_in_flight" Gauge "Transfers under way.";
    STALLED "sersync_transfers_stalled" Gauge "Transfers under way that have moved nothing for some six seconds.";
    TRANSFERS "sersync_transfers_total" Counter "Transfers that are over, by how they ended.";
    DURATION "sersync_transfer_duration_seconds" Histogram "How long transfers took.";
    BYTES "sersync_bytes_total" Counter "Bytes of files that were sent.";
    FULL_OWED "sersync_full_sync_owed" Gauge "1 while a full sync is owed, waits or is under way.";
    FULL_HELD "sersync_full_sync_held" Gauge "1 while one waits for the operator: it would delete too much.";
    FULL_PROGRESS "sersync_full_sync_progress_ratio" Gauge "The share of the full sync under way that is done.";
    FULL_DONE "sersync_full_syncs_total" Counter "Full syncs that were done.";
    FULL_LAST "sersync_full_sync_last_done_timestamp_seconds" Gauge "When the last one was done, since 1970.";
    ROLE_UP "sersync_role_up" Gauge "1 while the process does its work.";
    RESTARTS "sersync_restarts_total" Counter "How often the process was started again.";
    ROLE_MEMORY "sersync_role_resident_memory_bytes" Gauge "Memory that the process has resident.";
}

/// The snapshot in that format.
pub(super) fn text(snapshot: &Snapshot, format: Format) -> String {
    let mut writer = Writer::new(format);
    of_supervisor(&mut writer, snapshot);
    of_trees(&mut writer, &snapshot.trees);
    of_remotes(&mut writer, &snapshot.remotes);
    of_roles(&mut writer, &snapshot.roles);
    writer.end()
}

fn of_supervisor(writer: &mut Writer, snapshot: &Snapshot) {
    let (supervisor, watch) = (&snapshot.supervisor, &snapshot.watch);
    let mut one = |family: &Family, labels: &Labels<'_>, value: Option<f64>| {
        if let Some(value) = value {
            writer.family(family);
            writer.sample(family.name, labels, value);
        }
    };
    let version = [("version", supervisor.version.as_str()), ("watcher", watch.watcher.as_str())];
    one(&BUILD, &version, Some(1.0));
    one(&START, &[], Some(supervisor.started));
    one(&STATE, &[], Some(truth(supervisor.state == Stage::Running)));
    one(&WATCHES, &[], watch.used.map(number));
    one(&WATCHES_LIMIT, &[], watch.allowed.map(number));
    one(&SEEN, &[], watch.seen);
    one(&OVERFLOWS, &[], Some(number(watch.overflows)));
}

fn of_trees(writer: &mut Writer, trees: &[Tree]) {
    let paths = unlike(trees.iter().map(|tree| tree.path.clone()));
    let mut each = |family: &Family, value: &dyn Fn(&Tree) -> f64| {
        writer.family(family);
        for (tree, path) in trees.iter().zip(&paths) {
            writer.sample(family.name, &[("tree", path)], value(tree));
        }
    };
    each(&TREE_WATCHED, &|tree| truth(matches!(tree.state, TreeState::Watched | TreeState::Replaced)));
    each(&TREE_DIRECTORIES, &|tree| number(tree.directories));
    each(&TREE_HELD, &|tree| number(tree.held_deletions));
    each(&TREE_COMPARING, &|tree| truth(tree.comparing));
}

fn of_remotes(writer: &mut Writer, remotes: &[Remote]) {
    let names = unlike(remotes.iter().map(|remote| (remote.tree.clone(), remote.name.clone())));
    let all = || {
        remotes.iter().zip(&names).map(|(it, (tree, name))| (it, [("tree", tree.as_str()), ("remote", name)]))
    };
    let mut each = |family: &Family, value: &dyn Fn(&Remote) -> Option<f64>| {
        writer.family(family);
        for (remote, labels) in all() {
            if let Some(value) = value(remote) {
                writer.sample(family.name, &labels, value);
            }
        }
    };
    each(&UP, &|it| Some(truth(it.health != Health::Down)));
    each(&IN_SYNC, &|it| Some(truth(it.health == Health::InSync)));
    each(&HEALTH, &|it| Some(rank(it.health)));
    each(&BACKLOG, &|it| Some(number(it.pending)));
    each(&OLDEST, &|it| Some(it.behind_seconds.unwrap_or(0.0)));
    each(&PARKED, &|it| Some(number(it.parked_deletions)));
    each(&QUARANTINED, &|it| Some(number(it.quarantine.paths)));
    each(&IN_FLIGHT, &|it| Some(count(it.in_flight.len())));
    each(&STALLED, &|it| Some(count(it.in_flight.iter().filter(|flight| flight.stalled).count())));
    writer.family(&TRANSFERS);
    for (remote, [tree, name]) in all() {
        for it in &remote.transfers.outcomes {
            writer.sample(TRANSFERS.name, &[tree, name, ("outcome", &it.outcome)], number(it.count));
        }
    }
    writer.family(&DURATION);
    for (remote, labels) in all() {
        histogram(writer, labels, &remote.transfers);
    }
    let mut each = |family: &Family, value: &dyn Fn(&Remote) -> Option<f64>| {
        writer.family(family);
        for (remote, labels) in all() {
            if let Some(value) = value(remote) {
                writer.sample(family.name, &labels, value);
            }
        }
    };
    each(&BYTES, &|it| Some(number(it.bytes)));
    each(&FULL_OWED, &|it| Some(truth(it.full_sync.owed_since.is_some())));
    each(&FULL_HELD, &|it| Some(truth(it.full_sync.held)));
    each(&FULL_PROGRESS, &|it| {
        let mut full = it.in_flight.iter().filter(|flight| flight.work == "full");
        full.find_map(|flight| flight.progress.as_ref()?.percent)
            .map(|percent| (percent * 10.0).round() / 1000.0)
    });
    each(&FULL_DONE, &|it| Some(number(it.full_sync.done)));
    each(&FULL_LAST, &|it| it.full_sync.last_done);
}

/// In the snapshot each transfer is in one bucket, here in all that hold it.
fn histogram(writer: &mut Writer, [tree, name]: [(&str, &str); 2], transfers: &Transfers) {
    let mut sum = 0_u64;
    for bucket in &transfers.buckets {
        sum = sum.saturating_add(bucket.count);
        // With a fraction, always: both formats then call it the same.
        let le = bucket.le.map_or_else(|| "+Inf".to_owned(), |le| format!("{le:?}"));
        writer.sample("sersync_transfer_duration_seconds_bucket", &[tree, name, ("le", &le)], number(sum));
    }
    writer.sample("sersync_transfer_duration_seconds_sum", &[tree, name], transfers.seconds);
    writer.sample("sersync_transfer_duration_seconds_count", &[tree, name], number(sum));
}

fn of_roles(writer: &mut Writer, roles: &[Role]) {
    let key = |role: &Role| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (role.name.clone(), text(&role.remote), text(&role.lane))
    };
    let names = unlike(roles.iter().map(key));
    let mut each = |family: &Family, value: &dyn Fn(&Role) -> Option<f64>| {
        writer.family(family);
        for (role, (name, remote, lane)) in roles.iter().zip(&names) {
            let labels = [("role", name.as_str()), ("remote", remote), ("lane", lane)];
            let filled = if remote.is_empty() { labels.get(..1) } else { labels.get(..) };
            if let Some(value) = value(role) {
                writer.sample(family.name, filled.unwrap_or_default(), value);
            }
        }
    };
    each(&ROLE_UP, &|role| Some(truth(role.state == "ready")));
    each(&RESTARTS, &|role| Some(number(role.restarts)));
    each(&ROLE_MEMORY, &|role| role.memory.map(number));
}

/// What can be told apart by its last part.
trait Marked: Ord + Clone {
    fn mark(&mut self, mark: &str);
}

impl Marked for String {
    fn mark(&mut self, mark: &str) {
        self.push_str(mark);
    }
}

impl Marked for (String, String) {
    fn mark(&mut self, mark: &str) {
        self.1.push_str(mark);
    }
}

impl Marked for (String, String, String) {
    fn mark(&mut self, mark: &str) {
        self.0.push_str(mark);
    }
}

/// The same, but no two alike: of two samples with the same labels Prometheus refuses all of the metrics.
fn unlike<T: Marked>(names: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen: BTreeMap<T, u32> = BTreeMap::new();
    let mut marked = |mut name: T| {
        let before = seen.entry(name.clone()).or_default();
        *before = before.saturating_add(1);
        if *before > 1 {
            name.mark(&format!(" #{before}"));
        }
        name
    };
    names.map(&mut marked).collect()
}

fn rank(health: Health) -> f64 {
    match health {
        Health::InSync => 0.0,
        Health::Behind => 1.0,
        Health::Held => 2.0,
        Health::Failing => 3.0,
        Health::Unwatched => 4.0,
        Health::Down => 5.0,
    }
}

fn truth(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[allow(clippy::cast_precision_loss, reason = "that is what metrics are")]
fn number(number: u64) -> f64 {
    number as f64
}

fn count(count: usize) -> f64 {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::example;
    use std::collections::BTreeSet;

    fn document() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap()
    }

    /// Each family has a row there with its kind, each row is of a family, and all are written.
    #[test]
    fn the_document_tells_of_each_family() {
        let mut told = BTreeSet::new();
        for row in document().lines().filter(|line| line.starts_with("| `sersync_")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert!(cells.len() == 6 && cells[1..5].iter().all(|cell| !cell.is_empty()), "{row}");
            assert!(
                told.insert((cells[1].trim_matches('`').to_owned(), cells[2].to_owned())),
                "twice: {row}"
            );
        }
        let known = FAMILIES.iter().map(|it| (it.name.to_owned(), it.kind.as_str().to_owned())).collect();
        assert_eq!(told, known);
        let written = text(&example(), Format::Prometheus);
        let types: Vec<&str> =
            written.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert_eq!(types, FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>());
        for family in FAMILIES {
            let ends = [" ", "{", "_bucket{", "_count{"].map(|end| format!("\n{}{end}", family.name));
            assert!(ends.iter().any(|sample| written.contains(sample)), "{} has no sample", family.name);
            assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"));
            assert_eq!(family.kind == Kind::Info, family.name.ends_with("_info"));
        }
    }

    #[test]
    fn numbers_of_a_snapshot() {
        let written = text(&example(), Format::OpenMetrics);
        for line in [
            "sersync_build_info{version=\"0.1.0\",watcher=\"inotify\"} 1",
            "sersync_watches 60001",
            "sersync_tree_watched{tree=\"/mnt/usb\"} 0",
            "sersync_remote_up{tree=\"/srv/www\",remote=\"10.0.0.3::web\"} 0",
            "sersync_remote_health{tree=\"/srv/www\",remote=\"10.0.0.3::web\"} 5",
            "sersync_oldest_pending_seconds{tree=\"/srv/www\",remote=\"10.0.0.3::web\"} 760.2",
            "sersync_oldest_pending_seconds{tree=\"/srv/www\",remote=\"10.0.0.2::web\"} 0",
            "sersync_transfers_total{tree=\"/srv/www\",remote=\"10.0.0.2::web\",outcome=\"done\"} 12",
            "sersync_transfer_duration_seconds_bucket{tree=\"/srv/www\",remote=\"10.0.0.2::web\",le=\"1.0\"} 4",
            "sersync_transfer_duration_seconds_bucket{tree=\"/srv/www\",remote=\"10.0.0.2::web\",le=\"+Inf\"} 12",
            "sersync_transfer_duration_seconds_count{tree=\"/srv/www\",remote=\"10.0.0.2::web\"} 12",
            "sersync_full_sync_progress_ratio{tree=\"/srv/www\",remote=\"10.0.0.7::web\"} 0.333",
            "sersync_restarts_total{role=\"watcher\"} 0",
            "sersync_restarts_total{role=\"syncer1\",remote=\"10.0.0.3::web\",lane=\"full\"} 2",
            "# EOF",
        ] {
            assert!(written.lines().any(|other| other == line), "{line}\n{written}");
        }
    }

    /// Prometheus refuses all metrics when two are the same.
    #[test]
    fn no_two_samples_are_alike() {
        let mut snapshot = example();
        snapshot.remotes.extend(snapshot.remotes.clone());
        snapshot.trees.extend(snapshot.trees.clone());
        snapshot.roles.extend(snapshot.roles.clone());
        let written = text(&snapshot, Format::Prometheus);
        let names: Vec<&str> = written
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.rsplit_once(' ')?.0))
            .collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.iter().any(|name| name.contains("10.0.0.3::web #2")), "{names:?}");
    }

    /// A family is written in one piece, with fanotify too, where some have no sample.
    #[test]
    fn families_are_in_one_piece() {
        let mut snapshot = example();
        (snapshot.watch.used, snapshot.watch.allowed, snapshot.watch.seen) = (None, None, None);
        let written = text(&snapshot, Format::Prometheus);
        assert!(!written.contains("sersync_watches"));
        let mut family = "";
        let mut seen = BTreeSet::new();
        for line in written.lines() {
            if let Some(name) = line.strip_prefix("# TYPE ").and_then(|line| line.split(' ').next()) {
                family = name;
                assert!(seen.insert(name), "{name} twice");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line}");
            }
        }
    }
}
