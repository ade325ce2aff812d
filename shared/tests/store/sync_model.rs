//! Any history, any client: after whatever happened, and however small the pages, a client that has caught up has what
//! one has that reads everything anew.

use crate::{
    client::{Client, id, list, number},
    world::World,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::Value;
use shared::{
    domain::{ConversationId, UserId},
    store::sync::SyncLimits,
};
use std::collections::BTreeSet;

/// Conversations, messages and people are named by number, modulo those there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send {
        at: usize,
        by: usize,
        size: usize,
    },
    Edit {
        at: usize,
        which: usize,
    },
    Delete {
        at: usize,
        which: usize,
    },
    Rename {
        at: usize,
    },
    Role {
        at: usize,
        by: usize,
    },
    Mark {
        at: usize,
        by: usize,
        to: i64,
    },
    /// The client's own person comes or goes.
    Join {
        at: usize,
        whole: bool,
    },
    Leave {
        at: usize,
    },
    /// Somebody else does.
    Other {
        at: usize,
    },
    Begin {
        with_me: bool,
    },
    Close {
        at: usize,
    },
    Forget,
    /// The client asks for one page.
    Page,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..6_usize;
    let by = 0..3_usize;
    prop_oneof![
        9 => (at.clone(), by.clone(), 0..400_usize).prop_map(|(at, by, size)| Step::Send { at, by, size }),
        5 => (at.clone(), 0..1000_usize).prop_map(|(at, which)| Step::Edit { at, which }),
        2 => (at.clone(), 0..1000_usize).prop_map(|(at, which)| Step::Delete { at, which }),
        2 => at.clone().prop_map(|at| Step::Rename { at }),
        2 => (at.clone(), by.clone()).prop_map(|(at, by)| Step::Role { at, by }),
        3 => (at.clone(), by, 0..40_i64).prop_map(|(at, by, to)| Step::Mark { at, by, to }),
        2 => (at.clone(), any::<bool>()).prop_map(|(at, whole)| Step::Join { at, whole }),
        1 => at.clone().prop_map(|at| Step::Leave { at }),
        2 => at.clone().prop_map(|at| Step::Other { at }),
        1 => any::<bool>().prop_map(|with_me| Step::Begin { with_me }),
        1 => at.prop_map(|at| Step::Close { at }),
        1 => Just(Step::Forget),
        6 => Just(Step::Page),
    ]
}

fn limits() -> impl Strategy<Value = SyncLimits> {
    (1500..6000_usize, 1..20_i64, 1..4_i64, 4..60_i64).prop_map(|(bytes, events, user_changes, behind)| SyncLimits {
        bytes,
        events,
        user_changes,
        behind,
    })
}

struct Group {
    id: ConversationId,
    last_seq: i64,
    deleted: BTreeSet<i64>,
    closed: bool,
    renamed: usize,
}

struct Play<'a> {
    world: &'a World,
    client: Client,
    me: UserId,
    others: [UserId; 3],
    groups: Vec<Group>,
}

impl<'a> Play<'a> {
    async fn begin(world: &'a World, limits: SyncLimits) -> Self {
        let me = world.user("me").await;
        let others = [world.user("ann").await, world.user("bob").await, world.user("carl").await];
        let client = Client { limits, ..Client::new(me) };
        let mut play = Self { world, client, me, others, groups: vec![] };
        for with_me in [true, true, false] {
            play.begin_group(with_me).await;
        }
        play
    }

    async fn begin_group(&mut self, with_me: bool) {
        let [ann, bob, _] = self.others;
        let people = [ann, bob, self.me];
        let id = self.world.group("new", if with_me { &people } else { &people[..2] }).await;
        self.groups.push(Group { id, last_seq: 0, deleted: BTreeSet::new(), closed: false, renamed: 0 });
    }

    async fn step(&mut self, step: Step) {
        use Step::*;
        match step {
            Page => return self.page().await,
            Begin { with_me } if self.groups.len() < 6 => return self.begin_group(with_me).await,
            Forget => return self.world.forget_user_changes(self.me, self.client.urev + 1).await,
            _ => {}
        }
        let (Send { at, .. }
        | Edit { at, .. }
        | Delete { at, .. }
        | Rename { at }
        | Role { at, .. }
        | Mark { at, .. }
        | Join { at, .. }
        | Leave { at }
        | Other { at }
        | Close { at }) = step
        else {
            return;
        };
        let number = at % self.groups.len();
        if !self.groups[number].closed {
            self.step_in(number, step).await;
        }
    }

