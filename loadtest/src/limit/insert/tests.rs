//! Both ways on a real PostgreSQL: that the append numbers what the bare statement would have been told is checked with each
//! batch, so that a run that ends is right.

use super::*;
use shared::testing::TestDatabase;
use std::path::PathBuf;

#[test]
fn both_ways_store_and_nothing_stays() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = TestDatabase::create().await;
        let url = database.config.store.url.expose();
        let options = Options {
            sockets: 1,
            frame_bytes: 8,
            database_url: Some(url.to_owned()),
            body_bytes: 64,
            conversations: 20,
            seconds: 1,
            dir: PathBuf::new(),
            no_fanout: true,
        };
        let lines = measure(url, &options, Duration::from_millis(1)).await.unwrap();
        assert_eq!(lines.len(), BATCHES.len() * CONNECTIONS.len());
        for line in &lines {
            assert!(line.bare.rows_per_s > 0.0 && line.append.batch.count > 0, "{line:?}");
            assert!((line.ratio - line.append.rows_per_s / line.bare.rows_per_s).abs() < 1e-9);
        }
        let client = database::connect(url).await.unwrap();
        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'loadtest_limit'";
        assert_eq!(client.query_one(schemas, &[]).await.unwrap().get::<_, i64>(0), 0);
    });
}
