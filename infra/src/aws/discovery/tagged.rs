//! Tags of everything the environment owns, in one read of the tagging API, for kinds whose own list call shows none.
//! It is a source of tags for objects that a list has just shown alive, never of existence: the index behind it
//! keeps the dead for a while and misses the new.

use std::collections::BTreeMap;
use std::future::Future;

use aws_sdk_resourcegroupstagging::types::TagFilter;
use infra_model::graph::{TAG_ENVIRONMENT, TAG_PROJECT};

use super::Discovery;
use crate::account::{CallError, Class};
use crate::aws::tag::Tags;

/// The API's own maximum.
const PAGE: i32 = 100;

/// Tags by ARN of the objects that the tagging API knows to carry the environment's tags.
#[derive(Debug)]
pub(crate) struct Tagged {
    by_arn: BTreeMap<String, Tags>,
    /// The caller may not use the tagging API: every object has to be asked for its tags.
    denied: bool,
}

impl Tagged {
    pub(crate) fn get(&self, arn: &str) -> Option<&Tags> {
        self.by_arn.get(arn)
    }

    /// All that it knows, the dead included: where to look for what was adopted under a name of its own.
    pub(crate) fn arns(&self) -> impl Iterator<Item = &str> {
        self.by_arn.keys().map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Tags)> {
        self.by_arn.iter().map(|(arn, tags)| (arn.as_str(), tags))
    }

    /// Whether the object's own service has to be asked for its tags: always when the tagging API may not be read,
    /// else when its name is one of ours and the index does not have it (yet).
    pub(crate) fn must_ask(&self, arn: &str, looks_ours: bool) -> bool {
        !self.by_arn.contains_key(arn) && (self.denied || looks_ours)
    }
}

impl Discovery<'_> {
    /// One read of the tagging API for all kinds, 100 objects a page.
    pub(crate) async fn tagged(&self) -> Result<&Tagged, CallError> {
        self.tagged.get_or_try_init(|| read(self)).await
    }

    /// Whether a physical name begins as the blueprint's names do: `keyway-staging`, `keyway-staging-app`,
    /// `keyway-staging/app`.
    pub(crate) fn names_ours(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.scope.prefix());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/']))
    }

    /// The tags of one object that a list has just shown. `ask` is its own service's call, made only when the index
    /// cannot tell. An object without tags of this environment answers with whatever is known of it.
    pub(crate) async fn tags_of<F, Fut>(&self, arn: &str, name: &str, ask: F) -> Result<Tags, CallError>
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<Tags, CallError>> + Send,
    {
        let tagged = self.tagged().await?;
        match tagged.get(arn) {
            Some(tags) => Ok(tags.clone()),
            None if tagged.must_ask(arn, self.names_ours(name)) => match ask().await {
                Err(error) if error.class == Class::Gone => Ok(Tags::new()),
                answer => answer,
            },
            None => Ok(Tags::new()),
        }
    }
}

async fn read(discovery: &Discovery<'_>) -> Result<Tagged, CallError> {
    let aws = discovery.aws;
    let scope = discovery.scope;
    let filters: Vec<TagFilter> = [(TAG_PROJECT, &scope.project), (TAG_ENVIRONMENT, &scope.environment)]
        .into_iter()
        .map(|(key, value)| TagFilter::builder().key(key).values(value).build())
        .collect();
    let (mut by_arn, mut next) = (BTreeMap::new(), None::<String>);
    loop {
        let answer = aws
            .read("tag", "GetResources", || {
                aws.tagging
                    .get_resources()
                    .set_tag_filters(Some(filters.clone()))
                    .resources_per_page(PAGE)
                    .set_pagination_token(next.clone())
                    .send()
            })
            .await;
        let page = match answer {
            Ok(page) => page,
            Err(error) if error.class == Class::Denied => {
                tracing::warn!(%error, "tags are asked of each object instead, which is slower");
                return Ok(Tagged { by_arn, denied: true });
            }
            Err(error) => return Err(error),
        };
        for object in page.resource_tag_mapping_list.unwrap_or_default() {
            let tags = object.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect();
            if let Some(arn) = object.resource_arn {
                by_arn.insert(arn, tags);
            }
        }
        next = page.pagination_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(Tagged { by_arn, denied: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_index_cannot_tell_is_asked_of_its_service() {
        let known = BTreeMap::from([("arn:a".to_owned(), Tags::new())]);
        let check = |denied, arn: &str, looks_ours, ask| {
            let tagged = Tagged { by_arn: known.clone(), denied };
            assert_eq!(tagged.must_ask(arn, looks_ours), ask, "{arn}, denied {denied}, ours {looks_ours}");
        };
        check(false, "arn:a", true, false);
        check(false, "arn:b", true, true);
        check(false, "arn:b", false, false);
        check(true, "arn:b", false, true);
    }
}
