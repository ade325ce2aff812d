//! The crowd's rows are what the product itself would have written, as far as its own check and its sync can tell.

use super::*;
use crate::reconnect::population::Population;
use shared::domain::{ConversationId, UserId};
use shared::store::sync::{Known, SyncLimits, SyncRequest};
use shared::testing::TestDatabase;
use std::collections::HashSet;
use uuid::Uuid;

const CROWD: Population = Population { people: 30, rounds: 4, room: 10, unix_ms: 1_700_000_000_000 };

#[test]
fn the_crowd_is_in_its_conversations() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = TestDatabase::create().await;
        let client = connect(database.config.store.url.expose()).await.unwrap();
        let herald = Population { unix_ms: 1_600_000_000_000, ..CROWD }.user(0);
        crowd::insert(&client, &CROWD, herald, 2).await.unwrap();

        // Asked for all of them at their beginning: nothing is new in his own, and the others he has left.
        let epoch = database.store.get_epoch().await.unwrap();
        let position = |number| (ConversationId(CROWD.conversation(number)), Known { seq: 0, rev: 0, marks: None });
        let positions = (0..CROWD.conversations()).map(position).collect();
        let request = SyncRequest { epoch: Some(epoch), urev: 0, positions };
        let answer = database.store.sync(UserId(CROWD.user(7)), &request, SyncLimits::default()).await;
        let answer = serde_json::to_value(answer.unwrap()).unwrap();
        let left: HashSet<Uuid> = answer["conversations"].as_array().unwrap().iter().map(left).collect();
        let own: HashSet<u32> = CROWD.conversations_of(7).collect();
        let others = (0..CROWD.conversations()).filter(|number| !own.contains(number));
        assert_eq!(left, others.map(|number| CROWD.conversation(number)).collect());

        let counted = "SELECT count(*) FROM conversations v WHERE member_count =
                       (SELECT count(*) FROM members m WHERE m.conversation_id = v.id)";
        let counted = client.query_one(counted, &[]).await.unwrap().get::<_, i64>(0);
        assert_eq!(counted, i64::from(CROWD.conversations()), "each has as many members as it says");
        assert!(
            !statements::are_counted(&client).await.unwrap() || statements::Statements::read(&client).await.is_ok()
        );
    });
}

fn left(conversation: &serde_json::Value) -> Uuid {
    assert_eq!(conversation["left"], true, "{conversation}");
    conversation["id"].as_str().unwrap().parse().unwrap()
}
