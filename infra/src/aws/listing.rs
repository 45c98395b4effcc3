//! Reading lists whole: page after page, by EC2's filters, with what lives in our VPC and is not ours noted apart.

use std::collections::BTreeMap;
use std::future::Future;

use aws_sdk_ec2::types::Filter;
use infra_model::snapshot::Unmanaged;

use super::Discovery;
use crate::account::{CallError, Class};

/// Pages of one list. EC2 gives 1,000 objects a page and RDS 100, so this is a list that no account has; a service
/// that repeats its token for ever ends here too.
const PAGES_MAX: usize = 500;

/// All items of a paged list. `page` answers the items and the next page's token.
pub(crate) async fn pages<T, F, Fut>(
    service: &'static str,
    action: &'static str,
    mut page: F,
) -> Result<Vec<T>, CallError>
where
    F: FnMut(Option<String>) -> Fut,
    Fut: Future<Output = Result<(Option<Vec<T>>, Option<String>), CallError>>,
{
    let (mut found, mut next) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let (items, token) = page(next).await?;
        found.extend(items.unwrap_or_default());
        next = token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
    let message = format!("the list has more than {PAGES_MAX} pages; it was given up as endless");
    Err(CallError::new(service, action, Class::Fatal, message))
}

pub(crate) fn filter(name: &str, values: impl IntoIterator<Item = String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}

impl Discovery<'_> {
    /// Filters for what lives in our VPCs, strangers included. An environment in a VPC that it does not own is listed
    /// by tags instead: its neighbours there are nobody's business.
    pub(crate) async fn ec2_within(&self, vpc_filter: &str) -> Result<Vec<Filter>, CallError> {
        let vpcs = self.vpc_ids().await?;
        Ok(if vpcs.is_empty() { self.ec2_tag_filters() } else { vec![filter(vpc_filter, vpcs)] })
    }

    /// Notes an object without our tags, if it is inside one of our VPCs.
    pub(crate) async fn note_stranger(
        &self,
        what: &str,
        id: impl Into<String>,
        name: Option<String>,
        within: &str,
    ) -> Result<(), CallError> {
        if self.vpc_ids().await?.iter().any(|vpc| vpc == within) {
            let (what, within) = (what.to_owned(), within.to_owned());
            self.note_unmanaged(Unmanaged { what, id: id.into(), name, within });
        }
        Ok(())
    }
}

/// The display name people give EC2 objects.
pub(crate) fn display_name(tags: &BTreeMap<String, String>) -> Option<String> {
    tags.get("Name").filter(|name| !name.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_joined_and_an_endless_list_is_an_error() {
        let numbers = pages("ec2", "DescribeSubnets", |next| async move {
            Ok(match next.as_deref() {
                None => (Some(vec![1, 2]), Some("more".to_owned())),
                Some(_) => (Some(vec![3]), Some(String::new())),
            })
        });
        assert_eq!(numbers.await.unwrap(), [1, 2, 3]);

        let endless =
            pages("ec2", "DescribeSubnets", |_| async { Ok((Some(vec![1]), Some("x".to_owned()))) });
        assert_eq!(endless.await.unwrap_err().class, Class::Fatal);
    }
}
