//! The two plots: for each workload how many times the limit everybody takes, and how time and memory
//! grow with the number of paths. Both axes that span decades are logarithmic.

use super::svg::{Anchor, Log, Svg};
use super::tables::{ratio, title};
use crate::outcome::real;
use crate::record::Records;
use crate::workload::Workload;

const GREY: &str = "#d0d0d0";
const DARK: &str = "#555555";

/// Contenders and their colours, which stay apart for those who see few.
const BARS: [(&str, &str); 5] = [
    ("ours", "#0072b2"),
    ("bare", "#999999"),
    ("lsyncd", "#e69f00"),
    ("clsync", "#009e73"),
    ("inotifywait", "#cc79a7"),
];

/// One bar: how long, or why there is none.
enum Bar {
    Ratio(f64),
    Never,
}

fn bar(records: &Records, part: &str, who: &str) -> Option<Bar> {
    let last = records.of(part, who).last()?;
    if last.note.is_some() {
        return Some(Bar::Never);
    }
    ratio(records, part, who).map(Bar::Ratio)
}

/// Bars of ratios, a group for each workload.
pub(crate) fn ratios(records: &Records) -> String {
    // Without a limit that means the same, W11 has no ratio.
    let workloads = Workload::ALL.into_iter().filter(|workload| *workload != Workload::SameSecond);
    let groups: Vec<_> = workloads
        .map(|workload| {
            let bars =
                BARS.iter().filter_map(|(who, colour)| Some((bar(records, workload.name(), who)?, *colour)));
            (workload, bars.collect::<Vec<_>>())
        })
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let lines: usize = groups.iter().map(|(_, bars)| bars.len().max(2)).sum();
    let (left, right, top) = (270.0, 800.0, 74.0);
    let bottom = top + real(lines) * 14.0 + real(groups.len()) * 12.0;
    let mut svg = Svg::new(900.0, bottom + 44.0);
    let axis = Log::new((0.1, 1000.0), (left, right));
    svg.text((16.0, 26.0), 16, Anchor::Start, "Time until the replica equals the source, plain rsync = 1");
    legend(&mut svg, &BARS.map(|(who, colour)| (title(who), colour)), 50.0);
    for power in axis.powers() {
        let x = axis.at(power);
        svg.line(&[(x, top), (x, bottom)], if (power - 1.0).abs() < 1e-9 { DARK } else { GREY }, 1.0, "");
        svg.text((x, bottom + 18.0), 12, Anchor::Middle, &format!("{power}×"));
    }
    let mut y = top + 6.0;
    for (workload, bars) in groups {
        svg.text(
            (left - 10.0, y + 10.0),
            12,
            Anchor::End,
            &format!("{} {}", workload.name(), short(workload)),
        );
        for (bar, colour) in &bars {
            let (x, label) = match bar {
                Bar::Ratio(ratio) => (axis.at(*ratio), format!("{ratio:.2}")),
                Bar::Never => (right, "not in time".to_owned()),
            };
            let one = axis.at(1.0);
            svg.rect((one.min(x), y), ((x - one).abs().max(1.5), 11.0), colour);
            svg.text((one.max(x) + 5.0, y + 10.0), 11, Anchor::Start, &label);
            y += 14.0;
        }
        y += 12.0 + 14.0 * real(2_usize.saturating_sub(bars.len()));
    }
    svg.done()
}

fn short(workload: Workload) -> &'static str {
    match workload {
        Workload::Edits => "edit to visible (median)",
        Workload::Burst | Workload::Untar | Workload::Remove | Workload::SameSecond => workload.title(),
        Workload::Rename => "rename of 5,000 files",
        Workload::Hot => workload.title(),
        Workload::Large => "1 GiB in place",
        Workload::Down => "one of three remotes down",
        Workload::Checkout => "git checkout",
    }
}

fn legend(svg: &mut Svg, entries: &[(&str, &str)], y: f64) {
    let mut x = 16.0;
    for (name, colour) in entries {
        svg.rect((x, y - 9.0), (11.0, 11.0), colour);
        svg.text((x + 16.0, y), 12, Anchor::Start, name);
        x += 36.0 + 7.4 * real(name.chars().count());
    }
}

/// What grows: title, figure, factor, contender, colour.
type Line = (&'static str, &'static str, &'static str, f64, &'static str);

/// Two panels: time, and memory.
pub(crate) fn growth(records: &Records) -> String {
    let mut svg = Svg::new(900.0, 420.0);
    svg.text((16.0, 26.0), 16, Anchor::Start, "Growth with the number of paths; dashed: n log n");
    let times: [Line; 4] = [
        ("new files, until equal", "burst", "conv_s", 1.0, "#0072b2"),
        ("new files, then one plain rsync", "limit", "conv_s", 1.0, "#999999"),
        ("remote was down, until equal", "down", "conv_s", 1.0, "#e69f00"),
        ("own CPU of new files", "burst", "own_cpu_s", 1.0, "#009e73"),
    ];
    let memory: [Line; 2] = [
        ("new files, all own processes", "burst", "peak_kib", 1.0 / 1024.0, "#0072b2"),
        ("remote was down", "down", "peak_kib", 1.0 / 1024.0, "#e69f00"),
    ];
    panel(&mut svg, records, 60.0, ("seconds", (0.01, 1000.0)), &times);
    panel(&mut svg, records, 510.0, ("peak MiB", (1.0, 10_000.0)), &memory);
    svg.done()
}

fn panel(svg: &mut Svg, records: &Records, left: f64, (unit, range): (&str, (f64, f64)), lines: &[Line]) {
    let (right, top, bottom) = (left + 360.0, 124.0, 370.0);
    let across = Log::new((1e3, 1e6), (left, right));
    let up = Log::new(range, (bottom, top));
    for power in across.powers() {
        let x = across.at(power);
        svg.line(&[(x, top), (x, bottom)], GREY, 1.0, "");
        svg.text((x, bottom + 18.0), 12, Anchor::Middle, &format!("{power:.0}"));
    }
    for power in up.powers() {
        let y = up.at(power);
        svg.line(&[(left, y), (right, y)], GREY, 1.0, "");
        svg.text((left - 6.0, y + 4.0), 12, Anchor::End, &format!("{power}"));
    }
    svg.text((left, top - 62.0), 13, Anchor::Start, unit);
    svg.text((f64::midpoint(left, right), bottom + 38.0), 12, Anchor::Middle, "paths");
    for (n, (name, who, figure, factor, colour)) in lines.iter().enumerate() {
        let y = top - 48.0 + real(n) * 14.0;
        svg.rect((left, y - 8.0), (10.0, 10.0), colour);
        svg.text((left + 15.0, y + 1.0), 11, Anchor::Start, name);
        let values: Vec<(f64, f64)> = records
            .of("growth", who)
            .filter_map(|run| Some((*run.figures.get("paths")?, run.figures.get(*figure)? * factor)))
            .collect();
        let place = |&(paths, value): &(f64, f64)| (across.at(paths), up.at(value));
        if let (0, Some(&(paths, value))) = (n, values.first()) {
            let grown = |to: f64| value * (to * to.ln()) / (paths * paths.ln());
            let all = across.powers();
            // Up to where it leaves the panel.
            let drawn: Vec<(f64, f64)> =
                all.iter().filter(|to| grown(**to) <= range.1).map(|&to| place(&(to, grown(to)))).collect();
            svg.line(&drawn, DARK, 1.0, "5 4");
        }
        let places: Vec<(f64, f64)> = values.iter().map(place).collect();
        svg.line(&places, colour, 2.0, "");
        for &at in &places {
            svg.dot(at, colour);
        }
    }
}
