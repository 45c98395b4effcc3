//! The single rules of AWS's managed groups, called parts here because an environment can let each act differently. Owns the table;
//! refuses to know what they match. AWS adds rules now and then: a name that is not here is worth a warning, no more.

/// Each group and its rules, also those of older versions that can still be fixed. Source: AWS WAF developer guide, "AWS Managed
/// Rules rule groups list", the page of each group.
const GROUPS: &[(&str, &[&str])] = &[
    ("AWSManagedRulesAdminProtectionRuleSet", &["AdminProtection_URIPATH"]),
    (
        "AWSManagedRulesAmazonIpReputationList",
        &["AWSManagedIPReputationList", "AWSManagedReconnaissanceList", "AWSManagedIPDDoSList"],
    ),
    ("AWSManagedRulesAnonymousIpList", &["AnonymousIPList", "HostingProviderIPList"]),
    (
        "AWSManagedRulesBotControlRuleSet",
        &[
            "CategoryAdvertising",
            "CategoryAI",
            "CategoryArchiver",
            "CategoryContentFetcher",
            "CategoryEmailClient",
            "CategoryHttpLibrary",
            "CategoryLinkChecker",
            "CategoryMiscellaneous",
            "CategoryMonitoring",
            "CategoryPagePreview",
            "CategoryScrapingFramework",
            "CategorySearchEngine",
            "CategorySecurity",
            "CategorySeo",
            "CategorySocialMedia",
            "CategoryWebhooks",
            "SignalAutomatedBrowser",
            "SignalKnownBotDataCenter",
            "SignalNonBrowserUserAgent",
            "TGT_ML_CoordinatedActivityHigh",
            "TGT_ML_CoordinatedActivityLow",
            "TGT_ML_CoordinatedActivityMedium",
            "TGT_SignalAutomatedBrowser",
            "TGT_SignalBrowserAutomationExtension",
            "TGT_SignalBrowserInconsistency",
            "TGT_TokenAbsent",
            "TGT_TokenReuseAsnHigh",
            "TGT_TokenReuseAsnLow",
            "TGT_TokenReuseAsnMedium",
            "TGT_TokenReuseCountryHigh",
            "TGT_TokenReuseCountryLow",
            "TGT_TokenReuseCountryMedium",
            "TGT_TokenReuseIp",
            "TGT_TokenReuseIpHigh",
            "TGT_TokenReuseIpLow",
            "TGT_TokenReuseIpMedium",
            "TGT_VolumetricIpTokenAbsent",
            "TGT_VolumetricSession",
            "TGT_VolumetricSessionMaximum",
        ],
    ),
    (
        "AWSManagedRulesCommonRuleSet",
        &[
            "CrossSiteScripting_BODY",
            "CrossSiteScripting_COOKIE",
            "CrossSiteScripting_QUERYARGUMENTS",
            "CrossSiteScripting_URIPATH",
            "EC2MetaDataSSRF_BODY",
            "EC2MetaDataSSRF_COOKIE",
            "EC2MetaDataSSRF_QUERYARGUMENTS",
            "EC2MetaDataSSRF_URIPATH",
            "GenericLFI_BODY",
            "GenericLFI_QUERYARGUMENTS",
            "GenericLFI_URIPATH",
            "GenericRFI_BODY",
            "GenericRFI_QUERYARGUMENTS",
            "GenericRFI_URIPATH",
            "NoUserAgent_HEADER",
            "RestrictedExtensions_QUERYARGUMENTS",
            "RestrictedExtensions_URIPATH",
            "SizeRestrictions_BODY",
            "SizeRestrictions_Cookie_HEADER",
            "SizeRestrictions_QUERYSTRING",
            "SizeRestrictions_URIPATH",
            "UserAgent_BadBots_HEADER",
        ],
    ),
    (
        "AWSManagedRulesKnownBadInputsRuleSet",
        &[
            "ExploitablePaths_URIPATH",
            "Host_localhost_HEADER",
            "JavaDeserializationRCE_BODY",
            "JavaDeserializationRCE_HEADER",
            "JavaDeserializationRCE_QUERYSTRING",
            "JavaDeserializationRCE_URIPATH",
            "Log4JRCE_BODY",
            "Log4JRCE_HEADER",
            "Log4JRCE_QUERYSTRING",
            "Log4JRCE_URIPATH",
            "PROPFIND_METHOD",
            "ReactJSRCE_BODY",
        ],
    ),
    ("AWSManagedRulesLinuxRuleSet", &["LFI_COOKIE", "LFI_HEADER", "LFI_QUERYSTRING", "LFI_URIPATH"]),
    (
        "AWSManagedRulesPHPRuleSet",
        &[
            "PHPHighRiskMethodsVariables_BODY",
            "PHPHighRiskMethodsVariables_HEADER",
            "PHPHighRiskMethodsVariables_QUERYARGUMENTS",
            "PHPHighRiskMethodsVariables_QUERYSTRING",
        ],
    ),
    (
        "AWSManagedRulesSQLiRuleSet",
        &[
            "SQLiExtendedPatterns_BODY",
            "SQLiExtendedPatterns_QUERYARGUMENTS",
            "SQLi_BODY",
            "SQLi_COOKIE",
            "SQLi_QUERYARGUMENTS",
            "SQLi_URIPATH",
        ],
    ),
    (
        "AWSManagedRulesUnixRuleSet",
        &[
            "UNIXShellCommandsVariables_BODY",
            "UNIXShellCommandsVariables_HEADER",
            "UNIXShellCommandsVariables_QUERYARGUMENTS",
            "UNIXShellCommandsVariables_QUERYSTRING",
        ],
    ),
    (
        "AWSManagedRulesWindowsRuleSet",
        &[
            "PowerShellCommands_BODY",
            "PowerShellCommands_COOKIE",
            "PowerShellCommands_QUERYARGUMENTS",
            "WindowsShellCommands_BODY",
            "WindowsShellCommands_COOKIE",
            "WindowsShellCommands_QUERYARGUMENTS",
        ],
    ),
    (
        "AWSManagedRulesWordPressRuleSet",
        &["WordPressExploitableCommands_QUERYSTRING", "WordPressExploitablePaths_URIPATH"],
    ),
];

/// How AWS calls a rule of a version that is tried out before it becomes the default.
const CANDIDATE: &str = "_RC_COUNT";

/// The parts of a group, `None` where the table has none.
pub fn of(group: &str) -> Option<&'static [&'static str]> {
    GROUPS.iter().find(|(name, _)| *name == group).map(|(_, parts)| *parts)
}

/// Whether a group may have this part, as far as is known here.
pub fn has(group: &str, part: &str) -> bool {
    of(group).is_none_or(|parts| parts.contains(&part)) || part.ends_with(CANDIDATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_with_parts_has_units() {
        let known: Vec<&str> = super::super::capacity::groups().collect();
        for (group, parts) in GROUPS {
            assert!(known.contains(group), "{group}");
            assert!(!parts.is_empty() && parts.iter().all(|part| has(group, part)), "{group}");
        }
        assert!(!has("AWSManagedRulesCommonRuleSet", "CrossSiteScripting_BODi"));
        assert!(has("SomebodysGroup", "Anything"));
    }
}
