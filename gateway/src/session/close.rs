//! Why a session ends. The code's range says whether to come back: 1012 after the hint, 4000–4099 at once, 4400–4499 not
//! as you are. The counterpart, a request that fails while its session lives on, is a `Refusal`.

use crate::shard::Close;

/// RFC 6455 §7.4.1: this endpoint speaks text only.
pub const BINARY: Close = Close { code: 1003, reason: "text frames only" };
/// RFC 6455's registry: the service restarts; the event `reconnect` said after how long to come back.
pub const COME_BACK: Close = Close { code: 1012, reason: "come back" };
/// The token is not valid, or is missing.
pub const TOKEN: Close = Close { code: 4401, reason: "token" };
/// The session was ended: log in again.
pub const SESSION_ENDED: Close = Close { code: 4403, reason: "session ended" };
/// The first frame did not come within ten seconds.
pub const NO_HELLO: Close = Close { code: 4408, reason: "no hello" };
/// Hundreds of requests in a row were wrong or too often, and none was right.
pub const TOO_MANY: Close = Close { code: 4429, reason: "too many" };
