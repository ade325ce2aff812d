//! A client that reads too slowly: what it could not take is not kept for it, it is told so, and nobody else notices.

use crate::world::{Edge, Handshake, Person, Socket, View, World};

/// Ann talks at length, Cal hears every word, until the gateway has `times` thrown away what waits for somebody who does
/// not read. How often she spoke.
async fn flood(gateway: &Edge, ann: &mut Socket, cal: &mut Socket, group: &str, times: usize) -> usize {
    let long = "x".repeat(16 * 1024);
    let (mut said, mut thrown_away, mut before) = (0, 0, 0);
    while thrown_away < times {
        ann.say(group, &long).await;
        ann.forget();
        cal.expect("message.created").await;
        said += 1;
        let waits = gateway.app.hub.shards().expect("they run").counts().outboxes;
        thrown_away += usize::from(waits + 100_000 < before);
        before = waits;
        // 256 KiB for one session, and what is counted beside the bytes.
        assert!(waits <= 300_000 && said < 2_000, "{waits} bytes wait after {said} messages");
    }
    said
}

/// A client whose kernel keeps little for it.
async fn slow(gateway: &Edge, person: &Person) -> Socket {
    let mut socket = gateway.open_with(Handshake { receive_buffer: Some(4096), ..Handshake::default() }).await;
    socket.hello(person).await;
    socket
}

#[tokio::test]
async fn who_falls_behind_reads_again_and_is_live_again() {
    let world = World::set(&[]).await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let group = world.group(&ann, &[&ben, &cal]).await;
    let gateway = &world.gateways[0];
    let mut slow = slow(gateway, &ben).await;
    let mut view = View::begin(&ben, &mut slow).await;
    let (mut here, mut there) = (gateway.connect(&ann).await, gateway.connect(&cal).await);
    let said = flood(gateway, &mut here, &mut there, &group, 1).await;
    view.settle(&world, &mut slow).await;
    assert_eq!((view.resyncs, view.texts(&group).len()), (1, said));
    here.say(&group, "and on").await;
    view.follow(&mut slow, |view| view.texts(&group).last() == Some(&"and on")).await;
    assert_eq!(view.resyncs, 1, "live again");
}

#[tokio::test]
async fn who_never_catches_up_is_sent_away() {
    let world = World::set(&[]).await;
    let [ann, ben, cal] = world.people(["Ann", "Ben", "Cal"]).await;
    let group = world.group(&ann, &[&ben, &cal]).await;
    let gateway = &world.gateways[0];
    let mut slow = slow(gateway, &ben).await;
    let mut view = View::begin(&ben, &mut slow).await;
    let (mut here, mut there) = (gateway.connect(&ann).await, gateway.connect(&cal).await);
    let said = flood(gateway, &mut here, &mut there, &group, 2).await;
    assert_eq!(slow.closed().await, 4000);
    assert!(slow.names().len() < said);
    let mut back = gateway.connect(&ben).await;
    view.catch_up(&mut back).await;
    view.settle(&world, &mut back).await;
    assert_eq!(view.texts(&group).len(), said);
}
