//! `<connections>` and `<bandwidth>`: what is taken, what is refused, and what people get to see.

use super::super::{Sharing, render};
use super::parse;
use super::tests::{broken, config, messages};

fn head(inner: &str) -> String {
    broken("</head>", &format!("{inner}</head>"))
}

fn sharing(inner: &str) -> Sharing {
    let text = head(inner);
    assert_eq!(messages(&text), [""; 0], "{inner}");
    config(&text).sharing
}

#[test]
fn nothing_said_is_no_limit() {
    let sharing = sharing("<!-- nothing -->");
    assert_eq!(sharing, Sharing::default());
    assert_eq!((sharing.per_host, sharing.bandwidth.at(0), sharing.bandwidth.at(24)), (None, None, None));
    assert!(!sharing.bandwidth.depends_on_hour());
}

#[test]
fn connections_to_one_host() {
    assert_eq!(sharing(r#"<connections perHost="1"/>"#).per_host, Some(1));
    assert_eq!(sharing(r#"<connections perHost="10000"/>"#).per_host, Some(10_000));
    for bad in ["0", "-1", "", "many", "10001"] {
        let text = head(&format!("<connections perHost=\"{bad}\"/>"));
        assert!(parse(text.as_bytes()).config.is_none(), "{bad}");
    }
}

/// As rsync's --bwlimit: without a letter it is KiB a second.
#[test]
fn units() {
    for (text, expected) in [
        ("1", Some(1)),
        ("2000", Some(2000)),
        ("10k", Some(10)),
        ("10K", Some(10)),
        (" 10m ", Some(10_240)),
        ("10M", Some(10_240)),
        ("2g", Some(2 << 20)),
        ("10000000", Some(10_000_000)),
        ("0", None),
        ("none", None),
    ] {
        let bandwidth = sharing(&format!("<bandwidth limit=\"{text}\"/>")).bandwidth;
        assert_eq!((bandwidth.at(0), bandwidth.at(23)), (expected, expected), "{text}");
        assert!(!bandwidth.depends_on_hour());
    }
    for bad in
        ["", "m", "-1", "1.5m", "10mb", "10 m", "0k", "10000001", "10t", "18446744073709551615g", "+1", "١"]
    {
        let text = head(&format!("<bandwidth limit=\"{bad}\"/>"));
        assert!(parse(text.as_bytes()).config.is_none(), "{bad}");
    }
}

#[test]
fn hours_of_the_day() {
    let bandwidth = sharing(
        r#"<bandwidth limit="10m"><hours from="8" to="18" limit="2m"/><hours from="22" to="6" limit="none"/>
        </bandwidth>"#,
    )
    .bandwidth;
    for (hours, expected) in
        [(vec![8, 9, 17], Some(2048)), (vec![6, 7, 18, 19, 21], Some(10_240)), (vec![22, 23, 0, 5], None)]
    {
        for hour in hours {
            assert_eq!(bandwidth.at(hour), expected, "{hour} o'clock");
        }
    }
    assert!(bandwidth.depends_on_hour());
    let whole = sharing(r#"<bandwidth><hours from="0" to="24" limit="1"/></bandwidth>"#).bandwidth;
    assert_eq!((whole.at(0), whole.at(23), whole.depends_on_hour()), (Some(1), Some(1), false));
}

#[test]
fn a_limit_that_says_nothing_is_told_of() {
    assert_eq!(messages(&head("<bandwidth/>")), ["`<bandwidth>` says no limit"]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "the picture is as long as it is")]
fn shown() {
    let text = head(
        r#"
<connections perHost="0"/>
<bandwidth limit="10mb">
<hours from="8" to="18" limit="fast"/>
<hours from="9" to="9" limit="1m"/>
<hours from="24" to="6" limit="1m"/>
<hours from="1" limit="1m"/>
<hours from="12" to="14" limit="1m"/>
<hours from="13" to="15" limit="1m"/>
</bandwidth>
"#,
    );
    insta::assert_snapshot!(render(&parse(text.as_bytes()), "confxml.xml").trim_end(), @r#"
    error: `0` is no number from 1 to 10000
     --> confxml.xml:2:23
      |
    2 | <connections perHost="0"/>
      |                       ^
      |
      = help: write perHost="number"

    error: `10mb` is no bandwidth from 1 to 10000000 KiB a second
     --> confxml.xml:3:19
      |
    3 | <bandwidth limit="10mb">
      |                   ^^^^
      |
      = help: write limit="10m": KiB a second as of rsync's --bwlimit, or a number with k, m or g as in 10m; `none` or `0` for no limit

    error: `fast` is no bandwidth from 1 to 10000000 KiB a second
     --> confxml.xml:4:32
      |
    4 | <hours from="8" to="18" limit="fast"/>
      |                                ^^^^
      |
      = help: write limit="10m": KiB a second as of rsync's --bwlimit, or a number with k, m or g as in 10m; `none` or `0` for no limit

    error: these hours are none
     --> confxml.xml:5:2
      |
    5 | <hours from="9" to="9" limit="1m"/>
      |  ^^^^^
      |
      = help: `to` is the hour in which it ends: write <hours from="8" to="18" limit="2m"/>; from="22" to="6" is the night

    error: `24` is no number from 0 to 23
     --> confxml.xml:6:14
      |
    6 | <hours from="24" to="6" limit="1m"/>
      |              ^^
      |
      = help: write from="number"

    error: `<hours>` has no attribute `to`
     --> confxml.xml:7:2
      |
    7 | <hours from="1" limit="1m"/>
      |  ^^^^^
      |
      = help: write <hours from="8" to="18" limit="2m"/>

    error: another `<hours>` says already what counts from 13 o'clock on
     --> confxml.xml:9:2
      |
    9 | <hours from="13" to="15" limit="1m"/>
      |  ^^^^^
      |
      = help: each hour may be in one `<hours>` only
    "#);
}
