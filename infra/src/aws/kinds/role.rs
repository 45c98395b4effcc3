//! IAM roles. One account-wide read gives all of them with policies and tags; where that is denied, each role under the
//! environment's path is read by itself. The id is the name.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_iam::types::{EntityType, PolicyDetail, RoleDetail, Tag};
use infra_model::kinds;
use serde_json::Value;

use super::*;
use crate::aws::tag::Tags;

pub(crate) struct Role;

/// The API's own maximum of items a page.
const PAGE: i32 = 1000;

#[async_trait]
impl AwsKind for Role {
    fn id(&self) -> KindId {
        KindId::Role
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let path = format!("/{}/{}/", discovery.scope.project, discovery.scope.environment);
        // The account-wide read leaves the description out.
        let (details, under_path) = futures::join!(details(aws), list(aws, &path));
        let descriptions = under_path?;
        let details = match details {
            Err(error) if error.class == Class::Denied => {
                tracing::warn!(%error, "roles are read one by one instead, and only those under {path}");
                let reads = descriptions.keys().map(|name| read(aws, name));
                let found = futures::future::try_join_all(reads).await?.into_iter().flatten();
                return Ok(found.filter(|role| discovery.owns(&role.tags)).collect());
            }
            details => details?,
        };
        let ours = details.into_iter().filter(|role| discovery.owns(&from_iam(role.tags.clone())));
        let reads = ours.map(|role| {
            let descriptions = &descriptions;
            async move {
                let name = role.role_name().unwrap_or_default();
                let description = match descriptions.get(name) {
                    Some(description) => description.clone(),
                    None => describe(aws, name).await?.and_then(|role| role.description),
                };
                Ok::<_, CallError>(observe(&role, description))
            }
        });
        futures::future::try_join_all(reads).await
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Role = operation.wanted()?;
        let answer = aws
            .change("iam", "CreateRole", || {
                aws.iam
                    .create_role()
                    .role_name(&wanted.name)
                    .path(&wanted.path)
                    .set_description(wanted.description.clone())
                    .assume_role_policy_document(wanted.trust.to_string())
                    .set_tags(Some(to_iam(&operation.tags)))
                    .send()
            })
            .await?;
        let arn = answer.role.map(|role| role.arn).ok_or_else(|| missing("iam", "CreateRole", "role"))?;
        Ok(Made { id: wanted.name, attributes: BTreeMap::from([("arn".to_owned(), arn)]) })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::Role = operation.wanted()?;
        let name = operation.id();
        let answer = match group {
            "description" => {
                let description = wanted.description.unwrap_or_default();
                aws.change("iam", "UpdateRole", || {
                    aws.iam.update_role().role_name(name).description(&description).send()
                })
                .await
                .map(drop)
            }
            "trust" => {
                let document = wanted.trust.to_string();
                aws.change("iam", "UpdateAssumeRolePolicy", || {
                    let call = aws.iam.update_assume_role_policy().role_name(name);
                    call.policy_document(&document).send()
                })
                .await
                .map(drop)
            }
            "inline" => set_inline(aws, name, &operation.seen::<kinds::Role>()?.inline, &wanted.inline).await,
            _ => set_attached(aws, name, &operation.seen::<kinds::Role>()?.attached, &wanted.attached).await,
        };
        // The role has answered to its creation or was just listed: IAM has not told all of itself yet.
        answer.map_err(|error| match error.class {
            Class::Gone => CallError { class: Class::NotYet, ..error },
            _ => error,
        })
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        let name = operation.id();
        aws.change("iam", "TagRole", || {
            aws.iam.tag_role().role_name(name).set_tags(Some(to_iam(&operation.tags))).send()
        })
        .await?;
        if !remove.is_empty() {
            aws.change("iam", "UntagRole", || {
                aws.iam.untag_role().role_name(name).set_tag_keys(Some(remove.to_vec())).send()
            })
            .await?;
        }
        Ok(())
    }

