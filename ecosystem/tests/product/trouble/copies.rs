//! What comes twice, late, or should never have come: stored once, applied once, refused alone.

use crate::world::{
    World, fresh,
    publisher::{Publisher, code, conversation, json, send},
};
use shared::{
    command::{Command, Marks, SendMessage},
    domain::{CommandId, MessageId, MessageKind},
};

fn read(to: &str, seq: i64) -> Command {
    Command::Mark { conversation_id: conversation(to), marks: Marks { read_seq: Some(seq), delivered_seq: None } }
}

fn delivered(to: &str, seq: i64) -> Command {
    Command::Mark { conversation_id: conversation(to), marks: Marks { read_seq: None, delivered_seq: Some(seq) } }
}

/// The same command from two gateways, or from one whose first batch is still under way: side by side in one batch.
#[tokio::test]
async fn marks_of_one_person_side_by_side_are_answered_each() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut publisher = Publisher::join(&world).await;
    let said = (0..5).map(|n| (&ann, CommandId::new(), send(&direct, &n.to_string()))).collect();
    publisher.ask(said).await;
    let marks = [read(&direct, 3), delivered(&direct, 5), read(&direct, 1), read(&direct, 2)];
    let mut commands: Vec<_> = marks.into_iter().map(|mark| (&ben, CommandId::new(), mark)).collect();
    commands.push((&ann, CommandId::new(), read(&direct, 4)));
    let answers: Vec<_> = publisher.ask(commands).await.iter().map(json).collect();
    let marks: Vec<_> =
        answers.iter().map(|a| (a["read_seq"].as_i64().unwrap(), a["delivered_seq"].as_i64().unwrap())).collect();
    assert!(marks[0].0 >= 3 && marks[1].1 >= 5 && marks[2].0 >= 1 && marks[3].0 >= 2, "{marks:?}");
    assert_eq!(marks[4], (4, 4), "{marks:?}");
    let kept = "SELECT read_seq * 10 + delivered_seq FROM members WHERE user_id = $1";
    assert_eq!(world.number(kept, &[&ben.user().0]).await, 35);
    assert_eq!(world.number(kept, &[&ann.user().0]).await, 44);
}

/// A command that the database refuses for what it says, among others: it alone is refused.
#[tokio::test]
async fn poison_is_refused_alone() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (direct, group) = (world.direct(&ann, &ben).await, world.group(&ann, &[&ben]).await);
    let mut ben_here = world.gateways[0].connect(&ben).await;
    let mut publisher = Publisher::join(&world).await;
    let message = MessageId::new();
    let with_extra = |extra: &str| {
        let conversation_id = conversation(&direct);
        Command::Send(SendMessage {
            conversation_id,
            kind: MessageKind::Text,
            body: "x".into(),
            extra: Some(extra.into()),
            reply_to: None,
        })
    };
    let edit =
        |body: &str| Command::Edit { conversation_id: conversation(&direct), message_id: message, body: body.into() };
    let rename = |title: &str| Command::UpdateConversation {
        conversation_id: conversation(&group),
        title: Some(title.into()),
        description: None,
    };
    let commands = [
        (CommandId(message.0), send(&direct, "first"), "ok"),
        (CommandId::new(), send(&direct, "nu\0l"), "invalid"),
        (CommandId::new(), send(&direct, "second"), "ok"),
        (CommandId::new(), with_extra("{no JSON"), "invalid"),
        (CommandId::new(), read(&direct, 1), "ok"),
        (CommandId::new(), edit("nu\0l"), "invalid"),
        (CommandId::new(), edit("edited"), "ok"),
        (CommandId::new(), send(&direct, "third"), "ok"),
        (CommandId::new(), rename("nu\0l"), "invalid"),
        (CommandId::new(), rename("Fine"), "ok"),
    ];
    let expected: Vec<&str> = commands.iter().map(|(.., code)| *code).collect();
    let batch = commands.into_iter().map(|(id, command, _)| (&ann, id, command)).collect();
    let answers = publisher.ask(batch).await;
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), expected);
    assert_eq!(world.stored(&direct).await, ["edited", "second", "third"]);
    for n in 1..=3 {
        assert_eq!(ben_here.expect("message.created").await["seq"], n, "live as ever");
    }
    assert_eq!(ben_here.expect("conversation.updated").await["data"]["conversation"]["title"], "Fine");
}

#[tokio::test]
async fn a_late_copy_changes_nothing_and_gets_the_first_answer() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let group = world.group(&ann, &[]).await;
    let mut publisher = Publisher::join(&world).await;
    let (added, message, edited) = (CommandId::new(), MessageId::new(), CommandId::new());
    let add = || Command::AddMembers { conversation_id: conversation(&group), users: vec![ben.user()] };
    let remove = Command::RemoveMember { conversation_id: conversation(&group), user: ben.user() };
    let edit =
        |body: &str| Command::Edit { conversation_id: conversation(&group), message_id: message, body: body.into() };
    let first = json(&publisher.ask(vec![(&ann, added, add())]).await[0]);
    let batch = vec![
        (&ann, CommandId::new(), remove),
        (&ann, added, add()),
        (&ann, CommandId(message.0), send(&group, "")),
        (&ann, edited, edit("A")),
        (&ann, CommandId::new(), edit("B")),
        (&ann, edited, edit("A")),
        (&ann, CommandId(message.0), send(&group, "")),
    ];
    let answers = publisher.ask(batch).await;
    assert_eq!(json(&answers[1]), first, "the answer it got");
    assert_eq!(json(&answers[5])["message"]["body"], "B", "the message as it is now");
    assert_eq!(json(&answers[6])["message"]["body"], "B");
    assert_eq!(world.stored(&group).await, ["B"]);
    let members = "SELECT count(*) FROM members WHERE user_id = $1";
    assert_eq!(world.number(members, &[&ben.user().0]).await, 0, "removed is removed");
    let head = "SELECT last_seq * 10 + last_rev FROM conversations WHERE title = 'The group'";
    assert_eq!(world.number(head, &[]).await, 14, "added, removed, two edits");
    // An id belongs to who used it first.
    let foreign = publisher.ask(vec![(&ben, edited, edit("C"))]).await;
    assert_eq!(code(&foreign[0]), "id_conflict");
    // A refusal is remembered as well, and so is a conversation's beginning.
    let id = fresh();
    let begin = || Command::CreateConversation {
        id: conversation(&id),
        kind: shared::domain::ConversationKind::Group,
        members: vec![ben.user()],
        title: Some("Late".into()),
        description: None,
    };
    let began = CommandId::new();
    let (one, two) =
        (publisher.ask(vec![(&ann, began, begin())]).await, publisher.ask(vec![(&ann, began, begin())]).await);
    assert_eq!(json(&one[0]), json(&two[0]));
    assert_eq!(
        world
            .number(
                "SELECT count(*) FROM user_changes WHERE user_id = $1 AND kind = 'conversation.created'",
                &[&ben.user().0]
            )
            .await,
        2
    );
}
