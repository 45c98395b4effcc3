//! What AWS's errors mean for us: one table from codes to [`Class`], for all services.

use std::sync::Arc;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::account::{CallError, Class};

pub(super) fn classify<E>(
    service: &'static str,
    action: &'static str,
    error: SdkError<E, HttpResponse>,
) -> CallError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let (class, code, message) = match &error {
        SdkError::ServiceError(answered) => {
            let code = answered.err().code().unwrap_or_default().to_owned();
            let message = answered.err().message().map(str::to_owned);
            let message = message.unwrap_or_else(|| no_message(&code, answered.raw().status().as_u16()));
            let class = class_of(&code, &message, answered.raw().status().as_u16());
            (class, Some(code).filter(|code| !code.is_empty()), message)
        }
        SdkError::DispatchFailure(failure) => {
            let text = chain(&error);
            let class = if text.contains("credential") || text.contains("identity") {
                Class::Credentials
            } else if (failure.is_io() || cut(&text)) && !refused(&text)
                || failure.is_timeout() && !text.contains("connect")
            {
                Class::Lost
            } else {
                Class::Unreachable
            };
            (class, None, text)
        }
        SdkError::ConstructionFailure(_) => (construction(&chain(&error)), None, chain(&error)),
        // The request left and no whole answer came back.
        SdkError::ResponseError(answered) => {
            let status = answered.raw().status().as_u16();
            (Class::Lost, None, format!("{}: {}", no_message("", status), chain(&error)))
        }
        SdkError::TimeoutError(_) => (Class::Lost, None, chain(&error)),
        _ => (Class::Fatal, None, chain(&error)),
    };
    CallError { service, action, class, code, message, source: Some(Arc::new(error)) }
}

fn no_message(code: &str, status: u16) -> String {
    if code.is_empty() { format!("{STRANGE}, HTTP {status}") } else { "no message".to_owned() }
}

/// What every AWS service gives its errors is a code. A proxy, a load balancer or some other server has answered.
const STRANGE: &str = "an answer that is not AWS's";

/// Whether somebody else than AWS has answered.
pub(crate) fn strange(error: &CallError) -> bool {
    error.code.is_none() && error.message.starts_with(STRANGE)
}

/// Some of EC2's batch calls succeed as a whole and tell inside the answer what did not. Our batches hold one object.
pub(super) fn unsuccessful(
    service: &'static str,
    action: &'static str,
    items: &[aws_sdk_ec2::types::UnsuccessfulItem],
) -> Result<(), CallError> {
    let Some(item) = items.first() else { return Ok(()) };
    let told = item.error();
    let code = told.and_then(|error| error.code()).unwrap_or_default();
    let message = told.and_then(|error| error.message()).unwrap_or("no message");
    let error = CallError::new(service, action, class_of(code, message, 400), message);
    Err(CallError { code: Some(code.to_owned()).filter(|code| !code.is_empty()), ..error })
}

/// The SDK loads credentials while it builds the request.
fn construction(text: &str) -> Class {
    if text.contains("credential") || text.contains("identity") { Class::Credentials } else { Class::Fatal }
}

/// The connection was there and broke: hyper's words, which the SDK files under "other".
fn cut(text: &str) -> bool {
    text.contains("client error (SendRequest)")
}

