//! The containers that an environment wants: cluster, repositories, log groups, task definitions, services and their
//! autoscaling. Owns what a task is told about its stores; refuses to know how requests reach it.

use std::collections::BTreeMap;

use serde_json::json;

use crate::address::{Address, Ref};
use crate::environment::{
    Architecture, Environment, Insights, Repository as RepositoryTable, Scaling as ScalingTable,
    Service as ServiceTable, Tier, fill_placeholders,
};
use crate::kinds::scaling::{CustomMetric, Policy};
use crate::kinds::service::{Capacity, Target};
use crate::kinds::task_definition::Container;
use crate::kinds::{Cache, Cluster, Database, LogGroup, Repository, Scaling, Service, TaskDefinition};

use super::{
    Draft, POSTGRES, POSTGRES_PORT, REDIS, REDIS_PORT, data, edge, identity, network, services, uses,
};

/// The gateway's number of open sockets: each task writes it into its log in CloudWatch's embedded metric format, which needs no
/// right and no way out beyond the log.
const METRIC_SOCKETS: &str = "OpenSockets";
const FARGATE: &str = "FARGATE";
const FARGATE_SPOT: &str = "FARGATE_SPOT";
/// Seconds between two changes of the number of tasks, unless the file says otherwise: tasks need about a minute to start.
const OUT_COOLDOWN_S: u32 = 60;
/// Slower down than up: a short lull must not cost the tasks that the next wave needs.
const IN_COOLDOWN_S: u32 = 300;

fn cluster() -> Address {
    Address::new("compute/cluster")
}

pub(super) fn repository(name: &str) -> Address {
    Address::new(format!("compute/repository/{name}"))
}

pub(super) fn log_group(service: &str) -> Address {
    Address::new(format!("compute/log_group/{service}"))
}

fn task_definition(service: &str) -> Address {
    Address::new(format!("compute/task_definition/{service}"))
}

pub(super) fn service(name: &str) -> Address {
    Address::new(format!("compute/service/{name}"))
}

/// The repository of this environment that a service's image comes from, and the tag.
pub(super) fn own_repository<'a>(
    environment: &'a Environment,
    service: &'a ServiceTable,
) -> Option<(&'a str, &'a str)> {
    let (name, tag) = service.image.value().split_once(':')?;
    environment.repositories.contains_key(name).then_some((name, tag))
}

pub(super) fn draw(draft: &mut Draft<'_>) {
    let environment = draft.environment;
    for (name, table) in &environment.repositories {
        draw_repository(draft, name, table);
    }
    if environment.services.is_empty() {
        return;
    }
    let insights = match environment.cluster.insights {
        Insights::Disabled => "disabled",
        Insights::Enabled => "enabled",
        Insights::Enhanced => "enhanced",
    };
    let resource = Cluster {
        name: draft.names.environment(),
        container_insights: Some(insights.into()),
        capacity_providers: vec![FARGATE.into(), FARGATE_SPOT.into()],
    };
    draft.add(cluster().as_str(), &resource, "cluster", &[("container_insights", "cluster.insights")]);
    for (name, path, table) in services(environment) {
        let group = LogGroup {
            name: draft.names.path(&format!("services/{name}")),
            retention_days: Some(table.logs.retention_days),
        };
        let retention = format!("{path}.logs.retention_days");
        draft.add(log_group(name).as_str(), &group, &path, &[("retention_days", &retention)]);
        draw_task_definition(draft, name, &path, table);
        draw_service(draft, name, &path, table);
        if let Some(scaling) = &table.scaling {
            draw_scaling(draft, name, &format!("{path}.scaling"), scaling);
        }
    }
}

fn draw_repository(draft: &mut Draft<'_>, name: &str, table: &RepositoryTable) {
    let rule = |priority: u32, description: &str, selection: serde_json::Value| {
        json!({
            "rulePriority": priority,
            "description": description,
            "selection": selection,
            "action": { "type": "expire" },
        })
    };
    let untagged = json!({ "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": table.untagged_days });
    let any =
        json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": table.keep_images });
    let resource = Repository {
        name: draft.names.path(name),
        immutable_tags: Some(table.immutable_tags),
        scan_on_push: Some(table.scan_on_push),
        // AWS wants the rule for any image last.
        lifecycle: Some(
            json!({ "rules": [rule(1, "images without a tag", untagged), rule(2, "more than enough", any)] }),
        ),
    };
    let path = format!("repositories.{name}");
    let keys = [
        ("immutable_tags", "immutable_tags"),
        ("scan_on_push", "scan_on_push"),
        ("lifecycle/rules/0", "untagged_days"),
        ("lifecycle/rules/1", "keep_images"),
    ];
    let keys = keys.map(|(field, key)| (field, format!("{path}.{key}")));
    let elsewhere = keys.each_ref().map(|(field, path)| (*field, path.as_str()));
    let at = draft.add(repository(name).as_str(), &resource, &path, &elsewhere);
    draft.output(&format!("repository_{name}"), Ref::<Repository>::attribute(&at, "uri").to_string());
}

