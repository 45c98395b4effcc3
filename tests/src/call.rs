//! Which API call a request is: service, action, and whether it changes anything. Read off the wire as each of AWS's
//! protocols puts it there; nothing is known of what the call means.

use std::fmt;

use crate::http::Message;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// EC2: a form in, its own XML error out.
    Ec2Query,
    /// ELB, IAM, RDS, ElastiCache, STS: a form in, `ErrorResponse` out.
    Query,
    /// `X-Amz-Target` and JSON.
    Json,
    /// Route 53.
    RestXml,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub service: String,
    pub action: String,
    pub protocol: Protocol,
    pub changing: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.action)
    }
}

/// Actions that only look. Everything else changes something, or might.
const READING: [&str; 9] =
    ["Describe", "List", "Get", "BatchGet", "Check", "Lookup", "Search", "Simulate", "Validate"];

impl Call {
    pub fn of(request: &Message) -> Self {
        let service = service(request).unwrap_or_else(|| "unsigned".to_owned());
        let (action, protocol) = if let Some(target) = request.header("X-Amz-Target") {
            (target.rsplit('.').next().unwrap_or(target).to_owned(), Protocol::Json)
        } else if let Some(action) = form_action(&request.body) {
            (action, if service == "ec2" { Protocol::Ec2Query } else { Protocol::Query })
        } else {
            (rest_action(&request.first_line), Protocol::RestXml)
        };
        let changing = !READING.iter().any(|verb| action.starts_with(verb));
        Self { service, action, protocol, changing }
    }
}

/// `Credential=KEY/20260101/eu-central-1/ec2/aws4_request` of the signature names the service.
fn service(request: &Message) -> Option<String> {
    let scope = request.header("Authorization")?.split("Credential=").nth(1)?.split([',', ' ']).next()?;
    scope.split('/').nth(3).map(str::to_owned)
}

fn form_action(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    text.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(str::to_owned)
}

/// Route 53's routes (API reference, one page per action).
fn rest_action(first_line: &str) -> String {
    let mut words = first_line.split(' ');
    let method = words.next().unwrap_or("");
    let path = words.next().unwrap_or("").split('?').next().unwrap_or("");
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).skip(1).collect();
    let action = match (method, parts.as_slice()) {
        ("POST", ["hostedzone"]) => "CreateHostedZone",
        ("GET", ["hostedzone"]) => "ListHostedZones",
        ("GET", ["hostedzonesbyname"]) => "ListHostedZonesByName",
        ("GET", ["hostedzone", _]) => "GetHostedZone",
        ("DELETE", ["hostedzone", _]) => "DeleteHostedZone",
        ("POST", ["hostedzone", _]) => "UpdateHostedZoneComment",
        ("GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
        ("POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
        ("GET", ["tags", _, _]) => "ListTagsForResource",
        ("POST", ["tags", _]) => "ListTagsForResources",
        ("POST", ["tags", _, _]) => "ChangeTagsForResource",
        ("GET", ["change", _]) => "GetChange",
        ("GET", _) => return format!("Get {path}"),
        _ => return format!("{method} {path}"),
    };
    action.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(first_line: &str, headers: &[(&str, &str)], body: &str) -> Message {
        let mut headers: Vec<_> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let signed = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/SERVICE/aws4_request, SignedHeaders=host, Signature=0";
        let service =
            headers.iter().find(|(k, _)| k == "service").map(|(_, v)| v.clone()).unwrap_or_default();
        headers.push(("authorization".into(), signed.replace("SERVICE", &service)));
        Message { first_line: first_line.into(), headers, body: body.into() }
    }

    #[track_caller]
    fn check(message: &Message, named: &str, protocol: Protocol, changing: bool) {
        let call = Call::of(message);
        assert_eq!((call.to_string().as_str(), call.protocol, call.changing), (named, protocol, changing));
    }

    #[test]
    fn each_protocol_names_its_call() {
        let form = request(
            "POST / HTTP/1.1",
            &[("service", "ec2")],
            "Action=CreateVpc&Version=2016-11-15&CidrBlock=10",
        );
        check(&form, "ec2:CreateVpc", Protocol::Ec2Query, true);
        let form = request(
            "POST / HTTP/1.1",
            &[("service", "elasticloadbalancing")],
            "Version=1&Action=DescribeRules",
        );
        check(&form, "elasticloadbalancing:DescribeRules", Protocol::Query, false);
        let headers =
            [("service", "ecs"), ("x-amz-target", "AmazonEC2ContainerServiceV20141113.UpdateService")];
        check(&request("POST / HTTP/1.1", &headers, "{}"), "ecs:UpdateService", Protocol::Json, true);
        let zone =
            request("POST /2013-04-01/hostedzone/Z1/rrset/ HTTP/1.1", &[("service", "route53")], "<x/>");
        check(&zone, "route53:ChangeResourceRecordSets", Protocol::RestXml, true);
        let zones = request("GET /2013-04-01/hostedzone?maxitems=1 HTTP/1.1", &[("service", "route53")], "");
        check(&zones, "route53:ListHostedZones", Protocol::RestXml, false);
    }
}
