//! Everything at once: people do whatever comes to their minds on two gateways, while parts of the server are lost again
//! and again. Afterwards everybody sees what the tables hold, and everything that was answered is in them.

use crate::world::{Person, Socket, View, World, fresh, id, surely, until};
use serde_json::{Value, json};
use std::cell::Cell;

const STEPS: usize = 60;

/// Small, and the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

struct Client<'a> {
    person: &'a Person,
    people: &'a [Person],
    socket: Socket,
    view: View,
    dice: Dice,
    /// Messages that were answered, with their conversations.
    answered: Vec<(String, String)>,
}

impl Client<'_> {
    /// Something to do in one of the conversations it sees.
    fn wish(&mut self) -> Option<(&'static str, Value)> {
        let seen: Vec<&String> = self.view.conversations.keys().collect();
        let conversation = (*seen.get(self.dice.below(seen.len().max(1)))?).clone();
        let messages: Vec<&String> = self.view.conversations[&conversation].messages.values().map(|m| &m.0).collect();
        let message = messages.get(self.dice.below(messages.len().max(1))).map(|id| (*id).clone());
        let somebody = &self.people[self.dice.below(self.people.len())].id;
        let n = self.dice.below(1000);
        let role = ["member", "moderator", "admin"][n % 3];
        let mut wish = match (self.dice.below(20), message) {
            (0..=9, _) | (_, None) => ("message.send", json!({ "id": fresh(), "body": format!("words {n}") })),
            (10, Some(message)) => ("message.send", json!({ "id": fresh(), "body": "an answer", "reply_to": message })),
            (11..=12, Some(message)) => {
                ("message.edit", json!({ "message_id": message, "body": format!("edited {n}") }))
            }
            (13, Some(message)) => ("message.delete", json!({ "message_id": message })),
            (14, _) => ("conversation.read", json!({ "seq": self.view.conversations[&conversation].seq })),
            (15, _) => ("conversation.update", json!({ "title": format!("Title {n}") })),
            (16..=17, _) => ("member.add", json!({ "user_ids": [somebody] })),
            (18, _) => ("member.remove", json!({ "user_id": somebody })),
            (_, _) => ("member.role", json!({ "user_id": somebody, "role": role })),
        };
        wish.1["conversation_id"] = json!(conversation);
        Some(wish)
    }

    async fn live(&mut self) {
        for _ in 0..STEPS {
            self.view.take_in(&mut self.socket).await;
            let Some((cmd, data)) = self.wish() else {
                let friend = &self.people[0].id;
                let group = json!({ "id": fresh(), "kind": "group", "title": "Another", "member_ids": [friend] });
                surely(&mut self.socket, "conversation.create", group).await.unwrap();
                continue;
            };
            match surely(&mut self.socket, cmd, data.clone()).await {
                Ok(_) if cmd == "message.send" => {
                    let text = |name: &str| data[name].as_str().unwrap().to_owned();
                    self.answered.push((text("id"), text("conversation_id")));
                }
                Ok(_) => {}
                Err(refused) => {
                    let known = ["not_found", "forbidden", "closed", "invalid"];
                    assert!(known.contains(&refused.code.as_str()), "{cmd} {data}: {refused:?}");
                }
            }
        }
    }
}

async fn lose_something(world: &mut World, dice: &mut Dice) {
    match dice.below(6) {
        0 => world.routing.wipe(),
        1 => {
            let gateway = dice.below(2);
            if let Some(me) = world.gateways[gateway].app.batcher.gateway() {
                world.routing.lose_inbox(me.id);
            }
        }
        2 => world.bus.lose_consumers(),
        3 => {
            drop(world.worker.take());
            world.start_worker().await;
        }
        4 => {
            let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            world.number(all, &[]).await;
        }
        _ => world.start_worker().await,
    }
}

async fn chaos(seed: u64) {
    let mut world = World::start().await;
    let people = world.people(["Ann", "Ben", "Cal", "Dee"]).await;
    for n in 0..3 {
        world.group(&people[n], &[&people[(n + 1) % 4], &people[(n + 2) % 4]]).await;
    }
    world.direct(&people[0], &people[3]).await;
    let mut clients = vec![];
    for (n, person) in people.iter().enumerate() {
        let mut socket = world.gateways[n % 2].connect(person).await;
        let view = View::begin(person, &mut socket).await;
        let dice = Dice(seed * 10 + n as u64);
        clients.push(Client { person, people: &people, socket, view, dice, answered: vec![] });
    }
    let over = Cell::new(false);
    let trouble = async {
        let (mut dice, mut stored) = (Dice(seed), 0);
        while !over.get() {
            // After each twenty things that happened.
            let happened = "SELECT (sum(last_seq) + sum(last_rev))::bigint FROM conversations";
            until("something happens", async || over.get() || world.number(happened, &[]).await >= stored + 20).await;
            stored = world.number(happened, &[]).await;
            lose_something(&mut world, &mut dice).await;
        }
    };
    let lives = async {
        futures_util::future::join_all(clients.iter_mut().map(Client::live)).await;
        over.set(true);
    };
    tokio::join!(trouble, lives);
    for client in &mut clients {
        check(&world, client).await;
    }
    let holes =
        "SELECT count(*) FROM (SELECT c.id FROM conversations c LEFT JOIN messages m ON m.conversation_id = c.id
        GROUP BY c.id HAVING count(m.seq) <> c.last_seq OR coalesce(max(m.seq), 0) <> c.last_seq) AS wrong";
    assert_eq!(world.number(holes, &[]).await, 0);
    until("the outbox is empty", async || world.number("SELECT count(*) FROM outbox", &[]).await == 0).await;
}

/// He sees what is stored, so does a new device of his, and what he was answered is there.
async fn check(world: &World, client: &mut Client<'_>) {
    client.view.settle(world, &mut client.socket).await;
    let mut new_device = View::begin(client.person, &mut client.socket).await;
    new_device.settle(world, &mut client.socket).await;
    for (message, conversation) in &client.answered {
        let there = "SELECT count(*) FROM messages WHERE id = $1 AND conversation_id = $2 AND sender_id = $3";
        let [message, conversation] = [id(message), id(conversation)];
        let stored = world.number(there, &[&message, &conversation, &client.person.user().0]).await;
        assert_eq!(stored, 1, "answered means stored");
    }
}

#[tokio::test]
async fn everything_at_once() {
    for seed in 1..=3 {
        chaos(seed).await;
    }
}
