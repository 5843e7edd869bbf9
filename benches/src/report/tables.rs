//! The tables of `docs/performance.md`. A figure is the median of its runs; what was not measured is a
//! dash, what did not converge says so.

use std::collections::BTreeMap;

use crate::record::Records;
use crate::workload::Workload;

/// Makes one table.
type Table = fn(&Records) -> String;

/// All of them, with the names of their markers.
pub(crate) const ALL: [(&str, Table); 8] = [
    ("machine", machine),
    ("latency", latency),
    ("workloads", workloads),
    ("more", more),
    ("start", start),
    ("scale", scale),
    ("growth", growth),
    ("micro", micro),
];

/// What tables call a contender.
pub(crate) fn title(who: &str) -> &str {
    match who {
        "limit" => "plain rsync",
        "bare" => "rsync by hand",
        "ours" => "sersync-supervisor",
        "lsyncd" => "lsyncd, delay 1 s",
        "clsync" => "clsync, delays 1 s",
        "inotifywait" => "inotifywait loop",
        other => other,
    }
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![format!("| {} |", head.join(" | ")), format!("|{}", "---|".repeat(head.len()))];
    lines.extend(rows.iter().map(|row| format!("| {} |", row.join(" | "))));
    lines.join("\n") + "\n"
}

fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.digits$}"))
}

