//! How metrics are written: Prometheus's text format 0.0.4, or `OpenMetrics` 1.0, by one writer. The two
//! differ in what a counter and a fact are called in the lines above their samples, and in the last line.

use std::fmt::Write as _;

/// In which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// 0.0.4.
    Prometheus,
    /// 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that a client asks for. Who accepts both gets what it names.
    pub(super) fn accepted(accept: &str) -> Format {
        let is_wanted = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_it =
                parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
            let is_refused = parts.any(|part| {
                part.split_once('=').is_some_and(|(name, value)| {
                    name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0)
                })
            });
            is_it && !is_refused
        };
        if accept.split(',').any(is_wanted) { Format::OpenMetrics } else { Format::Prometheus }
    }
}

/// What a family of metrics is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What only grows; its name ends in `_total`.
    Counter,
    /// A number as it is now.
    Gauge,
    /// How many took how long.
    Histogram,
    /// Words about what runs; its name ends in `_info`.
    Info,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}

/// A family of metrics.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// As its samples are called, but for the ends of a histogram's.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it says, in one line.
    pub help: &'static str,
}

/// Writes metrics, one family after the other.
#[derive(Debug)]
pub(super) struct Writer {
    format: Format,
    text: String,
}

/// Names and values that tell one sample from another.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

impl Writer {
    pub(super) fn new(format: Format) -> Writer {
        Writer { format, text: String::new() }
    }

    /// Begins a family: its samples follow, and no other's.
    pub(super) fn family(&mut self, family: &Family) {
        let (name, kind) = match (self.format, family.kind) {
            (Format::OpenMetrics, Kind::Counter) => {
                (family.name.strip_suffix("_total").unwrap_or(family.name), "counter")
            }
            (Format::OpenMetrics, Kind::Info) => {
                (family.name.strip_suffix("_info").unwrap_or(family.name), "info")
            }
            (Format::Prometheus, Kind::Info) => (family.name, "gauge"),
            (_, kind) => (family.name, kind.as_str()),
        };
        // Writing into a string cannot fail.
        let _ = write!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
    }

    /// One number of it.
    pub(super) fn sample(&mut self, name: &str, labels: &Labels<'_>, value: f64) {
        self.text.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.push_escaped(value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn push_escaped(&mut self, value: &str) {
        for ch in value.chars() {
            match ch {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                ch => self.text.push(ch),
            }
        }
    }

    /// All of it.
    pub(super) fn end(mut self) -> String {
        match self.format {
            Format::Prometheus => {}
            Format::OpenMetrics => self.text.push_str("# EOF\n"),
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                          version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, wanted) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            (prometheus, Format::OpenMetrics),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text; q = 0.000, */*", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), wanted, "{accept}");
        }
    }

    #[test]
    fn both_formats() {
        let written = |format| {
            let mut writer = Writer::new(format);
            writer.family(&Family { name: "a_total", kind: Kind::Counter, help: "Help." });
            writer.sample("a_total", &[("x", "\\x0a \"q\"\n"), ("y", "目录")], 3.0);
            writer.family(&Family { name: "b_info", kind: Kind::Info, help: "Help." });
            writer.sample("b_info", &[], 1.0);
            writer.end()
        };
        let samples = "a_total{x=\"\\\\x0a \\\"q\\\"\\n\",y=\"目录\"} 3\n";
        assert_eq!(
            written(Format::Prometheus),
            format!(
                "# HELP a_total Help.\n# TYPE a_total counter\n{samples}# HELP b_info Help.\n# TYPE b_info gauge\nb_info 1\n"
            )
        );
        assert_eq!(
            written(Format::OpenMetrics),
            format!(
                "# HELP a Help.\n# TYPE a counter\n{samples}# HELP b Help.\n# TYPE b info\nb_info 1\n# EOF\n"
            )
        );
    }
}