    /// IAM deletes only a role without policies. Those last seen go first; a policy added since is found by the
    /// refusal, and then all go.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let name = operation.id();
        let seen: kinds::Role = operation.seen()?;
        strip(aws, name, seen.inline.keys(), &seen.attached).await?;
        match remove(aws, name).await {
            Err(error) if error.class == Class::InUse => {}
            answer => return answer,
        }
        let Some(now) = read(aws, name).await? else { return Ok(()) };
        let now: kinds::Role = Operation { observed: Some(now), ..operation.clone() }.seen()?;
        strip(aws, name, now.inline.keys(), &now.attached).await?;
        remove(aws, name).await
    }

    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        let answer = aws
            .read("iam", "ListInstanceProfilesForRole", || {
                aws.iam.list_instance_profiles_for_role().role_name(id).send()
            })
            .await?;
        let names: Vec<_> =
            answer.instance_profiles.into_iter().map(|profile| profile.instance_profile_name).collect();
        let text = || format!("the instance profile {} holds it", names.join(", "));
        Ok((!names.is_empty()).then(text))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        read(aws, id).await
    }
}

/// Every role of the account with its policies and tags.
async fn details(aws: &Aws) -> Result<Vec<RoleDetail>, CallError> {
    let (mut found, mut marker) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("iam", "GetAccountAuthorizationDetails", || {
                let call = aws.iam.get_account_authorization_details().filter(EntityType::Role);
                call.max_items(PAGE).set_marker(marker.clone()).send()
            })
            .await?;
        found.extend(page.role_detail_list.unwrap_or_default());
        marker = page.marker.filter(|_| page.is_truncated);
        if marker.is_none() {
            return Ok(found);
        }
    }
}

/// The roles under a path, by name, with their descriptions.
async fn list(aws: &Aws, path: &str) -> Result<BTreeMap<String, Option<String>>, CallError> {
    let (mut found, mut marker) = (BTreeMap::new(), None::<String>);
    loop {
        let page = aws
            .read("iam", "ListRoles", || {
                let call = aws.iam.list_roles().path_prefix(path);
                call.max_items(PAGE).set_marker(marker.clone()).send()
            })
            .await?;
        found.extend(page.roles.into_iter().map(|role| (role.role_name, role.description)));
        marker = page.marker.filter(|_| page.is_truncated);
        if marker.is_none() {
            return Ok(found);
        }
    }
}

async fn describe(aws: &Aws, name: &str) -> Result<Option<aws_sdk_iam::types::Role>, CallError> {
    match aws.read("iam", "GetRole", || aws.iam.get_role().role_name(name).send()).await {
        Ok(answer) => Ok(answer.role),
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// One role by itself: a call for it, one for each list of policies, one for each inline policy. A role holds at most
/// ten attached policies unless its account asks for more, so one page is all.
async fn read(aws: &Aws, name: &str) -> Result<Option<Observed>, CallError> {
    let Some(role) = describe(aws, name).await? else { return Ok(None) };
    let (inline, attached) = futures::try_join!(
        aws.read("iam", "ListRolePolicies", || {
            aws.iam.list_role_policies().role_name(name).max_items(PAGE).send()
        }),
        aws.read("iam", "ListAttachedRolePolicies", || {
            aws.iam.list_attached_role_policies().role_name(name).max_items(PAGE).send()
        }),
    )?;
    let reads = inline.policy_names.iter().map(|policy| async move {
        let answer = aws
            .read("iam", "GetRolePolicy", || {
                aws.iam.get_role_policy().role_name(name).policy_name(policy).send()
            })
            .await?;
        let detail = PolicyDetail::builder().policy_name(policy).policy_document(answer.policy_document);
        Ok::<_, CallError>(detail.build())
    });
    let inline = futures::future::try_join_all(reads).await?;
    let detail = RoleDetail::builder()
        .role_name(role.role_name)
        .path(role.path)
        .arn(role.arn)
        .set_assume_role_policy_document(role.assume_role_policy_document)
        .set_role_policy_list(Some(inline))
        .set_attached_managed_policies(attached.attached_policies)
        .set_tags(role.tags)
        .build();
    Ok(Some(observe(&detail, role.description)))
}

/// One call for each policy that differs, one after the other: IAM refuses two changes of one role at once.
async fn set_inline(
    aws: &Aws,
    role: &str,
    seen: &BTreeMap<String, Value>,
    wanted: &BTreeMap<String, Value>,
) -> Result<(), CallError> {
    for (policy, document) in wanted.iter().filter(|(policy, document)| seen.get(*policy) != Some(document)) {
        aws.change("iam", "PutRolePolicy", || {
            let call = aws.iam.put_role_policy().role_name(role).policy_name(policy);
            call.policy_document(document.to_string()).send()
        })
        .await?;
    }
    strip(aws, role, seen.keys().filter(|policy| !wanted.contains_key(*policy)), &BTreeSet::new()).await
}

async fn set_attached(
    aws: &Aws,
    role: &str,
    seen: &BTreeSet<String>,
    wanted: &BTreeSet<String>,
) -> Result<(), CallError> {
    for arn in wanted.difference(seen) {
        aws.change("iam", "AttachRolePolicy", || {
            aws.iam.attach_role_policy().role_name(role).policy_arn(arn).send()
        })
        .await?;
    }
    strip(aws, role, [].iter(), seen.difference(wanted)).await
}

/// Takes policies off a role; those that are off already are done.
async fn strip<'a>(
    aws: &Aws,
    role: &str,
    inline: impl Iterator<Item = &'a String> + Send,
    attached: impl IntoIterator<Item = &'a String, IntoIter: Send> + Send,
) -> Result<(), CallError> {
    for policy in inline {
        gone_is_done(
            aws.change("iam", "DeleteRolePolicy", || {
                aws.iam.delete_role_policy().role_name(role).policy_name(policy).send()
            })
            .await,
        )?;
    }
    for arn in attached {
        gone_is_done(
            aws.change("iam", "DetachRolePolicy", || {
                aws.iam.detach_role_policy().role_name(role).policy_arn(arn).send()
            })
            .await,
        )?;
    }
    Ok(())
}

async fn remove(aws: &Aws, name: &str) -> Result<(), CallError> {
    gone_is_done(aws.change("iam", "DeleteRole", || aws.iam.delete_role().role_name(name).send()).await)
}

fn to_iam(tags: &Tags) -> Vec<Tag> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build().expect("key and value are set");
    tags.iter().map(tag).collect()
}

