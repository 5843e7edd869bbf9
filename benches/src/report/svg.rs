//! Just enough SVG: rectangles, lines, text, on a white ground so that it reads in a dark page too.

use std::fmt::Write;

/// A picture in the making.
#[derive(Debug)]
pub(crate) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// How a text stands to its point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

impl Svg {
    /// An empty one of that size.
    pub(crate) fn new(width: f64, height: f64) -> Svg {
        Svg { width, height, body: String::new() }
    }

    /// A filled rectangle.
    pub(crate) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        let width = width.max(0.0);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        );
    }

    /// A line through `points`; `dash` as SVG has it, empty for none.
    pub(crate) fn line(&mut self, points: &[(f64, f64)], colour: &str, thick: f64, dash: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{thick}\" \
             stroke-dasharray=\"{dash}\"/>",
            points.join(" ")
        );
    }

    /// A dot.
    pub(crate) fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        let _ = writeln!(self.body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
    }

    /// A text of that size.
    pub(crate) fn text(&mut self, (x, y): (f64, f64), size: u32, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    /// The file.
    pub(crate) fn done(self) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" \
             fill=\"#1a1a1a\">\n\
             <rect x=\"0\" y=\"0\" width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// From figures to places on a line, by their logarithms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Log {
    /// `least` is at `from`, `most` at `to`; both above 0.
    pub(crate) fn new((least, most): (f64, f64), (from, to): (f64, f64)) -> Log {
        Log { least: least.log10(), most: most.log10(), from, to }
    }

    /// Where `figure` is; what is beyond an end is at that end.
    pub(crate) fn at(self, figure: f64) -> f64 {
        let part = (figure.max(f64::MIN_POSITIVE).log10() - self.least) / (self.most - self.least);
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// The powers of ten from end to end.
    pub(crate) fn powers(self) -> Vec<f64> {
        let mut powers = Vec::new();
        let mut power = self.least.ceil();
        while power <= self.most + 1e-9 {
            powers.push(10_f64.powf(power));
            power += 1.0;
        }
        powers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decade_is_as_wide_as_the_next() {
        let axis = Log::new((0.1, 100.0), (0.0, 300.0));
        for (figure, place) in [(0.1, 0.0), (1.0, 100.0), (10.0, 200.0), (1e9, 300.0), (0.0, 0.0)] {
            assert!((axis.at(figure) - place).abs() < 1e-6, "{figure}");
        }
        assert_eq!(axis.powers().len(), 4);
    }

    #[test]
    fn names_cannot_break_the_file() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((0.0, 0.0), 10, Anchor::Start, "a<b & c");
        assert!(svg.done().contains("a&lt;b &amp; c"));
    }
}
