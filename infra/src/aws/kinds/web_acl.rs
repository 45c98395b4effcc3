//! Web ACLs through WAFv2: the document itself (one lock, replaced as a whole), where it logs, which load balancers it
//! protects. Rules are AWS's own JSON from end to end (`document`), so no statement is lost in between.

mod document;

use std::collections::BTreeSet;

use aws_sdk_wafv2::types::{
    AllowAction, DefaultAction, FieldToMatch, LoggingConfiguration, ResourceType, Scope, SingleHeader,
    VisibilityConfig, WebAclSummary,
};
use infra_model::address::Ref;
use infra_model::kinds;
use serde_json::Value;

use super::ip_set::{PAGE, gone, name_and_id, with_lock};
use super::*;
use document::{Answer, Request};

pub(crate) struct WebAcl;

#[async_trait]
impl AwsKind for WebAcl {
    fn id(&self) -> KindId {
        KindId::WebAcl
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let aws = discovery.aws;
        let all = list(aws).await?;
        let owned = all.iter().map(|summary| async move {
            let (arn, name) = (summary.arn().unwrap_or_default(), summary.name().unwrap_or_default());
            let tags = discovery.tags_of(arn, name, || aws.waf_tags(arn)).await?;
            Ok::<_, CallError>(discovery.owns(&tags).then_some((arn, tags)))
        });
        let owned: Vec<_> = futures::future::try_join_all(owned).await?.into_iter().flatten().collect();
        if owned.is_empty() {
            return Ok(Vec::new());
        }
        let reads = owned
            .iter()
            .map(|(arn, _)| async move { futures::try_join!(get(aws, arn), protected(aws, arn)) });
        let (found, logging) = futures::try_join!(futures::future::try_join_all(reads), list_logging(aws))?;
        let observed = owned.into_iter().zip(found).filter_map(|((arn, tags), (acl, protects))| {
            let logs = logging.iter().find(|config| config.resource_arn == arn);
            Some(observe(arn, &acl?.0, logs, protects).tags(tags))
        });
        Ok(observed.collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::WebAcl = operation.wanted()?;
        let request = Request::new(&document::creation(&wanted, &operation.tags));
        let answer = aws
            .change("wafv2", "CreateWebACL", || {
                let call = aws.waf.create_web_acl().name(&wanted.name).scope(Scope::Regional);
                let call = call.default_action(unused_action()).set_visibility_config(unused_visibility());
                call.customize().interceptor(request.clone()).send()
            })
            .await?;
        let id = answer
            .summary
            .and_then(|summary| summary.arn)
            .ok_or_else(|| missing("wafv2", "CreateWebACL", "web ACL ARN"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::WebAcl = operation.wanted()?;
        match group {
            "logging" => put_logging(aws, operation.id(), &wanted).await,
            "protects" => protect(aws, operation, &wanted).await,
            _ => update(aws, operation.id(), &wanted).await,
        }
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_waf(operation, remove).await
    }

    /// AWS refuses while it protects something. What it logged to is forgotten with it.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        let (name, id) = name_and_id(arn)?;
        for balancer in protected(aws, arn).await? {
            disassociate(aws, &balancer).await?;
        }
        gone_is_done(
            with_lock(|| async {
                let Some((_, lock)) = get(aws, arn).await? else { return Ok(()) };
                aws.change("wafv2", "DeleteWebACL", || {
                    aws.waf.delete_web_acl().name(name).id(id).scope(Scope::Regional).lock_token(&lock).send()
                })
                .await
                .map(drop)
            })
            .await,
        )
    }

    async fn blockers(&self, aws: &Aws, id: &str) -> Result<Option<String>, CallError> {
        let protects = protected(aws, id).await?;
        Ok((!protects.is_empty()).then(|| format!("it still protects {}", protects.join(", "))))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let Some((acl, _)) = get(aws, id).await? else { return Ok(None) };
        let (protects, logging, tags) =
            futures::try_join!(protected(aws, id), list_logging(aws), aws.waf_tags(id))?;
        let logs = logging.iter().find(|config| config.resource_arn == id);
        Ok(Some(observe(id, &acl, logs, protects).tags(tags)))
    }
}

/// The SDK insists on these two; the body that is sent carries the real ones.
fn unused_action() -> DefaultAction {
    DefaultAction::builder().allow(AllowAction::builder().build()).build()
}

fn unused_visibility() -> Option<VisibilityConfig> {
    VisibilityConfig::builder()
        .metric_name("-")
        .sampled_requests_enabled(false)
        .cloud_watch_metrics_enabled(false)
        .build()
        .ok()
}

async fn list(aws: &Aws) -> Result<Vec<WebAclSummary>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("wafv2", "ListWebACLs", || {
                let call = aws.waf.list_web_acls().scope(Scope::Regional).limit(PAGE);
                call.set_next_marker(next.clone()).send()
            })
            .await?;
        let acls = page.web_acls.unwrap_or_default();
        next = page.next_marker.filter(|marker| !marker.is_empty() && acls.len() >= PAGE as usize);
        found.extend(acls);
        if next.is_none() {
            return Ok(found);
        }
    }
}

