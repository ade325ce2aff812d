//! Who comes, who goes, who may what.

use super::{Act, Effect, Stop, user_events};
use bytes::Bytes;
use serde_json::json;
use shared::{
    domain::{ConversationKind, GROUP_MEMBERS_MAX, Permission, Place, Role, UserId, may_set_role},
    event::{DurableEvent, Event, EventName},
    fanout::To,
    reply::{Code, Refusal},
    view::json as bytes,
};

/// Adds people to a group. Those who are members already stay as they are; somebody who is not there refuses it all.
pub async fn add(act: &Act<'_, '_>, users: &[UserId]) -> Result<Effect, Stop> {
    act.demand(Permission::AddMembers, "your role does not allow adding members")?;
    let conversation = &act.conversation;
    let mut users = users.to_vec();
    users.sort_unstable();
    users.dedup();
    act.tx.lock_user_streams(&users).await?;
    if act.tx.list_users(&users).await?.len() != users.len() {
        return Err(Refusal::field("user_ids", "names somebody who is not there").into());
    }
    if conversation.member_count as usize + users.len() > GROUP_MEMBERS_MAX {
        return Err(Refusal::field("user_ids", "would make the group larger than 5,000 members").into());
    }
    // The place this change takes: the new ones get what is placed after it.
    let joined = Place::of(conversation.last_seq, conversation.last_rev + 1);
    let added = act.tx.insert_members(conversation.id, &users, Role::Member, conversation.last_seq, joined).await?;
    if added.is_empty() {
        let json = bytes(&json!({ "conversation_id": conversation.id, "members": [] }));
        return Ok(Effect { json, ..Effect::default() });
    }
    let views = act.tx.list_member_views(conversation.id, Some(&added)).await?;
    let data = json!({ "actor_id": act.actor, "members": views, "member_count": conversation.member_count as usize + added.len() });
    let change = json!({ "actor_id": act.actor, "user_ids": added });
    let count = added.len() as i32;
    let changed =
        act.tx.append_change(conversation.id, EventName::MemberAdded, act.actor, None, &change, count).await?;
    let event = act.event(EventName::MemberAdded, &changed, bytes(&data));
    let created = super::conversations::created_data(act.tx, conversation.id, act.actor).await?;
    let (mut groups, mut durable) =
        user_events(act.tx, &added, EventName::ConversationCreated, conversation.id, &created).await?;
    // The joining itself goes to those who were there before; the list of that version leaves out whom it is about.
    groups.insert(0, (act.to_members(&changed), vec![event]));
    durable.push(act.pointer(&changed));
    let json =
        bytes(&json!({ "conversation_id": conversation.id, "members": views, "seq": changed.seq, "rev": changed.rev }));
    Ok(Effect { json, groups, durable, members_changed: true, created: true, message: None })
}

/// Removes somebody from a group, or leaves it. Whoever leaves last closes it; a group never stays without an owner.
pub async fn remove(act: &Act<'_, '_>, user: UserId) -> Result<Effect, Stop> {
    let conversation = &act.conversation;
    if conversation.kind == ConversationKind::Direct {
        return Err(Refusal::forbidden("nobody leaves a direct conversation").into());
    }
    act.tx.lock_user_streams(&[user]).await?;
    if user == act.actor {
        act.demand(Permission::Leave, "your role does not allow leaving")?;
    } else {
        let target = act.tx.get_member(conversation.id, user).await?.ok_or_else(Refusal::not_found)?;
        act.demand(Permission::RemoveMember { target: target.role }, "your role does not allow removing this member")?;
    }
    let before: Vec<UserId> = act.tx.list_member_ids(conversation.id).await?;
    let removed = act.tx.delete_member(conversation.id, user).await?.ok_or_else(Refusal::not_found)?;
    let data = json!({ "actor_id": act.actor, "user_id": user, "member_count": conversation.member_count - 1 });
    let changed = act.tx.append_change(conversation.id, EventName::MemberRemoved, act.actor, None, &data, -1).await?;
    // The removal itself goes to the old members and the remaining ones; nothing placed after it reaches the removed.
    let event = act.event(EventName::MemberRemoved, &changed, bytes(&data));
    let mut groups = vec![(To::Users(before.into()), vec![event])];
    let mut durable = vec![act.pointer(&changed)];
    if let Some((event, pointer)) = after_departure(act, removed.role).await? {
        durable.push(pointer);
        groups.push((To::Members { conversation: conversation.id, version: changed.member_version }, vec![event]));
    }
    let reason = if user == act.actor { "left" } else { "removed" };
    let gone = bytes(&json!({ "conversation_id": conversation.id, "reason": reason, "actor_id": act.actor }));
    let (private, more) = user_events(act.tx, &[user], EventName::ConversationDeleted, conversation.id, &gone).await?;
    groups.extend(private);
    durable.extend(more);
    let json =
        bytes(&json!({ "conversation_id": conversation.id, "user_id": user, "seq": changed.seq, "rev": changed.rev }));
    Ok(Effect { json, groups, durable, members_changed: true, created: false, message: None })
}

/// The last one out closes the group; the last owner out leaves it to whoever is next in line.
async fn after_departure(act: &Act<'_, '_>, left: Role) -> Result<Option<(Event, DurableEvent)>, Stop> {
    let conversation = &act.conversation;
    let Some((heir, role)) = act.tx.get_successor(conversation.id).await? else {
        act.tx.close_conversation(conversation.id).await?;
        return Ok(None);
    };
    if left != Role::Owner || role == Role::Owner {
        return Ok(None);
    }
    act.tx.update_role(conversation.id, heir, Role::Owner).await?;
    let data = json!({ "actor_id": act.actor, "user_id": heir, "role": Role::Owner });
    let changed = act.tx.append_change(conversation.id, EventName::MemberUpdated, act.actor, None, &data, 0).await?;
    Ok(Some((act.event(EventName::MemberUpdated, &changed, bytes(&data)), act.pointer(&changed))))
}

/// Gives a member another role.
pub async fn set_role(act: &Act<'_, '_>, user: UserId, to: Role) -> Result<Effect, Stop> {
    if act.conversation.kind == ConversationKind::Direct {
        return Err(Refusal::forbidden("a direct conversation has no roles").into());
    }
    let target = act.tx.get_member(act.conversation.id, user).await?.ok_or_else(Refusal::not_found)?;
    let answer = |seq: i64, rev: i64| -> Bytes {
        bytes(&json!({ "conversation_id": act.conversation.id, "user_id": user, "role": to, "seq": seq, "rev": rev }))
    };
    if !may_set_role(act.role, target.role, to) {
        return Err(Refusal::forbidden("your role does not allow giving this member that role").into());
    }
    if target.role == to {
        return Ok(Effect { json: answer(act.conversation.last_seq, act.conversation.last_rev), ..Effect::default() });
    }
    if user == act.actor {
        return Err(Refusal::new(Code::Forbidden, "nobody changes his own role").into());
    }
    act.tx.update_role(act.conversation.id, user, to).await?;
    let data = json!({ "actor_id": act.actor, "user_id": user, "role": to });
    let changed =
        act.tx.append_change(act.conversation.id, EventName::MemberUpdated, act.actor, None, &data, 0).await?;
    Ok(Effect {
        json: answer(changed.seq, changed.rev),
        groups: vec![(act.to_members(&changed), vec![act.event(EventName::MemberUpdated, &changed, bytes(&data))])],
        durable: vec![act.pointer(&changed)],
        ..Effect::default()
    })
}
