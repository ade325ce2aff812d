//! The history checker, checked: a run in which everything is right, and the same run with one thing made wrong. What a
//! checker cannot see it must not be trusted with, so each corruption has to be found, under its own name and no other.
#![allow(clippy::unwrap_used)] // All of this file is a test; clippy knows only the functions marked as one.

#[path = "history/lib.rs"]
mod history;
#[path = "history/sound.rs"]
mod sound;

use history::{History, Kind, Outcome, Report, Restore, Seen, Time, check, of_the_restored};
use sound::{MESSAGES, PEOPLE, REMOVED, WATCHED, sound};
use uuid::Uuid;

/// The kinds of what is found, each once.
fn kinds(history: &History) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(history).into_iter().map(|violation| violation.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[track_caller]
fn found(expected: &[Kind], corrupt: impl FnOnce(&mut History)) {
    let mut history = sound();
    corrupt(&mut history);
    assert_eq!(kinds(&history), expected, "{}", Report::of(&history));
}

/// Where client 0's first session received this number.
fn live(history: &History, number: i64) -> usize {
    let of_it = |seen: &Seen| matches!(seen, Seen::Live { seq, .. } if *seq == number);
    history.sights.iter().position(|sight| sight.client == 0 && sight.session == 1 && of_it(&sight.seen)).unwrap()
}

fn attempt(history: &History, number: i64) -> usize {
    let id = history.rows[number as usize - 1].message.id;
    history.attempts.iter().position(|attempt| attempt.message.id == id && attempt.completed.is_some()).unwrap()
}

/// What the views say is no evidence of its own when the table itself is corrupted.
fn without_views(corrupt: impl FnOnce(&mut History)) -> impl FnOnce(&mut History) {
    |history| {
        history.views.clear();
        corrupt(history);
    }
}

#[test]
fn a_run_without_faults_is_clean() {
    let history = sound();
    let report = Report::of(&history);
    assert_eq!(report.violations, [], "{report}");
    assert_eq!((report.messages, report.refused, report.unknown), (MESSAGES as usize + 2, 1, 2));
    assert_eq!(report.ok + report.unknown_but_stored, MESSAGES as usize);
    assert_eq!(history.views.len(), PEOPLE);
    assert!(report.received > 0 && report.resyncs == 1 && !report.stall.is_zero());
    // By two watchers: while the one was here, away, here again, and after the trouble.
    assert_eq!(report.looks, 2 * 4, "{report}");
}

#[test]
fn a_lost_row_is_found() {
    // The last one: no hole betrays it.
    let lose = without_views(|history| {
        let lost = history.rows.pop().unwrap();
        history.heads[0].1 -= 1;
        history
            .sights
            .retain(|sight| !matches!(&sight.seen, Seen::Live { message, .. } if message.id == lost.message.id));
    });
    found(&[Kind::Lost], lose);
}

#[test]
fn an_answer_for_a_missing_row_is_found() {
    found(&[Kind::Lost], |history| {
        let mut attempt = history.attempts[attempt(history, 3)].clone();
        attempt.message.id = Uuid::now_v7();
        attempt.outcome = Outcome::Ok { seq: MESSAGES + 1 };
        history.attempts.push(attempt);
    });
}

#[test]
fn two_rows_that_changed_places_are_found() {
    let swap = without_views(|history| {
        history.sights.clear();
        let (four, five) = (history.rows[3].message.clone(), history.rows[4].message.clone());
        (history.rows[3].message, history.rows[4].message) = (five, four);
    });
    // Four was answered before five was sent.
    found(&[Kind::WrongAnswer, Kind::RealTime], swap);
}

#[test]
fn what_a_client_saw_elsewhere_is_found() {
    found(&[Kind::Swapped], |history| {
        let (four, five) = (live(history, 4), live(history, 5));
        let message = |seen: &Seen| match seen {
            Seen::Live { message, .. } => message.clone(),
            _ => unreachable!(),
        };
        let (first, second) = (message(&history.sights[four].seen), message(&history.sights[five].seen));
        for (at, other) in [(four, second), (five, first)] {
            if let Seen::Live { message, .. } = &mut history.sights[at].seen {
                *message = other;
            }
        }
    });
}

#[test]
fn a_doubled_row_is_found() {
    let double = without_views(|history| {
        let mut copy = history.rows[1].clone();
        copy.seq = MESSAGES + 1;
        history.rows.push(copy);
        history.heads[0].1 += 1;
    });
    let mut history = sound();
    double(&mut history);
    assert!(kinds(&history).contains(&Kind::Doubled));
}

#[test]
fn a_hole_is_found() {
    let hole = |history: &mut History| {
        history.views.clear();
        history.sights.clear();
        // One of which nobody knows whether it is stored.
        let unknown = history.rows.iter().position(|row| is_unknown(history, row.message.id)).unwrap();
        history.rows.remove(unknown);
    };
    found(&[Kind::Hole], hole);
    found(&[Kind::Hole], |history| history.heads[0].1 += 1);
}

fn is_unknown(history: &History, id: Uuid) -> bool {
    let mut attempts = history.attempts.iter().filter(|attempt| attempt.message.id == id);
    attempts.all(|attempt| attempt.outcome == Outcome::Unknown)
}

#[test]
fn a_phantom_is_found() {
    let phantom = without_views(|history| {
        let mut row = history.rows[0].clone();
        (row.seq, row.message.id) = (MESSAGES + 1, Uuid::now_v7());
        history.rows.push(row);
        history.heads[0].1 += 1;
    });
    found(&[Kind::Phantom], phantom);
    found(&[Kind::Phantom], |history| {
        let at = live(history, 6);
        if let Seen::Live { message, .. } = &mut history.sights[at].seen {
            message.id = Uuid::now_v7();
        }
    });
}

#[test]
fn an_event_of_what_was_never_stored_is_found() {
    found(&[Kind::NeverStored], |history| {
        let sent = history.attempts.iter().find(|attempt| matches!(attempt.outcome, Outcome::Refused { .. })).unwrap();
        let mut sight = history.sights[live(history, MESSAGES)].clone();
        sight.seen = Seen::Live { message: sent.message.clone(), seq: MESSAGES + 1, place: MESSAGES + 2 };
        history.sights.push(sight);
    });
}

#[test]
fn a_changed_body_is_found() {
    let change = without_views(|history| {
        history.sights.clear();
        history.rows[2].message.body.push('!');
    });
    found(&[Kind::ChangedBody], change);
    found(&[Kind::ChangedBody], |history| {
        let at = live(history, 3);
        if let Seen::Live { message, .. } = &mut history.sights[at].seen {
            message.body.push('!');
        }
    });
}

#[test]
fn a_refusal_that_was_stored_is_found() {
    found(&[Kind::RefusedButStored], |history| {
        let id = history.rows[1].message.id;
        for attempt in history.attempts.iter_mut().filter(|attempt| attempt.message.id == id) {
            attempt.outcome = Outcome::Refused { code: "unavailable".into() };
        }
    });
}

#[test]
fn answers_that_disagree_are_found() {
    found(&[Kind::WrongAnswer], |history| {
        let mut again = history.attempts[attempt(history, 2)].clone();
        again.outcome = Outcome::Ok { seq: 3 };
        history.attempts.push(again);
    });
}

#[test]
fn an_order_against_real_time_is_found() {
    // Numbers are dense and everybody agrees, and yet it is wrong.
    found(&[Kind::RealTime], |history| {
        let (answered, at) = (attempt(history, 7), attempt(history, 2));
        history.attempts[at].invoked = history.attempts[answered].completed.unwrap() + 1;
        history.attempts[at].completed = Some(history.attempts[at].invoked + 1);
        // Of one session it would be wrong for a second reason.
        history.attempts[at].session = 9;
    });
}

#[test]
fn a_session_s_sends_out_of_order_are_found() {
    found(&[Kind::SendOrder], |history| {
        // Both were under way at once, so real time says nothing.
        let (first, second) = (attempt(history, 8), attempt(history, 9));
        let (client, session) = (history.attempts[first].client, history.attempts[first].session);
        let begun = history.attempts[first].invoked;
        history.attempts[second].client = client;
        history.attempts[second].session = session;
        history.attempts[first].invoked = begun + 1;
        history.attempts[second].invoked = begun;
    });
}

#[test]
fn an_event_delivered_twice_is_found() {
    found(&[Kind::Repeated], |history| {
        let at = live(history, 4);
        let again = history.sights[at].clone();
        history.sights.insert(at + 1, again);
    });
}

#[test]
fn events_out_of_order_are_found() {
    let mut history = sound();
    let (four, five) = (live(&history, 4), live(&history, 5));
    history.sights.swap(four, five);
    // Five came after three without a word, four after five.
    assert_eq!(kinds(&history), [Kind::Reordered, Kind::Untold]);
}

#[test]
fn a_gap_that_nobody_was_told_of_is_found_and_one_that_was_told_is_none() {
    found(&[Kind::Untold], |history| {
        history.sights.remove(live(history, 4));
    });
    found(&[], |history| {
        let at = live(history, 4);
        history.sights[at].seen = Seen::Told { conversation: None };
    });
    // Being told once covers what is missing until the client has caught up, and no longer.
    let caught_up = |history: &mut History, asked: bool| {
        let (four, conversation) = (live(history, 4), history.rows[0].message.conversation);
        let mut sight = history.sights[four].clone();
        let mut put = |at: usize, seen: Seen| {
            sight.seen = seen;
            history.sights.insert(at, sight.clone());
        };
        put(four + 1, Seen::Synced { conversation, place: 5 });
        put(four + 1, Seen::Told { conversation: Some(conversation) });
        put(four + 1 + usize::from(asked), Seen::Asked);
        history.sights.remove(four);
        history.sights.remove(live(history, 6));
    };
    found(&[Kind::Untold], |history| caught_up(history, true));
    // An answer to what was asked before the word may be older than it.
    found(&[], |history| caught_up(history, false));
}

#[test]
fn who_heard_nothing_any_more_is_found_when_all_is_quiet() {
    // Without the last events of the session, which no later one betrays.
    let deaf = |history: &mut History, told: bool| {
        let last = live(history, MESSAGES);
        let mut sight = history.sights[last].clone();
        let conversation = history.rows[0].message.conversation;
        let place = MESSAGES + 1;
        let mut seen = vec![Seen::Quiet, Seen::Asked, Seen::Synced { conversation, place }];
        if told {
            seen.insert(0, Seen::Told { conversation: Some(conversation) });
        }
        history.sights.remove(last);
        for seen in seen {
            sight.seen = seen;
            history.sights.push(sight.clone());
        }
    };
    found(&[Kind::Untold], |history| deaf(history, false));
    found(&[], |history| deaf(history, true));
}

#[test]
fn a_view_that_is_not_the_table_is_found() {
    // A row that came too late for the last reading.
    found(&[Kind::View], |history| drop(history.views[1].rows.pop()));
    found(&[Kind::View], |history| history.views[1].rows[2].message.body.push('!'));
    found(&[Kind::View], |history| {
        let again = history.views[0].rows[0].clone();
        history.views[0].rows.push(again);
    });
}

#[test]
fn a_delivery_after_removal_is_found() {
    found(&[Kind::AfterRemoval], |history| {
        let at = live(history, MESSAGES);
        let mut late = history.sights[at].clone();
        late.client = REMOVED;
        history.sights.push(late);
    });
}

#[test]
fn an_order_across_what_may_have_been_lost_is_not_promised() {
    let cross = |history: &mut History| {
        let (first, second) = (attempt(history, 8), attempt(history, 9));
        let (client, session) = (history.attempts[first].client, history.attempts[first].session);
        let begun = history.attempts[first].invoked;
        (history.attempts[second].client, history.attempts[second].session) = (client, session);
        (history.attempts[first].invoked, history.attempts[second].invoked) = (begun + 1, begun);
    };
    let both = |history: &History| (history.attempts[attempt(history, 9)].invoked, Time::MAX);
    found(&[Kind::SendOrder], |history| {
        cross(history);
        (history.troubles[0].from, history.troubles[0].lossy) = (both(history).0, false);
    });
    found(&[], |history| {
        cross(history);
        history.troubles[0].from = both(history).0;
    });
}

#[test]
fn one_id_in_two_conversations_is_found_only_if_both_were_answered() {
    let elsewhere = |outcome: Outcome| {
        move |history: &mut History| {
            let mut other = history.attempts[attempt(history, 3)].clone();
            other.message.conversation = Uuid::from_u128(2);
            other.outcome = outcome;
            history.attempts.push(other);
        }
    };
    found(&[], elsewhere(Outcome::Refused { code: "id_conflict".into() }));
    found(&[Kind::Lost], elsewhere(Outcome::Ok { seq: 1 }));
}

/// Where the first watcher was told so of the one who is watched.
fn word(history: &History, online: bool) -> usize {
    history.presence.iter().position(|word| word.watcher == 0 && word.online == online).unwrap()
}

#[test]
fn a_ghost_is_found() {
    // Nobody says that he has gone, until the trouble says so by mistake.
    found(&[Kind::Ghost], |history| {
        history.presence.remove(word(history, false));
    });
    // Said, and taken back.
    found(&[Kind::Ghost], |history| {
        let mut wrong = history.presence[word(history, false)].clone();
        (wrong.online, wrong.at) = (true, wrong.at + sound::PATIENCE + 20);
        history.presence.insert(word(history, false) + 1, wrong);
    });
}

#[test]
fn somebody_who_is_here_and_not_seen_is_found() {
    found(&[Kind::Unseen], |history| {
        history.presence.remove(word(history, true));
    });
    // After the trouble it is not put right.
    found(&[Kind::Unseen], |history| {
        let last = history.presence.iter().rposition(|word| word.watcher == 0).unwrap();
        history.presence.remove(last);
    });
}

#[test]
fn a_watch_that_was_never_answered_is_found() {
    found(&[Kind::Unseen], |history| {
        // Of this session he hears nothing, of another of his he did.
        let again = history.presence[word(history, true)].clone();
        history.presence.retain(|word| word.watcher != 0);
        history.presence.push(history::Presence { session: 9, ..again });
        history.stays.retain(|stay| stay.client != WATCHED || stay.session == 2);
        history.stays.iter_mut().filter(|stay| stay.client == WATCHED).for_each(|stay| stay.from = 0);
    });
}

#[test]
fn presence_that_comes_late_but_in_time_is_true() {
    found(&[], |history| {
        let at = word(history, false);
        history.presence[at].at += sound::PATIENCE / 2;
    });
}

/// Restored to what was stored before the ninth message, which is said again with the next two afterwards.
fn restored(corrupt: impl FnOnce(&mut History)) -> Vec<Kind> {
    let mut history = sound();
    let backup = history.attempts[attempt(&history, 9)].invoked;
    let done = backup + 1;
    // Answered before the backup: in it. Later ones are gone, with what was seen of them.
    let kept = |row: &history::Row| row.seq < 9;
    let lost: Vec<_> = history.rows.iter().filter(|row| !kept(row)).cloned().collect();
    history.rows.retain(kept);
    history.heads[0].1 = 8;
    history.views.iter_mut().for_each(|view| view.rows.retain(kept));
    history.removals.clear();
    let end = history.attempts.iter().filter_map(|attempt| attempt.completed).max().unwrap() + 1000;
    assert!(lost.len() > 2);
    corrupt(&mut history);
    kinds(&of_the_restored(&history, Restore { backup, begun: end.max(done), done: end }))
}

#[test]
fn what_was_answered_after_the_backup_may_be_gone_and_nothing_else() {
    assert_eq!(restored(|_| {}), []);
    // One that was answered before.
    let lost = restored(|history| {
        history.rows.pop();
        history.heads[0].1 -= 1;
        history.views.clear();
        history.sights.clear();
    });
    assert_eq!(lost, [Kind::Lost]);
    // A client that still holds what is gone.
    assert_eq!(restored(|history| history.views[0] = sound().views[0].clone()), [Kind::View]);
    // What it saw after it was reset is judged like anything else.
    let seen = restored(|history| {
        let late = Time::MAX / 2;
        let mut sight =
            history.sights.iter().find(|sight| matches!(sight.seen, Seen::Live { seq: 12, .. })).unwrap().clone();
        sight.at = late + 1;
        history.sights.push(history::Sight { at: late, seen: Seen::Reset, ..sight.clone() });
        history.sights.push(sight);
    });
    assert_eq!(seen, [Kind::NeverStored]);
}
