//! A snapshot on a terminal: which remote lags, since when, why and what to do, the worst first. Pure: the
//! same snapshot, width and colours give the same text. All that came from the socket is escaped here.

mod page;

use common::message::NOT_STARTED;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Flight, Health, Remote, Role, Snapshot, Stage, Tree, TreeState, progress};

use page::{Page, Tone};
pub use page::{clean, width_of};

/// A remote that is behind for so long, in seconds, is spoken of loudly.
const LONG: f64 = 60.0;
/// Most paths in quarantine that are shown of a remote.
const MAX_PATHS: usize = 5;
/// What is to be done about deletions that are held.
const DECIDE: &str = "do: sersync-supervisor deletes list, then approve or drop";
/// Narrower than this there is no room for a table of roles.
const TABLE: usize = 72;

/// Whether colours may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// They may: it is a terminal, and nobody objects.
    Ansi,
    /// They may not.
    None,
}

/// The screen, so many columns wide; each line ends with a line break.
pub fn draw(snapshot: &Snapshot, width: usize, colour: Colour) -> String {
    let mut page = Page::new(width, colour);
    let supervisor = &snapshot.supervisor;
    let up = time(snapshot.at - supervisor.started);
    page.text(&format!(
        "sersync-supervisor {} pid {} up {up} {}",
        supervisor.version, supervisor.pid, supervisor.config
    ));
    summary(&mut page, snapshot);
    let mut remotes: Vec<&Remote> = snapshot.remotes.iter().collect();
    let rank = |remote: &Remote| (remote.health, remote.behind_seconds.unwrap_or(0.0).max(0.0).to_bits());
    remotes.sort_by_key(|it| std::cmp::Reverse(rank(it)));
    if !remotes.is_empty() {
        page.gap();
    }
    for it in remotes {
        remote(&mut page, it, snapshot);
    }
    page.gap();
    for it in &snapshot.trees {
        tree(&mut page, it, snapshot.at);
    }
    watches(&mut page, snapshot);
    roles(&mut page, &snapshot.roles);
    page.finish()
}

fn summary(page: &mut Page, snapshot: &Snapshot) {
    let all = snapshot.remotes.len();
    let count = |health: Health| snapshot.remotes.iter().filter(|remote| remote.health == health).count();
    let mut told: Vec<String> = Vec::new();
    for health in [Health::Down, Health::Unwatched, Health::Failing, Health::Held, Health::Behind] {
        match count(health) {
            0 => {}
            many => told.push(format!("{many} {}", in_words(health))),
        }
    }
    let in_sync = count(Health::InSync);
    told.push(match all {
        1 if in_sync == 1 => "in sync".to_owned(),
        _ if in_sync == all => format!("all {all} in sync"),
        _ => format!("{in_sync} of {all} in sync"),
    });
    let stage = match supervisor_words(snapshot.supervisor.state) {
        "" => String::new(),
        words => format!("{words}; "),
    };
    if all > 0 || !stage.is_empty() {
        page.styled(tone(snapshot.health, 0.0), &format!("{stage}{}", told.join(", ")));
    }
}

fn supervisor_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Starting => "starting",
        Stage::Running => "",
        Stage::Stopping => "stopping",
    }
}

fn in_words(health: Health) -> &'static str {
    match health {
        Health::InSync => "in sync",
        Health::Behind => "behind",
        Health::Held => "held",
        Health::Failing => "failing",
        Health::Unwatched => "not watched",
        Health::Down => "down",
    }
}

fn label(health: Health) -> &'static str {
    match health {
        Health::InSync => "in sync",
        Health::Behind => "behind",
        Health::Held => "HELD",
        Health::Failing => "FAILING",
        Health::Unwatched => "UNSEEN",
        Health::Down => "DOWN",
    }
}

fn tone(health: Health, behind: f64) -> Tone {
    match health {
        Health::InSync => Tone::Good,
        Health::Behind if behind < LONG => Tone::Plain,
        Health::Behind | Health::Held => Tone::Odd,
        Health::Failing | Health::Unwatched | Health::Down => Tone::Bad,
    }
}

