//! Listeners through ELBv2, with their rules as one ordered set. What to do to the rules is worked out in `rules`, how they
//! look in AWS's words in `words`; this file makes the calls.

mod rules;
mod words;

use std::collections::BTreeSet;

use aws_sdk_elasticloadbalancingv2::types::{
    Certificate, Listener as Described, ProtocolEnum, Rule, RulePriorityPair,
};
use infra_model::address::Ref;
use infra_model::kinds;
use infra_model::kinds::listener::ListenerRule;

use super::*;
use crate::aws::discovery::balancers;
use crate::aws::listing::pages;
use crate::aws::tag;
use rules::{Existing, RulePlan};

pub(crate) struct Listener;

const ELB: &str = "elasticloadbalancing";

#[async_trait]
impl AwsKind for Listener {
    fn id(&self) -> KindId {
        KindId::Listener
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let listeners = discovery.listeners().await?.iter().filter(|(_, tags)| discovery.owns(tags));
        let observed = listeners.map(|(listener, tags)| async move {
            let (aws, arn) = (discovery.aws, listener.listener_arn().unwrap_or_default());
            let (rules, more) = futures::try_join!(existing(aws, arn), more_certificates(aws, listener))?;
            Ok::<_, CallError>(rules.map(|rules| observe(listener, rules, more).tags(tags.clone())))
        });
        Ok(futures::future::try_join_all(observed).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::Listener = operation.wanted()?;
        let default = words::action(&wanted.default_action)?;
        let answer = aws
            .change(ELB, "CreateListener", || {
                aws.elb
                    .create_listener()
                    .load_balancer_arn(wanted.load_balancer.as_str())
                    .port(i32::from(wanted.port))
                    .protocol(ProtocolEnum::from(wanted.protocol.as_str()))
                    .set_ssl_policy(wanted.tls_policy.clone())
                    .set_certificates(certificates(&wanted))
                    .default_actions(default.clone())
                    .set_tags(Some(tag::elb(&operation.tags)))
                    .send()
            })
            .await?;
        let made = answer.listeners.unwrap_or_default().into_iter().next();
        let id = made
            .and_then(|listener| listener.listener_arn)
            .ok_or_else(|| missing(ELB, "CreateListener", "listener ARN"))?;
        balancers::must_be_ours(aws, operation, "CreateListener", &id).await?;
        Ok(Made { id, ..Made::default() })
    }

    async fn set(&self, aws: &Aws, operation: &Operation, group: &str) -> Result<(), CallError> {
        let wanted: kinds::Listener = operation.wanted()?;
        if group == "rules" {
            return set_rules(aws, operation, &wanted.rules).await;
        }
        if group == "certificates" {
            return remove_certificates(aws, operation, &wanted.more_certificates).await;
        }
        let default = words::action(&wanted.default_action)?;
        aws.change(ELB, "ModifyListener", || {
            aws.elb
                .modify_listener()
                .listener_arn(operation.id())
                .protocol(ProtocolEnum::from(wanted.protocol.as_str()))
                .set_ssl_policy(wanted.tls_policy.clone())
                .set_certificates(certificates(&wanted))
                .default_actions(default.clone())
                .send()
        })
        .await
        .map(drop)
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_elb(operation, remove).await
    }

    /// Its rules go with it.
    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let arn = operation.id();
        gone_is_done(
            aws.change(ELB, "DeleteListener", || aws.elb.delete_listener().listener_arn(arn).send()).await,
        )
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = aws
            .read(ELB, "DescribeListeners", || aws.elb.describe_listeners().listener_arns(id).send())
            .await;
        let listeners = match answer {
            Ok(answer) => answer.listeners.unwrap_or_default(),
            Err(error) if error.class == Class::Gone => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(listener) = listeners.first() else { return Ok(None) };
        let arns = [id.to_owned()];
        let (rules, more, tags) = futures::try_join!(
            existing(aws, id),
            more_certificates(aws, listener),
            balancers::describe_tags(aws, &arns)
        )?;
        let tags = tags.get(id).cloned().unwrap_or_default();
        Ok(rules.map(|rules| observe(listener, rules, more).tags(tags)))
    }
}

/// Those that an HTTPS listener shows to clients who ask for another name than its own certificate has.
async fn more_certificates(aws: &Aws, listener: &Described) -> Result<BTreeSet<String>, CallError> {
    if listener.certificates().is_empty() {
        return Ok(BTreeSet::new());
    }
    let arn = listener.listener_arn().unwrap_or_default();
    let all = pages(ELB, "DescribeListenerCertificates", |next| async move {
        let page = aws
            .read(ELB, "DescribeListenerCertificates", || {
                aws.elb.describe_listener_certificates().listener_arn(arn).set_marker(next.clone()).send()
            })
            .await?;
        Ok((page.certificates, page.next_marker))
    })
    .await;
    let all = gone_is_none(all)?.unwrap_or_default();
    let own = |arn: &str| listener.certificates().first().and_then(|one| one.certificate_arn()) == Some(arn);
    let more = all.into_iter().filter(|one| one.is_default() != Some(true));
    Ok(more.filter_map(|one| one.certificate_arn).filter(|arn| !own(arn)).collect())
}

/// Takes off what somebody added; nothing of ours ever adds one.
async fn remove_certificates(
    aws: &Aws,
    operation: &Operation,
    wanted: &BTreeSet<String>,
) -> Result<(), CallError> {
    let seen: kinds::Listener = operation.seen()?;
    let surplus: Vec<Certificate> = seen
        .more_certificates
        .difference(wanted)
        .map(|arn| Certificate::builder().certificate_arn(arn).build())
        .collect();
    if surplus.is_empty() {
        return Ok(());
    }
    aws.change(ELB, "RemoveListenerCertificates", || {
        let call = aws.elb.remove_listener_certificates().listener_arn(operation.id());
        call.set_certificates(Some(surplus.clone())).send()
    })
    .await
    .map(drop)
}

fn certificates(wanted: &kinds::Listener) -> Option<Vec<Certificate>> {
    let arn = wanted.certificate.as_ref()?;
    Some(vec![Certificate::builder().certificate_arn(arn.as_str()).build()])
}

/// The rules of a listener but for its default one. `None` when the listener has gone since it was listed.
async fn existing(aws: &Aws, listener: &str) -> Result<Option<Vec<Existing>>, CallError> {
    let (mut found, mut next) = (Vec::<Rule>::new(), None::<String>);
    loop {
        let answer = aws
            .read(ELB, "DescribeRules", || {
                aws.elb.describe_rules().listener_arn(listener).set_marker(next.clone()).send()
            })
            .await;
        let page = match answer {
            Err(error) if error.class == Class::Gone => return Ok(None),
            answer => answer?,
        };
        found.extend(page.rules.unwrap_or_default());
        next = page.next_marker.filter(|marker| !marker.is_empty());
        if next.is_none() {
            return Ok(Some(found.iter().filter_map(words::existing).collect()));
        }
    }
}

/// Reads the rules again, for their ARNs and so that doing it twice is harmless. Room is made first (deletions), then
/// rules change in place, then all that move do so in one call, and new ones come last, into priorities that are free by then.
async fn set_rules(aws: &Aws, operation: &Operation, wanted: &[ListenerRule]) -> Result<(), CallError> {
    let listener = operation.id();
    let Some(existing) = existing(aws, listener).await? else {
        let message = format!("{} has no listener {listener} any more", operation.address);
        return Err(CallError::new(ELB, "DescribeRules", Class::Gone, message));
    };
    let RulePlan { delete, modify, reorder, create } = rules::plan(existing, wanted);
    all(delete.iter().map(|arn| async move {
        gone_is_done(aws.change(ELB, "DeleteRule", || aws.elb.delete_rule().rule_arn(arn).send()).await)
    }))
    .await?;
    all(modify.iter().map(|(arn, rule)| async move {
        let (conditions, action) = (words::conditions(&rule.conditions)?, words::action(&rule.action)?);
        aws.change(ELB, "ModifyRule", || {
            let call = aws.elb.modify_rule().rule_arn(arn).set_conditions(Some(conditions.clone()));
            // Rewrites of the URL are something that infra does not write, so a rule of ours has none.
            call.actions(action.clone()).reset_transforms(true).send()
        })
        .await
        .map(drop)
    }))
    .await?;
    if !reorder.is_empty() {
        let pairs: Vec<_> = reorder
            .iter()
            .map(|(arn, priority)| {
                RulePriorityPair::builder().rule_arn(arn).priority(rules::number(*priority)).build()
            })
            .collect();
        aws.change(ELB, "SetRulePriorities", || {
            aws.elb.set_rule_priorities().set_rule_priorities(Some(pairs.clone())).send()
        })
        .await?;
    }
    all(create.iter().map(|rule| async move {
        let (conditions, action) = (words::conditions(&rule.conditions)?, words::action(&rule.action)?);
        aws.change(ELB, "CreateRule", || {
            aws.elb
                .create_rule()
                .listener_arn(listener)
                .priority(rules::number(rule.priority))
                .set_conditions(Some(conditions.clone()))
                .actions(action.clone())
                .set_tags(Some(tag::elb(&operation.tags)))
                .send()
        })
        .await
        .map(drop)
    }))
    .await
}

/// All at once, none cut short by another's error: an answer that is not awaited may still have taken effect.
async fn all(
    calls: impl Iterator<Item = impl Future<Output = Result<(), CallError>>>,
) -> Result<(), CallError> {
    futures::future::join_all(calls).await.into_iter().collect()
}

fn observe(listener: &Described, mut rules: Vec<Existing>, more_certificates: BTreeSet<String>) -> Observed {
    rules.sort_by_key(|existing| existing.rule.priority);
    let certificate = listener.certificates().iter().find_map(|one| one.certificate_arn());
    let fields = kinds::Listener {
        load_balancer: Ref::physical(listener.load_balancer_arn().unwrap_or_default()),
        port: listener.port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
        protocol: listener.protocol().map(|protocol| protocol.as_str().to_owned()).unwrap_or_default(),
        certificate: certificate.map(Ref::physical),
        more_certificates,
        tls_policy: listener.ssl_policy().filter(|_| certificate.is_some()).map(str::to_owned),
        default_action: words::seen_action(listener.default_actions()),
        rules: rules.into_iter().map(|existing| existing.rule).collect(),
    };
    Observed::new(listener.listener_arn().unwrap_or_default(), &fields)
}