    async fn step_in(&mut self, number: usize, step: Step) {
        let (world, me, [ann, bob, carl]) = (self.world, self.me, self.others);
        let group = &mut self.groups[number];
        let id = group.id;
        let message = |which: usize| (group.last_seq > 0).then(|| 1 + which as i64 % group.last_seq.max(1));
        match step {
            Step::Send { by, size, .. } => {
                group.last_seq = world.send(id, [ann, bob, me][by], &"x".repeat(size)).await;
            }
            Step::Edit { which, .. } => {
                if let Some(seq) = message(which).filter(|seq| !group.deleted.contains(seq)) {
                    world.edit(id, seq, &format!("edited {which}")).await;
                }
            }
            Step::Delete { which, .. } => {
                if let Some(seq) = message(which).filter(|seq| !group.deleted.contains(seq)) {
                    group.deleted.insert(seq);
                    world.delete(id, seq).await;
                }
            }
            Step::Rename { .. } => {
                group.renamed += 1;
                world.rename(id, ann, &format!("title {}", group.renamed)).await;
            }
            Step::Role { by, .. } => {
                world.set_role(id, ann, [ann, bob, bob][by], ["owner", "member", "admin"][by]).await
            }
            Step::Mark { by, to, .. } => {
                let to = to.min(group.last_seq);
                world.mark(id, [ann, bob, me][by], to / 2, to).await;
            }
            Step::Join { whole, .. } if !world.is_member(id, me).await => world.add(id, ann, me, whole).await,
            Step::Leave { .. } if world.is_member(id, me).await => world.remove(id, ann, me).await,
            Step::Other { .. } if world.is_member(id, carl).await => world.remove(id, ann, carl).await,
            Step::Other { .. } => world.add(id, ann, carl, true).await,
            Step::Close { .. } => {
                group.closed = true;
                world.close(id, ann).await;
            }
            _ => {}
        }
    }

    async fn page(&mut self) {
        let answer = self.client.sync(self.world).await;
        self.check(&answer).await;
    }

    /// A page is within its bounds, and every position in it is one that the conversation had.
    async fn check(&self, answer: &Value) {
        if answer["reset"] == true {
            return;
        }
        let entries = list(&answer["conversations"]);
        let count = |name: &str| entries.iter().filter_map(|entry| entry[name].as_array().map(Vec::len)).sum::<usize>();
        let events = count("messages") + count("changes");
        let user_changes = list(&answer["user_changes"]).len();
        assert!(
            events <= self.client.limits.events as usize && user_changes <= self.client.limits.user_changes as usize
        );
        let size = answer.to_string().len();
        assert!(size <= self.client.limits.bytes || events + user_changes <= 1, "{size} bytes: {answer}");
        let named: BTreeSet<String> = entries.iter().map(|entry| entry["id"].to_string()).collect();
        assert_eq!(named.len(), entries.len(), "each conversation once: {answer}");
        for entry in entries.iter().filter(|entry| entry["seq"].is_i64()) {
            let (seq, rev) = (number(&entry["seq"]), number(&entry["rev"]));
            let sql = "SELECT count(*) FROM changes WHERE conversation_id = $1
                AND (rev <= $2 AND after_seq > $3 OR rev > $2 AND after_seq < $3)";
            let impossible = self.world.number(sql, &[&id(&entry["id"]), &rev, &seq]).await;
            assert_eq!(impossible, 0, "it was never at ({seq}, {rev})");
        }
    }

    async fn end(mut self) {
        self.client.settle(self.world).await;
        let again = self.client.sync(self.world).await;
        assert_eq!((list(&again["conversations"]).len(), &again["more"]), (0, &Value::Bool(false)), "it is at the end");
        let fresh = Client::fresh(self.world, self.me).await;
        assert_eq!(self.client.conversations, fresh.conversations);
    }
}

#[test]
fn whoever_catches_up_has_what_is_there() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::create());
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let history = (limits(), proptest::collection::vec(step(), 1..90));
    let outcome = runner.run(&history, |(limits, steps)| {
        let played = std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let mut play = Play::begin(&world, limits).await;
                for step in steps {
                    play.step(step).await;
                }
                play.end().await;
            })
        });
        std::panic::catch_unwind(played).map_err(|why| {
            let words = why.downcast_ref::<String>().cloned();
            TestCaseError::fail(words.unwrap_or_else(|| "a panic".into()))
        })
    });
    drop(runtime.enter());
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
