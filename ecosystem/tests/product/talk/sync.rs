//! Coming back: a client that names its positions gets exactly what came after, whatever happened meanwhile.

use crate::world::{Person, Socket, View, World, fresh, id};
use serde_json::{Value, json};

fn with(mut data: Value, name: &str, value: impl Into<Value>) -> Value {
    data[name] = value.into();
    data
}

/// Every kind of change there is, by Ann on her socket, in conversations that Ben knows.
async fn a_busy_day(world: &World, ann: &mut Socket, groups: &[String; 3], ben: &Person, cal: &Person) {
    let [known, lost, other] = groups;
    let of = |group: &str| json!({ "conversation_id": group });
    let (first, second, third) =
        (ann.say(known, "one").await, ann.say(known, "two").await, ann.say(known, "three").await);
    ann.ok("message.edit", with(with(of(known), "message_id", first["id"].clone()), "body", "one, edited")).await;
    ann.ok("message.edit", with(with(of(known), "message_id", first["id"].clone()), "body", "one, edited twice")).await;
    ann.ok("message.delete", with(of(known), "message_id", second["id"].clone())).await;
    ann.ok("conversation.update", with(of(known), "title", "Renamed")).await;
    ann.ok("message.edit", with(with(of(known), "message_id", third["id"].clone()), "body", "three, edited")).await;
    ann.ok("message.delete", with(of(known), "message_id", third["id"].clone())).await;
    ann.ok("member.add", with(of(known), "user_ids", json!([cal.id]))).await;
    ann.ok("member.role", with(with(of(known), "user_id", cal.id.as_str()), "role", "admin")).await;
    ann.ok("conversation.update", with(of(known), "title", "Renamed twice")).await;
    ann.ok("member.role", with(with(of(known), "user_id", ben.id.as_str()), "role", "moderator")).await;
    ann.ok("member.remove", with(of(known), "user_id", cal.id.as_str())).await;
    ann.ok("member.add", with(of(known), "user_ids", json!([cal.id]))).await;
    ann.say(known, "four").await;
    // One is begun, one is lost, one is begun and lost, one is lost and found again, one is closed.
    let begun = world.group(ben, &[cal]).await;
    ann.ok("conversation.create", json!({ "kind": "group", "title": "Begun", "member_ids": [ben.id] })).await;
    let brief =
        ann.ok("conversation.create", json!({ "kind": "group", "title": "Brief", "member_ids": [ben.id] })).await;
    let brief = brief["conversation"]["id"].as_str().unwrap().to_owned();
    ann.ok("member.remove", with(of(&brief), "user_id", ben.id.as_str())).await;
    ann.ok("member.remove", with(of(lost), "user_id", ben.id.as_str())).await;
    ann.say(lost, "he does not hear this").await;
    ann.ok("member.remove", with(of(known), "user_id", ben.id.as_str())).await;
    ann.say(known, "nor this, until he is back").await;
    ann.ok("member.add", with(of(known), "user_ids", json!([ben.id]))).await;
    ann.say(other, "the last word").await;
    ann.ok("conversation.delete", of(other)).await;
    world.gateways[0].rest(cal, "message.send", with(of(&begun), "body", "hello")).await.expect(201);
}

#[tokio::test]
async fn who_was_away_sees_what_the_others_saw() {
    let world = World::start().await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let mut groups = [const { String::new() }; 3];
    for group in &mut groups {
        *group = world.group(&ann, &[&ben]).await;
    }
    let mut here = world.gateways[0].connect(&ann).await;
    for n in 0..3 {
        here.say(&groups[0], &format!("known {n}")).await;
    }
    let mut away = world.gateways[1].connect(&ben).await;
    let mut came_back = View::begin(&ben, &mut away).await;
    drop(away);
    let mut live = world.gateways[1].connect(&world.another_login(&ben).await).await;
    let mut live_view = View::begin(&ben, &mut live).await;
    let mut ann_view = View::begin(&ann, &mut here).await;

    for day in 0..2 {
        if day == 1 {
            // The lost one is found again, and others take the place of those that were closed.
            let again = json!({ "conversation_id": groups[1], "user_ids": [ben.id] });
            here.ok("member.add", again).await;
            groups[2] = world.group(&ann, &[&ben]).await;
            let role = json!({ "conversation_id": groups[0], "user_id": cal.id });
            here.ok("member.remove", role).await;
        }
        a_busy_day(&world, &mut here, &groups, &ben, &cal).await;
        live_view.settle(&world, &mut live).await;
        ann_view.settle(&world, &mut here).await;
        let mut back = world.gateways[day].connect(&ben).await;
        came_back.catch_up(&mut back).await;
        came_back.settle(&world, &mut back).await;
        let mut new_phone = View::begin(&ben, &mut back).await;
        new_phone.settle(&world, &mut back).await;
    }
    assert_eq!(ann_view.resyncs, 0, "who was there all the time was told everything live");
}

