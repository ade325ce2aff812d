//! One client sends two ids to two conversations at once, in opposite orders: the transactions that store them want the
//! same two places in the index of ids, each the one first that the other has. One of each pair is stored in one
//! conversation, the other refused; nobody else may have to wait for it.

use crate::history::{Message, Outcome};
use crate::people::{Crowd, dial};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;
use uuid::Uuid;

const ROUNDS: usize = 40;
/// A number that this person's own client does not reach.
const SESSION: u32 = 1_000_000;
const ANSWER: Duration = Duration::from_secs(30);
/// In both of the first two groups.
const CROSSER: usize = 1;

pub fn cross(crowd: &Arc<Crowd>, runtime: &Handle) {
    let all = async { timeout(ANSWER, rounds(crowd)).await };
    runtime.block_on(all).expect("all are answered in time");
}

async fn rounds(crowd: &Crowd) {
    let (_, address) = crowd.servers_of(CROSSER).swap_remove(0);
    let (mut socket, hello) = dial(&address, &crowd.people[CROSSER].token).await.unwrap();
    assert!(hello.get("session_id").is_some(), "{hello}");
    for round in 0..ROUNDS {
        let mut unanswered = HashMap::new();
        for (number, message) in crossing(crowd, round).into_iter().enumerate() {
            let command = (4 * round + number + 1) as u64;
            let data = json!({ "conversation_id": message.conversation, "id": message.id, "body": message.body });
            unanswered.insert(command, crowd.recorder.sending(CROSSER, SESSION, message));
            let frame = json!({ "id": command, "cmd": "message.send", "data": data });
            socket.feed(frame.to_string().into()).await.unwrap();
        }
        socket.flush().await.unwrap();
        let mut stored = 0;
        while !unanswered.is_empty() {
            let frame = socket.next().await.unwrap().unwrap();
            let Ok(text) = frame.to_text() else { continue };
            let frame: Value = serde_json::from_str(text).unwrap_or_default();
            let Some(attempt) = frame["re"].as_u64().and_then(|re| unanswered.remove(&re)) else { continue };
            stored += usize::from(answered(crowd, attempt, &frame));
        }
        assert_eq!(stored, 2, "each id is stored in one conversation");
    }
}

/// Two ids, each in both conversations.
fn crossing(crowd: &Crowd, round: usize) -> [Message; 4] {
    let [here, there] = [0, 1].map(|number: usize| crowd.conversations[number].id);
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let body = format!("crossing {round}");
    [(here, one), (there, two), (here, two), (there, one)].map(|(conversation, id)| Message {
        conversation,
        id,
        body: body.clone(),
    })
}

fn answered(crowd: &Crowd, attempt: usize, frame: &Value) -> bool {
    match frame["ok"]["message"]["seq"].as_i64() {
        Some(seq) => {
            crowd.recorder.answered(attempt, Outcome::Ok { seq });
            true
        }
        None => {
            assert_eq!(frame["error"]["code"], "id_conflict", "{frame}");
            crowd.recorder.answered(attempt, Outcome::Refused { code: "id_conflict".to_owned() });
            false
        }
    }
}