fn remote(page: &mut Page, it: &Remote, snapshot: &Snapshot) {
    let behind = it.behind_seconds.unwrap_or(0.0);
    let mut head = vec![it.name.clone()];
    head.extend(it.behind_seconds.map(|behind| glued(&format!("behind {}", time(behind)))));
    head.extend((it.pending > 0).then(|| glued(&plural(it.pending, "path"))));
    // A full sync tells its own.
    let is_told = it.in_flight.iter().any(|flight| flight.work == "full" && flight.progress.is_some());
    head.extend((it.rate > 0 && !is_told).then(|| glued(&format!("{}/s", bytes(it.rate)))));
    page.entry(tone(it.health, behind), label(it.health), &head.join("  "));
    why(page, it, snapshot);
    for flight in &it.in_flight {
        // A short one says nothing that the head does not.
        if flight.work == "full" || flight.work == "verify" || flight.stalled || flight.seconds >= 5.0 {
            page.note(&in_flight(flight));
        }
    }
    if it.quarantine.paths > 0 {
        page.note(&format!("{} in quarantine, tried ever less often:", plural(it.quarantine.paths, "path")));
        for path in it.quarantine.first.iter().take(MAX_PATHS) {
            let reason = if path.reason.is_empty() { String::new() } else { format!(": {}", path.reason) };
            page.note(&format!("- {} ({} tries){reason}", path.path, path.attempts));
        }
    }
}

/// Why a remote is as it is, and what to do.
fn why(page: &mut Page, it: &Remote, snapshot: &Snapshot) {
    let now = snapshot.at;
    if let Some(since) = it.down_since {
        let retry = it.retry_at.filter(|&at| at > now).map(|at| format!(", next try in {}", time(at - now)));
        page.note(&format!(
            "down for {}, since {}{}",
            time(now - since),
            date(since),
            retry.unwrap_or_default()
        ));
    }
    if let Some(error) = it.last_error.as_ref().filter(|error| !error.over && it.health > Health::Behind) {
        page.note(&format!("why: {}", error.words));
        page.note(&format!("do: {}", error.cure));
        if !error.said.is_empty() {
            let who = if error.said.starts_with(NOT_STARTED) { "" } else { "rsync said: " };
            page.note(&format!("{who}{}", error.said.replace('\n', "; ")));
        }
    }
    let tree = snapshot.trees.iter().find(|tree| tree.path == it.tree);
    if it.health == Health::Unwatched {
        let reason =
            tree.and_then(|tree| tree.reason.as_deref()).unwrap_or("the watcher does not answer yet");
        page.note(&format!("why: {} is not watched: {reason}", it.tree));
    }
    if it.health == Health::Behind && tree.is_some_and(|tree| tree.reason.is_some()) {
        page.note(&format!("why: see {} below", it.tree));
    }
    if snapshot.roles.iter().any(|role| role.remote.as_ref() == Some(&it.name) && role.state == "waiting") {
        page.note("why: its process died, and is started again; the log says how");
    }
    if it.in_flight.iter().any(|flight| flight.stalled) {
        page.note("do: look at the remote and the way there; the transfer is given up after its time limit");
    }
    held(page, it, tree);
    let told = it.last_error.as_ref().filter(|error| !error.over).map(|error| error.words.as_str());
    let is_told = |trouble: &&String| told.is_some_and(|words| trouble.starts_with(words));
    if let Some(trouble) = it.full_sync.trouble.as_ref().filter(|trouble| !is_told(trouble)) {
        page.note(&format!("the full sync fails: {trouble}"));
    }
    if it.full_sync.owed_since.is_some() && !it.in_flight.iter().any(|flight| flight.work == "full") {
        page.note("a full sync is owed");
    }
}

/// What holds deletions: the brake, or another directory in the place of the watched one.
fn held(page: &mut Page, it: &Remote, tree: Option<&Tree>) {
    if it.full_sync.held {
        page.note("why: a full sync would delete more than may go at once");
        page.note(DECIDE);
    } else if it.health == Health::Held && tree.is_some_and(|tree| tree.held_deletions > 0) {
        page.note(&format!("why: deletions are held, see {} below", it.tree));
    }
    let is_replaced = it.health == Health::Held && tree.is_some_and(|tree| tree.state == TreeState::Replaced);
    if is_replaced {
        page.note(&format!(
            "why: another directory stands in place of {}; deletions wait for the old one",
            it.tree
        ));
    }
    if it.parked_deletions > 0 {
        page.note(&format!("held for the watched directory: {}", plural(it.parked_deletions, "deletion")));
    }
    if is_replaced || it.parked_deletions > 0 {
        page.note("do: bring it back, or restart the supervisor to accept what stands there");
    }
}

fn in_flight(flight: &Flight) -> String {
    let what = match flight.work.as_str() {
        "full" => "full sync".to_owned(),
        "verify" => "comparison".to_owned(),
        _ => format!("transfer of {}", plural(flight.paths, "path")),
    };
    let stalled = if flight.stalled { ", nothing moves" } else { "" };
    let how_far = flight.progress.as_ref().filter(|_| flight.work == "full");
    let how_far = how_far.map_or_else(String::new, |it| {
        let figures: Vec<String> = progress::of(it).split(", ").map(glued).collect();
        format!(": {}", figures.join(", "))
    });
    format!("{what} for {}{stalled}{how_far}", time(flight.seconds))
}

