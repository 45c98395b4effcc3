"""RDS: groups that can be modified and are refused while in use, parameters with their source, versions.

Restores, against moto 5.2.5:
- ModifyDBSubnetGroup keeps the group (moto takes it out of its list and never puts it back); a second group of that name
  is DBSubnetGroupAlreadyExists; DeleteDBSubnetGroup in use is InvalidDBSubnetGroupStateFault;
- DescribeDBParameters tells the Source and filters by it (API_Parameter); ResetDBParameterGroup; DeleteDBParameterGroup in
  use is InvalidDBParameterGroupState;
- DescribeDBEngineVersions, DescribePendingMaintenanceActions, DescribeDBMajorEngineVersions-free listing (500 in moto);
- DeleteDBInstance without SkipFinalSnapshot needs FinalDBSnapshotIdentifier (API_DeleteDBInstance);
- PerformanceInsightsEnabled and its retention (dropped by moto);
- the default parameter group of Postgres 10 and later is named by the major version alone ("default.postgres16").
"""

from moto.core.responses import ActionResult
from moto.rds import models
from moto.rds.exceptions import RDSClientError
from moto.rds.responses import RDSResponse

from .patching import action, method, replace

# API_DescribeDBEngineVersions for Postgres: enough to check a version that an environment names.
POSTGRES = ("14.17", "14.18", "15.12", "15.13", "16.8", "16.9", "16.10", "17.4", "17.5", "17.6")


def family(engine: str, version: str) -> str:
    return f"{engine}{version.split('.')[0]}" if engine == "postgres" else f"{engine}{version.rsplit('.', 1)[0]}"


def install() -> None:
    backend = models.RDSBackend
    _subnet_groups(backend)
    _parameter_groups(backend)
    _instances(backend)


def _subnet_groups(backend) -> None:
    @method(backend)
    def create_subnet_group(original, self, subnet_name, description, subnets, tags):
        if subnet_name.lower() in self.subnet_groups:
            raise RDSClientError("DBSubnetGroupAlreadyExists", f"The DB subnet group '{subnet_name}' already exists.")
        return original(self, subnet_name.lower(), description, subnets, tags)

    @method(backend)
    def modify_db_subnet_group(original, self, subnet_name, description, subnets):
        if subnet_name not in self.subnet_groups:
            raise models.DBSubnetGroupNotFoundError(subnet_name)
        group = original(self, subnet_name, description, subnets)
        self.subnet_groups[subnet_name] = group
        return group

    @method(backend)
    def delete_subnet_group(original, self, subnet_name):
        for database in self.databases.values():
            if database.db_subnet_group and database.db_subnet_group.name == subnet_name:
                raise RDSClientError(
                    "InvalidDBSubnetGroupStateFault",
                    f"Cannot delete the subnet group '{subnet_name}' because at least one database instance: {database.db_instance_identifier} is still using it.",
                )
        return original(self, subnet_name)


def _parameter_groups(backend) -> None:
    @method(backend)
    def delete_db_parameter_group(original, self, name):
        if any(d.db_parameter_group_name == name for d in self.databases.values()):
            raise RDSClientError("InvalidDBParameterGroupState", f"One or more database instances are still members of this parameter group {name}, so the group cannot be deleted")
        return original(self, name)

    @replace(RDSResponse)
    def describe_db_parameters(self):
        name = self.params.get("DBParameterGroupName")
        groups = self.backend.describe_db_parameter_groups({"db_parameter_group_name": name})
        if not groups:
            raise models.DBParameterGroupNotFoundError(name)
        listed = [
            {"Source": "user", "IsModifiable": True, "DataType": "string", **parameter}
            for parameter in groups[0].parameters.values()
        ]
        source = self.params.get("Source")
        return ActionResult({"Parameters": [p for p in listed if source in (None, p["Source"])]})

    @action(RDSResponse)
    def reset_db_parameter_group(self):
        name = self.params.get("DBParameterGroupName")
        group = self.backend.db_parameter_groups.get(name)
        if group is None:
            raise models.DBParameterGroupNotFoundError(name)
        named = [parameter["ParameterName"] for parameter in self.params.get("Parameters", [])]
        for parameter in named or list(group.parameters):
            group.parameters.pop(parameter, None)
        return ActionResult({"DBParameterGroupName": name})

    @replace(models.DBInstance)
    def default_db_parameter_group_details(self):
        name = family(self.engine.lower(), str(self.engine_version))
        return name, f"default.{name}"


def _instances(backend) -> None:
    def note_insights(database, request):
        asked = request.get("enable_performance_insights")
        if asked is not None:
            database.performance_insights_enabled = bool(asked)
        if not getattr(database, "performance_insights_enabled", False):
            database.performance_insights_enabled, database.performance_insights_retention_period = False, None
        else:
            # API_CreateDBInstance, PerformanceInsightsRetentionPeriod: "default: 7 days".
            kept = getattr(database, "performance_insights_retention_period", None)
            database.performance_insights_retention_period = request.get("performance_insights_retention_period") or kept or 7
        return database

    @method(backend)
    def create_db_instance(original, self, db_kwargs):
        return note_insights(original(self, db_kwargs), db_kwargs)

    @method(backend)
    def modify_db_instance(original, self, db_instance_identifier, db_kwargs):
        return note_insights(original(self, db_instance_identifier, db_kwargs), db_kwargs)

    @method(backend)
    def delete_db_instance(original, self, db_instance_identifier, final_db_snapshot_identifier=None, skip_final_snapshot=False, **kwargs):
        if db_instance_identifier in self.databases and not skip_final_snapshot and not final_db_snapshot_identifier:
            raise RDSClientError("InvalidParameterCombination", "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.")
        return original(
            self, db_instance_identifier, final_db_snapshot_identifier=final_db_snapshot_identifier,
            skip_final_snapshot=skip_final_snapshot, **kwargs,
        )

    @action(RDSResponse)
    def describe_db_engine_versions(self):
        engine, version = self.params.get("Engine"), self.params.get("EngineVersion")
        listed = [
            {
                "Engine": "postgres", "EngineVersion": v, "MajorEngineVersion": v.split(".")[0],
                "DBParameterGroupFamily": family("postgres", v), "DBEngineDescription": "PostgreSQL",
                "Status": "available",
            }
            for v in POSTGRES
            if engine in (None, "postgres") and (version is None or v == version or v.split(".")[0] == version)
        ]
        if self.params.get("DefaultOnly"):
            listed = listed[-1:]
        return ActionResult({"DBEngineVersions": listed})

    @action(RDSResponse)
    def describe_pending_maintenance_actions(self):
        return ActionResult({"PendingMaintenanceActions": []})
