//! VPC flow logs into CloudWatch through EC2. Both changing calls are batches whose answer is a success even when
//! the one change in it failed. The log group is named, not its ARN: the name is what AWS shows again.

use aws_sdk_ec2::types::{FlowLogsResourceType, LogDestinationType, ResourceType, TrafficType};
use infra_model::address::Ref;
use infra_model::kinds;

use super::*;
use crate::aws::error::unsuccessful;
use crate::aws::listing::{display_name, filter, pages};
use crate::aws::tag;

pub(crate) struct FlowLog;

#[async_trait]
impl AwsKind for FlowLog {
    fn id(&self) -> KindId {
        KindId::FlowLog
    }

    async fn discover(&self, discovery: &Discovery<'_>) -> Result<Vec<Observed>, CallError> {
        let filters = discovery.ec2_within("resource-id").await?;
        let mut found = Vec::new();
        for log in list(discovery.aws, filters).await? {
            let object = observe(&log);
            if discovery.owns(&object.tags) {
                found.push(object);
            } else {
                let name = display_name(&object.tags).or_else(|| log.log_destination.clone());
                let vpc = log.resource_id().unwrap_or_default();
                discovery.note_stranger("flow log", object.id, name, vpc).await?;
            }
        }
        Ok(found)
    }

    async fn create(&self, aws: &Aws, operation: &Operation) -> Result<Made, CallError> {
        let wanted: kinds::FlowLog = operation.wanted()?;
        let tags = tag::ec2_specification(ResourceType::VpcFlowLog, &operation.tags);
        let answer = aws
            .change("ec2", "CreateFlowLogs", || {
                aws.ec2
                    .create_flow_logs()
                    .resource_type(FlowLogsResourceType::Vpc)
                    .resource_ids(wanted.vpc.as_str())
                    .traffic_type(TrafficType::from(wanted.traffic.as_str()))
                    .log_destination_type(LogDestinationType::CloudWatchLogs)
                    .log_group_name(wanted.log_group.as_str())
                    .deliver_logs_permission_arn(wanted.role.as_str())
                    .max_aggregation_interval(i32::try_from(wanted.interval_s).unwrap_or(i32::MAX))
                    .client_token(&operation.token)
                    .tag_specifications(tags.clone())
                    .send()
            })
            .await?;
        unsuccessful("ec2", "CreateFlowLogs", answer.unsuccessful())?;
        let id = answer.flow_log_ids().first().cloned();
        let id = id.ok_or_else(|| missing("ec2", "CreateFlowLogs", "flow log id"))?;
        Ok(Made { id, ..Made::default() })
    }

    async fn tag(&self, aws: &Aws, operation: &Operation, remove: &[String]) -> Result<(), CallError> {
        aws.tag_ec2(operation, remove).await
    }

    async fn delete(&self, aws: &Aws, operation: &Operation) -> Result<(), CallError> {
        let answer = aws
            .change("ec2", "DeleteFlowLogs", || {
                aws.ec2.delete_flow_logs().flow_log_ids(operation.id()).send()
            })
            .await;
        gone_is_done(answer.and_then(|a| unsuccessful("ec2", "DeleteFlowLogs", a.unsuccessful())))
    }

    async fn inspect(&self, aws: &Aws, id: &str) -> Result<Option<Observed>, CallError> {
        let answer = list(aws, vec![filter("flow-log-id", [id.to_owned()])]).await;
        Ok(gone_is_none(answer)?.and_then(|logs| logs.first().map(observe)))
    }
}

async fn list(
    aws: &Aws,
    filters: Vec<aws_sdk_ec2::types::Filter>,
) -> Result<Vec<aws_sdk_ec2::types::FlowLog>, CallError> {
    let filters = &filters;
    pages("ec2", "DescribeFlowLogs", |next| async move {
        let page = aws
            .read("ec2", "DescribeFlowLogs", || {
                let call = aws.ec2.describe_flow_logs().set_filter(Some(filters.clone()));
                call.set_next_token(next.clone()).send()
            })
            .await?;
        Ok((page.flow_logs, page.next_token))
    })
    .await
}

/// AWS's interval when none is given.
const DEFAULT_INTERVAL_S: u32 = 600;

fn observe(log: &aws_sdk_ec2::types::FlowLog) -> Observed {
    let interval_s = log.max_aggregation_interval().and_then(|s| u32::try_from(s).ok());
    let fields = kinds::FlowLog {
        vpc: Ref::physical(log.resource_id().unwrap_or_default()),
        log_group: Ref::physical(log_group(log)),
        role: Ref::physical(log.deliver_logs_permission_arn().unwrap_or_default()),
        traffic: log.traffic_type().map_or("ALL", TrafficType::as_str).to_owned(),
        interval_s: interval_s.unwrap_or(DEFAULT_INTERVAL_S),
    };
    Observed::new(log.flow_log_id().unwrap_or_default(), &fields).tags(tag::from_ec2(log.tags.clone()))
}

/// The group's name, also where the log was made with its ARN. A log into a bucket shows that bucket, which is no name
/// of a group, so that the difference is seen.
fn log_group(log: &aws_sdk_ec2::types::FlowLog) -> &str {
    let by_arn = || {
        let arn = log.log_destination()?;
        let (_, name) = arn.split_once(":log-group:").unwrap_or(("", arn));
        Some(name.strip_suffix(":*").unwrap_or(name))
    };
    log.log_group_name().filter(|name| !name.is_empty()).or_else(by_arn).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_group_is_seen_by_name_however_it_was_given() {
        let by_name = aws_sdk_ec2::types::FlowLog::builder().log_group_name("/keyway/flow").build();
        let by_arn = aws_sdk_ec2::types::FlowLog::builder()
            .log_destination("arn:aws:logs:eu-central-1:111122223333:log-group:/keyway/flow:*")
            .build();
        let bucket = aws_sdk_ec2::types::FlowLog::builder().log_destination("arn:aws:s3:::flows").build();
        assert_eq!(log_group(&by_name), "/keyway/flow");
        assert_eq!(log_group(&by_arn), "/keyway/flow");
        assert_eq!(log_group(&bucket), "arn:aws:s3:::flows");
    }
}
