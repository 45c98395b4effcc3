//! The forms that text and numbers of an environment file must have beyond their type: account ids, CIDRs, names. Owns one
//! ordered list of forms, each with the sentence that says what is allowed; refuses to know which key uses which.

use ipnet::Ipv4Net;

/// A form of text.
struct Form {
    name: &'static str,
    /// Completes "allowed: ...".
    allowed: &'static str,
    holds: fn(&str) -> bool,
}

const FORMS: &[Form] = &[
    Form {
        name: "name",
        allowed: "lower-case letters, digits and single hyphens, beginning with a letter",
        holds: name,
    },
    Form { name: "account", allowed: "an AWS account id: twelve digits in quotes", holds: account },
    Form { name: "region", allowed: "an AWS region, such as \"eu-central-1\"", holds: region },
    Form { name: "zone", allowed: "an availability zone, such as \"eu-central-1a\"", holds: zone },
    Form {
        name: "cidr",
        allowed: "an IPv4 network, such as \"10.20.0.0/16\", its first address before the slash",
        holds: cidr,
    },
    Form {
        name: "endpoint",
        allowed: "an AWS service without region, such as \"ecr.api\" or \"logs\"",
        holds: endpoint,
    },
    Form {
        name: "tag-key",
        allowed: "1 to 128 letters, digits, spaces and + - = . _ : / @, not beginning with `aws:` or `keyway:`",
        holds: tag_key,
    },
    Form {
        name: "domain",
        allowed: "a domain name, such as \"staging.keyway.example\"; `*.` may come first",
        holds: domain,
    },
    Form { name: "host", allowed: "a host name of at most 128 characters, with `*` and `?`", holds: host },
    Form {
        name: "path",
        allowed: "a path beginning with `/`, at most 128 characters, with `*` and `?`",
        holds: path,
    },
    Form {
        name: "arn",
        allowed: "an ARN, such as \"arn:aws:acm:eu-central-1:123456789012:certificate/...\"",
        holds: arn,
    },
    Form { name: "address", allowed: "an address, such as \"network/subnet/private/a\"", holds: address },
    Form { name: "sid", allowed: "1 to 64 letters and digits", holds: sid },
    Form { name: "action", allowed: "an IAM action, such as \"s3:GetObject\"", holds: action },
    Form {
        name: "codes",
        allowed: "HTTP status codes, such as \"200\", \"200,204\" or \"200-299\"",
        holds: codes,
    },
    Form {
        name: "cache-node",
        allowed: "an ElastiCache node type, such as \"cache.t4g.small\"",
        holds: cache_node,
    },
    Form { name: "db-class", allowed: "an RDS instance class, such as \"db.t4g.medium\"", holds: db_class },
    Form {
        name: "daily-window",
        allowed: "a daily window in UTC, such as \"03:00-04:00\"",
        holds: daily_window,
    },
    Form {
        name: "weekly-window",
        allowed: "a weekly window in UTC, such as \"sun:04:00-sun:05:00\"",
        holds: weekly_window,
    },
    Form {
        name: "identifier",
        allowed: "letters, digits and underscores, beginning with a letter, at most 63",
        holds: identifier,
    },
    Form {
        name: "zone-id",
        allowed: "a Route 53 zone id, such as \"Z0123456789ABCDEFGHIJ\"",
        holds: zone_id,
    },
    Form {
        name: "variable",
        allowed: "letters, digits and underscores, not beginning with a digit",
        holds: variable,
    },
    Form { name: "user", allowed: "user and group by number, such as \"1000:1000\"", holds: user },
];

/// Days for which CloudWatch can keep a log group; other numbers it refuses.
const RETENTION_DAYS: &[i64] = &[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

/// What is allowed, if this text has not the form. Forms that are not ours (`uint32`) allow everything.
pub(crate) fn refuse_text(form: &str, text: &str) -> Option<&'static str> {
    let form = FORMS.iter().find(|known| known.name == form)?;
    (!(form.holds)(text)).then_some(form.allowed)
}

/// What a form allows.
pub(crate) fn allowed(form: &str) -> Option<&'static str> {
    FORMS.iter().find(|known| known.name == form).map(|form| form.allowed)
}

/// What is allowed, if this number has not the form.
pub(crate) fn refuse_number(form: &str, number: i64) -> Option<String> {
    match form {
        "uint16" if u16::try_from(number).is_err() => Some("0 to 65535".to_owned()),
        "uint32" if u32::try_from(number).is_err() => Some(format!("0 to {}", u32::MAX)),
        "retention" if !RETENTION_DAYS.contains(&number) => {
            let list: Vec<String> = RETENTION_DAYS.iter().map(i64::to_string).collect();
            Some(format!("days that CloudWatch knows: {}", list.join(", ")))
        }
        _ => None,
    }
}

