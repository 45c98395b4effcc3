//! Secrets through Secrets Manager. Their id is the ARN. A value is generated here, goes into one request and is
//! forgotten; none is ever read. What AWS keeps no field for (which value, how long it can be brought back) is in a tag.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, SecretListEntry, Tag};
use infra_model::graph::{TAG_ADDRESS, TAG_ENVIRONMENT, TAG_PROJECT};
use infra_model::kinds;
use zeroize::Zeroize;

use super::*;
use crate::aws::tag::Tags;

pub(crate) struct Secret;

/// `<one value's name>/recovery=<days>`. The first part tells one generated value from the next.
const TAG_GENERATION: &str = "keyway:generation";
const RECOVERY: &str = "/recovery=";

/// What AWS takes when nothing is said, and therefore what a secret without our tag gets: the safe end.
const RECOVERY_DAYS_DEFAULT: u32 = 30;

/// Letters and digits only: every store and every shell takes them. 62 characters are 5.95 bits each.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// AWS keeps secrets up to this many bytes.
const CHARACTERS_MAX: u32 = 65_536;

#[async_trait]
impl AwsKind for Secret {
    fn id(&self) -> KindId {
        KindId::Secret
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let (listed, tagged) = futures::try_join!(list(discovery), discovery.tagged())?;
        let mut found: BTreeMap<String, Observed> =
            listed.iter().map(observe).map(|object| (object.id.clone(), object)).collect();
        // The list may be minutes late; what the index knows and the list does not is looked at by itself.
        let late = tagged.arns().filter(|arn| arn.split(':').nth(2) == Some("secretsmanager"));
        let reads = late.filter(|arn| !found.contains_key(*arn)).map(|arn| describe(aws, arn));
        for entry in futures::future::try_join_all(reads).await?.into_iter().flatten() {
            if entry.deleted_date.is_none() {
                let object = observe(&entry);
                found.insert(object.id.clone(), object);
            }
        }
        Ok(found.into_values().filter(|object| discovery.owns(&object.tags)).collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Secret = operation.wanted()?;
        let tags = marked(operation, &wanted);
        let value = wanted.generate.as_ref().map(|how| generate(how.characters)).transpose()?;
        let answer = aws
            .change("secretsmanager", "CreateSecret", || {
                aws.secrets
                    .create_secret()
                    .name(&wanted.name)
                    .set_client_request_token(version(operation))
                    .set_description(wanted.description.clone())
                    .set_secret_string(value.as_ref().map(Value::copy))
                    .set_tags(Some(to_secrets(&tags)))
                    .send()
            })
            .await;
        match answer {
            Ok(answer) => made(answer.arn),
            Err(error) if error.class == Class::Exists => ours(aws, operation, &wanted.name, error).await,
            Err(error) if error.message.contains("scheduled for deletion") => {
                restore(aws, operation, &wanted, value).await
            }
            Err(error) => Err(error),
        }
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::Secret = operation.wanted()?;
        let arn = operation.id();
        if group == "description" {
            return update_description(aws, arn, wanted.description.unwrap_or_default()).await;
        }
        let known = operation.observed.as_ref().and_then(|seen| seen.tags.get(TAG_GENERATION));
        let value = known.map_or("", |mark| mark.split(RECOVERY).next().unwrap_or_default());
        let mark = mark(value, wanted.recovery_days);
        put_tags(aws, arn, &Tags::from([(TAG_GENERATION.to_owned(), mark)])).await
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        put_tags(aws, operation.id(), &operation.tags).await?;
        if !remove.is_empty() {
            aws.change("secretsmanager", "UntagResource", || {
                let call = aws.secrets.untag_resource().secret_id(operation.id());
                call.set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let days = operation.seen::<kinds::Secret>()?.recovery_days.unwrap_or(RECOVERY_DAYS_DEFAULT);
        let answer = aws
            .change("secretsmanager", "DeleteSecret", || {
                let call = aws.secrets.delete_secret().secret_id(operation.id());
                match days {
                    0 => call.force_delete_without_recovery(true),
                    days => call.recovery_window_in_days(i64::from(days)),
                }
                .send()
            })
            .await;
        match answer {
            // It is on its way already.
            Err(error) if error.message.contains("scheduled for deletion") => Ok(()),
            answer => gone_is_done(answer),
        }
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let found = describe(aws, id).await?;
        Ok(found.filter(|entry| entry.deleted_date.is_none()).as_ref().map(observe))
    }
}

/// A generated value. It cannot be printed, and its memory is overwritten when it goes.
struct Value(Vec<u8>);

impl Value {
    /// The copy that the SDK takes; its own types hide it from Debug.
    fn copy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

/// Characters of the alphabet, each equally likely, from the operating system's generator.
fn generate(characters: u32) -> Result<Value, CallError> {
    let failed = |message: String| CallError::new("infra", "generate", Class::Fatal, message);
    if !(1..=CHARACTERS_MAX).contains(&characters) {
        return Err(failed(format!("a secret has 1 to {CHARACTERS_MAX} characters, not {characters}")));
    }
    let length = usize::try_from(characters).unwrap_or_default();
    let mut value = Value(Vec::with_capacity(length));
    let mut bytes = [0_u8; 64];
    while value.0.len() < length {
        getrandom::fill(&mut bytes)
            .map_err(|error| failed(format!("the operating system gives no random bytes: {error}")))?;
        // 62 * 4 = 248: bytes from there on would make the first letters likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let room = length - value.0.len();
        value.0.extend(fair.map(|byte| ALPHABET[usize::from(byte % 62)]).take(room));
    }
    bytes.zeroize();
    Ok(value)
}

/// The name is taken. A secret that is ours at this address is the one whose creation went unanswered, or that the list
/// does not show yet: then it is made. Anybody else's stays untouched.
async fn ours(aws: &Aws, operation: &Operation, name: &str, refused: CallError) -> Result<Made, CallError> {
    match describe(aws, name).await? {
        Some(entry) if same_owner(&entry, operation) && entry.deleted_date.is_none() => made(entry.arn),
        _ => Err(refused),
    }
}

/// A deleted secret holds its name until its window ends. One of ours is brought back with a new value. Killed between
/// these calls, it is ours with the old value, which nobody else has been given either.
async fn restore(
    aws: &Aws,
    operation: &Operation,
    wanted: &kinds::Secret,
    value: Option<Value>,
) -> Result<Made, CallError> {
    let going = || {
        let message = format!("the deleted secret `{}` still holds its name", wanted.name);
        CallError::new("secretsmanager", "RestoreSecret", Class::NotYet, message)
    };
    let entry = describe(aws, &wanted.name).await?.ok_or_else(going)?;
    if !same_owner(&entry, operation) {
        let message = format!(
            "a deleted secret that is not ours holds the name `{}`; restore and rename it, or wait for its end",
            wanted.name
        );
        return Err(CallError::new("secretsmanager", "CreateSecret", Class::Exists, message));
    }
    let arn = entry.arn.unwrap_or_default();
    let restored = aws
        .change("secretsmanager", "RestoreSecret", || aws.secrets.restore_secret().secret_id(&arn).send())
        .await;
    match restored {
        Err(error) if error.class == Class::Gone => return Err(going()),
        answer => answer?,
    };
    put_tags(aws, &arn, &marked(operation, wanted)).await?;
    if wanted.description.is_some() && wanted.description != entry.description {
        update_description(aws, &arn, wanted.description.clone().unwrap_or_default()).await?;
    }
    if let Some(value) = value {
        let answer = aws
            .change("secretsmanager", "PutSecretValue", || {
                let call = aws.secrets.put_secret_value().secret_id(&arn);
                call.set_client_request_token(version(operation)).secret_string(value.copy()).send()
            })
            .await;
        match answer {
            // The same version with another value: an earlier attempt has written it.
            Err(error) if error.class == Class::Exists => {}
            answer => drop(answer?),
        }
    }
    made(Some(arn))
}

/// Whether the tags say that the secret is this environment's at this very address.
fn same_owner(entry: &SecretListEntry, operation: &Operation) -> bool {
    let tags = from_secrets(entry.tags.clone());
    [TAG_PROJECT, TAG_ENVIRONMENT, TAG_ADDRESS]
        .iter()
        .all(|key| tags.contains_key(*key) && tags.get(*key) == operation.tags.get(*key))
}

/// The token as the version's id. AWS takes 32 to 64 characters; the SDK makes one up where there is none.
fn version(operation: &Operation) -> Option<String> {
    Some(operation.token.clone()).filter(|token| (32..=64).contains(&token.len()))
}

fn marked(operation: &Operation, wanted: &kinds::Secret) -> Tags {
    let mut tags = operation.tags.clone();
    let value = if wanted.generate.is_some() { operation.token.get(..12).unwrap_or("1") } else { "" };
    tags.insert(TAG_GENERATION.to_owned(), mark(value, wanted.recovery_days));
    tags
}

fn mark(value: &str, recovery_days: Option<u32>) -> String {
    format!("{value}{RECOVERY}{}", recovery_days.unwrap_or(RECOVERY_DAYS_DEFAULT))
}

fn recovery_days(tags: &Tags) -> Option<u32> {
    tags.get(TAG_GENERATION)?.split_once(RECOVERY)?.1.parse().ok()
}

fn made(arn: Option<String>) -> Result<Made, CallError> {
    let arn = arn.ok_or_else(|| missing("secretsmanager", "CreateSecret", "ARN"))?;
    Ok(Made { id: arn.clone(), attributes: BTreeMap::from([("arn".to_owned(), arn)]) })
}

/// What has the environment's name as a tag's value under our key; AWS matches beginnings, so others come along.
async fn list(discovery: &Discovery<'_>) -> Result<Vec<SecretListEntry>, CallError> {
    let aws = discovery.aws;
    let filter = |key, value: &str| Filter::builder().key(key).values(value).build();
    let filters = vec![
        filter(FilterNameStringType::TagKey, TAG_ENVIRONMENT),
        filter(FilterNameStringType::TagValue, &discovery.scope.environment),
    ];
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("secretsmanager", "ListSecrets", || {
                let call = aws.secrets.list_secrets().set_filters(Some(filters.clone()));
                // The API's own maximum.
                call.max_results(100).set_next_token(next.clone()).send()
            })
            .await?;
        found.extend(page.secret_list.unwrap_or_default());
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// One secret by name or ARN, also while it waits for its deletion.
async fn describe(aws: &Aws, id: &str) -> Result<Option<SecretListEntry>, CallError> {
    let answer = aws
        .read("secretsmanager", "DescribeSecret", || aws.secrets.describe_secret().secret_id(id).send())
        .await;
    match answer {
        Ok(found) => Ok(Some(
            SecretListEntry::builder()
                .set_arn(found.arn)
                .set_name(found.name)
                .set_description(found.description)
                .set_deleted_date(found.deleted_date)
                .set_tags(found.tags)
                .build(),
        )),
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

async fn update_description(aws: &Aws, arn: &str, description: String) -> Result<(), CallError> {
    aws.change("secretsmanager", "UpdateSecret", || {
        aws.secrets.update_secret().secret_id(arn).description(&description).send()
    })
    .await
    .map(drop)
}

async fn put_tags(aws: &Aws, arn: &str, tags: &Tags) -> Result<(), CallError> {
    aws.change("secretsmanager", "TagResource", || {
        aws.secrets.tag_resource().secret_id(arn).set_tags(Some(to_secrets(tags))).send()
    })
    .await
    .map(drop)
}

fn to_secrets(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

fn from_secrets(tags: Option<Vec<Tag>>) -> Tags {
    let pairs = tags.unwrap_or_default().into_iter();
    pairs.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}

fn observe(entry: &SecretListEntry) -> Observed {
    let tags = from_secrets(entry.tags.clone());
    let fields = kinds::Secret {
        name: entry.name().unwrap_or_default().to_owned(),
        description: entry.description.clone().filter(|text| !text.is_empty()),
        generate: None,
        recovery_days: recovery_days(&tags),
    };
    let arn = entry.arn().unwrap_or_default();
    Observed::new(arn, &fields).tags(tags).attribute("arn", Some(arn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_length_and_differ() {
        let (one, two) = (generate(40).unwrap(), generate(40).unwrap());
        assert_eq!((one.0.len(), two.0.len()), (40, 40));
        assert!(one.0.iter().all(|byte| ALPHABET.contains(byte)));
        assert!(one.0 != two.0, "two values are the same");
        assert!(generate(0).is_err() && generate(CHARACTERS_MAX + 1).is_err());
    }

    #[test]
    fn every_character_is_about_as_likely() {
        let value = generate(62 * 1000).unwrap();
        for letter in ALPHABET {
            let count = value.0.iter().filter(|byte| *byte == letter).count();
            // 1000 expected, standard deviation 31: ten of them never happen by chance.
            assert!((690..1310).contains(&count), "`{}` {count} times", char::from(*letter));
        }
    }

    #[test]
    fn the_days_of_recovery_are_kept_in_the_tag() {
        let days = |mark: &str| recovery_days(&Tags::from([(TAG_GENERATION.to_owned(), mark.to_owned())]));
        assert_eq!(days(&mark("0a1b2c3d4e5f", Some(0))), Some(0));
        assert_eq!(days(&mark("", Some(7))), Some(7));
        assert_eq!(days("something else"), None);
        assert_eq!(recovery_days(&Tags::new()), None);
    }
}
