//! Config bytes into a small tree of elements, each of which knows its place in the text.
//!
//! Only syntax lives here: which names exist, and what they mean, is the reader's business.
//! The tree is bounded in size, depth and count before anything looks at it.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::errors::Error as XmlError;
use quick_xml::escape::{EscapeError, unescape};
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesStart, Event};

use super::MAX_CONFIG;
use super::diagnostic::{Diagnostic, quote};

/// Deepest nesting of elements.
const MAX_DEPTH: usize = 32;
/// Most elements in a file.
const MAX_ELEMENTS: usize = 20_000;
const ENTITIES: &str =
    "write a plain `&` as `&amp;`; the entities are `&amp;` `&lt;` `&gt;` `&quot;` `&apos;` and `&#number;`";

/// A place in the decoded text, in bytes.
pub(super) type Span = Range<usize>;

/// How the bytes of the file became text, and become bytes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The file is valid UTF-8, whatever its declaration says.
    Utf8,
    /// Anything else (GBK, ISO-8859-1): one character of the text for each byte.
    Bytes,
}

impl Encoding {
    /// The bytes that `text` stands for in the file.
    pub(super) fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Encoding::Utf8 => text.as_bytes().to_vec(),
            Encoding::Bytes => text.chars().fold(Vec::with_capacity(text.len()), |mut bytes, c| {
                match u8::try_from(c) {
                    Ok(byte) => bytes.push(byte),
                    // Only a numeric entity gets here.
                    Err(_) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
                bytes
            }),
        }
    }
}

/// An element: its start tag and its children. Text inside it has no meaning here.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    /// The name in the start tag.
    pub(super) span: Span,
    pub(super) attributes: Vec<Attribute>,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of that name, in order.
    pub(super) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The attribute of that name.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// An attribute of a start tag.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) name_span: Span,
    /// The value with its entities replaced.
    pub(super) value: String,
    /// The value as written, without its quotes.
    pub(super) span: Span,
}

impl Attribute {
    /// Where `part`, a slice of the value, stands; all of the value when entities hide it, and
    /// the name when the value is empty and shows nothing.
    pub(super) fn place_of(&self, part: &str) -> Span {
        if self.span.is_empty() {
            return self.name_span.clone();
        }
        // Without entities the value has the length that it has in the file.
        if self.value.len() != self.span.len() {
            return self.span.clone();
        }
        let within = span_of(&self.value, part);
        self.span.start.saturating_add(within.start)..self.span.start.saturating_add(within.end)
    }

    /// The value, or the name where the value is empty and shows nothing.
    pub(super) fn place(&self) -> Span {
        self.place_of(&self.value)
    }
}

/// A whole file.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Element,
    /// Text outside of tags and comments.
    pub(super) stray: Vec<Span>,
}

/// The text of a config file.
pub(super) fn decode(source: &[u8]) -> Result<(String, Encoding), Diagnostic> {
    if source.len() > MAX_CONFIG {
        // No more of it is read than shows that it is too long.
        let message = format!("the file is longer than {MAX_CONFIG} bytes");
        return Err(Diagnostic::error(0..0, message).with_help("split the config in several"));
    }
    if source.starts_with(b"\xff\xfe") || source.starts_with(b"\xfe\xff") {
        return Err(Diagnostic::error(0..0, "the file is UTF-16").with_help("save the file as UTF-8"));
    }
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    Ok(match str::from_utf8(source) {
        Ok(text) => (text.to_owned(), Encoding::Utf8),
        Err(_) => (source.iter().copied().map(char::from).collect(), Encoding::Bytes),
    })
}

/// The tree in `text`. The first thing that is no XML ends the reading.
pub(super) fn tree(text: &str) -> Result<Tree, Diagnostic> {
    if let Some(at) = text.find('\0') {
        let help = "save the file as UTF-8 text";
        return Err(Diagnostic::error(at..at.saturating_add(1), "the file holds a NUL byte").with_help(help));
    }
    let mut reader = Reader::from_str(text);
    // Text has no meaning here, so an `&` in it is no reason to refuse the file.
    reader.config_mut().allow_dangling_amp = true;
    let mut builder = Builder { text, open: Vec::new(), root: None, elements: 0, stray: Vec::new() };
    loop {
        let start = offset(reader.buffer_position());
        let event =
            reader.read_event().map_err(|error| bad_syntax(text, &error, offset(reader.error_position())))?;
        match event {
            Event::Start(tag) => builder.open(&tag)?,
            Event::Empty(tag) => {
                builder.open(&tag)?;
                builder.close();
            }
            Event::End(_) => builder.close(),
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                builder.text(start..offset(reader.buffer_position()));
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => return builder.finish(),
        }
    }
}

