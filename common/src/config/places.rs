//! Where things stand in the text of a config: for whoever finds out only later, and on the machine,
//! that one of them is wrong. Found by what they say, since not all that was written was read.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::xml::{self, Attribute, Element, Encoding};

/// The elements of a file, with their places in [`super::Parsed::text`].
#[derive(Debug)]
pub struct Places {
    root: Option<Element>,
    encoding: Encoding,
}

impl Places {
    /// Reads the file once more. One that is no XML has no places.
    pub fn new(source: &[u8]) -> Places {
        let Ok((text, encoding)) = xml::decode(source) else {
            return Places { root: None, encoding: Encoding::Utf8 };
        };
        Places { root: xml::tree(&text).ok().map(|tree| tree.root), encoding }
    }

    /// The first element of that name; else the root; else the beginning of the file.
    pub fn element(&self, name: &str) -> Range<usize> {
        let root = || self.root.as_ref().map_or(0..0, |root| root.span.clone());
        self.written(name).unwrap_or_else(root)
    }

    /// The first element of that name, if there is one.
    pub fn written(&self, name: &str) -> Option<Range<usize>> {
        let found = self.elements().into_iter().find(|element| element.name == name);
        found.map(|element| element.span.clone())
    }

    /// The expression of `<filter>` that says so, else the filter: `<crontabfilter>` may say the same.
    pub fn filter_expression(&self, expression: &[u8]) -> Range<usize> {
        let filters = self.elements().into_iter().filter(|it| it.name == "filter");
        let excludes = filters.flat_map(|filter| &filter.children).filter(|it| it.name == "exclude");
        let mut said = excludes.filter_map(|it| it.attribute("expression"));
        let found = said.find(|attribute| self.value(attribute).as_bytes() == expression);
        found.map_or_else(|| self.element("filter"), Attribute::place)
    }

    /// The first attribute of that name in an element of that name that holds such bytes; else as
    /// [`Places::element`].
    pub fn attribute(
        &self,
        element: &str,
        attribute: &str,
        mut is_meant: impl FnMut(&OsStr) -> bool,
    ) -> Range<usize> {
        let named = self.elements().into_iter().filter(|it| it.name == element);
        let found = named
            .filter_map(|it| it.attribute(attribute))
            .find(|attribute| is_meant(&self.value(attribute)))
            .map(Attribute::place);
        found.unwrap_or_else(|| self.element(element))
    }

    /// The same, whatever the element.
    pub fn anywhere(&self, attribute: &str, mut is_meant: impl FnMut(&OsStr) -> bool) -> Range<usize> {
        let all = self.elements().into_iter().filter_map(|element| element.attribute(attribute));
        let found = all.into_iter().find(|attribute| is_meant(&self.value(attribute)));
        found.map_or_else(|| self.element(""), Attribute::place)
    }

    /// Attribute `attribute`, or else `ip`, of the `skip`-th `<remote>` that goes there.
    pub fn remote(&self, host: &str, module: &OsStr, skip: usize, attribute: &str) -> Range<usize> {
        let says = |element: &Element, name: &str| {
            element.attribute(name).map(|attribute| self.value(attribute)).unwrap_or_default()
        };
        let is_host = |said: &OsStr| {
            let bare = said.as_bytes();
            let bare = bare.strip_prefix(b"[").and_then(|bare| bare.strip_suffix(b"]")).unwrap_or(bare);
            bare == host.as_bytes()
        };
        // Blanks around it do not count.
        let is_module = |said: &OsStr| said.as_bytes().trim_ascii() == module.as_bytes();
        let all = self.elements().into_iter().filter(|element| element.name == "remote");
        let mut meant =
            all.filter(|element| is_host(&says(element, "ip")) && is_module(&says(element, "name")));
        let Some(remote) = meant.nth(skip) else { return self.element("remote") };
        let found = remote.attribute(attribute).or_else(|| remote.attribute("ip"));
        found.map_or_else(|| remote.span.clone(), Attribute::place)
    }

    fn value(&self, attribute: &Attribute) -> OsString {
        OsString::from_vec(self.encoding.bytes(&attribute.value))
    }

    /// All of them, in the order of the file.
    fn elements(&self) -> Vec<&Element> {
        let mut found = Vec::new();
        let mut left: Vec<&Element> = self.root.iter().collect();
        while let Some(element) = left.pop() {
            found.push(element);
            left.extend(element.children.iter().rev());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_found_by_what_it_says() {
        let text = br#"<head><sersync><localpath watch="/a"><remote ip="[::1]" name="m"/>
            <remote ip="h" name="m" passwordfile="/p"/><remote ip="h" name="m"/></localpath>
            <remote ip="b" name=" m " port="1"/>
            <localpath watch="/b"/></sersync><plugin><localpath watch="/b"/></plugin></head>"#;
        let places = Places::new(text);
        let at = |span: Range<usize>| (span.start, std::str::from_utf8(&text[span]).unwrap());
        assert_eq!(at(places.attribute("localpath", "watch", |it| it == "/b")).1, "/b");
        assert_eq!(at(places.attribute("localpath", "watch", |it| it == "/c")).1, "localpath");
        assert_eq!(at(places.remote("::1", OsStr::new("m"), 0, "port")).1, "[::1]");
        assert_eq!(at(places.remote("b", OsStr::new("m"), 0, "port")).1, "1", "blanks do not count");
        let (first, second) = (
            at(places.remote("h", OsStr::new("m"), 0, "passwordfile")),
            at(places.remote("h", OsStr::new("m"), 1, "passwordfile")),
        );
        assert_eq!((first.1, second.1), ("/p", "h"));
        assert_eq!(at(places.anywhere("passwordfile", |it| it == "/p")), first);
        assert_eq!(at(places.element("state")).1, "head");
        assert_eq!((places.written("state"), places.written("plugin").is_some()), (None, true));
        assert_eq!(Places::new(b"<head").element("head"), 0..0);
    }

    /// What `<crontabfilter>` says before it was taken for the filter's own.
    #[test]
    fn an_expression_of_the_filter_is_not_looked_for_in_the_crontabfilter() {
        let exclude = r#"<exclude expression="x"/>"#;
        let text = format!(
            "<head><crontab><crontabfilter>{exclude}</crontabfilter></crontab><filter start=\"true\">{exclude}</filter></head>"
        );
        let places = Places::new(text.as_bytes());
        let filter = text.find("<filter").unwrap();
        assert!(places.filter_expression(b"x").start > filter);
        assert_eq!(places.filter_expression(b"y"), filter + 1..filter + 7);
    }
}