/// The text that was probably meant, where the form can say so.
pub(crate) fn suggest(form: &str, text: &str) -> Option<String> {
    match form {
        "cidr" => {
            let net: Ipv4Net = text.parse().ok()?;
            (net.trunc() != net).then(|| format!("\"{}\"", net.trunc()))
        }
        "account" => {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            account(&digits).then(|| format!("\"{digits}\""))
        }
        "name" => {
            let plain = text.to_lowercase().replace(['_', ' ', '.'], "-");
            name(&plain).then(|| format!("\"{plain}\""))
        }
        "path" => (!text.starts_with('/') && path(&format!("/{text}"))).then(|| format!("\"/{text}\"")),
        "domain" => {
            let plain = text.trim_end_matches('.').to_lowercase();
            domain(&plain).then(|| format!("\"{plain}\""))
        }
        _ => None,
    }
}

fn lower(c: char) -> bool {
    c.is_ascii_lowercase()
}

fn name(text: &str) -> bool {
    text.starts_with(lower)
        && !text.ends_with('-')
        && !text.contains("--")
        && text.chars().all(|c| lower(c) || c.is_ascii_digit() || c == '-')
}

fn account(text: &str) -> bool {
    text.len() == 12 && digits(text)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

fn region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() >= 3
        && parts.last().is_some_and(|number| digits(number))
        && parts[..parts.len() - 1].iter().all(|part| !part.is_empty() && part.chars().all(lower))
}

fn zone(text: &str) -> bool {
    text.ends_with(lower) && region(&text[..text.len() - 1])
}

fn cidr(text: &str) -> bool {
    text.parse::<Ipv4Net>().is_ok_and(|net| net.trunc() == net)
}

fn endpoint(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with("com.")
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(|c| lower(c) || c.is_ascii_digit() || c == '-'))
}

fn tag_key(text: &str) -> bool {
    let length = text.chars().count();
    let plain = text.to_lowercase(); // AWS refuses `AWS:`, too
    (1..=128).contains(&length)
        && !plain.starts_with("aws:")
        && !plain.starts_with("keyway:")
        && text.chars().all(tag_character)
}

/// What a tag may hold everywhere; EC2 alone would take more (AWS tagging guide).
pub(crate) fn tag_character(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "+-=._:/@".contains(c)
}

fn domain(text: &str) -> bool {
    let text = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| lower(c) || c.is_ascii_digit() || c == '-' || c == '_')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(label)
}

fn host(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '*' | '?'))
}

fn path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= 128 && text.chars().all(|c| c.is_ascii_graphic())
}

fn arn(text: &str) -> bool {
    text.starts_with("arn:") && text.splitn(6, ':').count() == 6 && text.chars().all(|c| c.is_ascii_graphic())
}

fn address(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| lower(c) || c.is_ascii_digit() || matches!(c, '-' | '.' | '_'))
    };
    text.contains('/') && text.split('/').all(part)
}

fn sid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

fn action(text: &str) -> bool {
    let Some((service, verb)) = text.split_once(':') else { return text == "*" };
    let verb_ok = verb.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '*' | '?'));
    !service.is_empty()
        && service.chars().all(|c| lower(c) || c.is_ascii_digit() || c == '-')
        && !verb.is_empty()
        && verb_ok
}

fn codes(text: &str) -> bool {
    let code = |code: &str| code.len() == 3 && digits(code) && ("200"..="499").contains(&code);
    text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => code(first) && code(last) && first < last,
        None => code(part),
    })
}

fn cache_node(text: &str) -> bool {
    text.starts_with("cache.") && text.split('.').count() == 3 && text.split('.').all(|part| !part.is_empty())
}

fn db_class(text: &str) -> bool {
    text.starts_with("db.") && text.split('.').count() == 3 && text.split('.').all(|part| !part.is_empty())
}

fn clock(text: &str) -> bool {
    text.split_once(':').is_some_and(|(hour, minute)| {
        let below =
            |text: &str, bound: u8| text.len() == 2 && text.parse::<u8>().is_ok_and(|number| number < bound);
        below(hour, 24) && below(minute, 60)
    })
}

fn daily_window(text: &str) -> bool {
    text.split_once('-').is_some_and(|(from, to)| clock(from) && clock(to) && from != to)
}

fn weekly_window(text: &str) -> bool {
    let moment = |text: &str| {
        text.split_once(':').is_some_and(|(day, time)| {
            ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].contains(&day) && clock(time)
        })
    };
    text.split_once('-').is_some_and(|(from, to)| moment(from) && moment(to) && from != to)
}

fn identifier(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// AWS's begin with Z so far; its documents ask for capitals and digits only.
fn zone_id(text: &str) -> bool {
    (8..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

fn variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn user(text: &str) -> bool {
    text.split_once(':').is_some_and(|(user, group)| digits(user) && digits(group))
}
