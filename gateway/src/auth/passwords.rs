//! Password hashes: argon2id with OWASP's parameters, 35 ms and 19 MiB each, on blocking threads behind a bounded queue.
//! More than fits is refused at once: a storm of logins must not take the memory or the cores from who is already in.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use shared::{
    config::AuthConfig,
    reply::{Code, Refusal},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// For the answer when the queue is full: how many hashes one thread does in a second, roughly.
const HASHES_PER_SECOND: usize = 25;

pub struct Passwords {
    argon: Argon2<'static>,
    /// Threads.
    running: Arc<Semaphore>,
    /// Threads and those who wait for one.
    room: Arc<Semaphore>,
    queue_seconds: u32,
    /// Compared with where there is no such account, so that both take the same time.
    dummy: Arc<str>,
    computed: Arc<AtomicU64>,
}

impl Passwords {
    pub fn new(config: &AuthConfig) -> Self {
        let params =
            Params::new(MEMORY_KIB, PASSES, LANES, None).expect("cannot fail because these parameters are valid");
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = argon.hash_password(&super::random::<32>()).expect("cannot fail because the parameters are valid");
        Self {
            dummy: dummy.to_string().into(),
            argon,
            running: Arc::new(Semaphore::new(config.hash_threads)),
            room: Arc::new(Semaphore::new(config.hash_threads + config.hash_queue)),
            queue_seconds: config.hash_queue.div_ceil(config.hash_threads * HASHES_PER_SECOND).max(1) as u32,
            computed: Arc::default(),
        }
    }

    /// A hash with a salt of its own, as a PHC string.
    pub async fn hash(&self, password: String) -> Result<String, Refusal> {
        self.compute(move |argon| Ok(argon.hash_password(password.as_bytes()).map_err(|_| internal())?.to_string()))
            .await
    }

    /// Does it belong to this hash? Without one the same work is done and the answer is no.
    pub async fn verify(&self, password: String, hash: Option<&str>) -> Result<bool, Refusal> {
        let known = hash.is_some();
        let hash: Arc<str> = hash.map_or_else(|| self.dummy.clone(), Arc::from);
        self.compute(move |argon| {
            let hash = PasswordHash::new(&hash).map_err(|_| internal())?;
            Ok(argon.verify_password(password.as_bytes(), &hash).is_ok() && known)
        })
        .await
    }

    /// Hashes computed since start.
    pub fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let permits = self.permits().await?;
        let (argon, computed) = (self.argon.clone(), self.computed.clone());
        let task = tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: a caller that goes away does not make room for another.
            let _permits = permits;
            computed.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("rookery_password_hashes_total").increment(1);
            work(&argon)
        });
        task.await.map_err(|error| {
            tracing::error!(%error, "hashing a password failed");
            internal()
        })?
    }

    async fn permits(&self) -> Result<[OwnedSemaphorePermit; 2], Refusal> {
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            metrics::counter!("rookery_password_hashes_refused_total").increment(1);
            return Err(Refusal::new(Code::Overloaded, "too many logins at once").retry_after(self.queue_seconds));
        };
        let running = self.running.clone().acquire_owned().await.expect("cannot fail because nobody closes it");
        Ok([room, running])
    }
}

fn internal() -> Refusal {
    Refusal::new(Code::Internal, "something went wrong on our side")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::tests::config;

    #[tokio::test]
    async fn a_password_belongs_to_its_hash_only() {
        let passwords = Passwords::new(&config(&[]));
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse".into(), Some(&hash)).await.unwrap());
        assert!(!passwords.verify("battery staple".into(), Some(&hash)).await.unwrap());
    }

    #[tokio::test]
    async fn no_account_costs_as_much_as_one() {
        let passwords = Passwords::new(&config(&[]));
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
        assert_eq!(passwords.computed(), 1);
        let params = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(params(&passwords.dummy), params(&passwords.hash("x".into()).await.unwrap()));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let passwords = Passwords::new(&config(&[("HASH_THREADS", "1"), ("HASH_QUEUE", "1")]));
        let held = passwords.permits().await.unwrap();
        let waits = passwords.hash("one".into());
        let mut waits = std::pin::pin!(waits);
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        let refusal = passwords.hash("two".into()).await.unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after), (Code::Overloaded, Some(1)));
        drop(held);
        assert!(waits.await.is_ok());
        assert!(passwords.hash("two".into()).await.is_ok());
    }
}
