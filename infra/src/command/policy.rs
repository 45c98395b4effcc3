//! `infra policy`: what whoever runs infra on one environment must be allowed, and no more. Changing and deleting is
//! conditioned on the environment's own tag, so that a mistake cannot reach another environment.

use infra_model::environment::partition;
use serde_json::{Value, json};

use super::{Exit, Session};

/// Reads are account-wide: absence can only be known by whoever may see everything.
const READS: &[&str] = &[
    "acm:DescribeCertificate",
    "acm:ListCertificates",
    "acm:ListTagsForCertificate",
    "application-autoscaling:Describe*",
    "application-autoscaling:ListTagsForResource",
    "ec2:Describe*",
    "ecr:Describe*",
    "ecr:GetLifecyclePolicy",
    "ecr:ListTagsForResource",
    "ecs:Describe*",
    "ecs:List*",
    "elasticache:Describe*",
    "elasticache:ListTagsForResource",
    "elasticloadbalancing:Describe*",
    "iam:GetAccountAuthorizationDetails",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListRolePolicies",
    "iam:ListRoles",
    "logs:DescribeLogGroups",
    "logs:ListTagsForResource",
    "rds:Describe*",
    "rds:ListTagsForResource",
    "route53:Get*",
    "route53:List*",
    "secretsmanager:DescribeSecret",
    "secretsmanager:ListSecrets",
    "sts:GetCallerIdentity",
    "tag:GetResources",
    "wafv2:Get*",
    "wafv2:List*",
];

/// Creations carry the environment's tags; the condition refuses any other.
const CREATES: &[&str] = &[
    "acm:RequestCertificate",
    "application-autoscaling:RegisterScalableTarget",
    "ec2:AllocateAddress",
    "ec2:CreateFlowLogs",
    "ec2:CreateInternetGateway",
    "ec2:CreateNatGateway",
    "ec2:CreateRouteTable",
    "ec2:CreateSecurityGroup",
    "ec2:CreateSubnet",
    "ec2:CreateVpc",
    "ec2:CreateVpcEndpoint",
    "ecr:CreateRepository",
    "ecs:CreateCluster",
    "ecs:CreateService",
    "ecs:RegisterTaskDefinition",
    "elasticache:CreateCacheParameterGroup",
    "elasticache:CreateCacheSubnetGroup",
    "elasticache:CreateReplicationGroup",
    "elasticloadbalancing:CreateListener",
    "elasticloadbalancing:CreateLoadBalancer",
    "elasticloadbalancing:CreateRule",
    "elasticloadbalancing:CreateTargetGroup",
    "logs:CreateLogGroup",
    "rds:CreateDBInstance",
    "rds:CreateDBParameterGroup",
    "rds:CreateDBSubnetGroup",
    "secretsmanager:CreateSecret",
    "wafv2:CreateIPSet",
    "wafv2:CreateWebACL",
];

/// AWS checks the tags of a creation as an action of its own. The condition asks for the environment's tags on what has
/// none of ours yet: a new object, or one that is adopted; never one of another environment.
const TAGS: &[&str] = &[
    "acm:AddTagsToCertificate",
    "application-autoscaling:TagResource",
    "ec2:CreateTags",
    "ecr:TagResource",
    "ecs:TagResource",
    "elasticache:AddTagsToResource",
    "elasticloadbalancing:AddTags",
    "logs:TagResource",
    "rds:AddTagsToResource",
    "secretsmanager:TagResource",
    "wafv2:TagResource",
];

/// The first of each kind in an account makes AWS create a role for its service.
const SERVICE_ROLES: &[&str] = &[
    "ecs.amazonaws.com",
    "ecs.application-autoscaling.amazonaws.com",
    "elasticache.amazonaws.com",
    "elasticloadbalancing.amazonaws.com",
    "rds.amazonaws.com",
];

/// What PutLoggingConfiguration does in the caller's name.
const LOG_DELIVERY: &[&str] = &[
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeResourcePolicies",
    "logs:PutResourcePolicy",
];