fn from_iam(tags: Option<Vec<Tag>>) -> Tags {
    tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect()
}

fn observe(role: &RoleDetail, description: Option<String>) -> Observed {
    let inline = role.role_policy_list().iter().map(|policy| {
        let name = policy.policy_name().unwrap_or_default().to_owned();
        (name, document(policy.policy_document().unwrap_or_default()))
    });
    let attached = role.attached_managed_policies().iter();
    let fields = kinds::Role {
        name: role.role_name().unwrap_or_default().to_owned(),
        path: role.path().unwrap_or_default().to_owned(),
        description: description.filter(|text| !text.is_empty()),
        trust: document(role.assume_role_policy_document().unwrap_or_default()),
        inline: inline.collect(),
        attached: attached.filter_map(|policy| policy.policy_arn.clone()).collect(),
    };
    let object = Observed::new(role.role_name().unwrap_or_default(), &fields);
    object.tags(from_iam(role.tags.clone())).attribute("arn", role.arn())
}

/// A policy document as IAM answers with it: JSON, percent-encoded. Text that is neither stays text, and differs from
/// every wanted document.
fn document(encoded: &str) -> Value {
    let text = decoded(encoded).unwrap_or_else(|| encoded.to_owned());
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

fn decoded(encoded: &str) -> Option<String> {
    let (mut bytes, mut out) = (encoded.bytes(), Vec::with_capacity(encoded.len()));
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_decoded_and_parsed() {
        let encoded = "%7B%22Statement%22%3A%20%5B%7B%22Sid%22%3A%20%22Stra%C3%9Fe%20%2B%22%7D%5D%7D";
        assert_eq!(document(encoded), json!({"Statement": [{"Sid": "Straße +"}]}));
        assert_eq!(document("%zz"), json!("%zz"));
        assert_eq!(document(r#"{"Statement":[]}"#), json!({"Statement": []}));
    }

    #[test]
    fn a_role_is_observed_with_its_policies_in_normal_form() {
        let policy = PolicyDetail::builder()
            .policy_name("rights")
            .policy_document("%7B%22Statement%22%3A%7B%22Action%22%3A%22s3%3A%2A%22%7D%7D")
            .build();
        let detail = RoleDetail::builder()
            .role_name("keyway-staging-app-task")
            .path("/keyway/staging/")
            .assume_role_policy_document("%7B%7D")
            .role_policy_list(policy)
            .build();
        let observed = observe(&detail, Some(String::new()));
        assert_eq!(
            Value::Object(observed.fields),
            json!({
                "name": "keyway-staging-app-task", "path": "/keyway/staging/", "trust": {},
                "inline": {"rights": {"Statement": [{"Action": ["s3:*"]}]}}, "attached": [],
            })
        );
    }
}