async fn list_logging(aws: &Aws) -> Result<Vec<LoggingConfiguration>, CallError> {
    let (mut found, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = aws
            .read("wafv2", "ListLoggingConfigurations", || {
                let call = aws.waf.list_logging_configurations().scope(Scope::Regional).limit(PAGE);
                call.set_next_marker(next.clone()).send()
            })
            .await?;
        let configs = page.logging_configurations.unwrap_or_default();
        next = page.next_marker.filter(|marker| !marker.is_empty() && configs.len() >= PAGE as usize);
        found.extend(configs);
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// The ARNs of the load balancers it stands before; none when it is gone.
async fn protected(aws: &Aws, arn: &str) -> Result<Vec<String>, CallError> {
    let answer = aws
        .read("wafv2", "ListResourcesForWebACL", || {
            aws.waf
                .list_resources_for_web_acl()
                .web_acl_arn(arn)
                .resource_type(ResourceType::ApplicationLoadBalancer)
                .send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.resource_arns.unwrap_or_default()),
        Err(error) if error.class == Class::Gone => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The document as AWS writes it, with its lock token; `None` when it is gone.
async fn get(aws: &Aws, arn: &str) -> Result<Option<(Value, String)>, CallError> {
    let (name, id) = name_and_id(arn)?;
    let body = Answer::default();
    let answer = aws
        .read("wafv2", "GetWebACL", || {
            let call = aws.waf.get_web_acl().name(name).id(id).scope(Scope::Regional);
            call.customize().interceptor(body.clone()).send()
        })
        .await;
    match answer {
        Ok(answer) => {
            let acl = body.json().ok_or_else(|| missing("wafv2", "GetWebACL", "JSON body"))?;
            Ok(Some((acl["WebACL"].clone(), answer.lock_token.unwrap_or_default())))
        }
        Err(error) if error.class == Class::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the document, keeping of the one that stands what the model does not name.
async fn update(aws: &Aws, arn: &str, wanted: &kinds::WebAcl) -> Result<(), CallError> {
    let (name, id) = name_and_id(arn)?;
    with_lock(|| async {
        let Some((acl, lock)) = get(aws, arn).await? else { return Err(gone("GetWebACL", arn)) };
        let request = Request::new(&document::replacement(wanted, &acl, id, &lock));
        aws.change("wafv2", "UpdateWebACL", || {
            let call = aws.waf.update_web_acl().name(name).id(id).scope(Scope::Regional).lock_token(&lock);
            let call = call.default_action(unused_action()).set_visibility_config(unused_visibility());
            call.customize().interceptor(request.clone()).send()
        })
        .await
        .map(drop)
    })
    .await
}

async fn put_logging(aws: &Aws, arn: &str, wanted: &kinds::WebAcl) -> Result<(), CallError> {
    let Some(log_group) = wanted.log_groups.first() else {
        let delete = aws.change("wafv2", "DeleteLoggingConfiguration", || {
            aws.waf.delete_logging_configuration().resource_arn(arn).send()
        });
        return gone_is_done(delete.await.map(drop));
    };
    let header = |name: &String| {
        let header = SingleHeader::builder().name(name).build().ok()?;
        Some(FieldToMatch::builder().single_header(header).build())
    };
    let redacted: Vec<_> = wanted.redacted_headers.iter().flatten().filter_map(header).collect();
    let config = LoggingConfiguration::builder()
        .resource_arn(arn)
        .set_redacted_fields(Some(redacted).filter(|fields| !fields.is_empty()))
        .log_destination_configs(plain_log_group(log_group.as_str()))
        .build()
        .map_err(|error| {
            CallError::new("wafv2", "PutLoggingConfiguration", Class::Fatal, error.to_string())
        })?;
    aws.change("wafv2", "PutLoggingConfiguration", || {
        aws.waf.put_logging_configuration().logging_configuration(config.clone()).send()
    })
    .await
    .map(drop)
}

/// Associating what is associated already changes nothing, and so does the opposite.
async fn protect(aws: &Aws, operation: &Operation, wanted: &kinds::WebAcl) -> Result<(), CallError> {
    let arn = operation.id();
    let there = protected(aws, arn).await?;
    let wanted: Vec<&str> = wanted.protects.iter().map(Ref::as_str).collect();
    for balancer in wanted.iter().filter(|balancer| !there.iter().any(|one| one == *balancer)) {
        aws.change("wafv2", "AssociateWebACL", || {
            aws.waf.associate_web_acl().web_acl_arn(arn).resource_arn(*balancer).send()
        })
        .await?;
    }
    for balancer in there.iter().filter(|balancer| !wanted.contains(&balancer.as_str())) {
        disassociate(aws, balancer).await?;
    }
    Ok(())
}

async fn disassociate(aws: &Aws, balancer: &str) -> Result<(), CallError> {
    gone_is_done(
        aws.change("wafv2", "DisassociateWebACL", || {
            aws.waf.disassociate_web_acl().resource_arn(balancer).send()
        })
        .await,
    )
}

fn redacted(logging: &LoggingConfiguration) -> BTreeSet<String> {
    let headers = logging.redacted_fields().iter().filter_map(|field| field.single_header());
    headers.map(|header| header.name().to_lowercase()).collect()
}

/// CloudWatch writes log group ARNs with `:*` at the end, WAF without.
fn plain_log_group(arn: &str) -> &str {
    arn.strip_suffix(":*").unwrap_or(arn)
}

fn observe(
    arn: &str,
    acl: &Value,
    logging: Option<&LoggingConfiguration>,
    mut protects: Vec<String>,
) -> Observed {
    protects.sort();
    let text = |key: &str| acl[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let destinations = logging.iter().flat_map(|config| &config.log_destination_configs);
    let fields = kinds::WebAcl {
        name: text("Name").unwrap_or_default(),
        description: text("Description"),
        default_action: if acl["DefaultAction"]["Block"].is_object() { "block" } else { "allow" }.to_owned(),
        samples: acl["VisibilityConfig"]["SampledRequestsEnabled"] == true,
        rules: document::seen_rules(&acl["Rules"]),
        log_groups: destinations.map(|arn| Ref::physical(plain_log_group(arn))).collect(),
        logs_all: logging.map(|config| config.logging_filter.is_none()),
        redacted_headers: logging.map(redacted),
        protects: protects.into_iter().map(Ref::physical).collect(),
    };
    Observed::new(arn, &fields)
}
