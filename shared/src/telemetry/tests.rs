//! Logs as an operator reads them: what is in which file, and what is in none.

use super::*;
use crate::config::Secret;
use serde_json::Value;
use std::path::Path;

fn config(directory: &Path) -> LogConfig {
    LogConfig {
        level: "info".into(),
        json: true,
        directory: Some(directory.to_owned()),
        file_bytes: 1 << 20,
        process: None,
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn errors_are_in_both_files_and_the_rest_in_one() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { process: Some("gateway-1".into()), ..config(directory.path()) };
    let (dispatch, log) = subscriber(&config).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        let span = tracing::info_span!("request", method = "GET");
        span.in_scope(|| tracing::info!(user.id = 7, "one\nline"));
        tracing::error!(request.id = "r", "broken");
        tracing::debug!("not at this level");
    });
    log.flush();
    let combined = lines(&directory.path().join("combined.log"));
    let errors = lines(&directory.path().join("error.log"));
    assert_eq!(combined.iter().map(|line| &line["message"]).collect::<Vec<_>>(), ["one\nline", "broken"]);
    assert_eq!(combined[0]["user.id"], 7);
    assert_eq!(combined[0]["level"], "INFO");
    assert_eq!(combined[0]["process"], "gateway-1");
    assert_eq!((&combined[0]["span"]["method"], combined[0].get("spans")), (&Value::from("GET"), None));
    assert!(combined[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(errors, combined[1..]);
}

#[test]
fn a_secret_is_in_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let (dispatch, log) = subscriber(&config(directory.path())).unwrap();
    let mut auth = crate::config::Config::read(&crate::config::Environment::of([
        ("JWT_SECRET", "a canary of more than thirty-two bytes"),
        ("DATABASE_URL", "postgres://rookery:canary@localhost/rookery"),
    ]))
    .unwrap();
    auth.auth.old_secrets = vec![Secret::new("another canary")];
    tracing::dispatcher::with_default(&dispatch, || tracing::info!(config = ?auth, "configuration"));
    log.flush();
    let text = std::fs::read_to_string(directory.path().join("combined.log")).unwrap();
    assert!(text.contains("(secret)") && !text.contains("canary"), "{text}");
}

#[test]
fn a_message_that_the_broker_sends_back_is_in_no_log() {
    // The driver's module, which is no use of the driver.
    const MODULE: &str = concat!("lapin", "::returned_messages");
    let directory = tempfile::tempdir().unwrap();
    for level in ["info".to_owned(), "trace".to_owned(), format!("info,lapin=trace,{MODULE}=trace")] {
        let config = LogConfig { level, ..config(directory.path()) };
        let (dispatch, log) = subscriber(&config).unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::warn!(target: MODULE, message = "canary");
            tracing::warn!(target: "lapin", "canary");
            tracing::warn!(target: "lapinette", "heard");
        });
        log.flush();
    }
    let text = std::fs::read_to_string(directory.path().join("combined.log")).unwrap();
    assert_eq!((text.matches("canary").count(), text.matches("heard").count()), (0, 3), "{text}");
}

#[test]
fn starting_twice_is_harmless() {
    let config = LogConfig { level: "error".into(), json: false, directory: None, file_bytes: 1 << 20, process: None };
    let first = start(&config).unwrap();
    let second = start(&config).unwrap();
    assert!(Arc::ptr_eq(&first.log, &second.log));
}

#[test]
fn a_wrong_level_is_an_error_of_its_setting() {
    for wrong in ["loud", "gateway=loud", "info,verbose"] {
        assert!(check_level(wrong).is_err(), "{wrong}");
    }
    for right in ["error", "DEBUG", "off", "gateway=debug", "warn,shared::store=trace"] {
        assert_eq!(check_level(right), Ok(()), "{right}");
    }
    let config = LogConfig { level: "loud".into(), json: false, directory: None, file_bytes: 1 << 20, process: None };
    assert_eq!(subscriber(&config).err().unwrap().name, "LOG_LEVEL");
}

#[test]
fn a_directory_that_cannot_be_is_an_error_of_its_setting() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(subscriber(&config(&file.join("below"))).err().unwrap().name, "LOG_DIR");
}
