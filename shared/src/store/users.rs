//! Accounts: who there is, and what a login is compared with.

use super::{
    Result, Store, StoreError,
    rows::{USER_COLUMNS, user_view},
    sessions::{Ending, NewSession, end_sessions, insert_in},
};
use crate::{
    domain::{SessionId, UserId},
    run_tx,
    view::UserView,
};
use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use uuid::Uuid;

/// What [`StoreError::Conflict`] names when a username or an email is taken.
pub const USERNAME_TAKEN: &str = "users_username_key_key";
pub const EMAIL_TAKEN: &str = "users_email_key_key";

/// An account that begins. The keys are what uniqueness compares.
pub struct NewUser<'a> {
    pub id: UserId,
    pub username: &'a str,
    pub username_key: &'a str,
    pub email: &'a str,
    pub email_key: &'a str,
    pub password_hash: &'a str,
    pub display_name: &'a str,
}

/// How a login names its account.
#[derive(Clone, Copy, Debug)]
pub enum LoginKey<'a> {
    Username(&'a str),
    Email(&'a str),
}

/// What a login is compared with.
pub struct Credentials {
    pub user: UserId,
    pub password_hash: String,
    pub disabled: bool,
}

impl Store {
    /// The account and its first session together. `Conflict` names the constraint.
    pub async fn insert_user(&self, user: &NewUser<'_>, session: &NewSession<'_>) -> Result<UserView> {
        run_tx!(self, "insert_user", |tx| insert(&tx, user, session).await)
    }

    /// Says `Conflict` before the work of hashing a password; [`Store::insert_user`] decides.
    pub async fn get_user_conflict(&self, username_key: &str, email_key: &str) -> Result<()> {
        let client = self.client().await?;
        let sql = "SELECT username_key = $1 FROM users WHERE username_key = $1 OR email_key = $2
             ORDER BY username_key = $1 DESC LIMIT 1";
        let statement = client.prepare_cached(sql).await?;
        match client.query_opt(&statement, &[&username_key, &email_key]).await? {
            None => Ok(()),
            Some(row) if row.get(0) => Err(StoreError::Conflict(USERNAME_TAKEN.into())),
            Some(_) => Err(StoreError::Conflict(EMAIL_TAKEN.into())),
        }
    }

    pub async fn get_credentials(&self, login: LoginKey<'_>) -> Result<Credentials> {
        let (column, key) = match login {
            LoginKey::Username(key) => ("username_key", key),
            LoginKey::Email(key) => ("email_key", key),
        };
        let client = self.client().await?;
        let sql = format!("SELECT id, password_hash, disabled_at IS NOT NULL FROM users WHERE {column} = $1");
        let statement = client.prepare_cached(&sql).await?;
        client.query_opt(&statement, &[&key]).await?.as_ref().map(credentials).ok_or(StoreError::NotFound)
    }

    /// The user's credentials, with what a new password must not be: username and email.
    pub async fn get_own_credentials(&self, user: UserId) -> Result<(Credentials, String, String)> {
        let client = self.client().await?;
        let sql = "SELECT id, password_hash, disabled_at IS NOT NULL, username, email FROM users WHERE id = $1";
        let row = client.query_opt(sql, &[&user.0]).await?.ok_or(StoreError::NotFound)?;
        Ok((credentials(&row), row.get(3), row.get(4)))
    }

    /// Replaces the hash that was found to be the current password's, and ends every other session; `NotFound` where the
    /// password was changed meanwhile.
    pub async fn update_password(&self, user: UserId, old: &str, new: &str, keep: SessionId) -> Result<Vec<SessionId>> {
        run_tx!(self, "update_password", |tx| {
            let sql = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2";
            match tx.execute(sql, &[&user.0, &old, &new]).await? {
                0 => Err(StoreError::NotFound),
                _ => end_sessions(&tx, user, Ending::AllBut(keep), "password").await,
            }
        })
    }

    pub async fn get_user(&self, user: UserId) -> Result<UserView> {
        let client = self.client().await?;
        let sql = format!("SELECT {USER_COLUMNS} FROM users u WHERE u.id = $1 AND u.disabled_at IS NULL");
        let statement = client.prepare_cached(&sql).await?;
        client.query_opt(&statement, &[&user.0]).await?.as_ref().map(user_view).ok_or(StoreError::NotFound)
    }

    /// With the email, which only the user himself may see.
    pub async fn get_account(&self, user: UserId) -> Result<(UserView, String)> {
        let client = self.client().await?;
        let sql = format!("SELECT {USER_COLUMNS}, u.email FROM users u WHERE u.id = $1");
        let statement = client.prepare_cached(&sql).await?;
        let row = client.query_opt(&statement, &[&user.0]).await?.ok_or(StoreError::NotFound)?;
        Ok((user_view(&row), row.get("email")))
    }

    /// Those of `ids` that there are, in their order.
    pub async fn list_users_by_id(&self, ids: &[UserId]) -> Result<Vec<UserView>> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let client = self.client().await?;
        let sql = format!(
            "SELECT {USER_COLUMNS} FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted(id, place)
             JOIN users u ON u.id = wanted.id WHERE u.disabled_at IS NULL ORDER BY wanted.place"
        );
        let statement = client.prepare_cached(&sql).await?;
        Ok(client.query(&statement, &[&ids]).await?.iter().map(user_view).collect())
    }

    /// By username after `after` (a username in lower case): those whose username, display name or email begins with
    /// `prefix`, in any case. Each comes with the username to go on after.
    pub async fn list_users(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<(UserView, String)>> {
        let client = self.client().await?;
        let columns = format!("{USER_COLUMNS}, u.username_key");
        let limit = limit as i64;
        let row = |row: &Row| (user_view(row), row.get("username_key"));
        if prefix.is_empty() {
            let sql = format!(
                "SELECT {columns} FROM users u WHERE u.username_key > $1 AND u.disabled_at IS NULL ORDER BY u.username_key LIMIT $2"
            );
            let statement = client.prepare_cached(&sql).await?;
            return Ok(client.query(&statement, &[&after, &limit]).await?.iter().map(row).collect());
        }
        let sql = format!(
            "SELECT {columns} FROM users u
             WHERE (u.username_key LIKE $1 OR lower(u.display_name) LIKE $1 OR u.email_key LIKE $1)
               AND u.username_key > $2 AND u.disabled_at IS NULL
             ORDER BY u.username_key LIMIT $3"
        );
        // Not cached: a plan made for any pattern could not use the indexes that a known prefix can.
        Ok(client.query(&sql, &[&like_prefix(prefix), &after, &limit]).await?.iter().map(row).collect())
    }
}

async fn insert(tx: &Transaction<'_>, user: &NewUser<'_>, session: &NewSession<'_>) -> Result<UserView> {
    let sql = format!(
        "INSERT INTO users AS u (id, username, username_key, email, email_key, password_hash, display_name)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {USER_COLUMNS}"
    );
    let statement = tx.prepare_cached(&sql).await?;
    let row = tx
        .query_one(
            &statement,
            &[
                &user.id.0,
                &user.username,
                &user.username_key,
                &user.email,
                &user.email_key,
                &user.password_hash,
                &user.display_name,
            ],
        )
        .await?;
    insert_in(tx, session).await?;
    Ok(user_view(&row))
}

fn credentials(row: &Row) -> Credentials {
    Credentials { user: UserId(row.get(0)), password_hash: row.get(1), disabled: row.get(2) }
}

/// A pattern for exactly this prefix, in lower case.
fn like_prefix(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 8);
    for letter in prefix.to_lowercase().chars() {
        if matches!(letter, '\\' | '%' | '_') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::like_prefix;

    #[test]
    fn a_prefix_is_taken_literally() {
        assert_eq!(like_prefix("Ann"), "ann%");
        assert_eq!(like_prefix("a_b%c\\"), "a\\_b\\%c\\\\%");
    }
}