fn image(draft: &Draft<'_>, table: &ServiceTable) -> String {
    match own_repository(draft.environment, table) {
        Some((name, tag)) => format!("{}:{tag}", Ref::<Repository>::attribute(&repository(name), "uri")),
        None => table.image.value().clone(),
    }
}

/// The variables of the file, and where the stores are. What the file says wins.
fn variables(draft: &Draft<'_>, name: &str, table: &ServiceTable) -> BTreeMap<String, String> {
    let environment = draft.environment;
    let mut variables = BTreeMap::from([
        ("KEYWAY_ENVIRONMENT".to_owned(), environment.name.clone()),
        ("KEYWAY_SERVICE".to_owned(), name.to_owned()),
    ]);
    let mut usual = |variable: &str, name: &str| {
        variables.extend(placeholder(draft, name).map(|value| (variable.to_owned(), value)));
    };
    if uses(table, REDIS) {
        usual("REDIS_URL", "redis.url");
    }
    if uses(table, POSTGRES) {
        usual("POSTGRES_HOST", "postgres.host");
        usual("POSTGRES_DATABASE", "postgres.database");
        usual("POSTGRES_USER", "postgres.user");
        variables.insert("POSTGRES_PORT".to_owned(), POSTGRES_PORT.to_string());
    }
    for (variable, text) in &table.variables {
        variables.insert(variable.clone(), fill_placeholders(text, |name| placeholder(draft, name)));
    }
    variables
}

/// What a placeholder stands for. Those without a value have been refused by the checks.
fn placeholder(draft: &Draft<'_>, name: &str) -> Option<String> {
    let environment = draft.environment;
    let redis_host = || Ref::<Cache>::attribute(&data::redis(), "endpoint").to_string();
    Some(match name {
        "environment" => environment.name.clone(),
        "prefix" => environment.prefix(),
        "region" => environment.region.clone(),
        "redis.host" => redis_host(),
        "redis.url" => {
            let scheme = if environment.redis.as_ref()?.tls { "rediss" } else { "redis" };
            format!("{scheme}://{}:{REDIS_PORT}", redis_host())
        }
        "postgres.host" => Ref::<Database>::attribute(&data::postgres(), "endpoint").to_string(),
        "postgres.database" => environment.postgres.as_ref()?.database.clone(),
        "postgres.user" => environment.postgres.as_ref()?.user.clone(),
        "load_balancer.host" => edge::host(environment)?,
        "load_balancer.url" => edge::url(environment, "http")?,
        "load_balancer.socket_url" => edge::url(environment, "ws")?,
        _ => return None,
    })
}

fn draw_task_definition(draft: &mut Draft<'_>, name: &str, path: &str, table: &ServiceTable) {
    let container = Container {
        name: name.to_owned(),
        image: image(draft, table),
        port: Some(table.port),
        command: (!table.command.is_empty()).then(|| table.command.clone()),
        environment: variables(draft, name, table),
        secrets: identity::secret_variables(draft, table),
        log_group: Ref::to(&log_group(name)),
        log_region: draft.environment.region.clone(),
        log_prefix: "task".into(),
        read_only_root: table.read_only_root,
        user: table.user.clone(),
        stop_timeout_s: table.stop_timeout_s,
        open_files: table.open_files,
    };
    let resource = TaskDefinition {
        family: draft.names.part(name),
        cpu: table.cpu,
        memory_mib: table.memory_mib,
        architecture: match table.arch {
            Architecture::Arm64 => "ARM64".into(),
            Architecture::X86_64 => "X86_64".into(),
        },
        execution_role: Ref::attribute(&identity::start_role(name), "arn"),
        task_role: Ref::attribute(&identity::task_role(name), "arn"),
        containers: vec![container],
    };
    let mut wanted = draft.wanted(&resource, path, &[]);
    for (field, key) in [
        ("cpu", "cpu"),
        ("memory_mib", "memory_mib"),
        ("architecture", "arch"),
        ("containers/0/image", "image"),
        ("containers/0/port", "port"),
        ("containers/0/command", "command"),
        ("containers/0/environment", "variables"),
        ("containers/0/secrets", "uses"),
        ("containers/0/read_only_root", "read_only_root"),
        ("containers/0/user", "user"),
        ("containers/0/stop_timeout_s", "stop_timeout_s"),
        ("containers/0/open_files", "open_files"),
    ] {
        wanted.origins.insert(field.to_owned(), draft.place(&format!("{path}.{key}")));
    }
    for variable in table.variables.keys() {
        let place = draft.place(&format!("{path}.variables.{variable}"));
        wanted.origins.insert(format!("containers/0/environment/{variable}"), place);
    }
    if let Some(owner) = table.image.owner() {
        wanted = wanted.owned_by("containers/0/image", owner.as_str());
    }
    draft.graph.add(task_definition(name), wanted);
}

