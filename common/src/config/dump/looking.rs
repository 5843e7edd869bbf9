//! The elements for those who look on: `<host>` with the page, `<status>`, `<log>`.

use super::super::{Host, LogConfig, LogForm, LogTarget, PagePlace, StatusConfig};
use super::Tag;

pub(super) fn host(host: &Host) -> Tag {
    let tag = Tag::new("host").text("hostip", &host.ip).text("port", &host.port.to_string());
    let tag = tag.switch("start", host.page.is_some());
    let Some(page) = &host.page else { return tag };
    let tag = match &page.place {
        PagePlace::Tcp { .. } => tag,
        PagePlace::Unix { path, mode, group } => {
            tag.bytes_if("socket", Some(path)).text("mode", &octal(*mode)).text_if("group", group.as_deref())
        }
    };
    tag.bytes_if("tokenFile", page.token_file.as_deref()).text("lag", &page.lag.to_string())
}

pub(super) fn status(status: &StatusConfig) -> Tag {
    Tag::new("status")
        .switch("start", status.start)
        .bytes_if("socket", status.socket.as_deref())
        .text("mode", &octal(status.mode))
        .text_if("group", status.group.as_deref())
}

pub(super) fn log(log: &LogConfig) -> Tag {
    let (to, path) = match &log.to {
        LogTarget::Errors => ("stderr", None),
        LogTarget::Syslog => ("syslog", None),
        LogTarget::File(path) => ("file", Some(path.as_os_str())),
    };
    let form = match log.form {
        LogForm::Text => "text",
        LogForm::Json => "json",
    };
    let tag = Tag::new("log").text("to", to).bytes_if("path", path);
    tag.text("format", form).switch("files", log.files)
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}
