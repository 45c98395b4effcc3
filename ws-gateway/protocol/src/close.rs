//! Close codes. On WebSocket a disconnect *is* the close frame. Codes 3500-3999 and 4500-4999 are final for
//! every SDK, the others make it reconnect; hence a fault that may pass must never be given a final code.

use std::borrow::Cow;

/// A close frame's code and reason. The reason is plain text under 124 bytes and never happens to be JSON: the
/// JavaScript SDK would read it as an advice object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: Cow<'static, str>,
}

/// RFC 6455 gives a control frame 125 bytes, two of them the code.
pub const REASON_BYTES_MAX: usize = 123;

macro_rules! closes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal;)*) => {
        impl Close {
            $($(#[$doc])* pub const $name: Close = Close { code: $code, reason: Cow::Borrowed($reason) };)*
        }

        /// Every close this server sends by itself, for documents and tests.
        pub const CLOSES: &[Close] = &[$(Close::$name),*];
    };
}

closes! {
    /// RFC 6455: the answer to the client's own close.
    NORMAL = 1000, "";
    /// RFC 6455: the frames themselves are wrong.
    PROTOCOL_ERROR = 1002, "protocol error";
    /// A text frame that is not UTF-8.
    NOT_UTF8 = 1007, "invalid utf-8";
    /// SDKs map this to "message size limit" and stay away.
    TOO_LARGE = 1009, "message size limit";
    CONNECTION_CLOSED = 3000, "connection closed";
    /// The deploy code: reconnect, elsewhere.
    SHUTDOWN = 3001, "shutdown";
    INTERNAL = 3004, "internal server error";
    CONNECTION_EXPIRED = 3005, "connection expired";
    SUBSCRIPTION_EXPIRED = 3006, "subscription expired";
    /// The outbound queue is over its bound; it is dropped, the client recovers by offset.
    SLOW = 3008, "slow";
    WRITE_ERROR = 3009, "write error";
    /// A gap on a server-side subscription.
    INSUFFICIENT_STATE = 3010, "insufficient state";
    FORCE_RECONNECT = 3011, "force reconnect";
    NO_PONG = 3012, "no pong";
    TOO_MANY_REQUESTS = 3013, "too many requests";
    STATE_INVALIDATED = 3014, "state invalidated";
    INVALID_TOKEN = 3500, "invalid token";
    BAD_REQUEST = 3501, "bad request";
    STALE = 3502, "stale";
    FORCE_DISCONNECT = 3503, "force disconnect";
    CONNECTION_LIMIT = 3504, "connection limit";
    CHANNEL_LIMIT = 3505, "channel limit";
    INAPPROPRIATE_PROTOCOL = 3506, "inappropriate protocol";
    PERMISSION_DENIED = 3507, "permission denied";
    NOT_AVAILABLE = 3508, "not available";
    TOO_MANY_ERRORS = 3509, "too many errors";
}

impl Close {
    /// A code chosen by a backend. Too long a reason is cut at a character, one that is JSON gets a mark before it.
    pub fn custom(code: u16, reason: &str) -> Close {
        let mut text = reason.to_owned();
        if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
            text.insert_str(0, "- ");
        }
        let mut end = text.len().min(REASON_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Close { code, reason: Cow::Owned(text) }
    }

    /// Whether an SDK stays away for good.
    pub fn is_terminal(&self) -> bool {
        matches!(self.code, 1009 | 3500..=3999 | 4500..=4999)
    }
}

/// Unsubscribe pushes. From 2500 on the SDK subscribes again at once, from its last position.
pub mod unsubscribe {
    pub const SERVER: (u32, &str) = (2000, "server unsubscribe");
    pub const INSUFFICIENT: (u32, &str) = (2500, "insufficient state");
    pub const EXPIRED: (u32, &str) = (2501, "subscription expired");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_a_control_frame_and_are_not_json() {
        for close in CLOSES {
            assert!(close.reason.len() <= REASON_BYTES_MAX, "{close:?}");
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(&close.reason).is_err(), "{close:?}");
        }
        assert_eq!(Close::custom(4000, "true").reason, "- true");
        let long = Close::custom(4000, &"ü".repeat(100));
        assert!(long.reason.len() <= REASON_BYTES_MAX && long.reason.ends_with('ü'));
    }

    #[test]
    fn final_codes_are_final() {
        for (close, terminal) in [
            (Close::SHUTDOWN, false),
            (Close::NO_PONG, false),
            (Close::INVALID_TOKEN, true),
            (Close::TOO_LARGE, true),
        ] {
            assert_eq!(close.is_terminal(), terminal, "{close:?}");
        }
    }
}
