//! The product's tests of this crate over REST: the real listener, a real PostgreSQL, requests byte by byte.

mod rest {
    mod accounts;
    mod browsers;
    mod envelope;
    mod health;
    mod limits;
    mod logins;
    mod refresh;
    mod sessions;
    mod shut;
    mod starting;
    mod users;
    pub mod world;
}
