//! The list of a person's conversations, and one of them.

use crate::world::World;
use shared::{
    domain::{ConversationId, Role, UserId},
    store::{StoreError, conversations::ListedAt},
    view::ConversationView,
};

async fn get(world: &World, user: UserId, id: ConversationId) -> ConversationView {
    world.store().get_conversation(user, id).await.expect("his conversation")
}

#[tokio::test]
async fn the_list_has_the_latest_first_and_goes_on_where_it_stopped() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let mut ids = vec![];
    for n in 0..5 {
        ids.push(world.group(&format!("group {n}"), &[ann, bob]).await);
    }
    world.group("not hers", &[bob]).await;
    // Said in the first one last of all.
    for id in ids.iter().rev() {
        world.send(*id, bob, "hello").await;
    }
    let (mut after, mut seen) = (None, vec![]);
    loop {
        let list = world.store().list_conversations(ann, after, 2).await.expect("a page");
        assert!(list.items.len() == 2 || !list.more);
        seen.extend(list.items.iter().map(|view| view.id));
        after = list.items.last().map(ListedAt::of);
        if !list.more {
            break;
        }
    }
    assert_eq!(seen, ids);
    assert!(world.store().list_conversations(ann, None, 5).await.is_ok_and(|list| !list.more), "five are all");
    world.close(ids[1], ann).await;
    let list = world.store().list_conversations(ann, None, 10).await.expect("a page");
    assert!(list.items.iter().all(|view| view.id != ids[1]), "a closed one is not listed");
    assert!(world.store().get_conversation(ann, ids[1]).await.is_ok(), "and can still be read");
}

#[tokio::test]
async fn it_is_shown_as_its_reader_sees_it() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let id = world.group("tea", &[ann, bob]).await;
    world.send(id, ann, "one").await;
    world.send(id, bob, "two").await;
    world.rename(id, ann, "coffee").await;
    world.mark(id, ann, 1, 2).await;
    let view = get(&world, ann, id).await;
    assert_eq!((view.title.as_deref(), view.seq, view.rev, view.member_count), (Some("coffee"), 2, 1, 2));
    let me = view.me.expect("hers");
    assert_eq!((me.role, me.read_seq, me.delivered_seq), (Role::Owner, 1, 2));
    assert_eq!(&*view.last_message.expect("the last").body, "two");
    let members = view.members.expect("the first ones");
    assert_eq!(
        members.iter().map(|m| (m.user.id, m.role)).collect::<Vec<_>>(),
        [(ann, Role::Owner), (bob, Role::Member)]
    );
    assert_eq!(members[1].user.display_name, "bob");
    let stranger = world.user("eve").await;
    assert!(matches!(world.store().get_conversation(stranger, id).await, Err(StoreError::NotFound)));
    world.read_from(id, bob, 2).await;
    assert!(get(&world, bob, id).await.last_message.is_none(), "said before his time");
}

#[tokio::test]
async fn unread_is_what_others_said_and_left_there() {
    let world = World::create().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let id = world.group("tea", &[ann, bob]).await;
    let unread = async |user| get(&world, user, id).await.unread.expect("a count");
    assert_eq!(unread(ann).await, 0);
    for _ in 0..3 {
        world.send(id, bob, "x").await;
    }
    assert_eq!((unread(ann).await, unread(bob).await), (3, 0), "not one's own");
    world.delete(id, 2).await;
    assert_eq!(unread(ann).await, 2, "not what was deleted");
    world.send_kind(id, bob, "system", "bob did something", None).await;
    assert_eq!(unread(ann).await, 2, "not what the server said");
    world.mark(id, ann, 1, 1).await;
    assert_eq!(unread(ann).await, 1);
    world.mark(id, ann, 4, 4).await;
    assert_eq!(unread(ann).await, 0);
    world.fill(id, &[bob], 99).await;
    assert_eq!(unread(ann).await, 99);
    world.fill(id, &[bob], 50).await;
    assert_eq!(unread(ann).await, 100, "counted to a hundred");
    let last = get(&world, ann, id).await.seq;
    world.read_from(id, ann, last - 7).await;
    assert_eq!(unread(ann).await, 7, "and not before one's time");
}

#[tokio::test]
async fn members_are_listed_in_pages() {
    let world = World::create().await;
    let mut people = vec![];
    for n in 0..12 {
        people.push(world.user(&format!("person {n}")).await);
    }
    people.sort_unstable();
    let id = world.group("crowd", &people).await;
    assert_eq!(get(&world, people[3], id).await.members.expect("some").len(), 10);
    let (mut after, mut seen) = (None, vec![]);
    loop {
        let page = world.store().list_members(people[0], id, after, 5).await.expect("a page");
        seen.extend(page.iter().map(|member| member.user.id));
        after = page.last().map(|member| member.user.id);
        if page.len() < 5 {
            break;
        }
    }
    assert_eq!(seen, people);
    assert!(world.store().list_members(people[0], id, after, 5).await.is_ok_and(|page| page.is_empty()));
}
