"""What moto 5.2.5 lacks of the AWS behaviour our environments meet, one module per service.

Every patch names the documented behaviour it restores. Nothing here makes AWS look kinder than it is: where moto is
too lax (deletes that AWS refuses, client tokens that AWS honours) the patch makes it stricter. Nothing here knows
Keyway's environments, kinds or tags, so a tool that passes here passes because of AWS's rules, not because of ours.
"""

from . import acm, ec2_gateways, ec2_groups, ec2_refusals, ecs, elasticache, elbv2, rds, route53, scaling, secrets, tagging, wafv2

PATCHES = (
    ec2_groups,
    ec2_gateways,
    ec2_refusals,
    elbv2,
    wafv2,
    ecs,
    scaling,
    elasticache,
    rds,
    route53,
    acm,
    secrets,
    tagging,
)


def install() -> None:
    """Applies every patch once, before the first request."""
    for patch in PATCHES:
        patch.install()
