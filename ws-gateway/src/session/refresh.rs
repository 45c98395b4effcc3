//! New tokens on a living connection: the connection's own, and those of single subscriptions.

use std::sync::Arc;

use keyway_protocol::{
    Close, ErrorReply, RefreshRequest, RefreshResult, Reply, SubRefreshRequest, SubRefreshResult,
};

use super::connect::seconds_until;
use super::subscribe::token_error;
use super::{Output, Session};
use crate::auth::TokenFault;
use crate::limits::Now;

impl Session {
    pub(super) fn refresh(&mut self, id: u32, request: &RefreshRequest, now: Now, out: &mut Vec<Output>) {
        if request.token.is_empty() {
            return self.close(Close::BAD_REQUEST, out);
        }
        if !self.rules.tokens {
            return self.reply(id, &ErrorReply::not_available().into(), out);
        }
        let identity = match self.rules.authority.connection(&request.token, now.unix_s()) {
            Ok(identity) => identity,
            Err(TokenFault::Expired) => return self.reply(id, &ErrorReply::token_expired().into(), out),
            Err(TokenFault::NotYet(_)) => {
                out.push(Output::RefreshKeys);
                return self.reply(id, &ErrorReply::internal().into(), out);
            }
            Err(fault @ (TokenFault::Invalid(_) | TokenFault::Revoked)) => {
                return self.close_for(Close::INVALID_TOKEN, fault.why(), out);
            }
        };
        // A connection is one person's or device's for its whole life.
        if identity.user != self.identity.user || identity.tenant != self.identity.tenant {
            return self.close_for(Close::INVALID_TOKEN, "a refresh for another subject", out);
        }
        let result = RefreshResult {
            client: self.id.to_string(),
            version: String::new(),
            expires: identity.expires_at_s > 0,
            ttl: seconds_until(identity.expires_at_s, now),
        };
        self.identity = Arc::new(identity);
        out.push(Output::Renew(Arc::clone(&self.identity)));
        self.set_expiry(now);
        self.reply(id, &Reply::Refresh(result), out);
    }

    pub(super) fn sub_refresh(
        &mut self,
        id: u32,
        request: &SubRefreshRequest,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if request.channel.is_empty() || request.token.is_empty() {
            return self.close(Close::BAD_REQUEST, out);
        }
        if request.kind > 0 {
            return self.reply(id, &ErrorReply::bad_request().into(), out);
        }
        if !self.rules.tokens {
            return self.reply(id, &ErrorReply::not_available().into(), out);
        }
        if self.subscriptions.find(&request.channel).is_none() {
            return self.reply(id, &ErrorReply::permission_denied().into(), out);
        }
        let grant = match self.rules.authority.subscription(&request.token, now.unix_s()) {
            Ok(grant) if self.is_granted(&grant, &request.channel) => grant,
            Ok(_) => return self.reply(id, &ErrorReply::permission_denied().into(), out),
            Err(fault) => {
                if matches!(fault, TokenFault::NotYet(_)) {
                    out.push(Output::RefreshKeys);
                }
                return self.reply(id, &token_error(fault).into(), out);
            }
        };
        if let Some(subscription) = self.subscriptions.find_mut(&request.channel) {
            subscription.expires_at_s = grant.expires_at_s;
        }
        let result =
            SubRefreshResult { expires: grant.expires_at_s > 0, ttl: seconds_until(grant.expires_at_s, now) };
        self.reply(id, &Reply::SubRefresh(result), out);
    }
}
