//! The auth token of a cache: made here, written into its secret, given to ElastiCache, and nowhere else. The secret
//! is written before the group is made, because a token that nobody can read makes the cache useless.

use infra_model::address::Ref;
use infra_model::kinds;
use zeroize::Zeroize;

use crate::account::{CallError, Class};
use crate::aws::Aws;
use crate::aws::kinds::{gone_is_none, missing};

/// AWS takes 16 to 128 characters. 64 of 62 letters and digits are 381 bits, and need no quoting inside a URL.
const CHARACTERS: usize = 64;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Cannot be printed, and its memory is overwritten when it goes.
pub(super) struct Token(String);

impl Token {
    /// From the operating system's generator, every letter equally likely.
    pub(super) fn generate() -> Result<Self, CallError> {
        let mut token = String::with_capacity(CHARACTERS);
        let mut bytes = [0_u8; CHARACTERS];
        while token.len() < CHARACTERS {
            getrandom::fill(&mut bytes).map_err(|error| {
                let message = format!("the operating system gives no random bytes: {error}");
                CallError::new("infra", "generate", Class::Fatal, message)
            })?;
            // 62 * 4 = 248: bytes from there on would make the first letters likelier.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let room = CHARACTERS - token.len();
            token.extend(fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).take(room));
        }
        bytes.zeroize();
        Ok(Self(token))
    }

    /// The copy that the SDK takes.
    pub(super) fn copy(&self) -> String {
        self.0.clone()
    }

    /// An error of a call that carried the token, without the token, whatever the service has echoed.
    pub(super) fn scrubbed(&self, error: CallError) -> CallError {
        CallError { message: error.message.replace(&self.0, "..."), source: None, ..error }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Writes the token as the secret's current value and answers that version's id.
pub(super) async fn write(
    aws: &Aws,
    secret: &Ref<kinds::Secret>,
    token: &Token,
) -> Result<String, CallError> {
    let answer = aws
        .change("secretsmanager", "PutSecretValue", || {
            aws.secrets.put_secret_value().secret_id(secret.as_str()).secret_string(token.copy()).send()
        })
        .await
        .map_err(|error| token.scrubbed(error))?;
    answer.version_id.ok_or_else(|| missing("secretsmanager", "PutSecretValue", "version"))
}

/// Makes the value before `written` the current one again: the group turned out to exist, with that older token.
pub(super) async fn take_back(
    aws: &Aws,
    secret: &Ref<kinds::Secret>,
    written: &str,
) -> Result<(), CallError> {
    let answer = aws
        .read("secretsmanager", "DescribeSecret", || {
            aws.secrets.describe_secret().secret_id(secret.as_str()).send()
        })
        .await;
    let versions = gone_is_none(answer)?.and_then(|answer| answer.version_ids_to_stages).unwrap_or_default();
    let previous = versions.iter().find(|(_, stages)| stages.iter().any(|stage| stage == "AWSPREVIOUS"));
    let Some((previous, _)) = previous else { return Ok(()) };
    aws.change("secretsmanager", "UpdateSecretVersionStage", || {
        aws.secrets
            .update_secret_version_stage()
            .secret_id(secret.as_str())
            .version_stage("AWSCURRENT")
            .move_to_version_id(previous)
            .remove_from_version_id(written)
            .send()
    })
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_plain_and_never_the_same() {
        let (one, other) = (Token::generate().unwrap().copy(), Token::generate().unwrap().copy());
        assert_eq!(one.len(), CHARACTERS);
        assert!(one.bytes().all(|byte| ALPHABET.contains(&byte)), "a character outside the alphabet");
        assert_ne!(one, other);
    }

    #[test]
    fn an_error_loses_the_token_it_echoes() {
        let token = Token::generate().unwrap();
        let echoed = CallError::new("elasticache", "x", Class::Fatal, format!("bad: {}", token.copy()));
        assert_eq!(token.scrubbed(echoed).message, "bad: ...");
    }
}