fn capacity(table: &ServiceTable) -> Vec<Capacity> {
    let share = |provider: &str, base: u32, weight: u32| Capacity { provider: provider.into(), base, weight };
    let (base, spot) = (table.capacity.on_demand_base, table.capacity.spot_percent);
    match (base, spot) {
        (base, 0) => vec![share(FARGATE, base, 1)],
        (0, 100) => vec![share(FARGATE_SPOT, 0, 1)],
        (base, spot) => vec![share(FARGATE, base, 100 - spot), share(FARGATE_SPOT, 0, spot)],
    }
}

fn draw_service(draft: &mut Draft<'_>, name: &str, path: &str, table: &ServiceTable) {
    let target = edge::is_target(draft.environment, name);
    let resource = Service {
        name: name.to_owned(),
        cluster: Ref::to(&cluster()),
        task_definition: Ref::to(&task_definition(name)),
        desired_count: Some(*table.count.value()),
        capacity: capacity(table),
        subnets: draft.subnets(Tier::Private),
        security_groups: vec![Ref::to(&network::group(name))],
        public_address: false,
        targets: target
            .then(|| Target {
                target_group: Ref::to(&edge::target_group(name)),
                container: name.to_owned(),
                port: table.port,
            })
            .into_iter()
            .collect(),
        // Without a load balancer nobody asks, and AWS refuses the field.
        health_grace_s: target.then_some(table.health.grace_s),
        minimum_percent: Some(table.rollout.min_healthy_percent),
        maximum_percent: Some(table.rollout.max_percent),
        circuit_breaker: Some(table.rollout.circuit_breaker),
        execute_command: Some(table.execute_command),
    };
    let mut wanted = draft.wanted(&resource, path, &[]);
    for (field, key) in [
        ("desired_count", "count"),
        ("capacity", "capacity"),
        ("targets", "routes"),
        ("health_grace_s", "health.grace_s"),
        ("minimum_percent", "rollout.min_healthy_percent"),
        ("maximum_percent", "rollout.max_percent"),
        ("circuit_breaker", "rollout.circuit_breaker"),
        ("execute_command", "execute_command"),
    ] {
        wanted.origins.insert(field.to_owned(), draft.place(&format!("{path}.{key}")));
    }
    wanted.origins.insert("subnets".into(), draft.place("network.zones"));
    if let Some(owner) = table.count.owner() {
        wanted = wanted.owned_by("desired_count", owner.as_str());
    }
    // AWS refuses a target group that no listener uses yet, and a task without a way to its image fails.
    let listener = edge::routes_listener(draft.environment).filter(|_| target);
    let wanted = wanted.after(listener).after(network::before_tasks(draft));
    draft.graph.add(service(name), wanted);
}

fn draw_scaling(draft: &mut Draft<'_>, name: &str, path: &str, table: &ScalingTable) {
    let policy = |target: u32| Policy {
        predefined: None,
        custom: None,
        target: f64::from(target),
        scale_in_cooldown_s: table.in_cooldown_s.unwrap_or(IN_COOLDOWN_S),
        scale_out_cooldown_s: table.out_cooldown_s.unwrap_or(OUT_COOLDOWN_S),
    };
    let mut policies = BTreeMap::new();
    if let Some(percent) = table.cpu_percent {
        let predefined = Some("ECSServiceAverageCPUUtilization".to_owned());
        policies.insert("cpu".to_owned(), Policy { predefined, ..policy(percent) });
    }
    if let Some(sockets) = table.sockets_per_task {
        let custom = CustomMetric {
            namespace: draft.names.environment(),
            name: METRIC_SOCKETS.into(),
            dimensions: BTreeMap::from([(
                "Service".to_owned(),
                table.metric_service.clone().unwrap_or_else(|| name.to_owned()),
            )]),
            statistic: "Average".into(),
        };
        policies.insert("sockets".to_owned(), Policy { custom: Some(custom), ..policy(sockets) });
    }
    let (cluster_name, service_name) =
        (Ref::<Cluster>::attribute(&cluster(), "name"), Ref::<Service>::attribute(&service(name), "name"));
    let resource = Scaling {
        resource: format!("service/{cluster_name}/{service_name}"),
        service: Ref::to(&service(name)),
        minimum: table.min,
        maximum: table.max,
        policies,
    };
    let keys = [
        ("minimum", "min"),
        ("maximum", "max"),
        ("policies/cpu", "cpu_percent"),
        ("policies/sockets", "sockets_per_task"),
    ];
    let keys = keys.map(|(field, key)| (field, format!("{path}.{key}")));
    let elsewhere = keys.each_ref().map(|(field, path)| (*field, path.as_str()));
    draft.add(&format!("compute/scaling/{name}"), &resource, path, &elsewhere);
}