/// A count with its thousands apart.
fn count(figure: Option<f64>) -> String {
    let Some(figure) = figure else { return "–".to_owned() };
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn mib(kib: Option<f64>) -> String {
    shown(kib.map(|kib| kib / 1024.0), 1)
}

fn machine(records: &Records) -> String {
    let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (part, taken) in &records.taken {
        parts.entry(taken).or_default().push(part);
    }
    let rows: Vec<Vec<String>> =
        parts.into_iter().map(|(taken, parts)| vec![parts.join(" "), taken.to_owned()]).collect();
    table(&["parts", "measured on"], &rows)
}

fn latency(records: &Records) -> String {
    let mut rows = Vec::new();
    for (part, form) in [("W1", "100 edits"), ("W1hot", "500 edits, every other one of the same file")] {
        for who in ["ours", "limit", "bare", "lsyncd", "clsync", "inotifywait"] {
            if records.of(part, who).next().is_none() {
                continue;
            }
            let name = if who == "limit" { "a new rsync for each, TCP_NODELAY" } else { title(who) };
            let figure = |name: &str| shown(records.median(part, who, name), 1);
            rows.push(vec![
                form.to_owned(),
                name.to_owned(),
                figure("p50_ms"),
                figure("p99_ms"),
                figure("max_ms"),
                count(records.median(part, who, "edits")),
            ]);
        }
    }
    table(&["", "", "p50 ms", "p99 ms", "max ms", "edits a run"], &rows)
}

/// Seconds and the ratio to the limit, or why there are none.
fn against(records: &Records, part: &str, who: &str) -> String {
    let Some(last) = records.of(part, who).last() else { return "–".to_owned() };
    if last.note.is_some() {
        let wrong = last.figures.get("wrong").copied();
        return wrong.map_or_else(
            || "failed".to_owned(),
            |wrong| format!("not converged: {} paths wrong", count(Some(wrong))),
        );
    }
    let took = records.median(part, who, "conv_s");
    match (took, ratio(records, part, who)) {
        (Some(took), Some(ratio)) => format!("{took:.2} s ({ratio:.1}×)"),
        (took, _) => shown(took, 2),
    }
}

/// How many times the limit of the same runs.
pub(crate) fn ratio(records: &Records, part: &str, who: &str) -> Option<f64> {
    let name = if part.starts_with("W1") && part != "W11" { "p50_ms" } else { "conv_s" };
    let limit = records.median(part, "limit", name).filter(|limit| *limit > 0.0)?;
    Some(records.median(part, who, name)? / limit)
}

fn workloads(records: &Records) -> String {
    let rows = Workload::ALL.into_iter().filter(|workload| *workload != Workload::Edits).map(|workload| {
        let part = workload.name();
        vec![
            format!("{part} {}", workload.title()),
            shown(records.median(part, "limit", "conv_s"), 2),
            shown(records.median(part, "ours", "conv_s"), 2),
            shown(ratio(records, part, "ours"), 2),
            count(records.median(part, "ours", "transfers")),
            shown(records.median(part, "ours", "own_cpu_s"), 2),
            against(records, part, "lsyncd"),
            against(records, part, "clsync"),
            against(records, part, "inotifywait"),
        ]
    });
    let head =
        ["", "plain rsync s", "ours s", "ratio", "transfers", "own CPU s", "lsyncd", "clsync", "inotifywait"];
    table(&head, &rows.collect::<Vec<_>>())
}

fn more(records: &Records) -> String {
    let ours = |part: &str, name: &str| records.median(part, "ours", name);
    let limit = |part: &str, name: &str| records.median(part, "limit", name);
    let wrong = |part: &str| {
        let values = records.values(part, "ours", "wrong");
        values.iter().copied().fold(None, |most: Option<f64>, wrong| Some(most.unwrap_or(wrong).max(wrong)))
    };
    let share =
        limit("W5", "wire_bytes").zip(ours("W5", "wire_bytes")).map(|(limit, ours)| limit / ours.max(1.0));
    let rows = [
        ["W5 bytes on the wire, plain rsync", &count(limit("W5", "wire_bytes"))],
        ["W5 bytes on the wire, ours", &count(ours("W5", "wire_bytes"))],
        ["W5 how many times fewer", &shown(share, 1)],
        ["W6 paths wrong in the end, worst run", &count(wrong("W6"))],
        ["W8 first remote, s", &shown(ours("W8", "conv_s"), 2)],
        ["W8 the same for one remote only, s", &shown(ours("W8", "single_s"), 2)],
        ["W8 second remote, s", &shown(ours("W8", "second_s"), 2)],
        ["W8 third remote, s after it is back", &shown(ours("W8", "third_s"), 2)],
        ["W8 a plain rsync to the third, s", &shown(limit("W8", "third_s"), 2)],
        ["W8 two plain rsyncs to two remotes at once, s", &shown(limit("W8", "both_s"), 2)],
        ["W11 paths wrong in the end, worst run", &count(wrong("W11"))],
    ];
    table(&["", ""], &rows.map(|row| row.map(ToOwned::to_owned).to_vec()))
}

fn start(records: &Records) -> String {
    let parts = ["start", "million"];
    let row = |name: &str, figure: &dyn Fn(&str) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(parts.iter().map(|part| figure(part)));
        row
    };
    let ours = |name: &'static str| move |part: &str| records.median(part, "ours", name);
    let walk = |part: &str| records.median(part, "walk", "watching_s");
    let ratio = |part: &str| walk(part).zip(ours("watching_s")(part)).map(|(walk, ours)| ours / walk);
    let rows = [
        row("a bare walk with watches, two threads, s", &|part| shown(walk(part), 2)),
        row("everything watched, s after the start", &|part| shown(ours("watching_s")(part), 2)),
        row("ratio", &|part| shown(ratio(part), 2)),
        row("first live change visible, ms after it", &|part| shown(ours("live_ms")(part), 1)),
        row("starts in which the first sync still ran then", &|part| {
            let during = records.values(part, "ours", "live_during_sync");
            format!("{} of {}", during.iter().filter(|it| **it > 0.5).count(), during.len())
        }),
        row("first sync over, s after the start", &|part| shown(ours("synced_s")(part), 1)),
        row("watcher and supervisor together at most, MiB PSS", &|part| {
            mib(ours("watcher_and_supervisor_kib")(part))
        }),
        row("watcher in the end, MiB PSS", &|part| mib(ours("pss_watcher_kib")(part))),
        row("supervisor in the end, MiB PSS", &|part| mib(ours("pss_supervisor_kib")(part))),
        row("keeper in the end, MiB PSS", &|part| mib(ours("pss_keeper_kib")(part))),
        row("syncers in the end, MiB PSS", &|part| mib(ours("pss_syncer_kib")(part))),
        row("own CPU, s", &|part| shown(ours("own_cpu_s")(part), 2)),
    ];
    table(&["", "100,000 directories, 1,000,000 files", "1,000,000 directories"], &rows)
}

