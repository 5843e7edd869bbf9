//! The manual pages: sersync-supervisor(8) out of the command line, confxml.xml(5) out of
//! docs/configuration.md, which a test in `common` compares with the names that the reader knows.

use std::fs;

use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::commands::{documented, help};
use crate::project;

const SOURCE: &str = concat!("sersync-supervisor ", env!("CARGO_PKG_VERSION"));

/// What stands where, once it is installed.
const FILES: [(&str, &str); 4] = [
    ("/etc/sersync/confxml.xml", "The config of the shipped units. It is explained in confxml.xml(5)."),
    ("/var/lib/sersync", "What must survive: the names of all files, and what each remote lacks."),
    ("/run/sersync", "Locks and sockets, and what was reported just before a kill."),
    ("/var/log/sersync", "What the config has written: failLog, errorlog.txt."),
];

const SIGNALS: [(&str, &str); 2] = [
    ("TERM, INT", "What is pending is sent for at most 20 seconds, the state is written, and it ends."),
    ("HUP", "The config is read again. A bad one changes nothing, and the log says why."),
];

const DESCRIPTION: &str = "Watches directories and mirrors each change to every remote with rsync, over the \
protocol of the rsync daemon or over ssh. It takes the flags and the config file of sersync 2.5.4. One process \
watches, others run rsync, each under a user id of its own, with the right to read and nothing more, in a \
sandbox that ends at the watched directory. Without a subcommand it mirrors.";

/// The page of the program.
pub fn program() -> String {
    let command = documented();
    let man = Man::new(command.clone()).section("8").date("").source(SOURCE).manual("System Administration");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]).text([roman(DESCRIPTION)]);
    page.extend(body(&roff));
    man.render_options_section(&mut page).unwrap();
    let mut roff = Roff::new();
    subcommands(&mut roff, &command);
    let help = help();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in &help.exits {
        entry(&mut roff, code, meaning);
    }
    for (title, entries) in [("SIGNALS", SIGNALS.as_slice()), ("FILES", &FILES)] {
        roff.control("SH", [title]);
        for (name, meaning) in entries {
            entry(&mut roff, name, meaning);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("confxml.xml"),
        roman("(5), "),
        bold("rsync"),
        roman("(1), "),
        bold("rsyncd.conf"),
        roman("(5)"),
    ]);
    page.extend(body(&roff));
    String::from_utf8(page).unwrap()
}

fn entry(roff: &mut Roff, term: &str, text: &str) {
    roff.control("TP", []).text([bold(term)]).text([roman(text)]);
}

fn subcommands(roff: &mut Roff, command: &clap::Command) {
    let help = help();
    roff.control("SH", ["COMMANDS"]);
    for subcommand in &help.subcommands {
        let head = [bold(&subcommand.name), roman(" "), roman(&subcommand.usage)];
        roff.control("TP", []).text(head).text([roman(&subcommand.about)]);
        let known = command.find_subcommand(&subcommand.name).unwrap();
        roff.control("RS", []);
        for arg in known.get_arguments().filter(|arg| !arg.is_positional()) {
            let mut head = vec![bold(format!("--{}", arg.get_long().unwrap()))];
            let value = arg.get_value_names().and_then(|names| names.first());
            if let Some(value) = value.filter(|_| arg.get_action().takes_values()) {
                head.extend([roman(" "), italic(value.to_string())]);
            }
            roff.control("TP", []).text(head).text([roman(arg.get_help().unwrap().to_string())]);
        }
        roff.control("RE", []);
    }
    roff.control("PP", []).text([roman(help.remark)]);
}

fn body(roff: &Roff) -> Vec<u8> {
    roff.render().into_bytes()
}

/// The page of the config file.
pub fn config() -> String {
    let text = fs::read_to_string(project("docs/configuration.md")).unwrap();
    let mut page = Page::default();
    page.roff.control("TH", ["confxml.xml", "5", "", SOURCE, "File Formats"]);
    page.roff.control("SH", ["NAME"]);
    page.roff.text([roman("confxml.xml - what sersync-supervisor mirrors, where to, and how")]);
    page.roff.control("SH", ["DESCRIPTION"]);
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        page.take(event);
    }
    page.roff.control("SH", ["SEE ALSO"]);
    page.roff.text([bold("sersync-supervisor"), roman("(8)")]);
    page.roff.render()
}

