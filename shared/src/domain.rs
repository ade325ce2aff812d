//! The words of the product and its rules, without I/O, clock or async: every layer may use them.

mod clean_up;
mod conversation;
mod ids;
mod limits;
mod message;
mod user;

pub use clean_up::{CleanUp, ENDED_SESSION_KEPT, SESSION_IDLE_MAX};
pub use conversation::{ConversationKind, Permission, Role, may, may_set_role};
pub use ids::{CommandId, ConversationId, GatewayId, MessageId, Place, SessionId, UserId};
pub use limits::*;
pub use message::{MessageKind, content_digest};
pub use user::{normal_email, normal_username, password_problem};
