//! Conversations: begun, renamed, closed.

use super::{Act, Effect, Stop, user_events};
use bytes::Bytes;
use serde_json::json;
use shared::{
    domain::{ConversationId, ConversationKind, Permission, Place, Role, UserId},
    event::EventName,
    reply::{Code, Refusal},
    store::{
        StoreError,
        apply::{ApplyTx, ConversationRow},
    },
    view::json as bytes,
};

pub struct New<'a> {
    pub id: ConversationId,
    pub kind: ConversationKind,
    pub members: &'a [UserId],
    pub title: Option<&'a str>,
    pub description: Option<&'a str>,
}

/// Begins a conversation. The direct one of two people is there at most once: asking again gives it.
pub async fn create(
    tx: &ApplyTx<'_>,
    actor: UserId,
    there: Option<ConversationRow>,
    new: New<'_>,
) -> Result<Effect, Stop> {
    let mut members: Vec<UserId> = new.members.iter().copied().filter(|user| *user != actor).collect();
    members.sort_unstable();
    members.dedup();
    if new.kind == ConversationKind::Direct
        && (members.len() != 1 || new.id != ConversationId::direct(actor, members[0]))
    {
        return Err(Refusal::field("member_ids", "of a direct conversation names exactly one other person").into());
    }
    if there.is_some()
        || !tx.insert_conversation(new.id, new.kind, new.title, new.description.unwrap_or(""), actor).await?
    {
        return again(tx, actor, new).await;
    }
    let mut everybody = members.clone();
    everybody.push(actor);
    tx.lock_user_streams(&everybody).await?;
    if tx.list_users(&everybody).await?.len() != everybody.len() {
        return Err(Refusal::field("member_ids", "names somebody who is not there").into());
    }
    let owner = if new.kind == ConversationKind::Group { Role::Owner } else { Role::Member };
    tx.insert_members(new.id, &[actor], owner, 0, Place(0)).await?;
    tx.insert_members(new.id, &members, Role::Member, 0, Place(0)).await?;
    tx.update_member_count(new.id).await?;
    let data = created_data(tx, new.id, actor).await?;
    let (groups, durable) = user_events(tx, &everybody, EventName::ConversationCreated, new.id, &data).await?;
    Ok(Effect { created: true, json: answer(tx, new.id).await?, groups, durable, members_changed: true, message: None })
}

/// It is there: for whoever is in it that is the answer, for anybody else the id is taken.
async fn again(tx: &ApplyTx<'_>, actor: UserId, new: New<'_>) -> Result<Effect, Stop> {
    let taken = || Refusal::new(Code::IdConflict, "this id was used for another conversation");
    let there = tx.lock_conversation(new.id).await?.ok_or_else(taken)?;
    let member = tx.get_member(new.id, actor).await?;
    let same = there.kind == new.kind
        && member.is_some()
        && (new.kind == ConversationKind::Direct || there.created_by == actor);
    if !same {
        return Err(taken().into());
    }
    Ok(Effect { json: answer(tx, new.id).await?, ..Effect::default() })
}

async fn answer(tx: &ApplyTx<'_>, id: ConversationId) -> Result<Bytes, StoreError> {
    Ok(bytes(&json!({ "conversation": tx.get_conversation_view(id).await? })))
}

/// What those who are in it now are told: the conversation with its heads, so that they know from where they get events.
pub async fn created_data(tx: &ApplyTx<'_>, id: ConversationId, actor: UserId) -> Result<Bytes, StoreError> {
    Ok(bytes(&json!({ "conversation": tx.get_conversation_view(id).await?, "actor_id": actor })))
}

pub async fn update(act: &Act<'_, '_>, title: Option<&str>, description: Option<&str>) -> Result<Effect, Stop> {
    act.demand(Permission::Rename, "your role does not allow changing the conversation")?;
    let differs = |new: Option<&str>, old: Option<&str>| new.is_some_and(|new| Some(new) != old);
    let conversation = &act.conversation;
    if !differs(title, conversation.title.as_deref()) && !differs(description, Some(&conversation.description)) {
        return Ok(Effect { json: answer(act.tx, conversation.id).await?, ..Effect::default() });
    }
    act.tx.update_conversation(conversation.id, title, description).await?;
    let data = json!({ "actor_id": act.actor, "title": title, "description": description });
    let changed =
        act.tx.append_change(conversation.id, EventName::ConversationUpdated, act.actor, None, &data, 0).await?;
    let view = act.tx.get_conversation_view(conversation.id).await?;
    let event = act.event(
        EventName::ConversationUpdated,
        &changed,
        bytes(&json!({ "actor_id": act.actor, "conversation": view })),
    );
    Ok(Effect {
        json: bytes(&json!({ "conversation": view })),
        groups: vec![(act.to_members(&changed), vec![event])],
        durable: vec![act.pointer(&changed)],
        ..Effect::default()
    })
}

/// For everybody and for good: it can still be read, nothing can be said in it.
pub async fn close(act: &Act<'_, '_>) -> Result<Effect, Stop> {
    act.demand(Permission::CloseConversation, "only an owner closes a group")?;
    let id = act.conversation.id;
    act.tx.close_conversation(id).await?;
    let data = json!({ "actor_id": act.actor });
    let changed = act.tx.append_change(id, EventName::ConversationDeleted, act.actor, None, &data, 0).await?;
    let event = act.event(EventName::ConversationDeleted, &changed, bytes(&data));
    Ok(Effect {
        json: bytes(&json!({ "conversation_id": id, "seq": changed.seq, "rev": changed.rev })),
        groups: vec![(act.to_members(&changed), vec![event])],
        durable: vec![act.pointer(&changed)],
        ..Effect::default()
    })
}
