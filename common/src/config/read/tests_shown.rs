//! What people get to see of a broken file.

#![allow(clippy::too_many_lines, reason = "the pictures are as long as they are")]

use super::super::render;
use super::parse;
use super::tests::broken;

fn shown(text: &str) -> String {
    render(&parse(text.as_bytes()), "confxml.xml").trim_end().to_owned()
}

fn rsync(inner: &str) -> String {
    broken("</sersync>", &format!("\n<rsync>{inner}</rsync>\n</sersync>"))
}

#[test]
fn shown_places_and_names() {
    insta::assert_snapshot!(shown(""), @r#"
    error: the file holds no element; `<head>` was expected
    --> confxml.xml:1:1
     = help: begin with the shipped confxml.xml
    "#);
    insta::assert_snapshot!(shown("<head>\n  <sersync>\n</head>"), @r#"
    error: this is no XML: ill-formed document: expected `</sersync>`, but `</head>` was found
     --> confxml.xml:3:1
      |
    3 | </head>
      | ^
      |
      = help: close each element where it was opened: <name …/>, or <name …> and </name>
    "#);
    insta::assert_snapshot!(shown("<config/>"), @r#"
    error: the file is about `<config>`
     --> confxml.xml:1:2
      |
    1 | <config/>
      |  ^^^^^^
      |
      = help: `<head>` was expected
    "#);
    insta::assert_snapshot!(shown("<head/>"), @r#"
    error: nothing says what is watched
     --> confxml.xml:1:2
      |
    1 | <head/>
      |  ^^^^
      |
      = help: write <sersync> with at least one <localpath watch="/directory">
    "#);
    insta::assert_snapshot!(shown(&broken("watch=", "wacth=")), @r#"
    error: `<localpath>` has no attribute `watch`
     --> confxml.xml:1:17
      |
    1 | <head><sersync><localpath wacth="/w"><remote ip="h" name="m"/></localpath></sersync></head>
      |                 ^^^^^^^^^
      |
      = help: write <localpath watch="/directory">

    warning: `<localpath>` has no attribute `wacth`; it is ignored
     --> confxml.xml:1:27
      |
    1 | <head><sersync><localpath wacth="/w"><remote ip="h" name="m"/></localpath></sersync></head>
      |                           ^^^^^
      |
      = help: did you mean `watch`?
    "#);
    insta::assert_snapshot!(shown(&broken("<remote ip=\"h\" name=\"m\"/>", "")), @r#"
    error: nothing says where this directory is sent to
     --> confxml.xml:1:17
      |
    1 | <head><sersync><localpath watch="/w"></localpath></sersync></head>
      |                 ^^^^^^^^^
      |
      = help: write <remote ip="host" name="module"/> into this <localpath>
    "#);
    insta::assert_snapshot!(shown(&broken("ip=\"h\"", "ip=\"root@h\"")), @r#"
    error: `root@h` is no host name or address
     --> confxml.xml:1:50
      |
    1 | <head><sersync><localpath watch="/w"><remote ip="root@h" name="m"/></localpath></sersync></head>
      |                                                  ^^^^^^
      |
      = help: write the user as user="…"
    "#);
}

#[test]
fn shown_values() {
    insta::assert_snapshot!(shown(&rsync("<commonParams params=\"-artuz --bwlimit=5 -e 'ssh -p 22'\"/>")), @r#"
    warning: with `-u` an older file that is moved over a newer one never arrives
     --> confxml.xml:2:30
      |
    2 | <rsync><commonParams params="-artuz --bwlimit=5 -e 'ssh -p 22'"/></rsync>
      |                              ^^^^^^
      |
      = help: for a one-way mirror write -artz; `-u` is for two servers that mirror one another

    error: `-e` cannot be used here
     --> confxml.xml:2:49
      |
    2 | <rsync><commonParams params="-artuz --bwlimit=5 -e 'ssh -p 22'"/></rsync>
      |                                                 ^^
      |
      = help: use <ssh start="true"/>; port, user, key and known hosts are attributes of <remote>
    "#);
    insta::assert_snapshot!(shown(&rsync("<userDefinedPort start=\"true\" port=\"70000\"/>")), @r#"
    error: `70000` is no number from 1 to 65535
     --> confxml.xml:2:44
      |
    2 | <rsync><userDefinedPort start="true" port="70000"/></rsync>
      |                                            ^^^^^
      |
      = help: write port="number"
    "#);
    insta::assert_snapshot!(shown(&rsync("<ssh start=\"yes\"/><ssh/>")), @r#"
    warning: `yes` counts as false
     --> confxml.xml:2:20
      |
    2 | <rsync><ssh start="yes"/><ssh/></rsync>
      |                    ^^^
      |
      = help: only the exact text `true` is true; write `true` or `false`

    warning: another `<ssh>` in `<rsync>`; it is ignored
     --> confxml.xml:2:27
      |
    2 | <rsync><ssh start="yes"/><ssh/></rsync>
      |                           ^^^
      |
      = help: only the first one counts
    "#);
    insta::assert_snapshot!(shown(&broken("<head>", "<head>\n<filter start=\"true\"><exclude expression=\"(bad\"/></filter>\n")), @r#"
    warning: this filter expression is skipped: unclosed group
     --> confxml.xml:2:43
      |
    2 | <filter start="true"><exclude expression="(bad"/></filter>
      |                                           ^^^^
      |
      = help: regular expressions are those of the Rust crate `regex`: Perl's, without look-around and back-references
    "#);
    insta::assert_snapshot!(shown(&broken("</sersync>", "\n<plugin start=\"true\" name=\"cdn\"/></sersync>")), @r#"
    error: there is no plugin `cdn`
     --> confxml.xml:2:28
      |
    2 | <plugin start="true" name="cdn"/></sersync></head>
      |                            ^^^
      |
      = help: the plugins are refreshCDN, socket, http and command
    "#);
    insta::assert_snapshot!(shown("<head a=\"1\"\n b=\"&nbsp;\"/>"), @r#"
    error: `&nbsp;` is no known entity
     --> confxml.xml:2:5
      |
    2 |  b="&nbsp;"/>
      |     ^^^^^^
      |
      = help: write a plain `&` as `&amp;`; the entities are `&amp;` `&lt;` `&gt;` `&quot;` `&apos;` and `&#number;`
    "#);
}

#[test]
fn shown_all_at_once() {
    let text = "<head version=\"2.5\">
  <debug start=\"1\"/>
  <inotify><delete start=\"false\"/><createfile start=\"true\"/></inotify>
  <sersync>
    <localpath watch=\"\"><remote ip=\"a b\" name=\"m\"/><remote ip=\"h\"/></localpath>
    <rsync>
      <commonParams params=\"-rt --delete -n\"/>
      <timeout start=\"true\" time=\"soon\"/>
    </rsync>
    <plugin start=\"true\" name=\"refreshCDN\"/>
  </sersync>
  <plugin name=\"refreshCDN\">
    <localpath watch=\"/w\">
      <cdninfo domainname=\"h\" port=\"80\" username=\"\" passwd=\"p\"/>
      <regexurl regex=\"true\" match=\"site/.*\"/>
    </localpath>
  </plugin>
</head>";
    insta::assert_snapshot!(shown(text), @r#"
    warning: `1` counts as false
     --> confxml.xml:2:17
      |
    2 |   <debug start="1"/>
      |                 ^
      |
      = help: only the exact text `true` is true; write `true` or `false`

    warning: `<inotify>` holds no element `<createfile>`; it is ignored
     --> confxml.xml:3:36
      |
    3 |   <inotify><delete start="false"/><createfile start="true"/></inotify>
      |                                    ^^^^^^^^^^
      |
      = help: did you mean `<createFile>`?

    error: `watch` is empty
     --> confxml.xml:5:16
      |
    5 |     <localpath watch=""><remote ip="a b" name="m"/><remote ip="h"/></localpath>
      |                ^^^^^
      |
      = help: write <localpath watch="/directory">

    error: `a b` is no host name or address
     --> confxml.xml:5:37
      |
    5 |     <localpath watch=""><remote ip="a b" name="m"/><remote ip="h"/></localpath>
      |                                     ^^^
      |
      = help: letters, digits, `.`, `-` and `_` were expected; an address may also hold `:`

    error: `<remote>` has no attribute `name`
     --> confxml.xml:5:53
      |
    5 |     <localpath watch=""><remote ip="a b" name="m"/><remote ip="h"/></localpath>
      |                                                     ^^^^^^
      |
      = help: write <remote ip="host" name="module"/>

    error: `--delete` deletes, but <delete start="false"/> forbids it
     --> confxml.xml:7:33
      |
    7 |       <commonParams params="-rt --delete -n"/>
      |                                 ^^^^^^^^
      |
      = help: deletions are ruled by <delete>

    error: `-n` cannot be used here
     --> confxml.xml:7:42
      |
    7 |       <commonParams params="-rt --delete -n"/>
      |                                          ^^
      |
      = help: nothing would be sent, and it would look like success

    error: `soon` is no number from 1 to 1000000
     --> confxml.xml:8:35
      |
    8 |       <timeout start="true" time="soon"/>
      |                                   ^^^^
      |
      = help: write time="number"

    error: an element that says `base` is missing here
      --> confxml.xml:12:4
       |
    12 |   <plugin name="refreshCDN">
       |    ^^^^^^
       |
       = help: write <sendurl base="http://host/path"/>

    error: `username` is empty
      --> confxml.xml:14:41
       |
    14 |       <cdninfo domainname="h" port="80" username="" passwd="p"/>
       |                                         ^^^^^^^^
       |
       = help: write <cdninfo domainname="host" port="80" username="…" passwd="…"/>

    error: the expression has no group; the first group makes the URL
      --> confxml.xml:15:37
       |
    15 |       <regexurl regex="true" match="site/.*"/>
       |                                     ^^^^^^^
       |
       = help: write <regexurl regex="true" match="site([/a-z]*)"/>
    "#);
}
