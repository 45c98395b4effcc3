//! Refusals in the words and wire format of each of AWS's protocols, so that an SDK classifies them as it would AWS's own.

use crate::call::{Call, Protocol};
use crate::http::Message;

/// What AWS answers when calls come too fast: its code, status and shape differ by protocol.
pub fn throttled(call: &Call) -> Message {
    match call.protocol {
        Protocol::Ec2Query => refused(call, 503, "RequestLimitExceeded", "Request limit exceeded."),
        Protocol::Query | Protocol::RestXml => refused(call, 400, "Throttling", "Rate exceeded"),
        Protocol::Json => refused(call, 400, "ThrottlingException", "Rate exceeded"),
    }
}

pub fn refused(call: &Call, status: u16, code: &str, text: &str) -> Message {
    match call.protocol {
        Protocol::Ec2Query => {
            let error = format!("<Error><Code>{code}</Code><Message>{text}</Message></Error>");
            let body = format!(
                "<?xml version=\"1.0\"?><Response><Errors>{error}</Errors><RequestID>proxy</RequestID></Response>"
            );
            Message::answer(status, "text/xml;charset=UTF-8", body)
        }
        Protocol::Query | Protocol::RestXml => {
            let error =
                format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error>");
            let body = format!(
                "<?xml version=\"1.0\"?><ErrorResponse>{error}<RequestId>proxy</RequestId></ErrorResponse>"
            );
            Message::answer(status, "text/xml", body)
        }
        Protocol::Json => {
            let body = serde_json::json!({ "__type": code, "message": text }).to_string();
            Message::answer(status, "application/x-amz-json-1.1", body)
        }
    }
}
