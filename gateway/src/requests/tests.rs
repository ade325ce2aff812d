//! Requests as clients write them: what becomes of right ones, which field of a wrong one is named, and each limit
//! reached and just not reached.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::{
    command::Marks,
    domain::{
        ATTACHMENTS_MAX, BODY_MAX, ConversationKind, DESCRIPTION_MAX_CHARS, JSON_DEPTH_MAX, MEMBERS_ADDED_AT_ONCE_MAX,
        MENTIONS_MAX, MessageKind, PAGE_DEFAULT, PAGE_MAX, PAYLOAD_MAX, Role, SYNC_POSITIONS_MAX, TITLE_MAX_CHARS,
    },
    store::messages::Window,
};
use uuid::Uuid;

fn person(number: u128) -> UserId {
    UserId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number))
}

fn people(count: usize) -> Vec<UserId> {
    (1..=count as u128).map(person).collect()
}

fn ask(cmd: &str, data: Value) -> Result<Request, Refusal> {
    parse(person(0), cmd, &data.to_string()).map(|request| request.expect("a command of the table"))
}

fn told(cmd: &str, data: Value) -> (CommandId, Command) {
    match ask(cmd, data) {
        Ok(Request::Command { id, command }) => (id, command),
        other => panic!("{cmd}: {other:?}"),
    }
}

fn asked(cmd: &str, data: Value) -> Query {
    match ask(cmd, data) {
        Ok(Request::Query(query)) => query,
        other => panic!("{cmd}: {other:?}"),
    }
}

/// The field that is refused.
fn wrong(cmd: &str, data: Value) -> String {
    let refusal = ask(cmd, data).expect_err(cmd);
    assert_eq!(refusal.code, Code::Invalid, "{refusal}");
    refusal.field.expect("names a field").0.into_owned()
}

fn refused(cmd: &str, data: Value) -> Code {
    ask(cmd, data).expect_err(cmd).code
}

/// `data` with a conversation beside it.
fn within(data: Value) -> Value {
    with(data, "conversation_id", json!(ConversationId::new()))
}

fn with(mut data: Value, name: &str, value: Value) -> Value {
    data[name] = value;
    data
}