fn refused(text: &str) -> bool {
    ["tcp connect", "Connection refused", "dns error", "failed to lookup", "No route to host"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// An error with its causes, on one line, without repeating itself.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut at = Some(error);
    while let Some(error) = at {
        let text = error.to_string();
        // What the SDK calls its layers tells a person nothing.
        let layer = ["dispatch failure", "io error", "other"].contains(&text.as_str());
        if !layer && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        at = error.source();
    }
    parts.join(": ")
}

fn class_of(code: &str, message: &str, status: u16) -> Class {
    let is = |codes: &[&str]| codes.contains(&code);
    let ends = |ends: &[&str]| ends.iter().any(|end| code.ends_with(end));
    if let Some(class) = ecs_class(code, message) {
        return class;
    }
    if is(&[
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "PriorRequestNotComplete",
        "SlowDown",
        "EC2ThrottledException",
        "LimitExceededException.Throttled",
    ]) || message.starts_with("Rate exceeded")
    {
        Class::Throttled
    } else if is(&[
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "AuthFailure",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "IncompleteSignature",
        "OptInRequired",
    ]) {
        Class::Credentials
    } else if is(&[
        "UnauthorizedOperation",
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedAccess",
        "NotAuthorized",
        "AuthorizationError",
        "Client.UnauthorizedOperation",
    ]) {
        Class::Denied
    } else if is(&[
        "DependencyViolation",
        "InvalidIPAddress.InUse",
        "InvalidGroup.InUse",
        "WAFAssociatedItemException",
        "WAFOptimisticLockException",
        "ResourceInUse",
        "ResourceInUseException",
        "ResourceInUseFault",
        "DeleteConflict",
        "OperationNotPermitted.InUse",
        "ClusterContainsServicesException",
        "ClusterContainsTasksException",
        "UpdateInProgressException",
        "InvalidReplicationGroupState",
        "InvalidCacheClusterState",
        "InvalidDBInstanceState",
        "InvalidDBSubnetGroupStateFault",
        "InvalidDBParameterGroupState",
        "CacheSubnetGroupInUse",
        "InvalidCacheParameterGroupState",
        "ConcurrentModification",
        "ConcurrentUpdateException",
        "OperationAbortedException",
        "IncorrectState",
        "RequestInProgressException",
        "PriorityInUse",
        "HostedZoneNotEmpty",
    ]) {
        Class::InUse
    } else if is(&["WAFUnavailableEntityException", "InvalidParameterValue.NotYet"]) || not_yet(code, message)
    {
        Class::NotYet
    } else if let Some(class) = record_change(code, message) {
        class
    } else if ends(&[".Duplicate", "AlreadyExists", "AlreadyExistsException", "AlreadyExistsFault"])
        || is(&[
            "EntityAlreadyExists",
            "DuplicateLoadBalancerName",
            "DuplicateTargetGroupName",
            "DuplicateListener",
            "ResourceExistsException",
            "WAFDuplicateItemException",
            "RepositoryAlreadyExistsException",
            "ResourceAlreadyExistsException",
            "ParameterAlreadyExists",
            "HostedZoneAlreadyExists",
            "DBInstanceAlreadyExists",
            "FlowLogAlreadyExists",
            "RouteAlreadyExists",
            "Resource.AlreadyAssociated",
        ])
    {
        Class::Exists
    } else if ends(&[
        ".NotFound",
        "NotFoundException",
        "NotFoundFault",
        "NotFound",
        "NoSuchEntity",
        "NoSuchHostedZone",
    ]) || is(&[
        "ResourceNotFoundException",
        "WAFNonexistentItemException",
        "NatGatewayNotFound",
        "ParameterNotFound",
        "Gateway.NotAttached",
    ]) {
        Class::Gone
    } else if status >= 500 || is(&["InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable"])
    {
        Class::Service
    } else {
        Class::Fatal
    }
}

/// Route 53 has one code for all that can be wrong with a change of records; the text tells.
fn record_change(code: &str, message: &str) -> Option<Class> {
    match code {
        "InvalidChangeBatch" if message.contains("already exists") => Some(Class::Exists),
        "InvalidChangeBatch" if message.contains("not found") => Some(Class::Gone),
        _ => None,
    }
}

/// Codes that are also AWS's way to say "what you just made has not arrived here yet".
fn not_yet(code: &str, message: &str) -> bool {
    let message = message.to_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    match code {
        // A role that IAM has made, but that the other service cannot assume yet; a target group whose listener ECS does
        // not see yet; a service that autoscaling does not see yet.
        "InvalidParameterException"
        | "InvalidParameterValue"
        | "InvalidParameter"
        | "ValidationError"
        | "ValidationException"
        | "ClientException" => says(&[
            "unable to assume",
            "is not authorized to assume",
            "role is not valid",
            // A route to an internet gateway that is being attached.
            "belong to different networks",
            "does not have an associated load balancer",
            "ecs service doesn't exist",
        ]),
        _ => false,
    }
}

/// ECS says with two general codes what other services have codes for.
fn ecs_class(code: &str, message: &str) -> Option<Class> {
    let says = |text: &str| message.contains(text);
    match code {
        "InvalidParameterException" if says("was not idempotent") => Some(Class::Exists),
        "InvalidParameterException" if says("still Draining") || says("still draining") => Some(Class::InUse),
        "ClientException" if says("Unable to describe task definition") => Some(Class::Gone),
        "ClientException" if says("task definition does not exist") => Some(Class::Gone),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_caller_can_do() {
        let check = |code, status, class| assert_eq!(class_of(code, "", status), class, "{code}");
        check("RequestLimitExceeded", 503, Class::Throttled);
        check("ThrottlingException", 400, Class::Throttled);
        check("UnauthorizedOperation", 403, Class::Denied);
        check("ExpiredTokenException", 400, Class::Credentials);
        check("DependencyViolation", 400, Class::InUse);
        check("InvalidVpcID.NotFound", 400, Class::Gone);
        let apart = "route table rtb-1 and network gateway igw-1 belong to different networks";
        assert_eq!(class_of("InvalidParameterValue", apart, 400), Class::NotYet);
        check("Gateway.NotAttached", 400, Class::Gone);
        check("NatGatewayNotFound", 400, Class::Gone);
        check("InvalidAllocationID.NotFound", 400, Class::Gone);
        check("Resource.AlreadyAssociated", 400, Class::Exists);
        check("InvalidGroup.InUse", 400, Class::InUse);
        check("DBInstanceNotFound", 404, Class::Gone);
        check("DBInstanceAlreadyExists", 400, Class::Exists);
        check("DBSubnetGroupNotFoundFault", 404, Class::Gone);
        check("DBParameterGroupNotFound", 404, Class::Gone);
        check("InvalidDBInstanceState", 400, Class::InUse);
        check("ReplicationGroupNotFoundFault", 404, Class::Gone);
        check("ReplicationGroupAlreadyExists", 400, Class::Exists);
        check("CacheParameterGroupNotFound", 404, Class::Gone);
        check("CacheSubnetGroupInUse", 400, Class::InUse);
        check("InvalidPermission.Duplicate", 400, Class::Exists);
        check("WAFUnavailableEntityException", 400, Class::NotYet);
        check("InternalError", 500, Class::Service);
        check("InvalidParameterValue", 400, Class::Fatal);
        check("HostedZoneNotEmpty", 400, Class::InUse);
        check("InvalidChangeBatch", 400, Class::Fatal);
        let taken = "Tried to create resource record set [name='a.example.', type='A'] but it already exists";
        assert_eq!(class_of("InvalidChangeBatch", taken, 400), Class::Exists);
        let absent = "Tried to delete resource record set [name='a.example.', type='A'] but it was not found";
        assert_eq!(class_of("InvalidChangeBatch", absent, 400), Class::Gone);
        check("ServiceNotFoundException", 400, Class::Gone);
        check("LifecyclePolicyNotFoundException", 400, Class::Gone);
        check("ClusterContainsTasksException", 400, Class::InUse);
    }

    #[test]
    fn general_codes_mean_what_their_message_says() {
        let check = |code, message, class| assert_eq!(class_of(code, message, 400), class, "{message}");
        check("InvalidParameterException", "Creation of service was not idempotent.", Class::Exists);
        check("InvalidParameterException", "Unable to Start a service that is still Draining.", Class::InUse);
        check(
            "InvalidParameterException",
            "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
            Class::NotYet,
        );
        check(
            "InvalidParameterException",
            "The target group with targetGroupArn arn:x does not have an associated load balancer.",
            Class::NotYet,
        );
        check("ClientException", "Unable to describe task definition.", Class::Gone);
        check("ClientException", "Role is not valid", Class::NotYet);
        check("ValidationException", "ECS service doesn't exist: service/a/b", Class::NotYet);
        check("InvalidParameterException", "Invalid cpu value specified", Class::Fatal);
    }
}