/// Positions of another epoch, or that nobody can have, are void: the client is told to begin anew, and does.
#[tokio::test]
async fn positions_of_another_epoch_are_reset() {
    let world = World::start().await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let direct = world.direct(&ann, &ben).await;
    let mut socket = world.gateways[0].connect(&ann).await;
    socket.say(&direct, "hello").await;
    let epoch = socket.ok("sync", json!({})).await["epoch"].clone();
    let positions = |seq: i64, rev: i64| json!({ direct.as_str(): { "seq": seq, "rev": rev } });
    let reset = json!({ "reset": true, "epoch": epoch, "urev": 1 });
    let void = [
        json!({ "epoch": "another", "urev": 1, "positions": positions(1, 0) }),
        json!({ "epoch": epoch, "urev": 7, "positions": positions(1, 0) }),
        json!({ "urev": 1, "positions": positions(1, 0) }),
    ];
    for ask in void {
        assert_eq!(socket.ok("sync", ask.clone()).await, reset, "{ask}");
        assert_eq!(world.gateways[1].rest(&ann, "sync", ask).await.expect(200), reset);
    }
    let ahead = json!({ "epoch": epoch, "urev": 1, "positions": positions(5, 0) });
    let entry = socket.ok("sync", ahead).await["conversations"][0].clone();
    assert_eq!(entry, json!({ "id": direct, "reset": { "seq": 1, "rev": 0 } }));
    let stranger = json!({ "epoch": epoch, "urev": 1, "positions": { fresh(): { "seq": 0, "rev": 0 } } });
    assert_eq!(socket.ok("sync", stranger).await["conversations"][0]["left"], true);
    let nothing = json!({ "epoch": epoch, "urev": 1, "positions": positions(1, 0) });
    let page = socket.ok("sync", nothing).await;
    assert_eq!((&page["conversations"], &page["more"]), (&json!([]), &json!(false)), "nothing is new");
}

#[tokio::test]
async fn one_page_holds_so_much_and_one_conversation_lags_so_far() {
    let world = World::set(&[]).await;
    let [ann, ben] = world.people(["Ann", "Ben"]).await;
    let (direct, group) = (world.direct(&ann, &ben).await, world.group(&ann, &[&ben]).await);
    let mut socket = world.gateways[0].connect(&ann).await;
    let mut view = View::begin(&ann, &mut socket).await;
    let long = "x".repeat(16 * 1024);
    for n in 0..20 {
        let re = socket.begin("message.send", json!({ "conversation_id": direct, "body": long })).await;
        if n == 19 {
            socket.answer(re).await.unwrap();
        }
    }
    let epoch = socket.ok("sync", json!({})).await["epoch"].clone();
    let mut positions = json!({ direct.as_str(): { "seq": 0, "rev": 0 } });
    let mut pages = 0;
    loop {
        let ask = json!({ "epoch": epoch, "urev": 2, "positions": positions });
        let page = world.gateways[0].rest(&ann, "sync", ask).await;
        assert!(page.text.len() <= 128 * 1024, "{} bytes", page.text.len());
        let page = page.expect(200);
        pages += 1;
        let entry = &page["conversations"][0];
        positions[&direct] = json!({ "seq": entry["seq"], "rev": entry["rev"] });
        if page["more"] == false {
            break;
        }
        assert_eq!(entry["more"], true);
    }
    assert_eq!((pages, &positions[&direct]["seq"]), (3, &json!(20)));
    view.settle(&world, &mut socket).await;

    // A thousand behind is caught up, one more begins anew.
    let fill = "WITH m AS (INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, rev, created_at)
            SELECT $1, n, gen_random_uuid(), $2, 'text', 'x', 0, now() FROM generate_series(1, 1001) AS n)
        UPDATE conversations SET last_seq = 1001 WHERE id = $1";
    world.run(fill, &[&id(&group), &ann.user().0]).await;
    let ask =
        |seq: i64| json!({ "epoch": epoch, "urev": 2, "positions": { group.as_str(): { "seq": seq, "rev": 0 } } });
    let caught_up = socket.ok("sync", ask(1)).await;
    assert_eq!(caught_up["conversations"][0]["messages"][0]["seq"], 2);
    let begun = socket.ok("sync", ask(0)).await["conversations"][0].clone();
    assert_eq!(begun, json!({ "id": group, "reset": { "seq": 1001, "rev": 0 } }));

    let many = |count: usize| {
        let positions: serde_json::Map<String, Value> =
            (0..count).map(|_| (fresh(), json!({ "seq": 0, "rev": 0 }))).collect();
        json!({ "epoch": epoch, "urev": 2, "positions": positions })
    };
    assert_eq!(socket.ok("sync", many(200)).await["conversations"].as_array().unwrap().len(), 200);
    assert_eq!(socket.refused("sync", many(201)).await, "invalid");
    assert_eq!(world.gateways[0].rest(&ann, "sync", many(201)).await.status, 400);
}
