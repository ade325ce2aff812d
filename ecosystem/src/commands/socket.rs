//! `rookery socket`: the native protocol by hand. Lines of standard input go out as frames, frames that come are printed a
//! line each, so that reading, typing, piping and scripting a conversation need no other tool.
//!
//! Here: whom to talk to, and as whom. `input` brings the lines, `speech` makes frames of them and knows which answers are
//! still due, `talk` holds the connection, `closes` says in words why one is refused or ends.

mod closes;
mod input;
mod speech;
mod talk;

use super::data_dir;
use crate::cli;
use crate::config::Surroundings;
use crate::{http, say};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::process::ExitCode;

const USUAL: &str = "ws://127.0.0.1:3000/v1/ws";
const PATH: &str = "/v1/ws";
/// How the session calls itself in the list of sessions.
const DEVICE: &str = "rookery socket";

pub fn run(arguments: &cli::Socket, surroundings: &Surroundings) -> Result<ExitCode> {
    let url = url(arguments, surroundings)?;
    let base = base(&url)?;
    let login = arguments.login.as_ref().map(|name| log_in(&base, name, surroundings)).transpose()?;
    let token = arguments.token.as_ref().or(login.as_ref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let talked = runtime.block_on(talk::run(&url, token.map(String::as_str), arguments.all));
    if let Some(token) = login {
        // What was begun here ends here; where that cannot be said, the session ends by its age.
        drop(http::request(&base, "POST", "/v1/auth/logout", Some(&token), Some(&json!({}))));
    }
    Ok(if talked? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn url(arguments: &cli::Socket, surroundings: &Surroundings) -> Result<String> {
    let url = match &arguments.url {
        Some(url) => url.clone(),
        None => {
            let owner = data_dir(&arguments.place, surroundings).owner().ok().flatten();
            let here = owner.and_then(|owner| owner.address).map(|address| address.replacen("http", "ws", 1) + PATH);
            here.unwrap_or_else(|| USUAL.to_owned())
        }
    };
    let rest = url.strip_prefix("ws://").with_context(|| match url.starts_with("wss://") {
        true => "this speaks ws:// only: ask the gateway itself, behind whatever ends TLS for it".to_owned(),
        false => format!("{url} is no address of a socket: it begins with ws://"),
    })?;
    Ok(if rest.contains('/') { url } else { format!("{url}{PATH}") })
}

/// Where the same server speaks REST.
fn base(url: &str) -> Result<String> {
    let host = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).filter(|host| !host.is_empty());
    let host = host.with_context(|| format!("{url} names no host"))?;
    Ok(format!("http://{host}{}", if host.contains(':') { "" } else { ":80" }))
}

fn log_in(base: &str, name: &str, surroundings: &Surroundings) -> Result<String> {
    let password = match &surroundings.password {
        Some(password) => password.expose().to_owned(),
        None => say::secret(&format!("Password of {name}: "))
            .context("no terminal to ask for the password on: set ROOKERY_PASSWORD")?,
    };
    let body = json!({"login": name, "password": password, "device": DEVICE});
    let answer = http::request(base, "POST", "/v1/auth/login", None, Some(&body))?;
    let said = answer.json().unwrap_or(Value::Null);
    if !answer.is_ok() {
        bail!("{name} was not let in: {} {}", answer.status, said["detail"].as_str().unwrap_or("without a reason"));
    }
    said["access_token"].as_str().map(str::to_owned).context("the answer to the login has no token")
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn rest_is_where_the_socket_is() {
        assert_eq!(base("ws://localhost:3000/v1/ws?ticket=x").unwrap(), "http://localhost:3000");
        assert_eq!(base("ws://chat.example/v1/ws").unwrap(), "http://chat.example:80");
        assert!(base("ws:///v1/ws").is_err());
    }
}
