//! Numbered errors of replies. A client branches on `code` and `temporary`; the message is for people.

/// The `error` of a reply.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ErrorReply {
    #[prost(uint32, tag = "1")]
    pub code: u32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(bool, tag = "3")]
    pub temporary: bool,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $message:literal, $temporary:literal;)*) => {
        impl ErrorReply {
            $($(#[$doc])* pub fn $name() -> ErrorReply {
                ErrorReply { code: $code, message: $message.to_owned(), temporary: $temporary }
            })*
        }

        /// Every error this server sends by itself, for documents and tests.
        pub const ERRORS: &[(u32, &str, bool)] = &[$(($code, $message, $temporary)),*];
    };
}

errors! {
    /// A dependency is slow, full or away. SDKs repeat connect, subscribe and refresh by themselves.
    internal = 100, "internal server error", true;
    unauthorized = 101, "unauthorized", false;
    unknown_channel = 102, "unknown channel", false;
    permission_denied = 103, "permission denied", false;
    method_not_found = 104, "method not found", false;
    already_subscribed = 105, "already subscribed", false;
    limit_exceeded = 106, "limit exceeded", false;
    bad_request = 107, "bad request", false;
    not_available = 108, "not available", false;
    /// The SDK fetches a new token and repeats the command.
    token_expired = 109, "token expired", false;
    expired = 110, "expired", false;
    too_many_requests = 111, "too many requests", true;
    unrecoverable_position = 112, "unrecoverable position", false;
}
