//! One HTTP request on a connection of its own, and what came of it.

use super::PATIENCE;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The stable word of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// `head` are whole header lines.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    head: &[String],
    body: &str,
) -> std::io::Result<Answer> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if !body.is_empty() {
        request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    head.iter().for_each(|line| request.push_str(&format!("{line}\r\n")));
    request.push_str("\r\n");
    request.push_str(body);
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        // A server that refuses early may close while we still write; its answer is there all the same.
        let (mut reading, mut writing) = socket.split();
        let mut answer = vec![];
        let (_, read) = tokio::join!(writing.write_all(request.as_bytes()), reading.read_to_end(&mut answer));
        if answer.is_empty() {
            read?;
        }
        std::io::Result::Ok(answer)
    };
    parse(&timeout(PATIENCE, exchange).await.expect("an answer in time")?)
}

fn parse(answer: &[u8]) -> std::io::Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    // The connection was cut: nobody answered.
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Answer { status: status.expect("a status"), headers: headers.collect(), text: body.to_owned() })
}

/// The REST call that is the same as this command of a socket.
pub fn rest_of(cmd: &str, data: &Value) -> (&'static str, String, Option<Value>) {
    let text = |name: &str| data[name].as_str().unwrap_or_else(|| panic!("{cmd} names no {name}")).to_owned();
    let rest_without = |names: &[&str]| {
        let mut rest = data.clone();
        names.iter().for_each(|name| drop(rest.as_object_mut().expect("an object").remove(*name)));
        Some(rest)
    };
    let conversation = || format!("/v1/conversations/{}", text("conversation_id"));
    let member = || format!("{}/members/{}", conversation(), text("user_id"));
    let message = || format!("/v1/messages/{}", text("message_id"));
    let query = |names: &[&str]| {
        let given = names.iter().filter(|name| !data[**name].is_null());
        let pairs: Vec<String> =
            given.map(|name| format!("{name}={}", data[*name].to_string().trim_matches('"'))).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    };
    match cmd {
        "conversation.create" => ("POST", "/v1/conversations".into(), Some(data.clone())),
        "conversation.list" => ("GET", format!("/v1/conversations{}", query(&["cursor", "limit"])), None),
        "conversation.get" => ("GET", conversation(), None),
        "conversation.update" => ("PATCH", conversation(), rest_without(&["conversation_id"])),
        "conversation.delete" => ("DELETE", conversation(), None),
        "conversation.leave" => ("POST", format!("{}/leave", conversation()), None),
        "conversation.read" => ("PUT", format!("{}/read", conversation()), rest_without(&["conversation_id"])),
        "conversation.delivered" => {
            ("PUT", format!("{}/delivered", conversation()), rest_without(&["conversation_id"]))
        }
        "member.list" => ("GET", format!("{}/members{}", conversation(), query(&["cursor", "limit"])), None),
        "member.add" => ("POST", format!("{}/members", conversation()), rest_without(&["conversation_id"])),
        "member.remove" => ("DELETE", member(), None),
        "member.role" => ("PATCH", member(), rest_without(&["conversation_id", "user_id"])),
        "message.send" => ("POST", format!("{}/messages", conversation()), rest_without(&["conversation_id"])),
        "message.list" => {
            let query = query(&["before", "after", "around", "limit"]);
            ("GET", format!("{}/messages{query}", conversation()), None)
        }
        "message.get" => ("GET", message(), None),
        "message.edit" => ("PATCH", message(), rest_without(&["message_id", "conversation_id"])),
        "message.delete" => ("DELETE", message(), None),
        "message.receipts" => ("GET", format!("{}/receipts{}", message(), query(&["cursor", "limit"])), None),
        "sync" => ("POST", "/v1/sync".into(), Some(data.clone())),
        other => panic!("{other} has no REST call"),
    }
}
