//! What the database holds at the end, read from the server itself and not through the program.

use super::crowd::Crowd;
use crate::history::{Message, Removal, Row};
use shared::config::{Secret, StoreConfig};
use shared::store::{Store, verify::Finding};
use tokio_postgres::NoTls;

/// Puts the tables into the history; returns what the database's own checks find.
pub async fn read(url: &str, crowd: &Crowd) -> Vec<Finding> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let messages = "SELECT conversation_id, seq, id, body FROM messages";
    let rows = client.query(messages, &[]).await.unwrap().into_iter().map(|row| Row {
        seq: row.get(1),
        message: Message { conversation: row.get(0), id: row.get(2), body: row.get(3) },
    });
    let heads = client.query("SELECT id, last_seq FROM conversations", &[]).await.unwrap();
    let removed = "SELECT conversation_id, rev + after_seq FROM changes WHERE kind = 'member.removed'";
    let removals = client.query(removed, &[]).await.unwrap().into_iter();
    crowd.recorder.with(|history| {
        history.rows.extend(rows);
        history.heads.extend(heads.iter().map(|row| (row.get(0), row.get(1))));
        history.removals.extend(removals.map(|row| Removal {
            client: crowd.removed(),
            conversation: row.get(0),
            place: row.get(1),
        }));
    });
    let config = StoreConfig { url: Secret::new(url), schema: None, pool: 2 };
    Store::new(&config).unwrap().verify().await.unwrap()
}
