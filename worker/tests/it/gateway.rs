//! A gateway that the test plays itself: it puts batches on the bus and hears of them in an inbox of its own. And people
//! who talk through it as a batcher lets them: at most two batches of a partition without an answer.

use crate::world::{PATIENCE, World};
use shared::{
    bus::Bus,
    command::{Command, CommandBatch, Envelope, GatewayRef, SendMessage, partition},
    domain::{CommandId, ConversationId, GatewayId, MessageKind, SessionId, UserId},
    event::InboxItem,
    reply::{Outcome, Reply},
    routing::{Inbox, Routing},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Batches of one partition that may be without an answer.
const WINDOW: usize = 2;
/// A partition gets its next batch after this time, where its window has room.
const PACE: Duration = Duration::from_millis(5);

pub struct Gateway {
    pub me: GatewayRef,
    pub inbox: Box<dyn Inbox>,
    bus: Arc<dyn Bus>,
    tickets: u64,
}

impl Gateway {
    pub async fn join(world: &World, people: &[UserId]) -> Self {
        Self::join_on(world.bus.clone(), world, people).await
    }

    pub async fn join_on(bus: Arc<dyn Bus>, world: &World, people: &[UserId]) -> Self {
        let (me, inbox) = world.routing.join(GatewayId::new()).await.unwrap();
        world.routing.add_routes(me, people.to_vec()).await.unwrap();
        Self { me, inbox, bus, tickets: 0 }
    }

    /// As one batch, to the partition of the first one's conversation; returns their tickets.
    pub async fn publish(&mut self, commands: Vec<(UserId, CommandId, Command)>) -> Vec<u64> {
        let partition = commands.first().map_or(0, |first| partition(first.2.conversation(), self.bus.partitions()));
        self.publish_to(partition, commands).await
    }

    pub async fn publish_to(&mut self, partition: u16, commands: Vec<(UserId, CommandId, Command)>) -> Vec<u64> {
        let envelope = |(actor, id, command)| {
            self.tickets += 1;
            let (ticket, session) = (self.tickets, SessionId::default());
            Envelope { ticket, id, actor, session, request_id: "test".into(), command }
        };
        let commands: Vec<Envelope> = commands.into_iter().map(envelope).collect();
        let tickets = commands.iter().map(|command| command.ticket).collect();
        let batch = Arc::new(CommandBatch { from: self.me, commands });
        self.bus.publish(partition, batch, Duration::from_secs(60)).await.unwrap();
        tickets
    }

    pub async fn next(&mut self) -> Vec<InboxItem> {
        tokio::time::timeout(PATIENCE, self.inbox.recv()).await.expect("something is said").unwrap().items
    }

    pub async fn ask(&mut self, actor: UserId, id: CommandId, command: Command) -> Outcome {
        let tickets = self.publish(vec![(actor, id, command)]).await;
        loop {
            for item in self.next().await {
                let InboxItem::Replies(replies) = item else { continue };
                for Reply { ticket, outcome } in replies {
                    if ticket == tickets[0] {
                        return outcome;
                    }
                }
            }
        }
    }
}

pub fn send(conversation_id: ConversationId, body: &str) -> Command {
    Command::Send(SendMessage {
        conversation_id,
        kind: MessageKind::Text,
        body: body.into(),
        extra: None,
        reply_to: None,
    })
}

pub fn code(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok { .. } => "ok",
        Outcome::Refused(refusal) => refusal.code.as_str(),
    }
}

/// People who count, each in a conversation of his own, all partitions busy all the time.
pub struct Talk {
    task: tokio::task::JoinHandle<Vec<(ConversationId, usize)>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    enough: AtomicBool,
    answered: AtomicU64,
    /// Answers to what was answered already: somebody has done it again.
    repeated: AtomicU64,
}

/// What one partition's people have said, and what of it has no answer yet.
struct Lane {
    number: u16,
    speaker: UserId,
    conversations: Vec<(ConversationId, usize)>,
    unanswered: Vec<HashSet<u64>>,
}

