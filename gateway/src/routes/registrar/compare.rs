//! What the routing says of this gateway against what is so. A lost key says nothing: whoever's list no longer names this
//! gateway is deaf, and whoever is not in its set is left over when the gateway has died.

use shared::{
    command::GatewayRef,
    domain::UserId,
    routing::{Routes, Routing, RoutingAway},
};
use std::collections::HashSet;

/// People of this gateway whom the routing has lost.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Deliveries to them do not come here.
    pub deaf: Vec<UserId>,
    /// Deliveries come, but the gateway's own set lacks them.
    pub unlisted: Vec<UserId>,
    /// Watched here, and nobody announces it.
    pub unwatched: Vec<UserId>,
}

/// Changes nothing. `users` are those whose route is written, `watched` those whose watch is.
pub async fn lost(
    routing: &dyn Routing,
    me: GatewayRef,
    users: &[UserId],
    watched: &[UserId],
) -> Result<Lost, RoutingAway> {
    let set: HashSet<UserId> = routing.routes_of(me).await?.into_iter().collect();
    let deaf = without(me, users, &routing.lookup(users).await?);
    let lacking: HashSet<&UserId> = deaf.iter().collect();
    let unlisted = users.iter().filter(|user| !set.contains(user) && !lacking.contains(user)).copied().collect();
    let unwatched = without(me, watched, &routing.watchers(watched).await?);
    Ok(Lost { deaf, unlisted, unwatched })
}

/// Those whose list does not name this gateway.
fn without(me: GatewayRef, users: &[UserId], lists: &[Routes]) -> Vec<UserId> {
    users.iter().zip(lists).filter(|(_, gateways)| !gateways.contains(&me)).map(|(user, _)| *user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{domain::GatewayId, routing::local::LocalRouting};

    #[tokio::test]
    async fn who_is_not_named_is_lost_and_nobody_else() {
        let routing = LocalRouting::new();
        let (me, _inbox) = routing.join(GatewayId::new()).await.unwrap();
        let (other, _other) = routing.join(GatewayId::new()).await.unwrap();
        let users: Vec<UserId> = (0..4).map(|_| UserId::new()).collect();
        routing.add_routes(me, users[..2].to_vec()).await.unwrap();
        routing.add_routes(other, users[1..3].to_vec()).await.unwrap();
        routing.watch(me, users[..3].to_vec()).await.unwrap();
        routing.watch(other, users.clone()).await.unwrap();
        let expected = Lost { deaf: users[2..].to_vec(), unlisted: vec![], unwatched: users[3..].to_vec() };
        assert_eq!(lost(&routing, me, &users, &users).await, Ok(expected));
        assert_eq!(lost(&routing, me, &users[..2], &users[..3]).await, Ok(Lost::default()));
        routing.set_away(true);
        assert!(lost(&routing, me, &users, &users).await.is_err());
    }
}