/// Markdown on its way into a page.
#[derive(Default)]
struct Page {
    roff: Roff,
    line: Vec<Inline>,
    /// How deep in bold text or in a link.
    strong: usize,
    /// The number of the next entry, where the list has numbers.
    number: Option<u64>,
    in_list: bool,
    code: bool,
    header: Vec<Vec<Inline>>,
    row: Vec<Vec<Inline>>,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.begin(tag),
            Event::End(tag) => self.end(tag),
            Event::Code(text) => self.line.push(bold(text.as_ref())),
            Event::Text(text) if self.code => {
                for line in text.lines() {
                    self.roff.text([roman(line)]);
                }
            }
            Event::Text(text) if self.strong > 0 => self.line.push(bold(text.as_ref())),
            Event::Text(text) => self.line.push(roman(text.as_ref())),
            Event::SoftBreak => self.line.push(roman(" ")),
            other => panic!("docs/configuration.md: no page knows {other:?}"),
        }
    }

    fn begin(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Strong => self.strong += 1,
            Tag::CodeBlock(kind) => {
                assert!(matches!(kind, CodeBlockKind::Fenced(_)));
                self.flush();
                self.code = true;
                self.roff.control("PP", []).control("RS", ["4"]).control("EX", []);
            }
            Tag::List(first) => {
                assert!(!self.in_list, "docs/configuration.md: a list in a list");
                (self.in_list, self.number) = (true, first);
            }
            Tag::Item => match &mut self.number {
                Some(number) => {
                    self.roff.control("IP", [format!("{number}.").as_str(), "4"]);
                    *number += 1;
                }
                None => {
                    self.roff.control("IP", ["\\(bu", "2"]);
                }
            },
            Tag::Paragraph if !self.in_list => {
                self.roff.control("PP", []);
            }
            Tag::Paragraph | Tag::Link { .. } | Tag::Heading { .. } => {}
            Tag::Table(_) | Tag::TableHead | Tag::TableRow | Tag::TableCell => {}
            other => panic!("docs/configuration.md: no page knows {other:?}"),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong => self.strong -= 1,
            TagEnd::CodeBlock => {
                self.code = false;
                self.roff.control("EE", []).control("RE", []);
            }
            TagEnd::List(_) => self.in_list = false,
            TagEnd::Paragraph | TagEnd::Item => self.flush(),
            TagEnd::Heading(level) => {
                let title: String = self.line.drain(..).map(|part| plain(&part)).collect();
                match level {
                    // The name of the page says it.
                    HeadingLevel::H1 => {}
                    HeadingLevel::H2 => {
                        self.roff.control("SH", [title.to_uppercase().as_str()]);
                    }
                    _ => {
                        self.roff.control("SS", [title.as_str()]);
                    }
                }
            }
            TagEnd::TableCell => self.row.push(std::mem::take(&mut self.line)),
            TagEnd::TableHead => self.header = std::mem::take(&mut self.row),
            TagEnd::TableRow => {
                let row = std::mem::take(&mut self.row);
                self.entry(row);
            }
            TagEnd::Link | TagEnd::Table => {}
            other => panic!("docs/configuration.md: no page knows {other:?}"),
        }
    }

    fn flush(&mut self) {
        if !self.line.is_empty() {
            self.roff.text(std::mem::take(&mut self.line));
        }
    }

    /// A row of a table: what stands first, and below it the rest, each after what its column is called.
    fn entry(&mut self, row: Vec<Vec<Inline>>) {
        let header: Vec<String> = self.header.iter().map(|cell| cell.iter().map(plain).collect()).collect();
        let heads = if header.get(1).is_some_and(|title| title == "attribute") { 2 } else { 1 };
        let mut cells = header.into_iter().zip(row);
        let head: Vec<_> = cells.by_ref().take(heads).map(|(_, cell)| cell).collect();
        self.roff.control("TP", []).text(head.join(&roman(" ")));
        let (mut rest, mut meaning) = (Vec::new(), Vec::new());
        for (title, cell) in cells {
            let text: String = cell.iter().map(plain).collect();
            match (title.as_str(), text.as_str()) {
                (_, "" | "–") => {}
                ("meaning" | "why" | "who that is", _) => meaning = cell,
                _ => {
                    rest.push(roman(format!("{}{title}: ", if rest.is_empty() { "" } else { "; " })));
                    rest.extend(cell);
                }
            }
        }
        if !meaning.is_empty() {
            self.roff.text(meaning);
            self.roff.control("br", []);
        }
        if !rest.is_empty() {
            self.roff.text(rest);
        }
    }
}

fn plain(part: &Inline) -> String {
    match part {
        Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text.clone(),
        Inline::LineBreak => " ".to_owned(),
    }
}