impl Talk {
    pub async fn begin(world: &World) -> Self {
        Self::begin_on(world.bus.clone(), world).await
    }

    pub async fn begin_on(bus: Arc<dyn Bus>, world: &World) -> Self {
        let speaker = world.person().await;
        let mut lanes = vec![];
        for number in 0..world.bus.partitions() {
            let conversations = [world.conversation(speaker, number).await, world.conversation(speaker, number).await];
            let conversations = conversations.map(|id| (id, 0)).into();
            lanes.push(Lane { number, speaker, conversations, unanswered: vec![] });
        }
        let gateway = Gateway::join_on(bus, world, &[speaker]).await;
        let state = Arc::<State>::default();
        Self { task: tokio::spawn(talk(gateway, lanes, state.clone())), state }
    }

    pub fn answered(&self) -> u64 {
        self.state.answered.load(Ordering::Relaxed)
    }

    pub fn repeated(&self) -> u64 {
        self.state.repeated.load(Ordering::Relaxed)
    }

    /// Lets everything be answered. Then all that was said must stand there, once, in the order said.
    pub async fn end(self, world: &World) {
        self.state.enough.store(true, Ordering::Relaxed);
        for (conversation, count) in tokio::time::timeout(PATIENCE, self.task).await.expect("all answered").unwrap() {
            let said: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
            assert!(count > 0 && world.stored(conversation).await == said, "{count} were said in {conversation}");
        }
    }
}

impl Lane {
    async fn say(&mut self, gateway: &mut Gateway) -> Vec<(u64, i64)> {
        let mut commands = vec![];
        let mut seqs = vec![];
        for _ in 0..2 {
            for (conversation, said) in &mut self.conversations {
                *said += 1;
                commands.push((self.speaker, CommandId::new(), send(*conversation, &said.to_string())));
                seqs.push(*said as i64);
            }
        }
        let tickets = gateway.publish_to(self.number, commands).await;
        self.unanswered.push(tickets.iter().copied().collect());
        tickets.into_iter().zip(seqs).collect()
    }

    fn answered(&mut self, ticket: u64) {
        self.unanswered.iter_mut().for_each(|batch| {
            batch.remove(&ticket);
        });
        self.unanswered.retain(|batch| !batch.is_empty());
    }
}

async fn talk(mut gateway: Gateway, mut lanes: Vec<Lane>, state: Arc<State>) -> Vec<(ConversationId, usize)> {
    // By ticket: the lane, and the number that this message must get.
    let mut expected: HashMap<u64, (usize, i64)> = HashMap::new();
    let mut pace = tokio::time::interval(PACE);
    loop {
        let enough = state.enough.load(Ordering::Relaxed);
        if enough && expected.is_empty() {
            return lanes.into_iter().flat_map(|lane| lane.conversations).collect();
        }
        tokio::select! {
            _ = pace.tick(), if !enough => {
                for (n, lane) in lanes.iter_mut().enumerate().filter(|(_, lane)| lane.unanswered.len() < WINDOW) {
                    expected.extend(lane.say(&mut gateway).await.into_iter().map(|(ticket, seq)| (ticket, (n, seq))));
                }
            }
            entry = gateway.inbox.recv() => {
                for item in entry.unwrap().items {
                    let InboxItem::Replies(replies) = item else { continue };
                    for Reply { ticket, outcome } in replies {
                        let Some((lane, seq)) = expected.remove(&ticket) else {
                            state.repeated.fetch_add(1, Ordering::Relaxed);
                            continue;
                        };
                        let Outcome::Ok { json, .. } = outcome else { panic!("{outcome:?}") };
                        let answer: serde_json::Value = serde_json::from_slice(&json).unwrap();
                        assert_eq!(answer["message"]["seq"], seq, "in the order sent");
                        lanes[lane].answered(ticket);
                        state.answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}
