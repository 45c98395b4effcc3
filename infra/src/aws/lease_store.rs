//! The parameters in which leases live: SSM's PutParameter without overwrite is a conditional write.

use super::Aws;
use crate::account::{CallError, Parameter};

impl Aws {
    pub(super) async fn list_parameters(&self, path: &str) -> Result<Vec<Parameter>, CallError> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .read("ssm", "GetParametersByPath", || {
                    self.ssm.get_parameters_by_path().path(path).set_next_token(next.clone()).send()
                })
                .await?;
            for parameter in page.parameters.unwrap_or_default() {
                if let (Some(name), Some(value)) = (parameter.name, parameter.value) {
                    found.push(Parameter { name, value });
                }
            }
            next = page.next_token;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    pub(super) async fn write_parameter(&self, parameter: &Parameter, fresh: bool) -> Result<(), CallError> {
        self.change("ssm", "PutParameter", || {
            self.ssm
                .put_parameter()
                .name(&parameter.name)
                .value(&parameter.value)
                .r#type(aws_sdk_ssm::types::ParameterType::String)
                .overwrite(!fresh)
                .send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn remove_parameter(&self, name: &str) -> Result<(), CallError> {
        self.change("ssm", "DeleteParameter", || self.ssm.delete_parameter().name(name).send())
            .await
            .map(drop)
    }
}