struct Builder<'a> {
    text: &'a str,
    /// The elements whose end tag is still to come, outermost first.
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
    stray: Vec<Span>,
}

impl Builder<'_> {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), Diagnostic> {
        let name = tag.name().0;
        let span = span_of(self.text, name);
        self.elements = self.elements.saturating_add(1);
        if self.root.is_some() {
            let message = format!("`<{}>` begins after the end of the file's only element", quote(name));
            let help = "put it into `<head>`, before `</head>`";
            return Err(Diagnostic::error(span, message).with_help(help));
        }
        if self.open.len() >= MAX_DEPTH {
            let message = format!("elements are nested more than {MAX_DEPTH} deep");
            return Err(Diagnostic::error(span, message).with_help("close what was opened before it"));
        }
        if self.elements > MAX_ELEMENTS {
            let message = format!("the file has more than {MAX_ELEMENTS} elements");
            return Err(Diagnostic::error(span, message).with_help("split the config in several"));
        }
        let attributes = self.attributes(tag, span.start)?;
        self.open.push(Element { name: name.to_owned(), span, attributes, children: Vec::new() });
        Ok(())
    }

    fn attributes(&self, tag: &BytesStart<'_>, tag_start: usize) -> Result<Vec<Attribute>, Diagnostic> {
        let mut found = Vec::new();
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| bad_attribute(self.text, &error, tag_start))?;
            let (name, raw) = (attribute.key.0, &*attribute.value);
            let span = span_of(self.text, raw);
            let value = unescape(raw).map_err(|error| bad_entity(&error, &span))?.into_owned();
            found.push(Attribute { name: name.to_owned(), name_span: span_of(self.text, name), value, span });
        }
        Ok(found)
    }

    fn close(&mut self) {
        let Some(element) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
    }

    fn text(&mut self, span: Span) {
        let all = self.text.get(span).unwrap_or_default();
        let inner = all.trim();
        if !inner.is_empty() {
            self.stray.push(span_of(self.text, inner));
        }
    }

    fn finish(self) -> Result<Tree, Diagnostic> {
        if let Some(element) = self.open.last() {
            let message = format!("`<{}>` is never closed", quote(&element.name));
            let help = format!("`</{}>` was expected before the end of the file", quote(&element.name));
            return Err(Diagnostic::error(element.span.clone(), message).with_help(help));
        }
        let Some(root) = self.root else {
            let help = "begin with the shipped confxml.xml";
            let problem = Diagnostic::error(0..0, "the file holds no element; `<head>` was expected");
            return Err(problem.with_help(help));
        };
        Ok(Tree { root, stray: self.stray })
    }
}

fn bad_syntax(text: &str, error: &XmlError, at: usize) -> Diagnostic {
    let at = text.floor_char_boundary(at);
    let end = text.ceil_char_boundary(at.saturating_add(1));
    let why = error.to_string();
    let help = if why.contains("attribute value") {
        "close the value with the quote that opened it"
    } else if why.contains("comment") {
        "close the comment with `-->`"
    } else {
        "close each element where it was opened: <name …/>, or <name …> and </name>"
    };
    Diagnostic::error(at..end, format!("this is no XML: {why}")).with_help(help)
}

fn bad_attribute(text: &str, error: &AttrError, tag_start: usize) -> Diagnostic {
    let (position, message) = match error {
        AttrError::ExpectedEq(at) => (at, "an attribute without a value; `name=\"value\"` was expected"),
        AttrError::ExpectedValue(at) => (at, "the value is missing; `name=\"value\"` was expected"),
        AttrError::UnquotedValue(at) => (at, "the value has no quotes; `name=\"value\"` was expected"),
        AttrError::ExpectedQuote(at, _) => (at, "the closing quote of the value is missing"),
        AttrError::Duplicated(at, _) => (at, "the attribute is given twice"),
    };
    let start = text.floor_char_boundary(tag_start.saturating_add(*position));
    let rest = text.get(start..).unwrap_or_default();
    let length = rest.find(|c: char| c.is_whitespace() || "=<>\"'/".contains(c)).unwrap_or(rest.len());
    let end = text.ceil_char_boundary(start.saturating_add(length.max(1)));
    let help = "write each attribute once, with a blank before it: name=\"value\"";
    Diagnostic::error(start..end, message).with_help(help)
}

