//! Who may do what: the whole table, over the socket and over REST; and a stranger, to whom nothing is there.

use crate::world::{Edge, Person, Socket, World, fresh, id};
use serde_json::{Value, json};

const ROLES: [&str; 4] = ["member", "moderator", "admin", "owner"];

/// A person with both ways to ask.
struct Actor<'a> {
    person: &'a Person,
    gateway: &'a Edge,
    socket: Socket,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Transport {
    Socket,
    Rest,
}

impl Actor<'_> {
    /// The code of the refusal, or `ok`.
    async fn tries(&mut self, transport: Transport, cmd: &str, data: Value) -> String {
        match transport {
            Transport::Socket => self.socket.ask(cmd, data).await.map_or_else(|refused| refused.code, |_| "ok".into()),
            Transport::Rest => {
                let answer = self.gateway.rest(self.person, cmd, data).await;
                if answer.status < 300 { "ok".into() } else { answer.code() }
            }
        }
    }
}

/// Someone of each role in a group of its own, with a message of the owner's.
struct Cast {
    group: String,
    message: String,
}

async fn cast(world: &World, people: &[(&Person, &str)]) -> Cast {
    let (group, message) = (fresh(), fresh());
    let users: Vec<uuid::Uuid> = people.iter().map(|(person, _)| person.user().0).collect();
    let roles: Vec<&str> = people.iter().map(|(_, role)| *role).collect();
    let sql = "WITH c AS (INSERT INTO conversations (id, kind, title, created_by, member_count, last_seq)
            SELECT $1, 'group', 'T', ($3::uuid[])[1], cardinality($3::uuid[]), 1),
        m AS (INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, rev, created_at)
            VALUES ($1, 1, $2, ($3::uuid[])[1], 'text', 'hi', 0, now()))
        INSERT INTO members (conversation_id, user_id, role) SELECT $1, * FROM unnest($3::uuid[], $4::text[])";
    world.run(sql, &[&id(&group), &id(&message), &users, &roles]).await;
    Cast { group, message }
}

/// What can be asked, with who may: by the actor's role, from member to owner.
fn table(target_roles: [&Person; 4], outsider: &Person) -> Vec<(&'static str, Value, [bool; 4])> {
    let mut rows = vec![
        ("message.send", json!({ "body": "hi" }), [true; 4]),
        ("conversation.update", json!({ "title": "New" }), [false, false, true, true]),
        ("member.add", json!({ "user_ids": [outsider.id] }), [false, false, true, true]),
        ("message.delete", json!({ "message_id": "the message" }), [false, true, true, true]),
        ("message.edit", json!({ "message_id": "the message", "body": "mine" }), [false; 4]),
        ("conversation.leave", json!({}), [true; 4]),
        ("conversation.delete", json!({}), [false, false, false, true]),
    ];
    // Nobody removes an equal or a superior.
    let removers = [[false, true, true, true], [false, false, true, true], [false, false, false, true], [false; 4]];
    for (target, may) in target_roles.iter().zip(removers) {
        rows.push(("member.remove", json!({ "user_id": target.id }), may));
    }
    for (from, target) in target_roles.iter().enumerate() {
        for (to, role) in ROLES.iter().enumerate() {
            // An owner gives any role to anybody but another owner, an admin moves people below himself.
            let (admin, owner) = (from < 2 && to < 2, from < 3);
            rows.push(("member.role", json!({ "user_id": target.id, "role": role }), [false, false, admin, owner]));
        }
    }
    rows
}

#[tokio::test]
async fn each_role_may_what_the_table_says() {
    let world = World::set(&[]).await;
    let gateway = &world.gateways[0];
    let actors = world.people(["member", "moderator", "admin", "owner"]).await;
    let targets = world.people(["a member", "a moderator", "an admin", "an owner"]).await;
    let outsider = world.person("outside").await;
    let rows = table(targets.each_ref(), &outsider);
    for (rank, person) in actors.iter().enumerate() {
        let mut actor = Actor { person, gateway, socket: gateway.connect(person).await };
        let mut people = vec![(&targets[3], "owner"), (person, ROLES[rank])];
        people.extend(targets.iter().zip(ROLES).take(3));
        let mut there = cast(&world, &people).await;
        for (cmd, data, may) in &rows {
            for transport in [Transport::Socket, Transport::Rest] {
                let mut data = data.clone();
                data["conversation_id"] = json!(there.group);
                if data["message_id"].is_string() {
                    data["message_id"] = json!(there.message);
                }
                let told = actor.tries(transport, cmd, data.clone()).await;
                let expected = if may[rank] { "ok" } else { "forbidden" };
                assert_eq!(told, expected, "{} by {transport:?}: {cmd} {data}", ROLES[rank]);
                if may[rank] {
                    there = cast(&world, &people).await;
                }
            }
        }
        let own = json!({ "conversation_id": there.group, "user_id": person.id, "role": "moderator" });
        if rank != 1 {
            assert_eq!(actor.tries(Transport::Socket, "member.role", own).await, "forbidden", "one's own role");
        }
        actor.socket.forget();
    }
}

#[tokio::test]
async fn to_a_stranger_nothing_is_there() {
    let world = World::set(&[]).await;
    let gateway = &world.gateways[0];
    let [ann, ben, eve] = world.people(["Ann", "Ben", "Eve"]).await;
    let direct = world.direct(&ann, &ben).await;
    let there = cast(&world, &[(&ann, "owner"), (&ben, "member")]).await;
    let mut stranger = Actor { person: &eve, gateway, socket: gateway.connect(&eve).await };
    for group in [&there.group, &direct, &fresh()] {
        let asked = [
            ("conversation.get", json!({})),
            ("conversation.update", json!({ "title": "New" })),
            ("conversation.delete", json!({})),
            ("conversation.leave", json!({})),
            ("conversation.read", json!({ "seq": 1 })),
            ("conversation.delivered", json!({ "seq": 1 })),
            ("member.list", json!({})),
            ("member.add", json!({ "user_ids": [eve.id] })),
            ("member.remove", json!({ "user_id": ben.id })),
            ("member.role", json!({ "user_id": eve.id, "role": "owner" })),
            ("message.send", json!({ "body": "hi" })),
            ("message.list", json!({})),
            ("message.get", json!({ "message_id": there.message })),
            ("message.edit", json!({ "message_id": there.message, "body": "hi" })),
            ("message.delete", json!({ "message_id": there.message })),
        ];
        for (cmd, mut data) in asked {
            data["conversation_id"] = json!(group);
            for transport in [Transport::Socket, Transport::Rest] {
                assert_eq!(
                    stranger.tries(transport, cmd, data.clone()).await,
                    "not_found",
                    "{transport:?}: {cmd} {data}"
                );
            }
        }
        let typing = json!({ "conversation_id": group, "typing": true });
        assert_eq!(stranger.socket.refused("typing", typing).await, "not_found");
    }
    let receipts = json!({ "message_id": there.message });
    assert_eq!(stranger.tries(Transport::Rest, "message.receipts", receipts).await, "not_found");
    assert!(stranger.socket.names().is_empty(), "and nothing is heard of it");
}