fn tree(page: &mut Page, it: &Tree, now: f64) {
    let (tone, label) = match it.state {
        TreeState::Watched => (Tone::Plain, "watched"),
        TreeState::Starting => (Tone::Plain, "starting"),
        TreeState::Lost => (Tone::Bad, "LOST"),
        TreeState::Replaced => (Tone::Odd, "REPLACED"),
        TreeState::Unwatched => (Tone::Bad, "UNSEEN"),
    };
    let comparing = if it.comparing { ", comparing" } else { "" };
    let what = if it.directories == 1 { "directory" } else { "directories" };
    let directories = format!("{} {what}", number(it.directories));
    page.entry(tone, label, &format!("{}  {directories} for {}{comparing}", it.path, time(now - it.since)));
    if let Some(reason) = &it.reason {
        page.note(&format!("why: {reason}"));
    }
    if it.held_deletions > 0 {
        page.note(&format!("{} held by the brake", plural(it.held_deletions, "deletion")));
        page.note(DECIDE);
    }
}

fn watches(page: &mut Page, snapshot: &Snapshot) {
    let watch = &snapshot.watch;
    let used = match (watch.used, watch.allowed) {
        (Some(used), Some(allowed)) => format!("{} of {}", number(used), number(allowed)),
        (Some(used), None) => number(used),
        (None, _) => "a mark for each tree".to_owned(),
    };
    let scarce =
        matches!((watch.used, watch.allowed), (Some(used), Some(allowed)) if used >= allowed / 10 * 9);
    let seen =
        watch.seen.map_or_else(|| "never".to_owned(), |seen| format!("{} ago", time(snapshot.at - seen)));
    let tone = if scarce { Tone::Odd } else { Tone::Plain };
    page.entry(tone, "watches", &format!("{used} ({}), all seen until {seen}", watch.watcher));
    if watch.overflows > 0 {
        page.note(&format!("the kernel's queue was full {}", plural(watch.overflows, "time")));
    }
}

fn roles(page: &mut Page, roles: &[Role]) {
    page.gap();
    let is_wide = page.width() >= TABLE;
    for it in roles {
        let restarts = if it.restarts == 0 { String::new() } else { plural(it.restarts, "restart") };
        let memory = it.memory.map(bytes).unwrap_or_default();
        let pid = it.pid.map_or_else(String::new, |pid| format!("pid {pid}"));
        let tone = if it.state == "ready" && sandbox(it) == "confined" { Tone::Plain } else { Tone::Odd };
        let state = if it.state == "ready" { "" } else { it.state.as_str() };
        let of = it.lane.as_ref().map_or_else(String::new, |lane| format!(" {lane}"));
        let name = format!("{}{of}", it.name);
        let line = if is_wide {
            let uid = it.uid.map_or_else(String::new, |uid| format!("uid {uid}"));
            format!("{name:<17} {pid:<11} {uid:<11} {memory:>9}  {} {state} {restarts}", sandbox(it))
        } else {
            format!("{name} {pid} {memory} {} {state} {restarts}", sandbox(it))
        };
        page.row(tone, line.trim_end());
    }
}

/// What holds a role, in a word or two.
fn sandbox(role: &Role) -> String {
    let Some(it) = &role.sandbox else { return String::new() };
    let missing: Vec<&str> = [
        (!it.seccomp).then_some("no seccomp"),
        (!it.landlock).then_some("no landlock"),
        (!it.no_new_privs).then_some("may gain rights"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if missing.is_empty() { "confined".to_owned() } else { missing.join(", ") }
}

/// Figures that are to stay in one line.
fn glued(words: &str) -> String {
    words.replace(' ', "\u{a0}")
}

/// How many, and of what.
pub(crate) fn plural(count: u64, what: &str) -> String {
    format!("{} {what}{}", number(count), if count == 1 { "" } else { "s" })
}

/// With a comma before each three digits.
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digits.len().saturating_sub(place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes, for people.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn bytes(count: u64) -> String {
    let mut size = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if size < 1000.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} PiB")
}

/// A time in seconds, for people: two units of it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
pub fn time(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.clamp(0.0, 1e11) } else { 0.0 };
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", whole % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A moment since 1970, in UTC.
#[allow(clippy::cast_possible_truncation, reason = "bounded")]
pub fn date(moment: f64) -> String {
    let seconds = if moment.is_finite() { moment.clamp(0.0, 1e11) as i64 } else { 0 };
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok())
        .map_or_else(|| "-".to_owned(), |text| text.replace('T', " ").replace('Z', " UTC"))
}

#[cfg(test)]
mod tests;