fn bad_entity(error: &EscapeError, value: &Span) -> Diagnostic {
    let (span, message) = match error {
        EscapeError::UnrecognizedEntity(range, name) => (
            value.start.saturating_add(range.start).saturating_sub(1)
                ..value.start.saturating_add(range.end).saturating_add(1),
            format!("`&{};` is no known entity", quote(name)),
        ),
        EscapeError::UnterminatedEntity(range) => {
            let at = value.start.saturating_add(range.start);
            (at..at.saturating_add(1), "this `&` begins no entity".to_owned())
        }
        EscapeError::InvalidCharRef(why) => (value.clone(), format!("a character reference is wrong: {why}")),
        EscapeError::TooManyNestedEntities => (value.clone(), "entities are nested too deep".to_owned()),
    };
    Diagnostic::error(span, message).with_help(ENTITIES)
}

/// Where `part`, a slice of `text`, lies in it.
fn span_of(text: &str, part: &str) -> Span {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr()).min(text.len());
    start..start.saturating_add(part.len()).min(text.len())
}

fn offset(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> (String, String) {
        let problem = tree(text).unwrap_err();
        (text.get(problem.span).unwrap().to_owned(), problem.message)
    }

    #[test]
    fn everything_knows_its_place() {
        let text = "<?xml version='1.0' encoding='GBK'?><!DOCTYPE head>\n<!-- a -- b -->\n<head>\n <a x = \"1&amp;&#50;\" y=''/> z </head>";
        let tree = tree(text).unwrap();
        let a = tree.root.child("a").unwrap();
        assert_eq!(&text[a.span.clone()], "a");
        let x = a.attribute("x").unwrap();
        assert_eq!((&text[x.name_span.clone()], &text[x.span.clone()]), ("x", "1&amp;&#50;"));
        assert_eq!(x.value, "1&2");
        assert_eq!(a.attribute("y").unwrap().value, "");
        assert_eq!(&text[tree.stray[0].clone()], "z");
        assert_eq!(tree.stray.len(), 1);
    }

    #[test]
    fn what_is_no_xml_is_pointed_at() {
        for (text, place, words) in [
            ("", "", "no element"),
            ("<a>", "a", "never closed"),
            ("<a><b></a>", "<", "`</b>`"),
            ("<a x=\"1\"", "<", "`>` not found"),
            ("<a x=1/>", "1", "quotes"),
            ("<a x/>", "/", "without a value"),
            ("<a x='1' x='2'/>", "x", "twice"),
            ("<a x='1 &nbsp; 2'/>", "&nbsp;", "`&nbsp;`"),
            ("<a x='1 & 2'/>", "&", "no entity"),
            ("<a x='&#0;'/>", "&#0;", "character reference"),
            ("<a/><b/>", "b", "after the end"),
            ("<a>\0</a>", "\0", "NUL"),
            ("<a><!-- </a>", "<", "comment not closed"),
        ] {
            let (where_, message) = problem(text);
            assert_eq!(where_, place, "{text}: {message}");
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn limits() {
        assert!(problem(&"<a>".repeat(MAX_DEPTH + 1)).1.contains("nested"));
        assert!(problem(&format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS))).1.contains("elements"));
        let message = decode(&vec![b' '; MAX_CONFIG + 1]).unwrap_err().message;
        assert_eq!(message, "the file is longer than 1048576 bytes");
        assert!(decode(b"\xff\xfe<\0").unwrap_err().help.unwrap().contains("UTF-8"));
    }

    #[test]
    fn bytes_pass_through() {
        let (text, encoding) = decode(b"\xef\xbb\xbf<a x='\xe5\x9b\xbe'/>").unwrap();
        assert_eq!((text.as_str(), encoding), ("<a x='图'/>", Encoding::Utf8));
        let gbk = b"\xcd\xbc\x5c";
        let (text, encoding) = decode(gbk).unwrap();
        assert_eq!(encoding.bytes(&text), gbk);
        assert_eq!(Encoding::Bytes.bytes("\u{e9}图"), b"\xe9\xe5\x9b\xbe");
    }
}