/// Changes of what carries the environment's tag.
const CHANGES: &[&str] = &[
    "acm:AddTagsToCertificate",
    "acm:DeleteCertificate",
    "acm:RemoveTagsFromCertificate",
    "application-autoscaling:DeleteScalingPolicy",
    "application-autoscaling:DeregisterScalableTarget",
    "application-autoscaling:PutScalingPolicy",
    "application-autoscaling:TagResource",
    "application-autoscaling:UntagResource",
    "ec2:AssociateRouteTable",
    "ec2:AttachInternetGateway",
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateRoute",
    "ec2:CreateTags",
    "ec2:Delete*",
    "ec2:DetachInternetGateway",
    "ec2:DisassociateRouteTable",
    "ec2:ModifySubnetAttribute",
    "ec2:ModifyVpcAttribute",
    "ec2:ModifyVpcEndpoint",
    "ec2:ReleaseAddress",
    "ec2:ReplaceRoute",
    "ec2:ReplaceRouteTableAssociation",
    "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress",
    "ecr:DeleteLifecyclePolicy",
    "ecr:DeleteRepository",
    "ecr:PutImageScanningConfiguration",
    "ecr:PutImageTagMutability",
    "ecr:PutLifecyclePolicy",
    "ecr:TagResource",
    "ecr:UntagResource",
    "ecs:DeleteCluster",
    "ecs:DeleteService",
    "ecs:DeregisterTaskDefinition",
    "ecs:PutClusterCapacityProviders",
    "ecs:TagResource",
    "ecs:UntagResource",
    "ecs:UpdateCluster",
    "ecs:UpdateClusterSettings",
    "ecs:UpdateService",
    "elasticache:AddTagsToResource",
    "elasticache:CreateSnapshot",
    "elasticache:DecreaseReplicaCount",
    "elasticache:Delete*",
    "elasticache:IncreaseReplicaCount",
    "elasticache:Modify*",
    "elasticache:RemoveTagsFromResource",
    "elasticache:ResetCacheParameterGroup",
    "elasticloadbalancing:AddTags",
    "elasticloadbalancing:Delete*",
    "elasticloadbalancing:Modify*",
    "elasticloadbalancing:RemoveListenerCertificates",
    "elasticloadbalancing:RemoveTags",
    "elasticloadbalancing:Set*",
    "logs:DeleteLogGroup",
    "logs:DeleteRetentionPolicy",
    "logs:PutRetentionPolicy",
    "logs:TagResource",
    "logs:UntagResource",
    "rds:AddTagsToResource",
    "rds:CreateDBSnapshot",
    "rds:Delete*",
    "rds:Modify*",
    "rds:RemoveTagsFromResource",
    "rds:ResetDBParameterGroup",
    "secretsmanager:DeleteSecret",
    "secretsmanager:PutSecretValue",
    "secretsmanager:RestoreSecret",
    "secretsmanager:TagResource",
    "secretsmanager:UntagResource",
    "secretsmanager:UpdateSecret",
    "wafv2:AssociateWebACL",
    "wafv2:Delete*",
    "wafv2:DisassociateWebACL",
    "wafv2:PutLoggingConfiguration",
    "wafv2:TagResource",
    "wafv2:UntagResource",
    "wafv2:Update*",
];

const ROLES: &[&str] = &[
    "iam:AttachRolePolicy",
    "iam:CreateRole",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "iam:TagRole",
    "iam:UntagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateRoleDescription",
];

pub(super) fn run(session: &Session<'_>) -> anyhow::Result<Exit> {
    let scope = session.graph()?.scope;
    let (project, environment, account, region) =
        (&scope.project, &scope.environment, &scope.account, &scope.region);
    let partition = partition(region);
    let request = json!({"StringEquals": {"aws:RequestTag/keyway:project": project, "aws:RequestTag/keyway:environment": environment}});
    let resource = json!({"StringEquals": {"aws:ResourceTag/keyway:project": project, "aws:ResourceTag/keyway:environment": environment}});
    let mut untagged = request.clone();
    untagged["Null"] = json!({"aws:ResourceTag/keyway:project": "true"});
    let linked = json!({"StringEquals": {"iam:AWSServiceName": SERVICE_ROLES}});
    let statement = |sid: &str, actions: &[&str], resource: Value, condition: Option<Value>| {
        let mut statement = json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource});
        if let Some(condition) = condition {
            statement["Condition"] = condition;
        }
        statement
    };
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            statement("ReadEverything", READS, json!("*"), None),
            statement("CreateWithTags", CREATES, json!("*"), Some(request)),
            statement("TagWhatIsNobodys", TAGS, json!("*"), Some(untagged)),
            statement("ChangeWhatIsTagged", CHANGES, json!("*"), Some(resource)),
            // Creations name the VPC and the like they go into, which carry no request tag; calls that know no tags at all.
            statement("CreateInside", &["ec2:Create*", "ec2:AssociateRouteTable", "route53:ChangeResourceRecordSets", "route53:CreateHostedZone", "route53:DeleteHostedZone", "route53:ChangeTagsForResource"],
                json!([format!("arn:{partition}:ec2:{region}:{account}:vpc/*"), format!("arn:{partition}:ec2:{region}:{account}:subnet/*"), format!("arn:{partition}:ec2:{region}:{account}:elastic-ip/*"), format!("arn:{partition}:route53:::hostedzone/*")]), None),
            statement("Roles", ROLES, json!(format!("arn:{partition}:iam::{account}:role/{project}/{environment}/*")), None),
            statement("FirstOfAService", &["iam:CreateServiceLinkedRole"], json!(format!("arn:{partition}:iam::*:role/aws-service-role/*")), Some(linked)),
            statement("DeliverFirewallLogs", LOG_DELIVERY, json!("*"), None),
            statement("Lease", &["ssm:GetParametersByPath", "ssm:PutParameter", "ssm:DeleteParameter"],
                json!(format!("arn:{partition}:ssm:{region}:{account}:parameter/keyway/{project}/{environment}/*")), None),
        ],
    });
    session.output.json(&policy);
    Ok(Exit::Done)
}