fn send(data: Value) -> shared::command::SendMessage {
    match told("message.send", within(data)) {
        (_, Command::Send(send)) => send,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_a_command_under_its_own_id() {
    let (id, conversation) = (MessageId::new(), ConversationId::new());
    let data = json!({ "conversation_id": conversation, "id": id, "body": "hi \u{1f44b}\n", "reply_to": id });
    let (command, Command::Send(send)) = told("message.send", data) else { panic!("not a send") };
    assert_eq!(command.0, id.0);
    assert_eq!((send.conversation_id, send.kind, &*send.body), (conversation, MessageKind::Text, "hi \u{1f44b}\n"));
    assert_eq!((send.extra, send.reply_to), (None, Some(id)));
    let (made, _) = told("message.send", within(json!({ "body": "hi" })));
    assert_eq!(made.0.get_version_num(), 7, "an id is made where it is missing");
}

#[test]
fn what_only_some_messages_have() {
    let sent = send(json!({ "kind": "encrypted", "payload": { "nonce": "AA", "ciphertext": "qk0=" } }));
    assert_eq!((sent.kind, &*sent.body), (MessageKind::Encrypted, ""));
    assert_eq!(sent.extra.as_deref(), Some(r#"{"payload":{"ciphertext":"qk0=","nonce":"AA"}}"#));
    assert_eq!(send(json!({ "payload": {} })).kind, MessageKind::Encrypted, "a payload says what it is");
    let sent = send(json!({ "body": "@both", "mentions": [person(2), person(1), person(2)] }));
    let extra: shared::view::Extra = serde_json::from_str(&sent.extra.expect("mentions")).expect("an `Extra`");
    assert_eq!(extra.mentions, [person(1), person(2)], "each once, in one order: the same message has the same digest");
    assert_eq!(send(json!({ "body": "x", "attachments": [], "mentions": [] })).extra, None);
}

#[test]
fn a_message_of_the_wrong_kind_is_refused() {
    let wrong = |data| wrong("message.send", within(data));
    assert_eq!(wrong(json!({})), "body");
    assert_eq!(wrong(json!({ "body": "  \n" })), "body");
    assert_eq!(wrong(json!({ "body": 5 })), "body");
    assert_eq!(wrong(json!({ "kind": "encrypted" })), "payload");
    assert_eq!(wrong(json!({ "kind": "encrypted", "payload": "text" })), "payload");
    assert_eq!(wrong(json!({ "kind": "encrypted", "payload": {}, "body": "x" })), "body");
    assert_eq!(wrong(json!({ "kind": "text", "payload": {}, "body": "x" })), "payload");
    assert_eq!(wrong(json!({ "kind": "system", "body": "x" })), "kind");
    assert_eq!(wrong(json!({ "kind": "shout", "body": "x" })), "kind");
    assert_eq!(wrong(json!({ "body": "x", "id": "one" })), "id");
    assert_eq!(wrong(json!({ "body": "x", "reply_to": 1 })), "reply_to");
    assert_eq!(wrong(json!({ "body": "x", "colour": "red" })), "colour");
    assert_eq!(super::tests::wrong("message.send", json!({ "body": "x" })), "conversation_id");
    let refused = |data| refused("message.send", within(data));
    assert_eq!(refused(json!({ "kind": "media", "body": "x" })), Code::Unsupported);
    assert_eq!(refused(json!({ "body": "x", "attachments": [{}] })), Code::Unsupported);
    for data in ["[]", "null", "1", "\"x\"", "", r#"[null,null,null,"hi",null,null,null,null]"#] {
        assert_eq!(parse(person(0), "message.send", data).unwrap_err().code, Code::Malformed, "{data}");
    }
}

#[test]
fn nul_is_refused() {
    assert_eq!(refused("message.send", within(json!({ "body": "a\0b" }))), Code::Malformed);
    assert_eq!(refused("message.send", within(json!({ "payload": { "a": "\0" } }))), Code::Malformed);
    assert_eq!(refused("conversation.create", json!({ "kind": "group", "title": "\0" })), Code::Malformed);
    assert_eq!(fields::title("a\0").unwrap_err().field.unwrap().0, "title", "also where no JSON was in between");
}

#[test]
fn a_body_has_at_most_16_kib() {
    let body = |bytes: usize| json!({ "body": "a".repeat(bytes) });
    assert_eq!(send(body(BODY_MAX)).body.len(), BODY_MAX);
    assert_eq!(wrong("message.send", within(body(BODY_MAX + 1))), "body");
    assert_eq!(
        wrong("message.send", within(json!({ "body": "ä".repeat(BODY_MAX / 2 + 1) }))),
        "body",
        "bytes, not characters"
    );
    let edit = |bytes: usize| with(within(body(bytes)), "message_id", json!(MessageId::new()));
    assert!(ask("message.edit", edit(BODY_MAX)).is_ok());
    assert_eq!(wrong("message.edit", edit(BODY_MAX + 1)), "body");
}

#[test]
fn a_payload_has_at_most_32_kib() {
    // {"a":"…"} is eight bytes around the text, and one for the space that is put after the colon.
    let payload = |bytes: usize| json!({ "payload": { "a": "x".repeat(bytes - 9) } });
    assert!(send(payload(PAYLOAD_MAX)).extra.is_some());
    assert_eq!(wrong("message.send", within(payload(PAYLOAD_MAX + 1))), "payload");
}

#[test]
fn a_payload_is_at_most_32_deep() {
    let data = |depth: usize| {
        let payload = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        format!(r#"{{"conversation_id":"{}","payload":{payload}}}"#, ConversationId::new())
    };
    // Within the data, which is one level itself.
    assert!(parse(person(0), "message.send", &data(JSON_DEPTH_MAX - 1)).is_ok());
    assert!(parse(person(0), "message.send", &data(JSON_DEPTH_MAX)).is_err());
}

#[test]
fn a_message_has_at_most_10_attachments() {
    let attachments = |count: usize| within(json!({ "body": "x", "attachments": vec![json!({}); count] }));
    assert_eq!(refused("message.send", attachments(ATTACHMENTS_MAX)), Code::Unsupported, "none are taken yet");
    assert_eq!(wrong("message.send", attachments(ATTACHMENTS_MAX + 1)), "attachments");
}

#[test]
fn a_message_mentions_at_most_50_people() {
    assert!(send(json!({ "body": "x", "mentions": people(MENTIONS_MAX) })).extra.is_some());
    assert_eq!(wrong("message.send", within(json!({ "body": "x", "mentions": people(MENTIONS_MAX + 1) }))), "mentions");
}

#[test]
fn a_command_has_at_most_64_kib() {
    let data = |bytes: usize| {
        let data = format!(r#"{{"conversation_id":"{}","body":"x"}}"#, ConversationId::new());
        format!("{data}{}", " ".repeat(bytes - data.len()))
    };
    assert!(parse(person(0), "message.send", &data(COMMAND_MAX)).is_ok());
    let refusal = parse(person(0), "message.send", &data(COMMAND_MAX + 1)).expect_err("too large");
    assert_eq!(refusal.code, Code::TooLarge);
}

#[test]
fn edits_and_deletions_name_both_ids() {
    let (conversation_id, message_id, key) = (ConversationId::new(), MessageId::new(), CommandId::new());
    let data = json!({ "conversation_id": conversation_id, "message_id": message_id, "body": "better", "key": key });
    let (id, command) = told("message.edit", data.clone());
    assert_eq!(id, key);
    assert!(
        matches!(command, Command::Edit { conversation_id: c, message_id: m, body } if (c, m, &*body) == (conversation_id, message_id, "better"))
    );
    let data = json!({ "conversation_id": conversation_id, "message_id": message_id });
    assert!(matches!(told("message.delete", data.clone()).1, Command::Delete { message_id: m, .. } if m == message_id));
    assert!(ask("message.delete", with(data.clone(), "for", json!("everyone"))).is_ok());
    assert_eq!(refused("message.delete", with(data.clone(), "for", json!("me"))), Code::Unsupported);
    assert_eq!(wrong("message.delete", with(data.clone(), "for", json!("him"))), "for");
    assert_eq!(wrong("message.delete", json!({ "conversation_id": conversation_id })), "message_id");
    assert_eq!(wrong("message.edit", data), "body");
}

#[test]
fn a_direct_conversation_is_the_one_of_the_two() {
    let direct = json!({ "kind": "direct", "member_ids": [person(1)] });
    let (_, command) = told("conversation.create", direct.clone());
    let Command::CreateConversation { id, kind, members, title, .. } = command else { panic!("{command:?}") };
    assert_eq!((id, kind), (ConversationId::direct(person(1), person(0)), ConversationKind::Direct));
    assert_eq!((members, title), (vec![person(1)], None));
    for members in [vec![], vec![person(0)], vec![person(1), person(2)]] {
        let data = json!({ "kind": "direct", "member_ids": members });
        assert_eq!(wrong("conversation.create", data), "member_ids");
    }
    assert!(ask("conversation.create", json!({ "kind": "direct", "member_ids": [person(0), person(1)] })).is_ok());
    assert!(ask("conversation.create", with(direct.clone(), "id", json!(id))).is_ok());
    assert_eq!(wrong("conversation.create", with(direct.clone(), "id", json!(ConversationId::new()))), "id");
    assert_eq!(wrong("conversation.create", with(direct, "title", json!("us"))), "title");
}

#[test]
fn a_group_has_a_title_and_an_id_of_its_own() {
    let id = ConversationId::new();
    let group = json!({ "kind": "group", "title": " Tea ", "member_ids": [person(2), person(1), person(0), person(2)], "id": id });
    let (command_id, command) = told("conversation.create", group.clone());
    assert_eq!(command_id.0, id.0, "asked again, it is the same command");
    let Command::CreateConversation { id: own, members, title, .. } = command else { panic!("{command:?}") };
    assert_eq!((own, members, title.as_deref()), (id, vec![person(1), person(2)], Some("Tea")));
    assert!(ask("conversation.create", json!({ "kind": "group", "title": "alone" })).is_ok());
    assert_eq!(wrong("conversation.create", json!({ "kind": "group" })), "title");
    assert_eq!(wrong("conversation.create", json!({ "kind": "group", "title": " " })), "title");
    assert_eq!(wrong("conversation.create", json!({ "kind": "club", "title": "x" })), "kind");
    assert_eq!(wrong("conversation.create", json!({ "title": "x" })), "kind");
    let reserved = ConversationId::direct(person(1), person(2));
    assert_eq!(
        wrong("conversation.create", with(group, "id", json!(reserved))),
        "id",
        "direct ids are nobody's to take"
    );
}

#[test]
fn a_title_has_at_most_128_characters_and_a_description_2048() {
    let create =
        |field: &str, count: usize| with(json!({ "kind": "group", "title": "x" }), field, json!("ä".repeat(count)));
    let update = |field: &str, count: usize| within(with(json!({}), field, json!("ä".repeat(count))));
    for (field, max) in [("title", TITLE_MAX_CHARS), ("description", DESCRIPTION_MAX_CHARS)] {
        assert!(ask("conversation.create", create(field, max)).is_ok());
        assert_eq!(wrong("conversation.create", create(field, max + 1)), field);
        assert!(ask("conversation.update", update(field, max)).is_ok());
        assert_eq!(wrong("conversation.update", update(field, max + 1)), field);
    }
    assert_eq!(wrong("conversation.update", within(json!({}))), "title", "nothing to change");
    assert!(
        ask("conversation.update", within(json!({ "description": "" }))).is_ok(),
        "a description can be taken away"
    );
}

#[test]
fn at_most_100_people_are_added_at_once() {
    let add = |count: usize| within(json!({ "user_ids": people(count) }));
    let (_, Command::AddMembers { users, .. }) = told("member.add", add(MEMBERS_ADDED_AT_ONCE_MAX)) else { panic!() };
    assert_eq!(users.len(), MEMBERS_ADDED_AT_ONCE_MAX);
    assert_eq!(wrong("member.add", add(MEMBERS_ADDED_AT_ONCE_MAX + 1)), "user_ids");
    assert_eq!(wrong("member.add", add(0)), "user_ids");
    let create = |count: usize| json!({ "kind": "group", "title": "x", "member_ids": people(count) });
    assert!(ask("conversation.create", create(MEMBERS_ADDED_AT_ONCE_MAX)).is_ok());
    assert_eq!(wrong("conversation.create", create(MEMBERS_ADDED_AT_ONCE_MAX + 1)), "member_ids");
}

#[test]
fn members_come_and_go() {
    let data = within(json!({ "user_id": person(3) }));
    assert!(matches!(told("member.remove", data.clone()).1, Command::RemoveMember { user, .. } if user == person(3)));
    assert!(
        matches!(told("conversation.leave", within(json!({}))).1, Command::RemoveMember { user, .. } if user == person(0))
    );
    let role = with(data.clone(), "role", json!("moderator"));
    assert!(matches!(told("member.role", role).1, Command::SetRole { role: Role::Moderator, .. }));
    assert_eq!(wrong("member.role", with(data.clone(), "role", json!("king"))), "role");
    assert_eq!(wrong("member.role", data), "role");
    assert_eq!(wrong("member.remove", within(json!({}))), "user_id");
    assert!(matches!(told("conversation.delete", within(json!({}))).1, Command::CloseConversation { .. }));
}

#[test]
fn marks_are_positions() {
    let mark = |cmd, seq: i64| match told(cmd, within(json!({ "seq": seq }))).1 {
        Command::Mark { marks, .. } => marks,
        other => panic!("{other:?}"),
    };
    assert_eq!(mark("conversation.read", 7), Marks { read_seq: Some(7), delivered_seq: None });
    assert_eq!(mark("conversation.delivered", 7), Marks { read_seq: None, delivered_seq: Some(7) });
    assert_eq!(mark("conversation.read", (1 << 53) - 1).read_seq, Some((1 << 53) - 1));
    for seq in [json!(-1), json!(1_i64 << 53), json!(1.5), json!("7"), json!(null)] {
        assert_eq!(wrong("conversation.read", within(json!({ "seq": seq }))), "seq");
    }
}

#[test]
fn history_is_asked_for_by_one_seq() {
    let window = |data| match asked("message.list", within(data)) {
        Query::ListMessages { window, limit, .. } => (window, limit),
        other => panic!("{other:?}"),
    };
    assert_eq!(window(json!({})), (Window::Newest, PAGE_DEFAULT));
    assert_eq!(window(json!({ "before": 9, "limit": 1 })), (Window::Before(9), 1));
    assert_eq!(window(json!({ "after": 0 })), (Window::After(0), PAGE_DEFAULT));
    assert_eq!(window(json!({ "around": 5 })), (Window::Around(5), PAGE_DEFAULT));
    assert_eq!(wrong("message.list", within(json!({ "before": 9, "after": 1 }))), "after");
    assert_eq!(wrong("message.list", within(json!({ "before": 9, "around": 1 }))), "around");
    assert_eq!(wrong("message.list", within(json!({ "after": -1 }))), "after");
}

#[test]
fn a_page_has_at_most_100_items() {
    for cmd in ["message.list", "conversation.list", "member.list"] {
        let data = |limit: usize| match cmd {
            "conversation.list" => json!({ "limit": limit }),
            _ => within(json!({ "limit": limit })),
        };
        assert!(ask(cmd, data(PAGE_MAX)).is_ok(), "{cmd}");
        assert_eq!(wrong(cmd, data(PAGE_MAX + 1)), "limit");
        assert_eq!(wrong(cmd, data(0)), "limit");
    }
    assert_eq!(wrong("conversation.list", json!({ "cursor": "forged" })), "cursor");
}

#[test]
fn at_most_200_positions_are_synced_at_once() {
    let sync = |count: usize| {
        let positions = (0..count).map(|_| (ConversationId::new().to_string(), json!({ "seq": 4, "rev": 1 })));
        json!({ "epoch": "e.1", "urev": 3, "positions": Value::Object(positions.collect()) })
    };
    let Query::Sync(request) = asked("sync", sync(SYNC_POSITIONS_MAX)) else { panic!("not a sync") };
    assert_eq!((request.epoch.as_deref(), request.urev, request.positions.len()), (Some("e.1"), 3, SYNC_POSITIONS_MAX));
    assert_eq!(wrong("sync", sync(SYNC_POSITIONS_MAX + 1)), "positions");
}

#[test]
fn who_begins_with_nothing_names_nothing() {
    for data in [json!({}), json!({ "epoch": null }), json!({ "epoch": "", "urev": 0, "positions": {} })] {
        let Query::Sync(request) = asked("sync", data) else { panic!("not a sync") };
        assert_eq!((request.epoch, request.urev, request.positions.len()), (None, 0, 0));
    }
    let id = ConversationId::new().to_string();
    assert_eq!(wrong("sync", json!({ "urev": -1 })), "urev");
    assert_eq!(wrong("sync", json!({ "positions": { &id: { "seq": -4, "rev": 0 } } })), "seq");
    assert!(wrong("sync", json!({ "positions": { &id: { "seq": 4 } } })).ends_with("rev"));
    assert!(wrong("sync", json!({ "positions": { "x": { "seq": 4, "rev": 0 } } })).starts_with("positions"));
}

#[test]
fn over_rest_the_path_says_which() {
    let (conversation, message) = (ConversationId::new(), MessageId::new());
    let key = CommandId::new();
    let given =
        Given { conversation: Some(conversation), message: Some(message), key: Some(key), ..Given::of(person(0)) };
    let Ok(Request::Command { id, command }) = read::<EditMessage<'_>>(r#"{"body":"x"}"#, &given) else { panic!() };
    assert_eq!((id, command.conversation()), (key, conversation));
    let other = json!({ "body": "x", "conversation_id": ConversationId::new() }).to_string();
    assert_eq!(read::<EditMessage<'_>>(&other, &given).unwrap_err().field.unwrap().0, "conversation_id");
    let Ok(Request::Command { id, .. }) = read::<SendMessage<'_>>(r#"{"body":"x"}"#, &given) else { panic!() };
    assert_eq!(id, key, "a key stands for the message's id where there is none");
}

#[test]
fn other_names_are_no_commands_of_ours() {
    for cmd in ["", "hello", "message", "message.sent", "typing", "presence.watch"] {
        assert!(matches!(parse(person(0), cmd, "{}"), Ok(None)), "{cmd}");
    }
}

const COMMANDS: [&str; 19] = [
    "message.send",
    "message.edit",
    "message.delete",
    "message.list",
    "message.get",
    "message.receipts",
    "conversation.create",
    "conversation.update",
    "conversation.delete",
    "conversation.leave",
    "conversation.read",
    "conversation.delivered",
    "conversation.list",
    "conversation.get",
    "member.add",
    "member.remove",
    "member.role",
    "member.list",
    "sync",
];

/// Something like what a client sends: the right names with values of any kind.
fn like_a_request() -> impl Strategy<Value = Value> {
    let id = prop_oneof![
        Just(json!(person(1))),
        Just(json!(ConversationId::direct(person(1), person(2)))),
        Just(json!("x"))
    ];
    let value = prop_oneof![
        4 => id,
        2 => any::<i64>().prop_map(|number| json!(number)),
        2 => ".{0,20}".prop_map(|text| json!(text)),
        1 => Just(json!({ "a": [1, { "b": null }] })),
        1 => Just(json!([person(1), person(2)])),
        1 => Just(json!(null)),
        1 => prop_oneof![Just("group"), Just("direct"), Just("text"), Just("encrypted"), Just("owner"), Just("me")].prop_map(|word| json!(word)),
    ];
    let name = prop_oneof![
        "conversation_id|message_id|user_id|id|key|kind|body|payload|reply_to|mentions|attachments|title|description",
        "member_ids|user_ids|role|seq|before|after|around|limit|cursor|epoch|urev|positions|for|[a-z]{1,4}",
    ];
    proptest::collection::vec((name, value), 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_it_panic(data in ".{0,300}", cmd in prop::sample::select(&COMMANDS[..])) {
        let _ = parse(person(0), cmd, &data);
    }

    #[test]
    fn nothing_like_a_request_does_either(data in like_a_request(), cmd in prop::sample::select(&COMMANDS[..])) {
        if let Err(refusal) = parse(person(0), cmd, &data.to_string()) {
            prop_assert!(matches!(refusal.code, Code::Invalid | Code::Malformed | Code::Unsupported), "{}", refusal);
        }
    }

    /// What came through can be sent: JSON that a worker reads, texts that PostgreSQL takes.
    #[test]
    fn what_came_through_is_sound(body in "[^\0]{1,50}", text in "\\PC{0,30}") {
        let payload = json!({ "text": text, "list": [text.len(), null] });
        for data in [json!({ "body": body }), json!({ "payload": payload })] {
            if let Ok(Request::Command { command: Command::Send(send), .. }) = ask("message.send", within(data)) {
                prop_assert!(!send.body.contains('\0'));
                if let Some(extra) = send.extra {
                    let extra: shared::view::Extra = serde_json::from_str(&extra).expect("an `Extra`");
                    let read: Value = serde_json::from_str(extra.payload.expect("a payload").get()).expect("JSON");
                    prop_assert_eq!(read, payload.clone());
                }
            }
        }
    }
}