fn scale(records: &Records) -> String {
    let mut rows = Vec::new();
    let figure = |part: &str, who: &str, name: &str| records.median(part, who, name);
    for (name, what) in [("conv_s", "time"), ("cpu_s", "CPU, rsync's included")] {
        let (ours, limit) = (figure("remotes", "ours", name), figure("remotes", "limit", name));
        let ratio = ours.zip(limit).map(|(ours, limit)| ours / limit);
        rows.push(vec![
            format!("100 remotes, 10,000 files: {what}"),
            format!(
                "{} s; 100 plain rsyncs {} s; ratio {}",
                shown(ours, 1),
                shown(limit, 1),
                shown(ratio, 2)
            ),
        ]);
    }
    for (who, what) in [("large", "a large file"), ("burst", "a burst of small files")] {
        let of = |name: &str| figure("beside", who, name);
        let size = of("size").map(|size| {
            if who == "large" {
                format!("{:.0} GiB", size / 1_073_741_824.0)
            } else {
                format!("{} files", count(Some(size)))
            }
        });
        rows.push(vec![
            format!("edits beside {what} ({})", size.unwrap_or_else(|| "–".to_owned())),
            format!(
                "p50 {} ms, p99 {} ms, max {} ms of {} edits in {} s",
                shown(of("p50_ms"), 1),
                shown(of("p99_ms"), 1),
                shown(of("max_ms"), 1),
                count(of("edits")),
                shown(of("transfer_s"), 1)
            ),
        ]);
    }
    for run in records.runs.iter().filter(|run| run.part == "idle") {
        let of = |name: &str| run.figures.get(name).copied();
        rows.push(vec![
            format!("idle for a minute: {}", run.who),
            format!(
                "CPU {} ms, {} wakeups, {} MiB PSS",
                shown(of("cpu_ms"), 1),
                count(of("wakeups")),
                mib(of("pss_kib"))
            ),
        ]);
    }
    table(&["", ""], &rows)
}

fn growth(records: &Records) -> String {
    let runs = records.runs.iter().filter(|run| run.part == "growth");
    let rows = runs.map(|run| {
        let of = |name: &str| run.figures.get(name).copied();
        let what = match run.who.as_str() {
            "burst" => "new files",
            "down" => "changes while the remote is down",
            _ => "new files, then one plain rsync",
        };
        vec![
            count(of("paths")),
            what.to_owned(),
            shown(of("conv_s"), 2),
            shown(of("own_cpu_s"), 2),
            mib(of("peak_supervisor_kib")),
            mib(of("peak_watcher_kib")),
            mib(of("peak_keeper_kib")),
            mib(of("peak_syncer_kib")),
        ]
    });
    let head = ["paths", "", "s", "own CPU s", "supervisor MiB", "watcher MiB", "keeper MiB", "syncers MiB"];
    table(&head, &rows.collect::<Vec<_>>())
}

fn micro(records: &Records) -> String {
    let figure = |who: &str, name: &str| shown(records.median("micro", who, name), 0);
    let core =
        |what: &str, name: &str| vec![what.to_owned(), figure("core-240k", name), figure("core-1M", name)];
    let rows = [
        core("a path that is new, ns", "insert_ns"),
        core("a path that waits already, ns", "again_ns"),
        core("a path given to a job and done, ns", "dispatch_ns"),
        core("memory for a path, bytes", "bytes"),
    ];
    let names = [
        ("add_ns", "a directory added with its watch, ns"),
        ("event_ns", "from a watch to its path, ns"),
        ("rename_ns", "a directory renamed with 1,000 below it, ns"),
        ("bytes", "memory for a directory beside its name, bytes"),
    ];
    let table_rows = names.map(|(name, what)| vec![what.to_owned(), figure("table", name)]);
    format!(
        "{}\n{}",
        table(&["core", "240,000 paths", "1,000,000 paths"], &rows),
        table(&["watcher's table", "1,000,000 directories"], &table_rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Figures;

    #[test]
    fn thousands_stand_apart() {
        let cases = [(0.0, "0"), (999.0, "999"), (1000.0, "1,000"), (1_234_567.4, "1,234,567")];
        for (figure, text) in cases {
            assert_eq!(count(Some(figure)), text);
        }
    }

    #[test]
    fn a_ratio_is_of_medians_and_a_failure_says_so() {
        let mut records = Records::default();
        for (who, seconds) in [("limit", 2.0), ("ours", 3.0), ("lsyncd", 9.0)] {
            let mut figures = Figures::default();
            figures.set("conv_s", seconds);
            records.add(figures.done("W2", who, None));
        }
        let mut figures = Figures::default();
        figures.set("wrong", 5051.0);
        records.add(figures.done("W2", "clsync", Some("late".to_owned())));
        let text = workloads(&records);
        assert!(text.contains("| 2.00 | 3.00 | 1.50 |"), "{text}");
        assert!(text.contains("9.00 s (4.5×) | not converged: 5,051 paths wrong | – |"), "{text}");
    }
}
