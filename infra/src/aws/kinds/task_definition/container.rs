//! Containers of a task definition, between the model's form and ECS's. Lists that mean sets become sorted maps.

use std::collections::HashMap;

use aws_sdk_ecs::types::{
    ContainerDefinition, KeyValuePair, LogConfiguration, LogDriver, PortMapping, Secret, TransportProtocol,
    Ulimit, UlimitName,
};
use infra_model::address::Ref;
use infra_model::kinds::task_definition::Container;

use crate::account::CallError;
use crate::aws::ecs::{built, signed, unsigned};

const LOG_GROUP: &str = "awslogs-group";
const LOG_REGION: &str = "awslogs-region";
const LOG_PREFIX: &str = "awslogs-stream-prefix";

pub(super) fn to_ecs(container: &Container) -> Result<ContainerDefinition, CallError> {
    let port = container.port.map(|port| {
        let port = i32::from(port);
        let mapping = PortMapping::builder().container_port(port).host_port(port);
        vec![mapping.protocol(TransportProtocol::Tcp).build()]
    });
    let environment = container.environment.iter();
    let environment =
        environment.map(|(name, value)| KeyValuePair::builder().name(name).value(value).build());
    let secrets = container.secrets.iter();
    let secrets = secrets.map(|(name, from)| built(Secret::builder().name(name).value_from(from).build()));
    let open_files = container.open_files.map(|files| {
        let files = signed(files);
        let limit = Ulimit::builder().name(UlimitName::Nofile).soft_limit(files).hard_limit(files);
        built(limit.build()).map(|limit| vec![limit])
    });
    let options = [
        (LOG_GROUP, container.log_group.as_str()),
        (LOG_REGION, &container.log_region),
        (LOG_PREFIX, &container.log_prefix),
    ];
    let options: HashMap<_, _> = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let log = LogConfiguration::builder().log_driver(LogDriver::Awslogs).set_options(Some(options)).build();
    Ok(ContainerDefinition::builder()
        .name(&container.name)
        .image(&container.image)
        .essential(true)
        .set_port_mappings(port)
        .set_command(container.command.clone())
        .set_environment(Some(environment.collect()))
        .set_secrets(Some(secrets.collect::<Result<_, _>>()?))
        .set_ulimits(open_files.transpose()?)
        .set_readonly_root_filesystem(container.read_only_root)
        .set_user(container.user.clone())
        .set_stop_timeout(container.stop_timeout_s.map(signed))
        .log_configuration(built(log)?)
        .build())
}

pub(super) fn from_ecs(container: &ContainerDefinition) -> Container {
    let option = |name: &str| {
        let options = container.log_configuration().and_then(LogConfiguration::options);
        options.and_then(|options| options.get(name)).cloned().unwrap_or_default()
    };
    let environment = container.environment().iter();
    let files = container.ulimits().iter().find(|limit| limit.name() == &UlimitName::Nofile);
    Container {
        name: container.name().unwrap_or_default().to_owned(),
        image: container.image().unwrap_or_default().to_owned(),
        port: container
            .port_mappings()
            .first()
            .and_then(PortMapping::container_port)
            .and_then(|port| u16::try_from(port).ok()),
        command: Some(container.command().to_vec()).filter(|command| !command.is_empty()),
        environment: environment
            .filter_map(|pair| Some((pair.name.clone()?, pair.value.clone().unwrap_or_default())))
            .collect(),
        secrets: container
            .secrets()
            .iter()
            .map(|secret| (secret.name.clone(), secret.value_from.clone()))
            .collect(),
        log_group: Ref::physical(option(LOG_GROUP)),
        log_region: option(LOG_REGION),
        log_prefix: option(LOG_PREFIX),
        read_only_root: container.readonly_root_filesystem,
        user: container.user.clone(),
        stop_timeout_s: container.stop_timeout.map(unsigned),
        open_files: files.map(|limit| unsigned(limit.soft_limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_container_comes_back_as_it_went() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let full = Container {
            name: "app".to_owned(),
            image: "app-core:1".to_owned(),
            port: Some(8080),
            command: Some(vec!["serve".to_owned()]),
            environment: map(&[("B", "2"), ("A", "")]),
            secrets: map(&[("PASSWORD", "arn:aws:secretsmanager:eu-central-1:1:secret:a:password::")]),
            log_group: Ref::physical("keyway-staging/app"),
            log_region: "eu-central-1".to_owned(),
            log_prefix: "app".to_owned(),
            read_only_root: Some(true),
            user: Some("1000:1000".to_owned()),
            stop_timeout_s: Some(30),
            open_files: Some(65_536),
        };
        let bare = Container {
            port: None,
            command: None,
            environment: BTreeMap::new(),
            secrets: BTreeMap::new(),
            read_only_root: None,
            user: None,
            stop_timeout_s: None,
            open_files: None,
            ..full.clone()
        };
        for container in [full, bare] {
            assert_eq!(from_ecs(&to_ecs(&container).unwrap()), container);
        }
    }
}
