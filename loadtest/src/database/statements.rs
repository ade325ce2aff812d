//! How many statements the server's programs have sent, by their text, from `pg_stat_statements`: the extension counts each as
//! it ends, so a difference of two readings is exact.

use super::Client;
use anyhow::{Context, Result};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Begin and end of a transaction: not counted as queries, told by themselves.
const FRAME: [&str; 5] = ["BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT"];

/// Calls by text, whitespace made one; this program's own are not among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statements {
    calls: BTreeMap<String, i64>,
}

/// A statement and how often it ran.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Ran {
    pub calls: i64,
    pub text: String,
}

/// Whether this database counts statements.
pub async fn are_counted(client: &Client) -> Result<bool> {
    let sql = "SELECT current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'";
    if !client.query_one(sql, &[]).await.context("asking for pg_stat_statements")?.get::<_, bool>(0) {
        return Ok(false);
    }
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await.context("making the extension")?;
    Ok(true)
}

impl Statements {
    pub async fn read(client: &Client) -> Result<Self> {
        let sql = "SELECT query, sum(calls)::bigint FROM pg_stat_statements
                   WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND query NOT LIKE '%pg_stat_statements%' GROUP BY query";
        let rows = client.query(sql, &[]).await.context("reading pg_stat_statements")?;
        let mut calls = BTreeMap::new();
        for row in rows {
            let words: Vec<&str> = row.get::<_, &str>(0).split_whitespace().collect();
            *calls.entry(words.join(" ")).or_default() += row.get::<_, i64>(1);
        }
        Ok(Self { calls })
    }

    pub fn since(&self, before: &Self) -> Self {
        let ran = |(text, calls): (&String, &i64)| {
            let more = calls - before.calls.get(text).copied().unwrap_or(0);
            (more > 0).then(|| (text.clone(), more))
        };
        Self { calls: self.calls.iter().filter_map(ran).collect() }
    }

    /// Queries, without the frames of transactions; the most frequent first.
    pub fn queries(&self) -> Vec<Ran> {
        let queries = self.calls.iter().filter(|(text, _)| !FRAME.iter().any(|frame| text.starts_with(frame)));
        let mut ran: Vec<Ran> = queries.map(|(text, calls)| Ran { calls: *calls, text: text.clone() }).collect();
        ran.sort_by_key(|ran| Reverse(ran.calls));
        ran
    }

    pub fn of(&self, text: &str) -> i64 {
        self.calls.get(text).copied().unwrap_or(0)
    }

    /// Calls of queries that the others did not make at all.
    pub fn calls_unlike(&self, others: &[&Self]) -> Vec<Ran> {
        let mut ran = self.queries();
        ran.retain(|ran| !others.iter().any(|other| other.calls.contains_key(&ran.text)));
        ran
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Statements {
        pub fn of_calls(calls: &[(&str, i64)]) -> Self {
            Self { calls: calls.iter().map(|(text, calls)| ((*text).to_owned(), *calls)).collect() }
        }
    }

    #[test]
    fn what_ran_meanwhile_is_told_by_text() {
        let before = Statements::of_calls(&[("a", 5), ("b", 7)]);
        let after = Statements::of_calls(&[("a", 9), ("b", 7), ("c", 6), ("BEGIN READ ONLY", 6), ("ROLLBACK", 6)]);
        let ran = after.since(&before);
        let queries: Vec<(String, i64)> = ran.queries().into_iter().map(|ran| (ran.text, ran.calls)).collect();
        assert_eq!(queries, [("c".to_owned(), 6), ("a".to_owned(), 4)]);
        assert_eq!((ran.of("ROLLBACK"), ran.of("b")), (6, 0));
        let unlike = ran.calls_unlike(&[&Statements::of_calls(&[("a", 1)])]);
        assert_eq!(unlike, [Ran { calls: 6, text: "c".to_owned() }]);
    }
}
