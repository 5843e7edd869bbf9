//! `<log>`: what is taken, what is refused.

use super::super::{LogConfig, LogForm, LogTarget};
use super::tests::{broken, config, messages};

fn head(attributes: &str) -> String {
    broken("</head>", &format!("<log {attributes}/></head>"))
}

#[test]
fn taken() {
    let log = |attributes: &str| config(&head(attributes)).log;
    assert_eq!(log(""), LogConfig::default());
    assert_eq!(log(r#"to="stderr" path="" format="text" files="false""#), LogConfig::default());
    assert_eq!(log(r#"to="syslog""#).to, LogTarget::Syslog);
    let file = log(r#"to="file" path="/var/log/sersync/log" format="json" files="true""#);
    let to = LogTarget::File("/var/log/sersync/log".into());
    assert_eq!(file, LogConfig { to, form: LogForm::Json, files: true });
}

#[test]
fn refused_or_moot() {
    for (attributes, words) in [
        (r#"to="journal""#, "not known for `to`"),
        (r#"to="file""#, "which is not said"),
        (r#"to="file" path="log""#, "not absolute"),
        (r#"path="/var/log/x""#, "is not used"),
        (r#"to="syslog" path="/var/log/x""#, "is not used"),
        (r#"to="file" path="/w/sersync.log""#, "lies in a watched directory"),
        (r#"format="xml""#, "not known for `format`"),
    ] {
        let said = messages(&head(attributes));
        assert!(said.iter().any(|message| message.contains(words)), "{attributes}: {said:?}");
    }
}
