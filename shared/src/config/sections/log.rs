//! Where logs go, in which form, and under which name.

use super::setting;
use crate::config::reader::Reader;

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub level: String,
    pub json: bool,
    /// Where `combined.log` and `error.log` go, beside the terminal.
    pub directory: Option<std::path::PathBuf>,
    pub file_bytes: u64,
    /// Of several on one machine or in one collection of logs; letters, digits, `-`, `_` and `.`.
    pub process: Option<String>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> LogConfig {
    LogConfig {
        level: reader
            .parsed(setting("LOG_LEVEL", "info", "error, warn, info, debug, or filters like gateway=debug"), |text| {
                crate::telemetry::check_level(text).map(|()| text.to_owned())
            })
            .unwrap_or_default(),
        json: reader
            .parsed(setting("LOG_FORMAT", "text", "text for people, json for programs"), |text| match text {
                "text" => Ok(false),
                "json" => Ok(true),
                _ => Err("must be text or json".to_owned()),
            })
            .unwrap_or(false),
        directory: reader
            .text(setting("LOG_DIR", "", "Directory for combined.log and error.log; `rookery up` uses ./logs"))
            .map(Into::into),
        file_bytes: reader.number(
            setting("LOG_FILE_BYTES", "10485760", "Size at which a log file is turned; five are kept"),
            65_536..=1 << 40,
        ),
        process: reader.parsed(
            setting(
                "PROCESS_NAME",
                "",
                "Name of this process in its log lines; `rookery up --cluster` gives each its own",
            ),
            |text| plain_name(text).map(str::to_owned),
        ),
    }
}

/// A name that can stand anywhere: in a queue's name, in a path, in JSON.
fn plain_name(text: &str) -> Result<&str, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match text.len() <= 64 && text.bytes().all(plain) {
        true => Ok(text),
        false => Err("may contain A-Z a-z 0-9 - _ . only, 64 at most".to_owned()),
    }
}
