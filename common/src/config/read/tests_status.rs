//! `<status>`: what is taken, what is refused.

use super::super::StatusConfig;
use super::tests::{broken, config, messages};

fn head(attributes: &str) -> String {
    broken("</head>", &format!("<status {attributes}/></head>"))
}

#[test]
fn taken() {
    let status = |attributes: &str| config(&head(attributes)).status;
    assert_eq!(status(""), StatusConfig::default());
    assert_eq!(status(r#"socket="" mode="" group="""#), StatusConfig::default());
    assert!(!status(r#"start="false""#).start);
    let open = status(r#"socket="/run/s.sock" mode="0660" group="adm""#);
    let socket = Some("/run/s.sock".into());
    assert_eq!(open, StatusConfig { start: true, socket, mode: 0o660, group: Some("adm".to_owned()) });
    assert_eq!(status(r#"socket="/run/s" mode="600""#).mode, 0o600);
}

#[test]
fn refused_or_moot() {
    let long = format!("socket=\"/{}\"", "x".repeat(107));
    for (attributes, words) in [
        (r#"socket="run/s""#, "not absolute"),
        (&long, "at most 107"),
        (r#"socket="/run/s" mode="rw""#, "no mode"),
        (r#"socket="/run/s" mode="1777""#, "no mode"),
        (r#"socket="/run/s" mode="66""#, "no mode"),
        (r#"socket="/run/s" mode="+660""#, "no mode"),
        (r#"socket="/run/s" group="a,b""#, "no group"),
        (r#"mode="0660""#, "opens nothing"),
        (r#"group="adm""#, "opens nothing"),
    ] {
        let said = messages(&head(attributes));
        assert!(said.iter().any(|message| message.contains(words)), "{attributes}: {said:?}");
    }
}
